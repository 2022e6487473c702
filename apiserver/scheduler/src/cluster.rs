//! What is known of a cluster: nodes with their pods, and what else a decision depends on. No I/O.

use crate::devices::Devices;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::selector::{Labels, Selector, labels};
use crate::storage::Storage;
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{
    Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};
use kube::Resource;
use skiff_client::loose::{DeviceClass, ResourceClaim, ResourceSlice};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Namespace and name.
pub(crate) type Name = (String, String);

/// An object that decisions depend on.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each holds the kind that it is named after")]
pub enum Object {
    Node(Arc<Node>),
    Pod(Arc<Pod>),
    Namespace(Arc<Namespace>),
    Service(Arc<Service>),
    ReplicationController(Arc<ReplicationController>),
    ReplicaSet(Arc<ReplicaSet>),
    StatefulSet(Arc<StatefulSet>),
    Budget(Arc<PodDisruptionBudget>),
    Claim(Arc<PersistentVolumeClaim>),
    Volume(Arc<PersistentVolume>),
    Class(Arc<StorageClass>),
    CsiNode(Arc<CSINode>),
    CsiDriver(Arc<CSIDriver>),
    Capacity(Arc<CSIStorageCapacity>),
    Attachment(Arc<VolumeAttachment>),
    Slice(Arc<ResourceSlice>),
    DeviceClass(Arc<DeviceClass>),
    DeviceClaim(Arc<ResourceClaim>),
}

/// What is known of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// In the order of their names.
    pub(crate) nodes: Vec<NodeInfo>,
    /// Where each pod counts: the name of its node.
    placed: HashMap<String, String>,
    /// Those among them that the server has not confirmed yet.
    assumed: HashMap<String, Arc<PodInfo>>,
    /// Pods on nodes that are not known, by node.
    strays: HashMap<String, Vec<Arc<PodInfo>>>,
    /// Pods that nodes are being cleared for, by uid.
    nominated: BTreeMap<String, (String, Arc<PodInfo>)>,
    /// On how many nodes each image is.
    pub(crate) images: HashMap<String, i64>,
    namespaces: HashMap<String, Labels>,
    /// Selectors of services, by name.
    services: BTreeMap<Name, Labels>,
    /// Selectors of what owns pods, by kind and name.
    owners: HashMap<(&'static str, Name), Selector>,
    pub(crate) budgets: BTreeMap<Name, Arc<PodDisruptionBudget>>,
    pub(crate) storage: Storage,
    pub(crate) devices: Devices,
}

pub(crate) fn name_of<K: Resource>(object: &K) -> Name {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

impl Cluster {
    /// A cluster of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `object` is there, or has changed.
    pub fn put(&mut self, object: &Object) {
        match object {
            Object::Node(node) => self.put_node(node),
            Object::Pod(pod) => self.put_pod(&Arc::new(PodInfo::new(Arc::clone(pod)))),
            Object::Namespace(it) => {
                self.namespaces.insert(name_of(&**it).1, labels(&it.metadata).clone());
            }
            Object::Service(it) => {
                let selector = it.spec.as_ref().and_then(|spec| spec.selector.clone());
                self.services.insert(name_of(&**it), selector.unwrap_or_default());
            }
            Object::ReplicationController(it) => {
                let selector = it.spec.as_ref().and_then(|spec| spec.selector.as_ref());
                let selector = Selector::with(selector.into_iter().flatten());
                self.owners.insert(("ReplicationController", name_of(&**it)), selector);
            }
            Object::ReplicaSet(it) => {
                let selector = Selector::of(it.spec.as_ref().map(|spec| &spec.selector));
                self.owners.insert(("ReplicaSet", name_of(&**it)), selector);
            }
            Object::StatefulSet(it) => {
                let selector = Selector::of(it.spec.as_ref().map(|spec| &spec.selector));
                self.owners.insert(("StatefulSet", name_of(&**it)), selector);
            }
            Object::Budget(it) => drop(self.budgets.insert(name_of(&**it), Arc::clone(it))),
            Object::Slice(it) => self.devices.put_slice(it),
            Object::DeviceClass(it) => self.devices.put_class(it),
            Object::DeviceClaim(it) => self.devices.put_claim(it),
            other => self.storage.put(other),
        }
    }

    /// `object`, as it last was, is gone.
    pub fn remove(&mut self, object: &Object) {
        match object {
            Object::Node(node) => self.remove_node(node.metadata.name.as_deref().unwrap_or_default()),
            Object::Pod(pod) => self.remove_pod(pod.metadata.uid.as_deref().unwrap_or_default()),
            Object::Namespace(it) => drop(self.namespaces.remove(&name_of(&**it).1)),
            Object::Service(it) => drop(self.services.remove(&name_of(&**it))),
            Object::ReplicationController(it) => drop(self.owners.remove(&("ReplicationController", name_of(&**it)))),
            Object::ReplicaSet(it) => drop(self.owners.remove(&("ReplicaSet", name_of(&**it)))),
            Object::StatefulSet(it) => drop(self.owners.remove(&("StatefulSet", name_of(&**it)))),
            Object::Budget(it) => drop(self.budgets.remove(&name_of(&**it))),
            Object::Slice(it) => self.devices.remove_slice(it),
            Object::DeviceClass(it) => self.devices.remove_class(it),
            Object::DeviceClaim(it) => self.devices.remove_claim(it),
            other => self.storage.remove(other),
        }
    }

    fn position(&self, node: &str) -> Result<usize, usize> {
        self.nodes.binary_search_by(|info| info.name.as_str().cmp(node))
    }

    /// A node by its name.
    pub(crate) fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.position(name).ok().map(|at| &self.nodes[at])
    }

    fn put_node(&mut self, node: &Arc<Node>) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        match self.position(name) {
            Ok(at) => {
                let before = Arc::clone(&self.nodes[at].images);
                self.nodes[at].set(Arc::clone(node));
                self.count_images(&before, -1);
                self.count_images(&Arc::clone(&self.nodes[at].images), 1);
            }
            Err(at) => {
                let mut info = NodeInfo::new(Arc::clone(node));
                for pod in self.strays.remove(name).unwrap_or_default() {
                    info.add(pod);
                }
                self.count_images(&Arc::clone(&info.images), 1);
                self.nodes.insert(at, info);
            }
        }
    }

    fn remove_node(&mut self, name: &str) {
        let Ok(at) = self.position(name) else { return };
        let info = self.nodes.remove(at);
        self.count_images(&info.images, -1);
        if !info.pods.is_empty() {
            self.strays.insert(info.name, info.pods);
        }
    }

    fn count_images(&mut self, images: &HashMap<String, i64>, by: i64) {
        for name in images.keys() {
            let nodes = self.images.entry(name.clone()).or_default();
            *nodes += by;
            if *nodes == 0 {
                self.images.remove(name);
            }
        }
    }

    /// A pod counts on its node; one without is only nominated, if it is.
    pub(crate) fn put_pod(&mut self, pod: &Arc<PodInfo>) {
        if pod.is_finished() {
            self.remove_pod(&pod.uid);
        } else if let Some(node) = pod.node() {
            let node = node.to_owned();
            self.remove_pod(&pod.uid);
            self.count(Arc::clone(pod), &node);
        } else if let Some(node) = pod.nominated().map(str::to_owned)
            && !self.placed.contains_key(&pod.uid)
        {
            self.nominate(pod, &node);
        } else {
            self.nominated.remove(&pod.uid);
        }
    }

    fn count(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.placed.insert(pod.uid.clone(), node.to_owned());
        self.storage.use_claims(&pod, 1);
        match self.position(node) {
            Ok(at) => self.nodes[at].add(pod),
            Err(_) => self.strays.entry(node.to_owned()).or_default().push(pod),
        }
    }

    pub(crate) fn remove_pod(&mut self, uid: &str) {
        self.nominated.remove(uid);
        self.assumed.remove(uid);
        let Some(node) = self.placed.remove(uid) else { return };
        let gone = match self.position(&node) {
            Ok(at) => self.nodes[at].remove(uid),
            Err(_) => {
                let strays = self.strays.get_mut(&node);
                strays.and_then(|pods| Some(pods.swap_remove(pods.iter().position(|pod| pod.uid == uid)?)))
            }
        };
        if let Some(pod) = gone {
            self.storage.use_claims(&pod, -1);
        }
    }

    /// Decided, and not confirmed by the server yet: the next decision sees the room gone.
    pub(crate) fn assume(&mut self, pod: &Arc<PodInfo>, node: &str) {
        self.remove_pod(&pod.uid);
        self.assumed.insert(pod.uid.clone(), Arc::clone(pod));
        self.count(Arc::clone(pod), node);
    }

    /// The pod is not where it was assumed to be. Answers whether it was assumed anywhere.
    pub(crate) fn forget(&mut self, uid: &str) -> bool {
        let assumed = self.assumed.contains_key(uid);
        if assumed {
            self.remove_pod(uid);
        }
        assumed
    }

    /// A pod that counts on a node, assumed or confirmed.
    pub(crate) fn placed_pod(&self, uid: &str) -> Option<Arc<PodInfo>> {
        let node = self.placed.get(uid)?;
        let pods = match self.position(node) {
            Ok(at) => &self.nodes[at].pods,
            Err(_) => self.strays.get(node)?,
        };
        pods.iter().find(|pod| pod.uid == uid).cloned()
    }

    /// Whether the pod counts on a node, or one is being cleared for it.
    pub(crate) fn holds(&self, uid: &str) -> bool {
        self.placed.contains_key(uid) || self.nominated.contains_key(uid)
    }

    /// The same cluster without a pod.
    pub(crate) fn without(&self, uid: &str) -> Self {
        let mut other = self.clone();
        other.remove_pod(uid);
        other
    }

    pub(crate) fn is_assumed(&self, uid: &str) -> bool {
        self.assumed.contains_key(uid)
    }

    /// `node` is being cleared for `pod`.
    pub(crate) fn nominate(&mut self, pod: &Arc<PodInfo>, node: &str) {
        self.nominated.insert(pod.uid.clone(), (node.to_owned(), Arc::clone(pod)));
    }

    /// No node is being cleared for it any more.
    pub(crate) fn unnominate(&mut self, uid: &str) {
        self.nominated.remove(uid);
    }

    /// The pods that `node` is being cleared for.
    pub(crate) fn nominated_to<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Arc<PodInfo>> {
        self.nominated.values().filter(move |(name, _)| name == node).map(|(_, pod)| pod)
    }

    /// The labels of a namespace; none if it is not known.
    pub(crate) fn namespace(&self, name: &str) -> &Labels {
        static NONE: Labels = Labels::new();
        self.namespaces.get(name).unwrap_or(&NONE)
    }

    /// The namespaces that a selector chooses.
    pub(crate) fn namespaces<'a>(&'a self, selector: &'a Selector) -> impl Iterator<Item = &'a String> {
        self.namespaces.iter().filter(|(_, labels)| selector.matches(labels)).map(|(name, _)| name)
    }

    /// What chooses the pods that are spread together with this one when it says nothing of spreading: those of its services
    /// and of its owner.
    pub(crate) fn siblings(&self, pod: &PodInfo) -> Selector {
        let mut of_services = Labels::new();
        let from = (pod.namespace.clone(), String::new());
        let services = self.services.range(from..).take_while(|((namespace, _), _)| *namespace == pod.namespace);
        for (_, selector) in services {
            let chosen = selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value));
            if chosen && !selector.is_empty() {
                of_services.extend(selector.clone());
            }
        }
        let selector = Selector::with(&of_services);
        let owners = pod.pod.metadata.owner_references.as_deref().unwrap_or_default();
        let Some(owner) = owners.iter().find(|owner| owner.controller == Some(true)) else { return selector };
        let kind = match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("v1", "ReplicationController") => "ReplicationController",
            ("apps/v1", "ReplicaSet") => "ReplicaSet",
            ("apps/v1", "StatefulSet") => "StatefulSet",
            _ => return selector,
        };
        match self.owners.get(&(kind, (pod.namespace.clone(), owner.name.clone()))) {
            Some(own) => selector.and(own.clone()),
            None => selector,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(node: Option<&str>) -> Arc<PodInfo> {
        let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}], "nodeName": node});
        let pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
    }

    fn node(name: &str) -> Object {
        Object::Node(Arc::new(serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()))
    }

    /// A binding that was not taken frees its room; one that was taken stays.
    #[test]
    fn what_was_assumed_is_forgotten_until_it_is_confirmed() {
        let mut cluster = Cluster::new();
        cluster.put(&node("n"));
        let taken = |cluster: &Cluster| cluster.nodes[0].requested.cpu_millis;
        cluster.assume(&pod(None), "n");
        assert_eq!(taken(&cluster), 1000);
        assert!(cluster.forget("u"));
        assert_eq!(taken(&cluster), 0);
        cluster.assume(&pod(None), "n");
        cluster.put_pod(&pod(Some("n")));
        assert!(!cluster.forget("u"), "the server has it there");
        assert_eq!(taken(&cluster), 1000);
    }

    /// Pods may be heard of before their node, and outlive it.
    #[test]
    fn pods_wait_for_their_node() {
        let mut cluster = Cluster::new();
        cluster.put_pod(&pod(Some("n")));
        cluster.put(&node("m"));
        cluster.put(&node("n"));
        assert_eq!(cluster.node("n").unwrap().requested.cpu_millis, 1000);
        cluster.remove(&node("n"));
        cluster.put(&node("n"));
        assert_eq!(cluster.node("n").unwrap().pods.len(), 1);
        cluster.remove_pod("u");
        assert_eq!(cluster.node("n").unwrap().requested, crate::amounts::Amounts::default());
    }
}
