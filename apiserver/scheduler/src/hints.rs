//! Queueing hints: whether what happened may help a pod that a plugin refused. No I/O.
//!
//! A hint that says yes too often costs a look; one that says no wrongly costs the pod five minutes. Where kube-scheduler looks
//! closer than here, it says no more often.

use crate::amounts::Amounts;
use crate::cluster::{Cluster, Object};
use crate::cycle::Cycle;
use crate::node::{NodeInfo, allocatable, is_cordoned, taints};
use crate::plugin::{Plugin, Plugins};
use crate::plugins::{disks_conflict, hard_constraints, means_all, short_of};
use crate::pod::PodInfo;
use crate::profile::Profile;
use crate::selector::{labels, node_is_required, untolerated};
use k8s_openapi::api::core::v1::Node;
use skiff_client::affinity::any_term_holds;
use std::sync::Arc;

/// What happened.
pub(crate) enum Event<'a> {
    /// A node came, changed or went.
    Node { before: Option<&'a Arc<Node>>, now: Option<&'a Arc<Node>> },
    /// A pod that has a node, or had one, came, changed or went.
    Pod { before: Option<&'a PodInfo>, now: Option<&'a PodInfo> },
    /// Any other object came or changed, or went.
    Other { before: Option<&'a Object>, now: Option<&'a Object> },
}

/// Whether `event` may help `pod`, which `rejectors` refused.
pub(crate) fn helps(
    cluster: &Cluster,
    profile: &Profile,
    pod: &PodInfo,
    rejectors: Plugins,
    event: &Event<'_>,
) -> bool {
    let cycle = Cycle { cluster, profile, pod };
    // Without a plugin that refused it, anything may be it.
    rejectors.is_empty()
        || rejectors.iter().any(|plugin| match event {
            Event::Node { before, now } => by_node(&cycle, plugin, *before, *now),
            Event::Pod { before, now } => by_pod(&cycle, plugin, *before, *now),
            Event::Other { before, now } => by_other(&cycle, plugin, *before, *now),
        })
}

fn by_node(cycle: &Cycle<'_>, plugin: Plugin, before: Option<&Arc<Node>>, now: Option<&Arc<Node>>) -> bool {
    let pod = &cycle.pod.pod;
    // The pods of a node that is gone are near nobody any more, and no domain has them.
    let Some(now) = now else { return matches!(plugin, Plugin::PodTopologySpread | Plugin::InterPodAffinity) };
    let is_new = before.is_none();
    let relabelled = before.is_none_or(|before| labels(&before.metadata) != labels(&now.metadata));
    match plugin {
        Plugin::NodeUnschedulable => !is_cordoned(now) && before.is_none_or(|before| is_cordoned(before)),
        Plugin::TaintToleration => {
            untolerated(now, pod).is_none() && before.is_none_or(|before| untolerated(before, pod).is_some())
        }
        Plugin::NodeAffinity => {
            let fits = |node: &Node| {
                let added = cycle.profile.args.added_required.as_ref();
                node_is_required(pod, node) && added.is_none_or(|added| any_term_holds(added, node))
            };
            fits(now) && before.is_none_or(|before| !fits(before))
        }
        Plugin::NodeResourcesFit => has_room_now(cycle, before, now),
        Plugin::PodTopologySpread => relabelled || before.is_some_and(|before| taints(before) != taints(now)),
        Plugin::InterPodAffinity | Plugin::VolumeBinding | Plugin::VolumeZone | Plugin::DynamicResources => relabelled,
        Plugin::NodeName | Plugin::NodePorts | Plugin::VolumeRestrictions | Plugin::NodeVolumeLimits => is_new,
        Plugin::Extender => true,
        _ => false,
    }
}

/// Whether the empty node would have room for the pod, and more of something than before.
fn has_room_now(cycle: &Cycle<'_>, before: Option<&Arc<Node>>, now: &Arc<Node>) -> bool {
    let args = &cycle.profile.args;
    let empty = NodeInfo::new(Arc::clone(now));
    if short_of(args, cycle.pod, &empty).is_some() {
        return false;
    }
    let Some(before) = before else { return true };
    let was = NodeInfo::new(Arc::clone(before));
    let more = |name: &str| empty.allocatable.get(name) > was.allocatable.get(name);
    let names = allocatable(now).into_iter().flatten().map(|(name, _)| name);
    empty.pods_max > was.pods_max || names.into_iter().any(|name| cycle.pod.requests.get(name) > 0 && more(name))
}

fn by_pod(cycle: &Cycle<'_>, plugin: Plugin, before: Option<&PodInfo>, now: Option<&PodInfo>) -> bool {
    let own = cycle.pod;
    let gone = if now.is_none() { before } else { None };
    match plugin {
        Plugin::NodeResourcesFit => gone.is_some() || before.zip(now).is_some_and(|(before, now)| shrank(before, now)),
        Plugin::NodePorts => {
            gone.is_some_and(|gone| gone.ports.iter().any(|port| own.ports.iter().any(|wanted| wanted.conflicts(port))))
        }
        Plugin::VolumeRestrictions => gone.is_some_and(|gone| {
            let shared = gone.claims().any(|claim| own.claims().any(|wanted| wanted == claim));
            gone.namespace == own.namespace && (shared || disks_conflict(&own.pod, &gone.pod))
        }),
        Plugin::NodeVolumeLimits => gone.is_some_and(|gone| gone.claims().next().is_some()),
        Plugin::PodTopologySpread => {
            let constraints = hard_constraints(cycle);
            let of_it = |pod: Option<&PodInfo>| {
                pod.filter(|pod| pod.namespace == own.namespace)
                    .map(|pod| constraints.iter().map(|one| one.selector.matches(pod.labels())).collect::<Vec<_>>())
                    .filter(|matches| matches.contains(&true))
            };
            of_it(before) != of_it(now)
        }
        Plugin::InterPodAffinity => by_neighbour(own, before, now),
        Plugin::Extender => true,
        _ => false,
    }
}

fn by_neighbour(own: &PodInfo, before: Option<&PodInfo>, now: Option<&PodInfo>) -> bool {
    let near = |pod: Option<&PodInfo>| pod.is_some_and(|pod| means_all(&own.affinity, pod));
    // Namespaces that a selector chooses may have come or gone: any pod may be meant then.
    let selects = |pod: &PodInfo| pod.affinity.iter().chain(&pod.anti_affinity).any(|term| term.namespaces.is_empty());
    let far = |pod: &PodInfo| own.anti_affinity.iter().any(|term| term.selector.matches(pod.labels()));
    let unwelcome = |pod: &PodInfo| pod.anti_affinity.iter().any(|term| term.selector.matches(own.labels()));
    let stopped = before.is_some_and(|before| {
        let relabelled = now.is_none_or(|now| now.labels() != before.labels());
        relabelled && (far(before) || unwelcome(before))
    });
    selects(own) || before.is_some_and(selects) || near(now) && !near(before) || stopped
}

/// Whether a pod takes less of something than it did.
fn shrank(before: &PodInfo, now: &PodInfo) -> bool {
    let less = |name: &str| now.requests.get(name) < before.requests.get(name);
    let Amounts { scalars, .. } = &before.requests;
    ["cpu", "memory", "ephemeral-storage"].into_iter().any(less) || scalars.keys().any(|name| less(name))
}

fn by_other(cycle: &Cycle<'_>, plugin: Plugin, before: Option<&Object>, now: Option<&Object>) -> bool {
    let of_volumes = matches!(plugin, Plugin::VolumeBinding | Plugin::VolumeZone);
    match (now, before) {
        (Some(Object::Claim(claim)), _) => {
            let own = claim.metadata.namespace.as_deref() == Some(&cycle.pod.namespace)
                && cycle.pod.claims().any(|named| claim.metadata.name.as_deref() == Some(&named.name));
            own && (of_volumes || matches!(plugin, Plugin::VolumeRestrictions | Plugin::NodeVolumeLimits))
        }
        (Some(Object::Volume(_) | Object::Class(_) | Object::Capacity(_)), _) => of_volumes,
        (Some(Object::CsiDriver(_)), _) => plugin == Plugin::VolumeBinding,
        (Some(Object::CsiNode(_)), _) => matches!(plugin, Plugin::VolumeBinding | Plugin::NodeVolumeLimits),
        (None, Some(Object::Attachment(_))) => plugin == Plugin::NodeVolumeLimits,
        // What namespaces and services say enters into who is meant by affinity, and who is a sibling.
        (Some(Object::Namespace(_)), _) => plugin == Plugin::InterPodAffinity,
        (Some(Object::Slice(_) | Object::DeviceClass(_) | Object::DeviceClaim(_)), _)
        | (None, Some(Object::DeviceClaim(_))) => plugin == Plugin::DynamicResources,
        _ => plugin == Plugin::Extender,
    }
}
