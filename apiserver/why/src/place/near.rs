//! What a pod requires of a node's labels, and of the pods that are there or elsewhere.

use super::{Other, Others};
use crate::answer::Finding;
use crate::look::{full_name, list, name, number, pairs, text};
use crate::select::{holds, label, requirement, selects, words};
use crate::words::listed;
use serde_json::Value;
use std::collections::BTreeMap;

fn about(node: &Value) -> String {
    format!("node {}", name(node))
}

fn has(node: &Value, key: &str) -> String {
    label(node, key).map_or_else(|| format!("has no label {key}"), |value| format!("has {key}={value}"))
}

/// What the pod's selector and node affinity want that `node` is not.
pub(super) fn labels(pod: &Value, node: &Value) -> Vec<Finding> {
    let mut found = Vec::new();
    for (key, value) in
        pairs(pod, "/spec/nodeSelector").into_iter().filter(|(key, value)| label(node, key) != Some(value))
    {
        let cause = format!("The pod selects nodes with {key}={value}; node {} {}.", name(node), has(node, key));
        let advice =
            format!("Label the node (kubectl label node {} {key}={value}), or change spec.nodeSelector.", name(node));
        found.push(Finding::new("NodeSelector", about(node), cause).advice(advice));
    }
    let terms =
        list(pod, "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms");
    let misses: Vec<Vec<String>> = terms.iter().map(|term| missed(term, node)).collect();
    if !terms.is_empty() && misses.iter().all(|missed| !missed.is_empty()) {
        let wants: Vec<String> = misses.into_iter().map(|missed| missed.join(" and ")).collect();
        let cause = format!("The pod's node affinity wants {}.", wants.join("; or "));
        let advice = "Label the node so, or change spec.affinity.nodeAffinity.";
        found.push(Finding::new("NodeAffinity", about(node), cause).advice(advice));
    }
    found
}

/// What of a term of node affinity does not hold, with what the node has instead.
fn missed(term: &Value, node: &Value) -> Vec<String> {
    let expressions = list(term, "/matchExpressions").iter().filter(|one| !holds(one, label(node, text(one, "/key"))));
    let labels =
        expressions.map(|one| format!("{} (node {} {})", requirement(one), name(node), has(node, text(one, "/key"))));
    let fields = list(term, "/matchFields")
        .iter()
        .filter(|one| !holds(one, Some(name(node)).filter(|_| one["key"] == "metadata.name")));
    let all: Vec<_> =
        labels.chain(fields.map(|one| format!("{} (this is node {})", requirement(one), name(node)))).collect();
    let is_empty = list(term, "/matchExpressions").is_empty() && list(term, "/matchFields").is_empty();
    if is_empty { vec!["nothing that any node has, because the term is empty".to_owned()] } else { all }
}

/// Whether the affinity term of `of` looks at `other`. Namespaces that are selected by their labels count as all.
fn looks_at(term: &Value, of: &Value, other: &Value) -> bool {
    let (own, theirs) = (text(of, "/metadata/namespace"), text(other, "/metadata/namespace"));
    let named = list(term, "/namespaces");
    let selected = term.get("namespaceSelector").is_some_and(|selector| !selector.is_null());
    let within = selected || if named.is_empty() { own == theirs } else { named.iter().any(|name| name == theirs) };
    within && term.get("labelSelector").is_some_and(|selector| selects(selector, other))
}

/// The terms of this kind that `of` requires.
fn required<'a>(of: &'a Value, kind: &str) -> &'a [Value] {
    list(of, &format!("/spec/affinity/{kind}/requiredDuringSchedulingIgnoredDuringExecution"))
}

/// `zone=a (node b)`.
fn place(term: &Value, node: &Value) -> String {
    let key = text(term, "/topologyKey");
    format!("{key}={} (node {})", label(node, key).unwrap_or("(none)"), name(node))
}

/// What other pods keep the pod away from `node` with, or are missing there.
pub(super) fn pods(pod: &Value, node: &Value, others: &Others<'_>) -> Vec<Finding> {
    let beside = |term: &Value, seen: &Other<'_>| looks_at(term, pod, seen.pod) && beside_node(term, seen, node);
    let mut found = Vec::new();
    for term in required(pod, "podAffinity") {
        let anywhere = others.all.iter().any(|other| looks_at(term, pod, other.pod));
        // The first of pods that want one another may go anywhere.
        let itself = !anywhere && looks_at(term, pod, pod) && label(node, text(term, "/topologyKey")).is_some();
        if !itself && !others.all.iter().any(|other| beside(term, other)) {
            let wanted = words(&term["labelSelector"]);
            let cause = format!("The pod has to be beside pods with {wanted}; there is none in {}.", place(term, node));
            let advice = "Start those pods first, or change spec.affinity.podAffinity.";
            found.push(Finding::new("PodAffinity", about(node), cause).advice(advice));
        }
    }
    for term in required(pod, "podAntiAffinity") {
        if let Some(other) = others.all.iter().find(|other| beside(term, other)) {
            let (wanted, other) = (words(&term["labelSelector"]), full_name(other.pod));
            let cause = format!("The pod must not be beside pods with {wanted}; {other} is in {}.", place(term, node));
            let advice = "Add a node in another domain, or prefer instead of require (spec.affinity.podAntiAffinity).";
            found.push(Finding::new("PodAntiAffinity", about(node), cause).advice(advice));
        }
    }
    found.extend(others.all.iter().filter_map(|other| kept_away_by(other, pod, node)));
    found.extend(others.spreads.iter().filter_map(|one| one.uneven(pod, node)));
    found
}

/// A pod that is there and does not want this one beside it.
fn kept_away_by(other: &Other<'_>, pod: &Value, node: &Value) -> Option<Finding> {
    let mut terms = required(other.pod, "podAntiAffinity").iter();
    let term = terms.find(|term| looks_at(term, other.pod, pod) && beside_node(term, other, node))?;
    let (whose, wanted) = (full_name(other.pod), words(&term["labelSelector"]));
    let cause = format!("Pod {whose} in {} must not have pods with {wanted} beside it.", place(term, node));
    let advice = "Change the labels of this pod, or the other pod's spec.affinity.podAntiAffinity.";
    Some(Finding::new("PodAntiAffinity", about(node), cause).advice(advice))
}

fn beside_node(term: &Value, other: &Other<'_>, node: &Value) -> bool {
    let key = text(term, "/topologyKey");
    label(node, key).is_some() && other.domain(key) == label(node, key)
}

/// A constraint by which the pod has to be spread, and how many pods of its kind each domain has.
pub(super) struct Spread<'a> {
    constraint: &'a Value,
    key: &'a str,
    counts: BTreeMap<&'a str, i64>,
}

impl<'a> Spread<'a> {
    /// The constraints of `pod` that must hold.
    pub(super) fn all(pod: &'a Value, nodes: &'a [Value], others: &[Other<'a>]) -> Vec<Self> {
        let all = list(pod, "/spec/topologySpreadConstraints").iter();
        let hard = all.filter(|one| text(one, "/whenUnsatisfiable") != "ScheduleAnyway");
        hard.map(|one| Self::of(one, pod, nodes, others)).collect()
    }

    fn of(constraint: &'a Value, pod: &Value, nodes: &'a [Value], others: &[Other<'a>]) -> Self {
        let key = text(constraint, "/topologyKey");
        let mut counts: BTreeMap<_, _> = nodes.iter().filter_map(|node| Some((label(node, key)?, 0))).collect();
        let namespace = text(pod, "/metadata/namespace");
        let near = others.iter().filter(|other| text(other.pod, "/metadata/namespace") == namespace);
        for other in near.filter(|other| selects(&constraint["labelSelector"], other.pod)) {
            if let Some(count) = other.domain(key).and_then(|domain| counts.get_mut(domain)) {
                *count += 1;
            }
        }
        Self { constraint, key, counts }
    }

    /// Whether the pod on `node` would make a domain too full against the emptiest one.
    fn uneven(&self, pod: &Value, node: &Value) -> Option<Finding> {
        let Self { constraint, key, counts } = self;
        let skew_max = number(constraint, "/maxSkew").unwrap_or(1);
        let advice =
            "Add nodes in the domains that have fewest, raise maxSkew, or use whenUnsatisfiable: ScheduleAnyway.";
        let Some(here) = label(node, key) else {
            let cause = format!("The pod is to be spread over {key}, and node {} has no such label.", name(node));
            return Some(
                Finding::new("TopologySpread", about(node), cause)
                    .advice(format!("Label the node with {key}, or change spec.topologySpreadConstraints.")),
            );
        };
        let selector = &constraint["labelSelector"];
        let least = counts.values().min().copied().unwrap_or(0);
        let after = counts.get(here).copied().unwrap_or(0) + i64::from(selects(selector, pod));
        let shown: Vec<_> = counts.iter().map(|(domain, count)| format!("{domain}: {count}")).collect();
        let cause = format!(
            "On node {} there would be {after} pods with {} in {key}={here}, {} more than in the emptiest domain; maxSkew is {skew_max} ({}).",
            name(node),
            words(selector),
            after - least,
            listed(&shown)
        );
        (after - least > skew_max).then(|| Finding::new("TopologySpread", about(node), cause).advice(advice))
    }
}
