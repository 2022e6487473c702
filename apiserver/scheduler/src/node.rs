//! A node with what is taken on it.

use crate::amounts::{Amounts, units};
use crate::pod::{HostPort, PodInfo};
use crate::selector::{Labels, labels};
use k8s_openapi::api::core::v1::{ContainerImage, Node, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A node and its pods, the assumed ones among them.
#[derive(Debug, Clone)]
pub(crate) struct NodeInfo {
    pub(crate) node: Arc<Node>,
    pub(crate) name: String,
    pub(crate) allocatable: Amounts,
    pub(crate) pods_max: i64,
    pub(crate) requested: Amounts,
    /// CPU and memory with something for containers that ask for nothing.
    pub(crate) scored: (i64, i64),
    pub(crate) pods: Vec<Arc<PodInfo>>,
    /// Those that have affinity of any sort.
    pub(crate) with_affinity: Vec<Arc<PodInfo>>,
    /// Those that forbid others to be near.
    pub(crate) with_anti_affinity: Vec<Arc<PodInfo>>,
    pub(crate) ports: Vec<(String, HostPort)>,
    /// Bytes of each image that it has, by name.
    pub(crate) images: Arc<HashMap<String, i64>>,
}

impl NodeInfo {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let mut info = Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            node: Arc::clone(&node),
            allocatable: Amounts::default(),
            pods_max: 0,
            requested: Amounts::default(),
            scored: (0, 0),
            pods: Vec::new(),
            with_affinity: Vec::new(),
            with_anti_affinity: Vec::new(),
            ports: Vec::new(),
            images: Arc::default(),
        };
        info.set(node);
        info
    }

    /// The node itself has changed; its pods are the same.
    pub(crate) fn set(&mut self, node: Arc<Node>) {
        let allocatable = allocatable(&node);
        self.allocatable = Amounts::of(allocatable);
        self.pods_max = allocatable.and_then(|list| list.get("pods")).map_or(0, units);
        let named = images(&node).into_iter().flatten().flat_map(|image| {
            let size = image.size_bytes.unwrap_or(0);
            image.names.iter().flatten().map(move |name| (name.clone(), size))
        });
        self.images = Arc::new(named.collect());
        self.node = node;
    }

    pub(crate) fn labels(&self) -> &Labels {
        labels(&self.node.metadata)
    }

    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.scored.0 += pod.scored.cpu_millis;
        self.scored.1 += pod.scored.memory_bytes;
        self.ports.extend(pod.ports.iter().map(|port| (pod.uid.clone(), port.clone())));
        if pod.has_affinity() {
            self.with_affinity.push(Arc::clone(&pod));
        }
        if !pod.anti_affinity.is_empty() {
            self.with_anti_affinity.push(Arc::clone(&pod));
        }
        self.pods.push(pod);
    }

    /// Takes a pod off; answers it, if it was here.
    pub(crate) fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|pod| pod.uid == uid)?;
        let pod = self.pods.remove(at);
        self.requested.remove(&pod.requests);
        self.scored.0 -= pod.scored.cpu_millis;
        self.scored.1 -= pod.scored.memory_bytes;
        if !pod.ports.is_empty() {
            self.ports.retain(|(owner, _)| owner != uid);
        }
        if pod.has_affinity() {
            self.with_affinity.retain(|pod| pod.uid != uid);
            self.with_anti_affinity.retain(|pod| pod.uid != uid);
        }
        Some(pod)
    }
}

/// Whether anything that a decision depends on differs: heartbeats change nothing.
pub(crate) fn differs(before: &Node, now: &Node) -> bool {
    labels(&before.metadata) != labels(&now.metadata)
        || taints(before) != taints(now)
        || is_cordoned(before) != is_cordoned(now)
        || allocatable(before) != allocatable(now)
        || images(before) != images(now)
}

/// Its taints.
pub(crate) fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// Whether new pods are kept off by `kubectl cordon`.
pub(crate) fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
}

/// What it has to give.
pub(crate) fn allocatable(node: &Node) -> Option<&BTreeMap<String, Quantity>> {
    node.status.as_ref()?.allocatable.as_ref()
}

fn images(node: &Node) -> Option<&Vec<ContainerImage>> {
    node.status.as_ref()?.images.as_ref()
}
