//! As which names a pod's resolver asks for a name, and what is there under each (resolv.conf(5), Kubernetes' "DNS for Services and Pods").

use super::Found;
use crate::answer::Finding;
use crate::facts::Facts;
use crate::look::{full_name, is_true, list, name, text};
use crate::paths;
use crate::pod::whom;
use crate::words::listed;
use serde_json::Value;

/// Kubernetes' own `ndots` for pods that ask the cluster.
const NDOTS: usize = 5;

/// How a pod's names are looked up.
struct Resolver {
    policy: &'static str,
    zone: String,
    search: Vec<String>,
    ndots: usize,
}

/// The domain of the cluster: what the pod's kubelet says, or Kubernetes' own.
fn zone(facts: &Facts, pod: &Value) -> String {
    let config = facts.peek(&paths::kubelet(text(pod, "/spec/nodeName"), "configz")).is();
    let said = config.map(|config| text(config, "/kubeletconfig/clusterDomain")).unwrap_or_default();
    if said.is_empty() { "cluster.local".to_owned() } else { said.to_owned() }
}

fn resolver(facts: &Facts, pod: &Value) -> Resolver {
    let (zone, namespace) = (zone(facts, pod), text(pod, "/metadata/namespace"));
    let policy = match (text(pod, "/spec/dnsPolicy"), is_true(pod, "/spec/hostNetwork")) {
        ("None", _) => "None",
        ("Default", _) => "Default",
        ("ClusterFirstWithHostNet", _) | (_, false) => "ClusterFirst",
        (_, true) => "Default",
    };
    let host: Vec<String> = facts
        .known(text(pod, "/spec/nodeName"))
        .map(|known| list(known, "/search").iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let mut search = match policy {
        "ClusterFirst" => [vec![format!("{namespace}.svc.{zone}"), format!("svc.{zone}"), zone.clone()], host].concat(),
        "Default" => host,
        _ => Vec::new(),
    };
    search.extend(list(pod, "/spec/dnsConfig/searches").iter().filter_map(Value::as_str).map(str::to_owned));
    let named = list(pod, "/spec/dnsConfig/options").iter().find(|option| text(option, "/name") == "ndots");
    let ndots = named.and_then(|option| text(option, "/value").parse().ok()).unwrap_or(if policy == "ClusterFirst" {
        NDOTS
    } else {
        1
    });
    Resolver { policy, zone, search, ndots }
}

impl Resolver {
    /// The names that are asked for, in this order.
    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(whole) = name.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let searched = self.search.iter().map(|domain| format!("{name}.{domain}"));
        let itself = std::iter::once(name.to_owned());
        if name.matches('.').count() >= self.ndots {
            itself.chain(searched).collect()
        } else {
            searched.chain(itself).collect()
        }
    }

    /// Name and namespace of the service that a name is for; `None`: it is for none.
    fn service<'a>(&self, candidate: &'a str) -> Option<(&'a str, &'a str)> {
        let rest = candidate.strip_suffix(&format!(".svc.{}", self.zone))?;
        // SERVICE.NAMESPACE, or one of its pods before that.
        match rest.split('.').collect::<Vec<_>>().as_slice() {
            [service, namespace] | [_, service, namespace] => Some((service, namespace)),
            _ => None,
        }
    }
}

fn at<'a>(services: &'a [Value], wanted: &str, namespace: &str) -> Option<&'a Value> {
    services.iter().find(|one| name(one) == wanted && text(one, "/metadata/namespace") == namespace)
}

/// The service that `host` leads to from `pod`.
pub(super) fn service<'a>(facts: &Facts, pod: &Value, host: &str, services: &'a [Value]) -> Option<&'a Value> {
    let resolver = resolver(facts, pod);
    if resolver.policy != "ClusterFirst" {
        return None;
    }
    resolver
        .candidates(host)
        .iter()
        .find_map(|candidate| resolver.service(candidate).and_then(|(name, namespace)| at(services, name, namespace)))
}

/// What is known of a name that a pod asks for, a sentence each.
pub(crate) fn search_words(facts: &Facts, pod: &Value, host: &str) -> Vec<String> {
    let resolver = resolver(facts, pod);
    let asked = resolver.candidates(host);
    let mut words = vec![format!(
        "It is asked for as {} (dnsPolicy {}, ndots {}, search list {}).",
        listed(&asked),
        resolver.policy,
        resolver.ndots,
        or_empty(&resolver.search)
    )];
    let Some(services) = facts.list(&paths::all("services")) else { return words };
    let for_services: Vec<_> = asked.iter().filter_map(|candidate| resolver.service(candidate)).collect();
    match for_services.iter().find_map(|(name, namespace)| at(services, name, namespace)) {
        Some(service) => words.push(format!("The service {} exists.", full_name(service))),
        None if !for_services.is_empty() => {
            let bare = for_services[0].0;
            let (own, namespace) = (host.split('.').next().unwrap_or(host), for_services[0].1);
            let others: Vec<_> =
                services.iter().filter(|one| name(one) == own || name(one) == bare).map(full_name).collect();
            let others = if others.is_empty() {
                format!("no namespace has a service {own}")
            } else {
                format!("there is {}", listed(&others))
            };
            words.push(format!("Namespace {namespace} of the zone {} has no service {bare}; {others}.", resolver.zone));
        }
        None => words.push(format!("None of these is a name of a service in the zone {}.", resolver.zone)),
    }
    words
}

fn or_empty(search: &[String]) -> String {
    if search.is_empty() { "empty".to_owned() } else { search.join(" ") }
}

/// Why a name that leads to no service does not resolve; `None`: it does, outside of the cluster, or nobody says that it does not.
pub(super) fn unresolved(facts: &Facts, pod: &Value, host: &str, services: &[Value]) -> Option<Found> {
    let resolver = resolver(facts, pod);
    let of_zone = resolver.candidates(host).iter().any(|one| one == host && resolver.service(one).is_some());
    let own = host.split('.').next().unwrap_or(host);
    let elsewhere: Vec<_> = services.iter().filter(|one| name(one) == own).map(full_name).collect();
    let (nobody, unknown) = upstream(facts, pod, host);
    let short = !host.contains('.') || of_zone || host.ends_with(&format!(".{}", resolver.zone));
    if !short && nobody.is_none() {
        return None;
    }
    let mut finding = Finding::new("NameUnresolved", whom(pod), format!("The name {host} leads nowhere."))
        .facts(search_words(facts, pod, host))
        .fact(nobody.unwrap_or_default());
    finding = match (resolver.policy, elsewhere.first()) {
        ("Default", Some(_)) => finding.advice("The pod asks the host's resolvers, which know no services: set dnsPolicy: ClusterFirst (ClusterFirstWithHostNet with hostNetwork)."),
        (_, Some(other)) => {
            let (namespace, name) = other.split_once('/').unwrap_or(("", other));
            finding.advice(format!("Ask for {name}.{namespace}, which is in another namespace."))
        }
        (_, None) if short => finding.advice("Create the service, or ask for another name."),
        (_, None) => {
            finding.advice("Check the name, and what the resolvers of the node are asked for (/etc/resolv.conf).")
        }
    };
    Some((vec![finding], unknown, format!("It asks for {host}.")))
}

/// What the node's resolvers answer, and what of it is not known.
fn upstream(facts: &Facts, pod: &Value, host: &str) -> (Option<String>, Vec<String>) {
    let node = text(pod, "/spec/nodeName");
    let safe = host.chars().all(|letter| letter.is_ascii_alphanumeric() || "-._".contains(letter));
    let answer =
        if safe { facts.peek(&paths::kubelet(node, &format!("{}?resolve={host}", paths::KNOWN))).is() } else { None };
    let Some(answer) = answer else {
        return (None, vec![format!("what the resolvers of node {node} answer for {host}: its kubelet does not say")]);
    };
    let servers: Vec<_> = list(answer, "/nameservers").iter().filter_map(Value::as_str).collect();
    let error = text(answer, "/resolve/error");
    let said = format!(
        "The node's resolvers ({}) answer: {error}.",
        if servers.is_empty() { "none is named".to_owned() } else { listed(&servers) }
    );
    ((!error.is_empty()).then_some(said), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_searched_as_resolv_conf_says() {
        let facts = Facts::at(jiff::Timestamp::UNIX_EPOCH);
        let pod = json!({"metadata": {"namespace": "shop"}, "spec": {"nodeName": "a", "dnsConfig": {"searches": ["x"], "options": [{"name": "ndots", "value": "2"}]}}});
        let of = resolver(&facts, &pod);
        assert_eq!(
            of.candidates("db"),
            ["db.shop.svc.cluster.local", "db.svc.cluster.local", "db.cluster.local", "db.x", "db"]
        );
        assert_eq!((of.candidates("a.b.c")[0].as_str(), of.candidates("a.").len()), ("a.b.c", 1));
        assert_eq!(of.service("p.db.shop.svc.cluster.local"), Some(("db", "shop")));
    }
}
