//! A service that answers nothing.

use crate::answer::{Answer, Finding};
use crate::facts::{Facts, Look};
use crate::look::{full_name, is_true, list, name, number, pairs, protocol, text};
use crate::select::label;
use crate::words::{count, for_so_long, listed};
use crate::{Target, paths, place, pod, reach};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// So many pods that are not ready are explained.
const PODS_MAX: usize = 2;

/// Explains a service.
pub(crate) fn explain(facts: &Facts, target: &Target) -> Answer {
    let about = format!("service {}/{}", target.namespace, target.name);
    let service = match facts.get(&paths::one(&target.namespace, "services", &target.name)) {
        Look::Is(service) => service,
        Look::Absent => {
            let others: Vec<_> = facts
                .list(&paths::all("services"))
                .unwrap_or_default()
                .iter()
                .filter(|one| name(one) == target.name)
                .map(full_name)
                .collect();
            let there = if others.is_empty() { String::new() } else { format!(" There is {}.", listed(&others)) };
            return Answer::new(about, format!("There is no such service.{there}"), false);
        }
        Look::Unknown => return Answer::new(about, "It could not be looked at.", false),
    };
    let findings = causes(facts, service);
    let well = findings.is_empty();
    Answer::new(about, summary(facts, service), well).with(findings)
}

fn summary(facts: &Facts, service: &Value) -> String {
    if text(service, "/spec/type") == "ExternalName" {
        return format!(
            "An alias of {}, which is resolved outside of the cluster.",
            text(service, "/spec/externalName")
        );
    }
    let ports: Vec<_> = list(service, "/spec/ports").iter().map(shown_port).collect();
    let pods = pods_of(facts, service);
    let ready = pods.iter().filter(|pod| pod::is_well(pod)).count();
    let kind = Some(text(service, "/spec/type")).filter(|kind| !kind.is_empty()).unwrap_or("ClusterIP");
    let mut said = format!(
        "{kind} {}, ports {}; {ready} of {} ready.",
        text(service, "/spec/clusterIP"),
        listed(&ports),
        count(pods.len(), "pod")
    );
    let open = |pod: &&&Value| pod::is_well(pod) && reach::closed_to_all(facts, pod).is_none();
    if let Some(first) = pods.iter().find(open) {
        for remark in reach::restricted(facts, first)
            .into_iter()
            .chain(list(service, "/spec/ports").iter().filter_map(|port| undeclared(port, first)))
        {
            said += &format!(" {remark}");
        }
    }
    said
}

/// `http 80/TCP`.
pub(crate) fn shown_port(port: &Value) -> String {
    let protocol = protocol(port);
    match text(port, "/name") {
        "" => format!("{}/{protocol}", port["port"]),
        name => format!("{name} {}/{protocol}", port["port"]),
    }
}

fn is_selected(service: &Value, pod: &Value) -> bool {
    pairs(service, "/spec/selector").into_iter().all(|(key, value)| label(pod, key) == Some(value))
}

/// The pods that a service is for; none if it has no selector.
pub(crate) fn pods_of<'a>(facts: &'a Facts, service: &Value) -> Vec<&'a Value> {
    if pairs(service, "/spec/selector").is_empty() {
        return Vec::new();
    }
    let all = facts.list(&paths::all("pods")).unwrap_or_default().iter();
    let of = all.filter(|pod| text(pod, "/metadata/namespace") == text(service, "/metadata/namespace"));
    of.filter(|pod| is_selected(service, pod) && !place::is_over(pod)).collect()
}

/// The declared ports of a pod: name, number, protocol.
fn declared(pod: &Value) -> Vec<(&str, i64, &str)> {
    let sidecars = list(pod, "/spec/initContainers").iter().filter(|one| text(one, "/restartPolicy") == "Always");
    let containers = list(pod, "/spec/containers").iter().chain(sidecars);
    let ports = containers.flat_map(|one| list(one, "/ports"));
    ports.filter_map(|port| Some((text(port, "/name"), number(port, "/containerPort")?, protocol(port)))).collect()
}

/// The number of the port of `pod` that a service's port leads to.
pub(crate) fn target(port: &Value, pod: &Value) -> Option<i64> {
    match port.get("targetPort").filter(|target| !target.is_null()) {
        None => number(port, "/port"),
        Some(Value::String(named)) => declared(pod)
            .into_iter()
            .find(|(name, _, of)| name == named && *of == protocol(port))
            .map(|(_, number, _)| number),
        Some(_) => number(port, "/targetPort"),
    }
}

fn shown_ports(pod: &Value) -> String {
    let all: Vec<_> = declared(pod)
        .into_iter()
        .map(
            |(name, number, protocol)| {
                if name.is_empty() { format!("{number}/{protocol}") } else { format!("{name} {number}/{protocol}") }
            },
        )
        .collect();
    if all.is_empty() { "none".to_owned() } else { listed(&all) }
}

/// A number that no container declares: allowed, and mostly a slip.
fn undeclared(port: &Value, pod: &Value) -> Option<String> {
    let wanted = target(port, pod)?;
    let declared = declared(pod);
    let strange = !declared.is_empty() && !declared.iter().any(|(_, number, _)| *number == wanted);
    strange.then(|| {
        format!(
            "Port {} leads to {wanted}, which pod {} does not declare (it declares {}).",
            shown_port(port),
            name(pod),
            shown_ports(pod)
        )
    })
}

/// Why a service answers nothing.
pub(crate) fn causes(facts: &Facts, service: &Value) -> Vec<Finding> {
    if text(service, "/spec/type") == "ExternalName" {
        return Vec::new();
    }
    let about = format!("service {}", full_name(service));
    let mut found = if pairs(service, "/spec/selector").is_empty() {
        by_hand(facts, service, &about)
    } else {
        by_selector(facts, service, &about)
    };
    found.extend(balancer(facts, service, &about));
    found.extend(node_ports(facts, service, &about));
    found
}

fn by_selector(facts: &Facts, service: &Value, about: &str) -> Vec<Finding> {
    if facts.list(&paths::all("pods")).is_none() {
        return Vec::new();
    }
    let pods = pods_of(facts, service);
    if pods.is_empty() {
        return vec![nobody(facts, service, about)];
    }
    let ready: Vec<_> = pods.iter().copied().filter(|pod| pod::is_well(pod)).collect();
    let mut found: Vec<Finding> =
        list(service, "/spec/ports").iter().filter_map(|port| wrong_port(port, &pods, about)).collect();
    if ready.is_empty() && !is_true(service, "/spec/publishNotReadyAddresses") {
        let names: Vec<_> = pods.iter().take(5).map(|pod| name(pod)).collect();
        let cause = match names.as_slice() {
            [only] => {
                format!("The only pod that its selector takes, {only}, is not ready, so that it leads to nobody.")
            }
            some => format!("None of the {} pods that its selector takes is ready ({}).", pods.len(), listed(some)),
        };
        found.push(Finding::new("NoReadyPods", about, cause));
        found.extend(pods.iter().take(PODS_MAX).flat_map(|pod| pod::causes(facts, pod)));
        return found;
    }
    found.extend(ready.first().and_then(|pod| reach::closed_to_all(facts, pod)));
    if found.is_empty()
        && slices(facts, service).is_some_and(|slices| slices.iter().all(|slice| list(slice, "/endpoints").is_empty()))
    {
        let cause = format!(
            "{} ready, and no endpoint slice names one: the controller of endpoint slices does not run or is behind.",
            if ready.len() == 1 { "1 pod is".to_owned() } else { format!("{} pods are", ready.len()) }
        );
        found.push(
            Finding::new("EndpointsMissing", about, cause)
                .advice("See whether the controllers run, and what they log."),
        );
    }
    found
}

/// How much one text is like another: but for the case of its letters, and then by how many it begins with.
fn likeness(one: &str, other: &str) -> (bool, usize) {
    let same = one.chars().zip(other.chars()).take_while(|(one, other)| one.eq_ignore_ascii_case(other));
    (one.eq_ignore_ascii_case(other), same.count())
}

/// A selector that takes no pod, and pods that come near.
fn nobody(facts: &Facts, service: &Value, about: &str) -> Finding {
    let selector = pairs(service, "/spec/selector");
    let words: Vec<_> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let namespace = text(service, "/metadata/namespace");
    let all = facts.list(&paths::all("pods")).unwrap_or_default();
    let has_key = |pod: &&Value| selector.iter().any(|(key, _)| label(pod, key).is_some());
    let own: Vec<_> = all.iter().filter(|pod| text(pod, "/metadata/namespace") == namespace).collect();
    let near: BTreeSet<String> = own
        .iter()
        .copied()
        .filter(has_key)
        .map(|pod| {
            let labels: Vec<_> = selector
                .iter()
                .map(|(key, _)| label(pod, key).map_or_else(|| format!("no {key}"), |value| format!("{key}={value}")))
                .collect();
            labels.join(",")
        })
        .collect();
    let mut near: Vec<_> = near.into_iter().collect();
    near.sort_by_key(|labels| Reverse(likeness(labels, &words.join(","))));
    near.truncate(4);
    let there = if near.is_empty() {
        format!("None of the {} there has such a label.", count(own.len(), "pod"))
    } else {
        format!("The pods there have {}.", listed(&near))
    };
    let elsewhere: BTreeSet<&str> =
        all.iter().filter(|pod| is_selected(service, pod)).map(|pod| text(pod, "/metadata/namespace")).collect();
    let elsewhere: Vec<_> = elsewhere.into_iter().collect();
    let elsewhere = if elsewhere.is_empty() {
        String::new()
    } else {
        format!(
            "Pods with these labels are in namespace {}; a service takes only those of its own.",
            listed(&elsewhere)
        )
    };
    let cause = format!("Its selector {} takes no pod of namespace {namespace}.", words.join(","));
    Finding::new("SelectorMatchesNothing", about, cause)
        .fact(there)
        .fact(elsewhere)
        .advice("Make spec.selector and the pods' labels the same, or start the pods.")
}

/// A port by name or protocol that no pod has.
fn wrong_port(port: &Value, pods: &[&Value], about: &str) -> Option<Finding> {
    let first = pods.first()?;
    let named = port.get("targetPort").and_then(Value::as_str);
    let other = |pod: &&Value| {
        let of = declared(pod).into_iter().find(|(name, number, of)| {
            *of != protocol(port) && (named == Some(name) || Some(*number) == number_of(port))
        });
        of.map(|(_, number, of)| (number, of.to_owned()))
    };
    let fits = |pod: &&Value| {
        declared(pod).iter().any(|(name, number, of)| {
            *of == protocol(port) && (named == Some(name) || (named.is_none() && Some(*number) == number_of(port)))
        })
    };
    if pods.iter().any(fits) {
        return None;
    }
    if let Some((number, of)) = pods.iter().find_map(other) {
        let cause = format!("Port {} is {}, and its pods declare {number} as {of}.", shown_port(port), protocol(port));
        return Some(
            Finding::new("WrongProtocol", about, cause)
                .advice(format!("Set protocol: {of} in spec.ports, or change the pods.")),
        );
    }
    let named = named?;
    let cause = format!(
        "Port {} leads to the port named {named}, and none of its {} has one; declared are {}.",
        shown_port(port),
        count(pods.len(), "pod"),
        shown_ports(first)
    );
    Some(
        Finding::new("TargetPortMissing", about, cause)
            .advice("Name the port so in the pods (ports[].name), or change targetPort."),
    )
}

fn number_of(port: &Value) -> Option<i64> {
    number(port, "/targetPort").or_else(|| number(port, "/port"))
}

fn slices<'a>(facts: &'a Facts, service: &Value) -> Option<Vec<&'a Value>> {
    let all =
        facts.list(&paths::of_group("discovery.k8s.io/v1", text(service, "/metadata/namespace"), "endpointslices"))?;
    Some(all.iter().filter(|slice| label(slice, "kubernetes.io/service-name") == Some(name(service))).collect())
}

/// A service whose endpoints somebody else writes.
fn by_hand(facts: &Facts, service: &Value, about: &str) -> Vec<Finding> {
    let Some(slices) = slices(facts, service) else { return Vec::new() };
    let endpoints: Vec<_> = slices.iter().flat_map(|slice| list(slice, "/endpoints")).collect();
    let ready = endpoints.iter().filter(|one| one["conditions"]["ready"] != false).count();
    if ready > 0 {
        return Vec::new();
    }
    let cause = match endpoints.len() {
        0 => "It has no selector, and nobody has written endpoints for it.".to_owned(),
        some => format!(
            "It has no selector, and none of the {} that were written for it is ready.",
            count(some, "endpoint")
        ),
    };
    vec![Finding::new("NoEndpoints", about, cause).advice(format!(
        "Give it a selector, or an EndpointSlice with the label kubernetes.io/service-name={}.",
        name(service)
    ))]
}

/// A load balancer that has not come.
fn balancer(facts: &Facts, service: &Value, about: &str) -> Option<Finding> {
    if text(service, "/spec/type") != "LoadBalancer" || !list(service, "/status/loadBalancer/ingress").is_empty() {
        return None;
    }
    let age = for_so_long(facts.now, text(service, "/metadata/creationTimestamp"));
    let class = Some(text(service, "/spec/loadBalancerClass"))
        .filter(|class| !class.is_empty())
        .map(|class| format!(" of the class {class}"))
        .unwrap_or_default();
    let said = pod::events_about(facts, service)
        .first()
        .map(|event| format!("Said last ({}): {}", text(event, "/reason"), text(event, "/message")))
        .unwrap_or_default();
    let cause = format!(
        "Nobody has given it an address as a load balancer{class}{age}; its cluster address and node ports work without."
    );
    Some(
        Finding::new("NoLoadBalancer", about, cause)
            .fact(said)
            .advice("Run something that gives addresses to such services, or use NodePort."),
    )
}

/// Processes of nodes that hold its node ports.
fn node_ports(facts: &Facts, service: &Value, about: &str) -> Vec<Finding> {
    let wanted: Vec<_> = list(service, "/spec/ports")
        .iter()
        .filter_map(|port| Some((number(port, "/nodePort").filter(|port| *port > 0)?, protocol(port))))
        .collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let nodes = facts.list(&paths::all("nodes")).unwrap_or_default();
    let holders = nodes.iter().flat_map(|node| place::listeners(facts, name(node), &wanted));
    holders
        .map(|holder| {
            Finding::new("PortTaken", about, format!("Its node port is held by a process too: {holder}."))
                .advice("End that process, or take another nodePort.")
        })
        .collect()
}
