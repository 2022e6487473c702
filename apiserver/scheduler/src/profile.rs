//! Profiles: which plugins decide about the pods of one scheduler name, and how.

use crate::plugin::Plugin;
use k8s_openapi::api::core::v1::{NodeSelectorTerm, PreferredSchedulingTerm, TopologySpreadConstraint};
use std::time::Duration;

/// How the pods of one scheduler name are decided about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Profile {
    /// What pods name in spec.schedulerName.
    pub(crate) name: String,
    /// In the order in which nodes are held against them.
    pub(crate) filters: Vec<Plugin>,
    /// With the weight of each.
    pub(crate) scores: Vec<(Plugin, i64)>,
    /// Whether pods with gates are held back.
    pub(crate) gates: bool,
    /// Whether pods of lower priority may be removed.
    pub(crate) preempts: bool,
    /// How many nodes of a hundred are enough to choose from; 0: fewer in larger clusters.
    pub(crate) nodes_to_score: i64,
    pub(crate) args: Args,
}

/// The plugins' own settings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Args {
    /// Node affinity that every pod of the profile has besides its own.
    pub(crate) added_required: Option<Vec<NodeSelectorTerm>>,
    pub(crate) added_preferred: Vec<PreferredSchedulingTerm>,
    pub(crate) strategy: Strategy,
    /// Resources with their weights.
    pub(crate) fit: Vec<(String, i64)>,
    pub(crate) ignored_resources: Vec<String>,
    pub(crate) ignored_groups: Vec<String>,
    /// Resources whose use is balanced.
    pub(crate) balanced: Vec<String>,
    pub(crate) hard_affinity_weight: i64,
    pub(crate) ignore_preferred_of_others: bool,
    /// How pods are spread that say nothing of it.
    pub(crate) spread: Vec<TopologySpreadConstraint>,
    /// Whether that is the system's own default, for which nodes need not have all the labels.
    pub(crate) spread_is_system: bool,
    pub(crate) candidates_percentage: i64,
    pub(crate) candidates_min: i64,
    pub(crate) bind_timeout: Duration,
}

/// How NodeResourcesFit likes nodes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Strategy {
    /// The emptier the better.
    LeastAllocated,
    /// The fuller the better.
    MostAllocated,
    /// By a line through points: hundredths in use, and a score up to 10.
    Ratio(Vec<(i64, i64)>),
}

/// The order and the weights of kube-scheduler's default profile.
pub(crate) const FILTERS: [Plugin; 13] = [
    Plugin::NodeUnschedulable,
    Plugin::NodeName,
    Plugin::TaintToleration,
    Plugin::NodeAffinity,
    Plugin::NodePorts,
    Plugin::NodeResourcesFit,
    Plugin::VolumeRestrictions,
    Plugin::NodeVolumeLimits,
    Plugin::VolumeBinding,
    Plugin::VolumeZone,
    Plugin::PodTopologySpread,
    Plugin::InterPodAffinity,
    Plugin::DynamicResources,
];
pub(crate) const SCORES: [(Plugin, i64); 7] = [
    (Plugin::TaintToleration, 3),
    (Plugin::NodeAffinity, 2),
    (Plugin::NodeResourcesFit, 1),
    (Plugin::PodTopologySpread, 2),
    (Plugin::InterPodAffinity, 2),
    (Plugin::NodeResourcesBalancedAllocation, 1),
    (Plugin::ImageLocality, 1),
];

impl Profile {
    /// The default profile under a name.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            filters: FILTERS.to_vec(),
            scores: SCORES.to_vec(),
            gates: true,
            preempts: true,
            nodes_to_score: 0,
            args: Args::default(),
        }
    }

    /// How many nodes that fit are enough, of so many.
    pub(crate) fn enough(&self, nodes: usize) -> usize {
        let all = i64::try_from(nodes).unwrap_or(i64::MAX);
        if all < 100 {
            return nodes;
        }
        let percentage = if self.nodes_to_score == 0 { (50 - all / 125).max(5) } else { self.nodes_to_score };
        usize::try_from((all.saturating_mul(percentage) / 100).max(100)).unwrap_or(nodes).min(nodes)
    }
}

impl Default for Args {
    fn default() -> Self {
        let both = || ["cpu", "memory"].map(str::to_owned);
        Self {
            added_required: None,
            added_preferred: Vec::new(),
            strategy: Strategy::LeastAllocated,
            fit: both().map(|name| (name, 1)).into(),
            ignored_resources: Vec::new(),
            ignored_groups: Vec::new(),
            balanced: both().into(),
            hard_affinity_weight: 1,
            ignore_preferred_of_others: false,
            spread: system_spread(),
            spread_is_system: true,
            candidates_percentage: 10,
            candidates_min: 100,
            bind_timeout: Duration::from_secs(600),
        }
    }
}

/// Over nodes, and over zones, as far as that goes.
pub(crate) fn system_spread() -> Vec<TopologySpreadConstraint> {
    let one = |key: &str, max_skew| TopologySpreadConstraint {
        topology_key: key.to_owned(),
        max_skew,
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        ..TopologySpreadConstraint::default()
    };
    vec![one("kubernetes.io/hostname", 3), one("topology.kubernetes.io/zone", 5)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_nodes_are_enough_in_larger_clusters() {
        let profile = Profile::named("default-scheduler");
        assert_eq!([50, 100, 1000, 6000, 10_000].map(|nodes| profile.enough(nodes)), [50, 100, 420, 300, 500]);
        let half = Profile { nodes_to_score: 50, ..profile };
        assert_eq!([150, 1000].map(|nodes| half.enough(nodes)), [100, 500]);
    }
}
