//! The plugins: what each counts beforehand, which nodes it refuses, and how it scores them.
//!
//! Each is a few pure functions over the cycle. What a plugin counts beforehand stands in [`Counts`], which preemption copies
//! and changes.

mod devices; // DynamicResources
mod fit; // NodeResourcesFit, NodeResourcesBalancedAllocation
mod images; // ImageLocality
mod inter_pod; // InterPodAffinity: which nodes
mod inter_pod_score; // InterPodAffinity: how good
mod nodes; // NodeUnschedulable, NodeName, TaintToleration, NodeAffinity, NodePorts
mod spread; // PodTopologySpread: which nodes
mod spread_score; // PodTopologySpread: how good
mod volume_binding; // VolumeBinding
mod volume_limits; // NodeVolumeLimits
mod volumes; // VolumeRestrictions, VolumeZone

pub(crate) use devices::devices_on;
pub(crate) use fit::short_of;
pub(crate) use inter_pod::means_all;
pub(crate) use spread::hard_constraints;
pub(crate) use volume_binding::{OnNode, on_node};
pub(crate) use volumes::disks_conflict;

use crate::cycle::Cycle;
use crate::node::NodeInfo;
use crate::plugin::{Plugin, Refusal};
use crate::pod::PodInfo;
use std::collections::BTreeSet;

/// What the plugins counted beforehand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// Only these nodes can be it.
    pub(crate) only: Option<BTreeSet<String>>,
    inter_pod: inter_pod::Counts,
    spread: spread::Counts,
    /// How many pods use a claim that only one pod may use.
    claims_in_use: i64,
    volumes: volume_binding::Claims,
    zones: volumes::Zones,
    pub(crate) devices: devices::Claims,
}

/// Counts beforehand, or says why no node can have the pod.
pub(crate) type Before = fn(&Cycle<'_>, &mut Counts) -> Result<(), Refusal>;
/// Says why a node cannot have the pod.
pub(crate) type Filter = fn(&Cycle<'_>, &Counts, &NodeInfo) -> Option<Refusal>;
/// Scores nodes from 0 to 100; `None`: it has nothing to say about the pod.
pub(crate) type Score = fn(&Cycle<'_>, &[&NodeInfo]) -> Option<Vec<i64>>;

pub(crate) const SCORE_MAX: i64 = 100;

pub(crate) fn before(plugin: Plugin) -> Option<Before> {
    Some(match plugin {
        Plugin::NodeAffinity => nodes::named_by_affinity,
        Plugin::VolumeRestrictions => volumes::claims_in_use,
        Plugin::VolumeBinding => volume_binding::before,
        Plugin::VolumeZone => volumes::zones,
        Plugin::PodTopologySpread => spread::before,
        Plugin::InterPodAffinity => inter_pod::before,
        Plugin::DynamicResources => devices::before,
        _ => return None,
    })
}

pub(crate) fn filter(plugin: Plugin) -> Option<Filter> {
    Some(match plugin {
        Plugin::NodeUnschedulable => nodes::unschedulable,
        Plugin::NodeName => nodes::name,
        Plugin::TaintToleration => nodes::taints,
        Plugin::NodeAffinity => nodes::affinity,
        Plugin::NodePorts => nodes::ports,
        Plugin::NodeResourcesFit => fit::filter,
        Plugin::VolumeRestrictions => volumes::restrictions,
        Plugin::NodeVolumeLimits => volume_limits::filter,
        Plugin::VolumeBinding => volume_binding::filter,
        Plugin::VolumeZone => volumes::zone,
        Plugin::PodTopologySpread => spread::filter,
        Plugin::InterPodAffinity => inter_pod::filter,
        Plugin::DynamicResources => devices::filter,
        _ => return None,
    })
}

pub(crate) fn score(plugin: Plugin) -> Option<Score> {
    Some(match plugin {
        Plugin::TaintToleration => nodes::score_taints,
        Plugin::NodeAffinity => nodes::score_affinity,
        Plugin::NodeResourcesFit => fit::score,
        Plugin::PodTopologySpread => spread_score::score,
        Plugin::InterPodAffinity => inter_pod_score::score,
        Plugin::NodeResourcesBalancedAllocation => fit::balance,
        Plugin::ImageLocality => images::score,
        _ => return None,
    })
}

/// Follows a pod that comes to a node (1) or leaves it (-1).
pub(crate) fn count(cycle: &Cycle<'_>, counts: &mut Counts, other: &PodInfo, node: &NodeInfo, by: i64) {
    counts.inter_pod.follow(cycle, other, node, by);
    counts.spread.follow(cycle, other, node, by);
    volumes::follow(cycle, counts, other, by);
}

/// Stretches scores so that the highest is [`SCORE_MAX`]; `Upside::Down`: the lowest is the best.
pub(crate) fn normalized(mut scores: Vec<i64>, upside: Upside) -> Vec<i64> {
    let most = scores.iter().copied().max().unwrap_or(0);
    for score in &mut scores {
        let share = if most == 0 { 0 } else { SCORE_MAX * *score / most };
        *score = if upside == Upside::Down { SCORE_MAX - share } else { share };
    }
    scores
}

/// Which end of a scale is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upside {
    /// More is better.
    Up,
    /// Less is better.
    Down,
}
