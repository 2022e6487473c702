//! Ingress: which requests from outside go to which services.

use crate::kinds::{Change, Row, Rules, status};
use crate::path::Path;
use crate::table::text::{age, name, or};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::{self, Format};
use crate::view::{list, text};
use serde_json::Value;
use std::net::IpAddr;

const GVK: [&str; 3] = ["networking.k8s.io", "v1", "Ingress"];

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["ing"],
    subresources: &[status(GVK)],
    storage: crate::kinds::Storage { folder: "ingress", version: None },
    rules: Rules { validate, warnings, printer: &PRINTER, generation: true, ..Rules::PLAIN },
    ..Row::namespaced(GVK, ["ingresses", "ingress"], "io.k8s.api.networking.v1.Ingress")
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Class", "Who serves it."),
        Column::text("Hosts", "Names that it answers for."),
        Column::text("Address", "Where it is reached."),
        Column::text("Ports", "Ports that it answers at."),
        AGE,
    ],
    cells: |it, now| {
        let spec = &it["spec"];
        let ports = if list(spec, "tls").is_empty() { "80" } else { "80, 443" };
        let class = spec["ingressClassName"].as_str().unwrap_or("<none>");
        vec![name(it), class.into(), hosts(spec), addresses(it), ports.into(), age(it, now)]
    },
};

/// Most hosts in a cell.
const HOSTS_MOST: usize = 3;

fn hosts(spec: &Value) -> Value {
    let rules = list(spec, "rules");
    let mut shown: Vec<&str> = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= shown.len() == HOSTS_MOST;
        if !more && !text(rule, "host").is_empty() {
            shown.push(text(rule, "host"));
        }
    }
    let shown = shown.join(",");
    if more { format!("{shown} + {} more...", rules.len() - HOSTS_MOST).into() } else { or(&shown, "*") }
}

/// Most characters of the addresses in a cell.
const ADDRESSES_MOST: usize = 16;

fn addresses(it: &Value) -> Value {
    let of = |one: &Value| match text(one, "ip") {
        "" => text(one, "hostname").to_owned(),
        ip => ip.to_owned(),
    };
    let mut all: Vec<_> = list(&it["status"]["loadBalancer"], "ingress").iter().map(of).collect();
    all.retain(|address| !address.is_empty());
    all.sort();
    all.dedup();
    let all = all.join(",");
    match all.get(..ADDRESSES_MOST - 3) {
        Some(start) if all.len() > ADDRESSES_MOST => format!("{start}...").into(),
        _ => all.into(),
    }
}

/// The annotation that named the class before there was a field.
const CLASS: &str = "kubernetes.io/ingress.class";

fn warnings(change: &Change<'_>) -> Vec<String> {
    let named = change.old.is_none() && change.new["metadata"]["annotations"][CLASS].is_string();
    let text = "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
    if named { vec![text.to_owned()] } else { Vec::new() }
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let new = change.new;
    if change.part == "status" {
        return balancer(&new["status"]["loadBalancer"], errors);
    }
    let (spec, path) = (&new["spec"], Path::Root.field("spec"));
    if list(spec, "rules").is_empty() && spec["defaultBackend"].is_null() {
        errors.invalid(&path, Value::Null, "either `defaultBackend` or `rules` must be specified");
    }
    if !spec["defaultBackend"].is_null() {
        backend(&spec["defaultBackend"], &path.field("defaultBackend"), errors);
    }
    let rules = path.field("rules");
    for (index, one) in list(spec, "rules").iter().enumerate() {
        rule(one, &rules.index(index), errors);
    }
    let tls = path.field("tls");
    for (index, one) in list(spec, "tls").iter().enumerate() {
        let path = tls.index(index);
        let hosts = path.field("hosts");
        for (at, host) in list(one, "hosts").iter().enumerate() {
            self::host(host.as_str().unwrap_or_default(), &hosts.index(at), errors);
        }
        if !text(one, "secretName").is_empty() {
            Format::Subdomain.require(text(one, "secretName"), &path.field("secretName"), errors);
        }
    }
    if let Some(class) = spec["ingressClassName"].as_str() {
        Format::Subdomain.require(class, &path.field("ingressClassName"), errors);
    }
    let annotation = new["metadata"]["annotations"][CLASS].as_str();
    if let (None, Some(named), Some(class)) = (change.old, annotation, spec["ingressClassName"].as_str())
        && named != class
    {
        let path = Path::Root.field("annotations");
        errors.invalid(&path.field(CLASS), named, "must match `ingressClassName` when both are specified");
    }
}

const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist \
     of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com')";

/// A name, or all names of a domain.
fn host(host: &str, path: &Path<'_>, errors: &mut Errors) {
    if !host.contains('*') {
        return Format::Subdomain.require(host, path, errors);
    }
    if host.strip_prefix("*.").is_none_or(|domain| Format::Subdomain.check(domain).is_some()) {
        errors.invalid(path, host, WILDCARD);
    }
}

fn rule(rule: &Value, path: &Path<'_>, errors: &mut Errors) {
    let name = text(rule, "host");
    if !name.is_empty() {
        if name.parse::<IpAddr>().is_ok() {
            errors.invalid(&path.field("host"), name, "must be a DNS name, not an IP address");
        }
        host(name, &path.field("host"), errors);
    }
    let http = path.field("http");
    let paths = http.field("paths");
    if !rule["http"].is_null() && list(&rule["http"], "paths").is_empty() {
        errors.required(&paths, "");
    }
    for (index, one) in list(&rule["http"], "paths").iter().enumerate() {
        self::path(one, &paths.index(index), errors);
    }
}

fn path(one: &Value, at: &Path<'_>, errors: &mut Errors) {
    let (path, here) = (text(one, "path"), at.field("path"));
    let absolute = path.starts_with('/');
    match one["pathType"].as_str() {
        None => return errors.required(&at.field("pathType"), "pathType must be specified"),
        Some("Exact" | "Prefix") => {
            if !absolute {
                errors.invalid(&here, path, "must be an absolute path");
            }
            for wrong in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|wrong| path.contains(wrong)) {
                errors.invalid(&here, path, format!("must not contain '{wrong}'"));
            }
            for wrong in ["/..", "/."].into_iter().filter(|wrong| path.ends_with(wrong)) {
                errors.invalid(&here, path, format!("cannot end with '{wrong}'"));
            }
        }
        Some("ImplementationSpecific") => {
            if !path.is_empty() && !absolute {
                errors.invalid(&here, path, "must be an absolute path");
            }
        }
        Some(other) => {
            let known = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.exactly_one_of(&at.field("pathType"), other, &known);
        }
    }
    backend(&one["backend"], &at.field("backend"), errors);
}

fn backend(backend: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_null(), resource.is_null()) {
        (false, false) => errors.invalid(path, "", "cannot set both resource and service backends"),
        (true, true) => errors.invalid(path, "", "resource or service backend is required"),
        (true, false) => super::ingress_class::reference(resource, &path.field("resource"), errors),
        (false, true) => self::service(service, path, errors),
    }
}

fn service(service: &Value, path: &Path<'_>, errors: &mut Errors) {
    let here = path.field("service");
    let port = here.field("port");
    // RelaxedServiceNameValidation is on: a label may begin with a digit.
    Format::Label.require_given(text(service, "name"), &here.field("name"), errors);
    let (name, number) = (text(&service["port"], "name"), service["port"]["number"].as_i64().unwrap_or_default());
    match (name, number) {
        ("", 0) => errors.required(path, "port name or number is required"),
        ("", number) => errors.in_range(&port.field("number"), &number.into(), names::PORTS),
        (name, 0) => Format::PortName.require(name, &port.field("name"), errors),
        _ => errors.invalid(path, "", "cannot set both port name & port number"),
    }
}

fn balancer(status: &Value, errors: &mut Errors) {
    let path = Path::Root.field("status");
    let (path, field) = (path.field("loadBalancer"), "ingress");
    let path = path.field(field);
    for (index, one) in list(status, field).iter().enumerate() {
        let path = path.index(index);
        let (ip, hostname) = (text(one, "ip"), text(one, "hostname"));
        if !ip.is_empty() {
            names::address(ip, &path.field("ip"), errors);
        }
        if !hostname.is_empty() {
            Format::Subdomain.require(hostname, &path.field("hostname"), errors);
            if hostname.parse::<IpAddr>().is_ok() {
                errors.invalid(&path.field("hostname"), hostname, "must be a DNS name, not an IP address");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::errors;
    use serde_json::{Value, json};

    fn ingress(host: &str, path: &Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": {"rules": [{"host": host, "http": {"paths": [path]}}]}})
    }

    #[test]
    fn what_is_refused() {
        let service = json!({"service": {"name": "s", "port": {"number": 80}}});
        let path = |path: &str, kind: &str| json!({"path": path, "pathType": kind, "backend": service});
        let of = |host: &str, path: Value| errors(&super::ROW, &ingress(host, &path));
        assert_eq!(of("a.example", path("/", "Prefix")), [""; 0]);
        assert_eq!(of("*.a.example", path("", "ImplementationSpecific")), [""; 0]);
        assert_eq!(of("10.0.0.1", path("/", "Prefix")), ["spec.rules[0].host: Invalid"]);
        assert_eq!(of("a.*", path("/", "Prefix")), ["spec.rules[0].host: Invalid"]);
        let at = |field: &str, kind: &str| [format!("spec.rules[0].http.paths[0].{field}: {kind}")];
        assert_eq!(of("", path("a", "Exact")), at("path", "Invalid"));
        assert_eq!(of("", path("/a//b", "Exact")), at("path", "Invalid"));
        assert_eq!(of("", path("/", "Regex")), at("pathType", "NotSupported"));
        let backend = |backend: Value| of("", json!({"path": "/", "pathType": "Exact", "backend": backend}));
        assert_eq!(backend(json!({})), at("backend", "Invalid"));
        assert_eq!(backend(json!({"service": {"name": "s"}})), at("backend", "Required"));
        let empty = json!({"metadata": {"name": "a"}, "spec": {}});
        assert_eq!(errors(&super::ROW, &empty), ["spec: Invalid"]);
    }
}
