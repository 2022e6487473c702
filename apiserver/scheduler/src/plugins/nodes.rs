//! What a node itself is: NodeUnschedulable, NodeName, TaintToleration, NodeAffinity, NodePorts.

use super::{Counts, Upside, normalized};
use crate::cycle::Cycle;
use crate::node::{NodeInfo, is_cordoned, taints as taints_of};
use crate::plugin::{Plugin, Refusal};
use crate::selector::{node_is_required, tolerates, tolerations, untolerated};
use k8s_openapi::api::core::v1::{NodeSelectorTerm, PreferredSchedulingTerm, Taint, Toleration};
use skiff_client::affinity::{any_term_holds, term_holds};
use std::collections::BTreeSet;

const CORDONED: &str = "node.kubernetes.io/unschedulable";

pub(super) fn unschedulable(cycle: &Cycle<'_>, _: &Counts, node: &NodeInfo) -> Option<Refusal> {
    if !is_cordoned(&node.node) {
        return None;
    }
    let cordon = Taint { key: CORDONED.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    let tolerated = tolerates(tolerations(&cycle.pod.pod), &cordon);
    (!tolerated).then(|| Refusal::lasting(Plugin::NodeUnschedulable, "node(s) were unschedulable"))
}

pub(super) fn name(cycle: &Cycle<'_>, _: &Counts, node: &NodeInfo) -> Option<Refusal> {
    let other = cycle.pod.node().is_some_and(|name| name != node.name);
    other.then(|| Refusal::lasting(Plugin::NodeName, "node(s) didn't match the requested node name"))
}

pub(super) fn taints(cycle: &Cycle<'_>, _: &Counts, node: &NodeInfo) -> Option<Refusal> {
    untolerated(&node.node, &cycle.pod.pod)
        .map(|_| Refusal::lasting(Plugin::TaintToleration, "node(s) had untolerated taint(s)"))
}

/// Fewer taints of the soft kind are better.
pub(super) fn score_taints(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let soft = |toleration: &&Toleration| {
        toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == "PreferNoSchedule")
    };
    let tolerations: Vec<Toleration> = tolerations(&cycle.pod.pod).iter().filter(soft).cloned().collect();
    let count = |node: &&NodeInfo| {
        let soft = taints_of(&node.node).iter().filter(|taint| taint.effect == "PreferNoSchedule");
        soft.filter(|taint| !tolerates(&tolerations, taint)).count() as i64
    };
    Some(normalized(nodes.iter().map(count).collect(), Upside::Down))
}

/// Terms that name nodes narrow the search to them.
pub(super) fn named_by_affinity(cycle: &Cycle<'_>, counts: &mut Counts) -> Result<(), Refusal> {
    let Some(terms) = required(cycle) else { return Ok(()) };
    let mut names = BTreeSet::new();
    for term in terms {
        let Some(named) = named_by(term) else { return Ok(()) };
        names.extend(named);
    }
    if terms.is_empty() {
        return Ok(());
    }
    if names.is_empty() {
        return Err(Refusal::lasting(Plugin::NodeAffinity, "pod affinity terms conflict"));
    }
    counts.only = Some(names);
    Ok(())
}

fn required<'a>(cycle: &Cycle<'a>) -> Option<&'a Vec<NodeSelectorTerm>> {
    let affinity = cycle.pod.pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    Some(&affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms)
}

fn named_by(term: &NodeSelectorTerm) -> Option<BTreeSet<String>> {
    let fields = term.match_fields.iter().flatten();
    let named = fields.filter(|one| one.key == "metadata.name" && one.operator == "In");
    let sets = named.map(|one| one.values.iter().flatten().cloned().collect::<BTreeSet<String>>());
    sets.reduce(|left, right| &left & &right)
}

pub(super) fn affinity(cycle: &Cycle<'_>, _: &Counts, node: &NodeInfo) -> Option<Refusal> {
    if let Some(added) = &cycle.profile.args.added_required
        && !any_term_holds(added, &node.node)
    {
        return Some(Refusal::lasting(Plugin::NodeAffinity, "node(s) didn't match scheduler-enforced node affinity"));
    }
    let fits = node_is_required(&cycle.pod.pod, &node.node);
    (!fits).then(|| Refusal::lasting(Plugin::NodeAffinity, "node(s) didn't match Pod's node affinity/selector"))
}

pub(super) fn score_affinity(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let affinity = cycle.pod.pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let own = affinity.and_then(|it| it.preferred_during_scheduling_ignored_during_execution.as_ref());
    let added = &cycle.profile.args.added_preferred;
    if own.is_none() && added.is_empty() {
        return None;
    }
    let terms: Vec<&PreferredSchedulingTerm> = own.into_iter().flatten().chain(added).collect();
    let weigh = |node: &&NodeInfo| {
        let held = terms.iter().filter(|term| term_holds(&term.preference, &node.node));
        held.map(|term| i64::from(term.weight)).sum()
    };
    Some(normalized(nodes.iter().map(weigh).collect(), Upside::Up))
}

pub(super) fn ports(cycle: &Cycle<'_>, _: &Counts, node: &NodeInfo) -> Option<Refusal> {
    let taken = |wanted| node.ports.iter().any(|(_, taken)| taken.conflicts(wanted));
    cycle
        .pod
        .ports
        .iter()
        .any(taken)
        .then(|| Refusal::by_pods(Plugin::NodePorts, "node(s) didn't have free ports for the requested pod ports"))
}
