//! A whole decision: a node, or why there is none and what could be done. No I/O.

use crate::cluster::Cluster;
use crate::cycle::{Cycle, Diagnosis, Found};
use crate::devices::Given;
use crate::plugin::Plugins;
use crate::plugins::{Counts, OnNode, devices_on, on_node};
use crate::pod::PodInfo;
use crate::preempt::{Outcome, Preemption, preempt};
use crate::profile::Profile;
use jiff::Timestamp;
use skiff_client::loose::ResourceClaim;
use std::sync::Arc;

/// What is to become of a pod.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It goes to a node.
    Bind(Placement),
    /// It waits.
    Wait(Wait),
}

/// Where a pod goes.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    pub(crate) node: String,
    /// What its claims get there.
    pub(crate) volumes: OnNode,
    /// Claims of devices, and what they get there.
    pub(crate) devices: Vec<Given>,
    /// Those that have what they need.
    pub(crate) allocated: Vec<Arc<ResourceClaim>>,
}

/// Why a pod waits, and what happens meanwhile.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) message: String,
    pub(crate) rejectors: Plugins,
    pub(crate) nominate: Nominate,
    pub(crate) preemption: Option<Preemption>,
}

/// What status.nominatedNodeName is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Nominate {
    /// As it is.
    Keep,
    /// This, or nothing.
    Set(Option<String>),
}

/// The first half: which nodes fit. Extenders may take some of them away before [`conclude`].
#[derive(Debug)]
pub(crate) struct Half {
    counts: Option<Counts>,
    /// Why no node can have the pod, whichever it is.
    pub(crate) before: Option<crate::plugin::Refusal>,
    pub(crate) found: Found,
}

impl Half {
    /// How many nodes were looked at.
    pub(crate) fn looked_at(&self) -> usize {
        self.found.fit.len() + self.found.refused.len()
    }
}

/// Which nodes fit, looking from the `start`th on.
pub(crate) fn look(cluster: &Cluster, profile: &Profile, pod: &PodInfo, start: usize) -> Half {
    let cycle = Cycle { cluster, profile, pod };
    match cycle.prepare() {
        Ok(counts) => Half { found: cycle.find(&counts, start), counts: Some(counts), before: None },
        Err(refusal) => Half { counts: None, before: Some(refusal), found: Found::default() },
    }
}

/// The best of those that fit, with `more` points of extenders for each; or what follows from there being none.
pub(crate) fn conclude(
    cycle: &Cycle<'_>,
    half: Half,
    more: &dyn Fn(&str) -> i64,
    seed: u64,
    now: Timestamp,
) -> Decision {
    let Half { counts, before, found } = half;
    let chosen = match found.fit.as_slice() {
        [] => None,
        [only] => Some(*only),
        fit => {
            let mut scored = cycle.scores(fit);
            for one in &mut scored {
                one.total += more(&cycle.cluster.nodes[one.at].name);
            }
            cycle.choose(&scored, seed)
        }
    };
    if let (Some(at), Some(counts)) = (chosen, &counts) {
        let node = &cycle.cluster.nodes[at];
        // It passed the filter a moment ago, which is the same function.
        let volumes = on_node(cycle.cluster, counts, node).unwrap_or_default();
        let devices = devices_on(cycle.cluster, counts, node).unwrap_or_default();
        let allocated = counts.devices.allocated.clone();
        return Decision::Bind(Placement { node: node.name.clone(), volumes, devices, allocated });
    }
    wait(
        cycle,
        counts.as_ref(),
        Diagnosis { nodes: cycle.cluster.nodes.len(), before, found, after: String::new() },
        now,
    )
}

fn wait(cycle: &Cycle<'_>, counts: Option<&Counts>, mut diagnosis: Diagnosis, now: Timestamp) -> Decision {
    let rejectors = diagnosis.rejectors();
    let mut nominate = Nominate::Set(None);
    let mut preemption = None;
    if diagnosis.nodes > 0 && cycle.profile.preempts {
        // kube-scheduler asks its plugin of device claims first; there is never one that could be taken back.
        let devices = "no new claims to deallocate";
        match preempt(cycle, counts, &diagnosis.found, now) {
            Outcome::Victims(plan) => {
                nominate = Nominate::Set(Some(plan.node.clone()));
                preemption = Some(plan);
            }
            Outcome::NotEligible(reason) => {
                nominate = Nominate::Keep;
                diagnosis.after = format!("{devices}, preemption: {reason}");
            }
            Outcome::Nowhere(reason) => diagnosis.after = format!("{devices}, preemption: {reason}"),
        }
        // Before any node was looked at that plugin has not read the pod's claims, which is what it says then.
        if diagnosis.before.is_some() {
            diagnosis.after = "not found".to_owned();
        }
    }
    Decision::Wait(Wait { message: diagnosis.message(), rejectors, nominate, preemption })
}
