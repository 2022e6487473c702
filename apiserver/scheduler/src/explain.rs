//! Why a pod is where it is, or nowhere: each node's reason and each plugin's score. No I/O.

use crate::cluster::Cluster;
use crate::cycle::Cycle;
use crate::decide::{Decision, Nominate, conclude, look};
use crate::plugin::Plugin;
use crate::pod::PodInfo;
use crate::profile::Profile;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

/// What the scheduler would say of a pod now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// All nodes, in the order of their names.
    pub nodes: Vec<OfNode>,
    /// What keeps it from every node, before any is looked at: a plugin and its reasons.
    pub everywhere: Option<(Plugin, String)>,
    /// The gates that hold it back.
    pub gates: Vec<String>,
    /// Where it would go.
    pub node: Option<String>,
    /// What its condition PodScheduled would say; `None`: it would go to `node`.
    pub message: Option<String>,
    /// The node that would be cleared for it, and the pods (namespace and name) that would have to go.
    pub preemption: Option<(String, Vec<(String, String)>)>,
}

/// One node in the eyes of the plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfNode {
    /// Its name.
    pub name: String,
    /// Who refuses it, and why; none: the pod fits.
    pub refused: Option<(Plugin, Vec<String>)>,
    /// What each plugin gives it, weighted; only of nodes on which the pod fits.
    pub scores: Vec<(Plugin, i64)>,
    /// Their sum.
    pub total: i64,
}

/// Explains `pod` by the default profile. A pod that has a node already is looked at as if it had none and took no room.
///
/// ```
/// use skiff_scheduler::{Cluster, Object, explain};
/// use std::sync::Arc;
/// let mut cluster = Cluster::new();
/// cluster.put(&Object::Node(Arc::new(serde_json::from_value(serde_json::json!({
///     "metadata": {"name": "n1"}, "status": {"allocatable": {"cpu": "1", "pods": "10"}}
/// })).unwrap())));
/// let pod = serde_json::from_value(serde_json::json!({
///     "metadata": {"name": "p"},
///     "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}
/// })).unwrap();
/// let said = explain(&cluster, &pod);
/// assert_eq!(said.nodes[0].refused.as_ref().unwrap().1, ["Insufficient cpu"]);
/// ```
#[must_use]
pub fn explain(cluster: &Cluster, pod: &Pod) -> Explanation {
    let mut free = pod.clone();
    if let Some(spec) = &mut free.spec {
        spec.node_name = None;
    }
    let pod = PodInfo::new(Arc::new(free));
    let without;
    let cluster = if cluster.holds(&pod.uid) {
        without = cluster.without(&pod.uid);
        &without
    } else {
        cluster
    };
    let profile = Profile { nodes_to_score: 100, ..Profile::named(crate::SCHEDULER_NAME) };
    let cycle = Cycle { cluster, profile: &profile, pod: &pod };
    let half = look(cluster, &profile, &pod, 0);
    let everywhere = half.before.as_ref().map(|refusal| (refusal.plugin, refusal.message()));
    let nodes = of_nodes(&cycle, &half.found);
    let mut explanation = Explanation {
        nodes,
        everywhere,
        gates: pod.gates().map(str::to_owned).collect(),
        node: None,
        message: None,
        preemption: None,
    };
    match conclude(&cycle, half, &|_| 0, 0, Timestamp::now()) {
        Decision::Bind(placement) => explanation.node = Some(placement.node),
        Decision::Wait(wait) => {
            explanation.message = Some(wait.message);
            if let (Nominate::Set(Some(node)), Some(plan)) = (wait.nominate, wait.preemption) {
                let names = plan.victims.iter().map(|pod| (pod.namespace.clone(), pod.name.clone()));
                explanation.preemption = Some((node, names.collect()));
            }
        }
    }
    explanation
}

fn of_nodes(cycle: &Cycle<'_>, found: &crate::cycle::Found) -> Vec<OfNode> {
    let scored = cycle.scores(&found.fit);
    let nodes = cycle.cluster.nodes.iter().enumerate().map(|(at, node)| {
        let refused = found.refused.iter().find(|(other, _)| *other == at).map(|(_, refusal)| refusal);
        let scored = scored.iter().find(|one| one.at == at);
        let refused = refused.or(match scored {
            Some(_) => None,
            None => found.others.as_ref(),
        });
        let reasons = |refusal: &crate::plugin::Refusal| refusal.reasons.iter().map(ToString::to_string).collect();
        OfNode {
            name: node.name.clone(),
            refused: refused.map(|refusal| (refusal.plugin, reasons(refusal))),
            scores: scored.map(|one| one.parts.clone()).unwrap_or_default(),
            total: scored.map_or(0, |one| one.total),
        }
    });
    nodes.collect()
}
