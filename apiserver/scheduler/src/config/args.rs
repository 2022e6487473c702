//! The settings of plugins.

use super::{Field, Read};
use crate::plugin::Plugin;
use crate::profile::{Args, Strategy};
use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};
use std::time::Duration;

/// Reads `pluginConfig` of a profile.
pub(super) fn read(field: &Field<'_>, args: &mut Args) -> Read<()> {
    for one in field.list()? {
        one.only(&["name", "args"])?;
        let name = one.get("name");
        let own = one.get("args");
        match name.text()?.and_then(Plugin::named) {
            Some(Plugin::NodeAffinity) => node_affinity(&own, args)?,
            Some(Plugin::NodeResourcesFit) => fit(&own, args)?,
            Some(Plugin::NodeResourcesBalancedAllocation) => balanced(&own, args)?,
            Some(Plugin::InterPodAffinity) => inter_pod(&own, args)?,
            Some(Plugin::PodTopologySpread) => spread(&own, args)?,
            Some(Plugin::DefaultPreemption) => preemption(&own, args)?,
            Some(Plugin::VolumeBinding) => volume_binding(&own, args)?,
            _ => return name.error("there is no plugin of that name that has settings"),
        }
    }
    Ok(())
}

fn only(own: &Field<'_>, known: &[&str]) -> Read<()> {
    own.only(&[&["apiVersion", "kind"], known].concat())
}

fn node_affinity(own: &Field<'_>, args: &mut Args) -> Read<()> {
    only(own, &["addedAffinity"])?;
    let added: NodeAffinity = own.get("addedAffinity").part()?.unwrap_or_default();
    args.added_required =
        added.required_during_scheduling_ignored_during_execution.map(|required| required.node_selector_terms);
    args.added_preferred = added.preferred_during_scheduling_ignored_during_execution.unwrap_or_default();
    Ok(())
}

/// Names with weights.
fn resources(field: &Field<'_>) -> Read<Vec<(String, i64)>> {
    let mut resources = Vec::new();
    for one in field.list()? {
        one.only(&["name", "weight"])?;
        let name = one.get("name");
        let Some(text) = name.text()? else { return name.error("required value") };
        resources.push((text.to_owned(), one.get("weight").number(1, 1..=100)?));
    }
    Ok(resources)
}

fn fit(own: &Field<'_>, args: &mut Args) -> Read<()> {
    only(own, &["ignoredResources", "ignoredResourceGroups", "scoringStrategy"])?;
    args.ignored_resources = own.get("ignoredResources").part()?.unwrap_or_default();
    args.ignored_groups = own.get("ignoredResourceGroups").part()?.unwrap_or_default();
    let strategy = own.get("scoringStrategy");
    if strategy.is_absent() {
        return Ok(());
    }
    strategy.only(&["type", "resources", "requestedToCapacityRatio"])?;
    let weighed = resources(&strategy.get("resources"))?;
    if !weighed.is_empty() {
        args.fit = weighed;
    }
    let kind = strategy.get("type");
    args.strategy = match kind.text()? {
        Some("LeastAllocated") => Strategy::LeastAllocated,
        Some("MostAllocated") => Strategy::MostAllocated,
        Some("RequestedToCapacityRatio") => Strategy::Ratio(shape(&strategy.get("requestedToCapacityRatio"))?),
        _ => return kind.error("must be LeastAllocated, MostAllocated or RequestedToCapacityRatio"),
    };
    Ok(())
}

fn shape(ratio: &Field<'_>) -> Read<Vec<(i64, i64)>> {
    ratio.only(&["shape"])?;
    let shape = ratio.get("shape");
    let mut points: Vec<(i64, i64)> = Vec::new();
    for point in shape.list()? {
        point.only(&["utilization", "score"])?;
        let at = point.get("utilization");
        let next = (at.number(0, 0..=100)?, point.get("score").number(0, 0..=10)?);
        if points.last().is_some_and(|last| last.0 >= next.0) {
            return at.error("must be greater than that of the point before");
        }
        points.push(next);
    }
    if points.is_empty() { shape.error("at least one point must be specified") } else { Ok(points) }
}

fn balanced(own: &Field<'_>, args: &mut Args) -> Read<()> {
    only(own, &["resources"])?;
    let names = resources(&own.get("resources"))?;
    if !names.is_empty() {
        args.balanced = names.into_iter().map(|(name, _)| name).collect();
    }
    Ok(())
}

fn inter_pod(own: &Field<'_>, args: &mut Args) -> Read<()> {
    only(own, &["hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"])?;
    args.hard_affinity_weight = own.get("hardPodAffinityWeight").number(1, 0..=100)?;
    args.ignore_preferred_of_others = own.get("ignorePreferredTermsOfExistingPods").truth()?;
    Ok(())
}

fn spread(own: &Field<'_>, args: &mut Args) -> Read<()> {
    only(own, &["defaultConstraints", "defaultingType"])?;
    let constraints = own.get("defaultConstraints");
    let defaults: Vec<TopologySpreadConstraint> = constraints.part()?.unwrap_or_default();
    let kind = own.get("defaultingType");
    match kind.text()? {
        Some("List") => {
            if defaults.iter().any(|one| one.label_selector.is_some()) {
                return constraints.error("constraint must not define a selector, as they deduced for each pod");
            }
            args.spread = defaults;
            args.spread_is_system = false;
            Ok(())
        }
        None | Some("System") if defaults.is_empty() => Ok(()),
        None | Some("System") => constraints.error("when .defaultingType is System"),
        _ => kind.error("must be List or System"),
    }
}

fn preemption(own: &Field<'_>, args: &mut Args) -> Read<()> {
    only(own, &["minCandidateNodesPercentage", "minCandidateNodesAbsolute"])?;
    args.candidates_percentage = own.get("minCandidateNodesPercentage").number(10, 0..=100)?;
    args.candidates_min = own.get("minCandidateNodesAbsolute").number(100, 0..=i64::from(i32::MAX))?;
    if args.candidates_percentage == 0 && args.candidates_min == 0 {
        return own.error("minCandidateNodesPercentage and minCandidateNodesAbsolute must not both be 0");
    }
    Ok(())
}

fn volume_binding(own: &Field<'_>, args: &mut Args) -> Read<()> {
    only(own, &["bindTimeoutSeconds"])?;
    let seconds = own.get("bindTimeoutSeconds").number(600, 0..=i64::from(u32::MAX))?;
    args.bind_timeout = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Ok(())
}
