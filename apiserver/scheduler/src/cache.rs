//! What is known of nodes and of the pods on them.

use crate::SCHEDULER_NAME;
use crate::plan::{NodeState, Resources};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

type Uid = String;

/// Nodes, placed pods and waiting pods.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    nodes: BTreeMap<String, Arc<Node>>,
    placed: HashMap<Uid, Placed>,
    waiting: BTreeMap<Uid, Waiting>,
}

#[derive(Debug)]
struct Placed {
    node: String,
    /// Decided by us, and not confirmed by the server yet.
    assumed: bool,
    requests: Resources,
    ports: Vec<(String, i32)>,
}

#[derive(Debug)]
struct Waiting {
    pod: Arc<Pod>,
    /// Looked at and found unschedulable; nothing that could change this has happened since.
    refused: bool,
}

impl Cache {
    pub(crate) fn put_node(&mut self, node: Arc<Node>) {
        let before = self.nodes.insert(node.name_any(), Arc::clone(&node));
        // Heartbeats change nothing that the scheduler looks at.
        let same = before.is_some_and(|before| matters(&before) == matters(&node));
        if !same {
            self.try_all_again();
        }
    }

    pub(crate) fn remove_node(&mut self, node: &Node) {
        self.nodes.remove(&node.name_any());
    }

    /// The pod is not where it was assumed to be.
    pub(crate) fn forget(&mut self, pod: &Pod) {
        let Some(uid) = &pod.metadata.uid else { return };
        if self.placed.get(uid).is_some_and(|placed| placed.assumed) {
            self.placed.remove(uid);
            self.try_all_again();
        }
    }

    pub(crate) fn put_pod(&mut self, pod: Arc<Pod>) {
        let Some(uid) = pod.uid() else { return };
        let finished =
            matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"));
        let spec = pod.spec.as_ref();
        if finished {
            self.remove_pod(&pod);
        } else if let Some(node) = spec.and_then(|spec| spec.node_name.clone()) {
            self.waiting.remove(&uid);
            self.placed.insert(uid, Placed::new(&pod, node, false));
        } else if self.is_ours(&pod) && !self.placed.contains_key(&uid) {
            let refused = self.waiting.get(&uid).is_some_and(|waiting| waiting.refused && waiting.pod.spec == pod.spec);
            self.waiting.insert(uid, Waiting { pod, refused });
        }
    }

    fn is_ours(&self, pod: &Pod) -> bool {
        let spec = pod.spec.as_ref();
        let gated = spec.is_some_and(|spec| spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()));
        let scheduler = spec.and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or(SCHEDULER_NAME);
        !gated && pod.metadata.deletion_timestamp.is_none() && scheduler == SCHEDULER_NAME
    }

    pub(crate) fn remove_pod(&mut self, pod: &Pod) {
        let Some(uid) = pod.uid() else { return };
        self.waiting.remove(&uid);
        if self.placed.remove(&uid).is_some() {
            self.try_all_again();
        }
    }

    fn try_all_again(&mut self) {
        self.waiting.values_mut().for_each(|waiting| waiting.refused = false);
    }

    /// The waiting pods that are worth a look, high priority first, then oldest first.
    pub(crate) fn take_waiting(&mut self) -> Vec<Arc<Pod>> {
        let fresh = self.waiting.extract_if(.., |_, waiting| !waiting.refused);
        let mut pods: Vec<Arc<Pod>> = fresh.map(|(_, waiting)| waiting.pod).collect();
        let priority = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        pods.sort_by_key(|pod| (std::cmp::Reverse(priority(pod)), pod.metadata.creation_timestamp.clone()));
        pods
    }

    pub(crate) fn put_back(&mut self, pod: &Arc<Pod>) {
        if let Some(uid) = pod.uid() {
            self.waiting.insert(uid, Waiting { pod: Arc::clone(pod), refused: true });
        }
    }

    pub(crate) fn assume(&mut self, pod: &Pod, node: &str) {
        if let Some(uid) = pod.uid() {
            self.placed.insert(uid, Placed::new(pod, node.to_owned(), true));
        }
    }

    /// Every node with what is taken on it.
    pub(crate) fn nodes(&self) -> Vec<NodeState<'_>> {
        let state = |node| NodeState { node, taken: Resources::default(), pods: 0, ports: Vec::new() };
        let mut states: BTreeMap<&str, NodeState<'_>> =
            self.nodes.iter().map(|(name, node)| (name.as_str(), state(&**node))).collect();
        for placed in self.placed.values() {
            if let Some(state) = states.get_mut(placed.node.as_str()) {
                state.taken = std::mem::take(&mut state.taken) + placed.requests.clone();
                state.pods += 1;
                state.ports.extend(placed.ports.iter().map(|(protocol, port)| (protocol.as_str(), *port)));
            }
        }
        states.into_values().collect()
    }
}

impl Placed {
    fn new(pod: &Pod, node: String, assumed: bool) -> Self {
        Self { node, assumed, requests: Resources::requested_by(pod), ports: crate::plan::host_ports(pod) }
    }
}

/// The parts of a node that a decision depends on.
fn matters(node: &Node) -> Option<(NodeSpecOf<'_>, Option<bool>)> {
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready =
        conditions.iter().find(|condition| condition.type_ == "Ready").map(|condition| condition.status == "True");
    Some((
        (node.spec.as_ref(), node.metadata.labels.as_ref(), status.and_then(|status| status.allocatable.as_ref())),
        ready,
    ))
}

type NodeSpecOf<'a> = (
    Option<&'a k8s_openapi::api::core::v1::NodeSpec>,
    Option<&'a BTreeMap<String, String>>,
    Option<&'a BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>,
);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(node: Option<&str>) -> Arc<Pod> {
        let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}], "nodeName": node});
        Arc::new(serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec})).unwrap())
    }

    /// A binding that was not taken frees its room, and the pod is looked at again; one that was taken stays.
    #[test]
    fn what_was_assumed_is_forgotten_until_it_is_confirmed() {
        let mut cache = Cache::default();
        cache.put_node(Arc::new(serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap()));
        cache.put_pod(pod(None));
        let taken = |cache: &Cache| cache.nodes()[0].taken.cpu_millis;
        let waiting = cache.take_waiting();
        assert_eq!(waiting.len(), 1);
        cache.assume(&waiting[0], "n");
        assert_eq!(taken(&cache), 1000);
        cache.put_pod(pod(None));
        assert!(cache.take_waiting().is_empty(), "an older state of the pod is no reason to look again");
        cache.forget(&waiting[0]);
        cache.put_pod(pod(None));
        assert_eq!((taken(&cache), cache.take_waiting().len()), (0, 1));
        cache.assume(&waiting[0], "n");
        cache.put_pod(pod(Some("n")));
        cache.forget(&waiting[0]);
        assert_eq!(taken(&cache), 1000, "the server has it there");
    }
}
