//! PodTopologySpread: no domain has more of the pods than another by more than the skew that is allowed.

use crate::cycle::Cycle;
use crate::node::NodeInfo;
use crate::plugin::{Plugin, Refusal};
use crate::pod::PodInfo;
use crate::selector::{Labels, Selector, node_is_required, untolerated};
use k8s_openapi::api::core::v1::{Pod, TopologySpreadConstraint};
use std::collections::HashMap;
use std::sync::Arc;

/// A constraint, read.
#[derive(Debug, Clone)]
pub(crate) struct Constraint {
    pub(crate) max_skew: i64,
    pub(crate) key: String,
    pub(crate) selector: Selector,
    min_domains: usize,
    honors_affinity: bool,
    pub(crate) honors_taints: bool,
}

impl Constraint {
    fn of(constraint: &TopologySpreadConstraint, labels: &Labels) -> Self {
        let mut selector = Selector::of(constraint.label_selector.as_ref());
        let keys = constraint.match_label_keys.iter().flatten();
        let own: Labels = keys.filter_map(|key| Some((key.clone(), labels.get(key)?.clone()))).collect();
        if !own.is_empty() {
            selector = Selector::with(&own).and(selector);
        }
        Self {
            max_skew: constraint.max_skew.into(),
            key: constraint.topology_key.clone(),
            selector,
            min_domains: constraint.min_domains.and_then(|number| usize::try_from(number).ok()).unwrap_or(1),
            honors_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honors_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    }

    /// Whether the pods of `node` count.
    pub(super) fn includes(&self, pod: &Pod, node: &NodeInfo) -> bool {
        !(self.honors_affinity && !node_is_required(pod, &node.node)
            || self.honors_taints && untolerated(&node.node, pod).is_some())
    }
}

/// The pod's constraints of one sort, `DoNotSchedule` or `ScheduleAnyway`; without any of its own those of the profile, which
/// are about its siblings.
pub(super) fn constraints(cycle: &Cycle<'_>, sort: &str) -> Vec<Constraint> {
    let read = |all: &[TopologySpreadConstraint]| -> Vec<Constraint> {
        let of_sort = all.iter().filter(|one| one.when_unsatisfiable == sort);
        of_sort.map(|one| Constraint::of(one, cycle.pod.labels())).collect()
    };
    if let Some(own) = own(cycle.pod) {
        return read(own);
    }
    let mut defaults = read(&cycle.profile.args.spread);
    if defaults.is_empty() {
        return defaults;
    }
    let siblings = cycle.cluster.siblings(cycle.pod);
    if siblings.is_empty() {
        return Vec::new();
    }
    for constraint in &mut defaults {
        constraint.selector = siblings.clone();
    }
    defaults
}

/// What the pod itself says of spreading.
pub(super) fn own(pod: &PodInfo) -> Option<&[TopologySpreadConstraint]> {
    let own = pod.pod.spec.as_ref()?.topology_spread_constraints.as_deref()?;
    (!own.is_empty()).then_some(own)
}

/// The constraints that keep a pod waiting.
pub(crate) fn hard_constraints(cycle: &Cycle<'_>) -> Vec<Constraint> {
    constraints(cycle, "DoNotSchedule")
}

/// Whether a node has the label of every constraint.
pub(super) fn has_all_keys(node: &NodeInfo, constraints: &[Constraint]) -> bool {
    constraints.iter().all(|one| node.labels().contains_key(&one.key))
}

/// How many of the node's pods a constraint is about.
pub(super) fn matching(node: &NodeInfo, selector: &Selector, namespace: &str) -> i64 {
    if selector.is_empty() {
        return 0;
    }
    let counts = |pod: &&Arc<PodInfo>| !pod.terminating && pod.namespace == namespace && selector.matches(pod.labels());
    node.pods.iter().filter(counts).count() as i64
}

/// Pods in each domain, and in the emptiest.
#[derive(Debug, Clone, Default)]
struct Domains {
    pods: HashMap<String, i64>,
    least: i64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    constraints: Arc<Vec<Constraint>>,
    domains: Vec<Domains>,
}

pub(super) fn before(cycle: &Cycle<'_>, counts: &mut super::Counts) -> Result<(), Refusal> {
    let constraints = Arc::new(hard_constraints(cycle));
    if constraints.is_empty() {
        return Ok(());
    }
    let mut domains = vec![Domains::default(); constraints.len()];
    for node in cycle.cluster.nodes.iter().filter(|node| has_all_keys(node, &constraints)) {
        for (constraint, domains) in constraints.iter().zip(&mut domains) {
            let Some(value) = node.labels().get(&constraint.key) else { continue };
            if constraint.includes(&cycle.pod.pod, node) {
                let pods = matching(node, &constraint.selector, &cycle.pod.namespace);
                *domains.pods.entry(value.clone()).or_default() += pods;
            }
        }
    }
    domains.iter_mut().for_each(Domains::settle);
    counts.spread = Counts { constraints, domains };
    Ok(())
}

impl Domains {
    fn settle(&mut self) {
        self.least = self.pods.values().copied().min().unwrap_or(0);
    }
}

impl Counts {
    pub(super) fn follow(&mut self, cycle: &Cycle<'_>, other: &PodInfo, node: &NodeInfo, by: i64) {
        if self.constraints.is_empty()
            || other.namespace != cycle.pod.namespace
            || !has_all_keys(node, &self.constraints)
        {
            return;
        }
        for (constraint, domains) in self.constraints.iter().zip(&mut self.domains) {
            let Some(value) = node.labels().get(&constraint.key) else { continue };
            if constraint.selector.matches(other.labels()) && constraint.includes(&cycle.pod.pod, node) {
                *domains.pods.entry(value.clone()).or_default() += by;
                domains.settle();
            }
        }
    }
}

pub(super) fn filter(cycle: &Cycle<'_>, counts: &super::Counts, node: &NodeInfo) -> Option<Refusal> {
    let counts = &counts.spread;
    for (constraint, domains) in counts.constraints.iter().zip(&counts.domains) {
        let Some(value) = node.labels().get(&constraint.key) else {
            let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
            return Some(Refusal::lasting(Plugin::PodTopologySpread, reason));
        };
        let least = if domains.pods.len() < constraint.min_domains { 0 } else { domains.least };
        let own = i64::from(constraint.selector.matches(cycle.pod.labels()));
        let skew = domains.pods.get(value).copied().unwrap_or(0) + own - least;
        if skew > constraint.max_skew {
            let reason = "node(s) didn't match pod topology spread constraints";
            return Some(Refusal::by_pods(Plugin::PodTopologySpread, reason));
        }
    }
    None
}
