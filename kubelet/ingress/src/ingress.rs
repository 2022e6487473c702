//! Ingress (networking.k8s.io/v1) to rules. No I/O.
//!
//! What Ingress has no field for is said by annotations of ours, which [`options`] reads.

pub(crate) mod options; // the annotations

use crate::plan::{Plan, Port, Problem, SecretRef};
use crate::route::{Action, Backend, Forward, Host, Order, PathMatch, PortRef, Redirect, Rule, Weighted};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use options::Options;
use serde_json::Value;

/// Who an IngressClass has to name for its ingresses to be ours.
pub const CONTROLLER: &str = "skiff.dev/ingress";
/// How an ingress named its class before there were classes.
const CLASS: &str = "kubernetes.io/ingress.class";

/// The ports that all ingresses share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Plain.
    pub http: u16,
    /// Encrypted.
    pub https: u16,
    /// Where clients reach the encrypted one, if something before us leads there from another port.
    pub https_outside: u16,
}

/// Whether an ingress is for one of `classes`, which are ours. One without a class is nobody's: admission gives it the default class if
/// there is one.
#[must_use]
pub(crate) fn is_ours(meta: &ObjectMeta, fields: &Value, classes: &[String]) -> bool {
    let annotation = || meta.annotations.as_ref()?.get(CLASS).map(String::as_str);
    let class = fields.pointer("/spec/ingressClassName").and_then(Value::as_str).or_else(annotation);
    class.is_some_and(|class| classes.iter().any(|ours| ours == class))
}

/// Where an object stands among others that say the same.
pub(crate) fn order(meta: &ObjectMeta) -> Order {
    let created = meta.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
    let named = |text: &Option<String>| text.clone().unwrap_or_default();
    Order { created, object: format!("{}/{}", named(&meta.namespace), named(&meta.name)), index: 0 }
}

/// Adds what an ingress says to a plan; answers what cannot be done.
pub(crate) fn add(plan: &mut Plan, ports: Ports, meta: &ObjectMeta, fields: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let options = Options::read(meta, &mut problems);
    let namespace = meta.namespace.clone().unwrap_or_default();
    let mut reading = Reading { namespace: &namespace, options: &options, order: order(meta), problems: &mut problems };
    let rules = reading.rules(fields);
    let certificates = reading.certificates(fields);
    let is_encrypted = |host: &Host| certificates.iter().any(|(of, _)| covers(of, host));
    let to_https = options.https_redirect.then(|| https(ports));
    let plain = rules.iter().map(|rule| match &to_https {
        Some(redirect) if is_encrypted(&rule.host) => rule.clone().with(|_, _| Action::Redirect(redirect.clone())),
        _ => rule.clone(),
    });
    if let Some(port) = plan.port(ports.http, false) {
        port.rules.extend(plain);
    }
    if !certificates.is_empty()
        && let Some(Port { rules: all, certificates: shown, .. }) = plan.port(ports.https, true)
    {
        all.extend(rules);
        shown.extend(certificates);
    }
    problems
}

/// To the same address, encrypted; 308 keeps method and body.
fn https(ports: Ports) -> Redirect {
    Redirect { scheme: Some("https".into()), host: None, port: Some(ports.https_outside), path: None, status: 308 }
}

/// Whether a certificate for `of` is shown to those who ask for `host`.
fn covers(of: &Host, host: &Host) -> bool {
    match (of, host) {
        (Host::Any, _) => true,
        (of, Host::Exact(name)) => of.is_for(name),
        (of, host) => of == host,
    }
}

struct Reading<'a> {
    namespace: &'a str,
    options: &'a Options,
    order: Order,
    problems: &'a mut Vec<Problem>,
}

impl Reading<'_> {
    fn rules(&mut self, fields: &Value) -> Vec<Rule<Action>> {
        let mut found = Vec::new();
        let default = &fields["spec"]["defaultBackend"];
        let default = (!default.is_null()).then(|| self.action(default, "spec.defaultBackend"));
        for (number, rule) in list(&fields["spec"]["rules"]).enumerate() {
            let host = Host::of_ingress(rule["host"].as_str().unwrap_or_default());
            for (place, path) in list(&rule["http"]["paths"]).enumerate() {
                let field = format!("spec.rules[{number}].http.paths[{place}].backend");
                let action = self.action(&path["backend"], &field);
                let text = path["path"].as_str().unwrap_or_default();
                let matched = match path["pathType"].as_str() {
                    Some("Exact") => PathMatch::Exact(text.to_owned()),
                    // What ImplementationSpecific means is ours to say: the same as Prefix.
                    _ => PathMatch::prefix(text),
                };
                found.push(self.rule(host.clone(), matched, action));
            }
            if let Some(default) = default.clone().filter(|_| host != Host::Any) {
                found.push(self.rule(host, PathMatch::Otherwise, default));
            }
        }
        found.extend(default.map(|default| self.rule(Host::Any, PathMatch::Otherwise, default)));
        found
    }

    fn rule(&mut self, host: Host, path: PathMatch, action: Action) -> Rule<Action> {
        self.order.index += 1;
        Rule::new(host, path, self.order.clone(), action)
    }

    fn action(&mut self, backend: &Value, field: &str) -> Action {
        let service = &backend["service"];
        let Some(name) = service["name"].as_str() else {
            let why = "only services can be backends: resource backends are not implemented";
            self.problems.push(Problem::rejected(field, why));
            return Action::Answer(503);
        };
        let by_name = service["port"]["name"].as_str().map(|name| PortRef::Name(name.to_owned()));
        let number = || service["port"]["number"].as_u64().and_then(|number| u16::try_from(number).ok());
        let Some(port) = by_name.or_else(|| number().map(PortRef::Number)) else {
            self.problems.push(Problem::rejected(&format!("{field}.service.port"), "names no port"));
            return Action::Answer(503);
        };
        let to = Backend { namespace: self.namespace.to_owned(), service: name.to_owned(), port };
        let to = vec![Weighted { weight: 1, to: Some(to), ..Weighted::default() }];
        let Options { affinity, within, body_bytes_max, .. } = self.options.clone();
        let forward = Forward { to, affinity, try_within: within, body_bytes_max, ..Forward::default() };
        Action::Forward(Box::new(forward))
    }

    fn certificates(&mut self, fields: &Value) -> Vec<(Host, SecretRef)> {
        let mut found = Vec::new();
        for (number, tls) in list(&fields["spec"]["tls"]).enumerate() {
            let Some(name) = tls["secretName"].as_str().filter(|name| !name.is_empty()) else {
                let why = "names no secret: there is no certificate for all hosts";
                self.problems.push(Problem::rejected(&format!("spec.tls[{number}].secretName"), why));
                continue;
            };
            let secret = SecretRef { namespace: self.namespace.to_owned(), name: name.to_owned() };
            let mut hosts: Vec<&str> = list(&tls["hosts"]).filter_map(Value::as_str).collect();
            if hosts.is_empty() {
                // It is for those of the rules, and for whoever names none.
                hosts = list(&fields["spec"]["rules"]).map(|rule| rule["host"].as_str().unwrap_or_default()).collect();
                hosts.push("");
            }
            found.extend(hosts.into_iter().map(|host| (Host::of_ingress(host), secret.clone())));
        }
        found
    }
}

pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests;
