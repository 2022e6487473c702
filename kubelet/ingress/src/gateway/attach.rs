//! Which listeners a route belongs to, and for which hosts.

use super::listeners::{Listener, Opened};
use super::{Object, World};
use crate::ingress::list;
use crate::route::Host;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

/// Why a route belongs to no listener: the reason of its condition Accepted.
pub(super) type Reason = &'static str;

/// Where a route's rules go: a port, or 0 if its listener is not served; the count of the listener's routes; the hosts that both are for.
pub(super) type Place<'a> = (u16, &'a mut usize, Vec<Host>);

/// The listeners of a gateway that a parent reference of a route leads to, each with the hosts that both are for.
///
/// # Errors
/// There are none.
pub(super) fn attach<'a>(
    gateway: &'a mut Opened<'_>,
    (kind, route): (&str, &Object<'_>),
    parent: &Value,
    world: &World<'_>,
) -> Result<Vec<Place<'a>>, Reason> {
    let owner = gateway.gateway.namespace().to_owned();
    let is_meant = |listener: &Listener<'_>| {
        parent["sectionName"].as_str().is_none_or(|name| name == listener.name)
            && parent["port"].as_u64().is_none_or(|port| port == u64::from(listener.port))
    };
    let mut why = "NoMatchingParent";
    let mut found = Vec::new();
    let asked: Vec<Host> =
        list(&route.fields["spec"]["hostnames"]).filter_map(Value::as_str).map(Host::of_gateway).collect();
    for listener in gateway.listeners.iter_mut().filter(|listener| is_meant(listener)) {
        if !listener.kinds().contains(&kind) || !lets_in(listener, route.namespace(), &owner, world) {
            why = worse(why, "NotAllowedByListeners");
            continue;
        }
        let hosts = both(&listener.host, &asked);
        if hosts.is_empty() {
            why = worse(why, "NoMatchingListenerHostname");
            continue;
        }
        found.push((listener.port, listener.is_open, &mut listener.attached, hosts));
    }
    if found.is_empty() {
        return Err(why);
    }
    // One that cannot be served counts its routes, but has no rules.
    Ok(found.into_iter().map(|(port, is_open, count, hosts)| (if is_open { port } else { 0 }, count, hosts)).collect())
}

/// What is told of several refusals: that of the listener that came nearest.
fn worse(before: Reason, now: Reason) -> Reason {
    let rank = |reason: Reason| {
        ["NoMatchingParent", "NotAllowedByListeners", "NoMatchingListenerHostname"]
            .iter()
            .position(|one| *one == reason)
    };
    if rank(now) > rank(before) { now } else { before }
}

/// Whether routes of a namespace belong to a listener whose gateway is in `owner`.
fn lets_in(listener: &Listener<'_>, namespace: &str, owner: &str, world: &World<'_>) -> bool {
    let namespaces = &listener.fields["allowedRoutes"]["namespaces"];
    match namespaces["from"].as_str().unwrap_or("Same") {
        "All" => true,
        "Selector" => {
            let selector: Option<LabelSelector> = serde_json::from_value(namespaces["selector"].clone()).ok();
            let selector = selector.and_then(|selector| Selector::try_from(selector).ok());
            selector.is_some_and(|selector| selector.matches(&(world.labels)(namespace)))
        }
        "Same" => namespace == owner,
        _ => false,
    }
}

/// The hosts that a listener and a route are both for.
fn both(listener: &Host, asked: &[Host]) -> Vec<Host> {
    if asked.is_empty() {
        return vec![listener.clone()];
    }
    asked.iter().filter_map(|route| meet(listener, route)).collect()
}

fn meet(one: &Host, other: &Host) -> Option<Host> {
    let ends_in =
        |name: &str, rest: &str| name == rest || name.strip_suffix(rest).is_some_and(|head| head.ends_with('.'));
    match (one, other) {
        (Host::Any, _) => Some(other.clone()),
        (_, Host::Any) => Some(one.clone()),
        (Host::Exact(name), wider) => wider.is_for(name).then(|| one.clone()),
        (wider, Host::Exact(name)) => wider.is_for(name).then(|| other.clone()),
        (Host::OneBelow(a) | Host::AllBelow(a), Host::OneBelow(b) | Host::AllBelow(b)) => {
            match (ends_in(a, b), ends_in(b, a)) {
                (true, _) => Some(one.clone()),
                (_, true) => Some(other.clone()),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_meet_in_the_more_exact() {
        for (one, other, wanted) in [
            ("", "a.b", Some("a.b")),
            ("*.b", "a.b", Some("a.b")),
            ("*.b", "c.a.b", Some("c.a.b")),
            ("*.b", "*.a.b", Some("*.a.b")),
            ("a.b", "*.b", Some("a.b")),
            ("*.b", "b", None),
            ("*.b", "*.xb", None),
            ("a.b", "c.b", None),
        ] {
            let met = meet(&Host::of_gateway(one), &Host::of_gateway(other));
            assert_eq!(met, wanted.map(Host::of_gateway), "{one} {other}");
        }
    }
}
