//! What is known of claims, volumes and drivers. No I/O.

use crate::cluster::{Name, Object, name_of};
use crate::plugins::OnNode;
use crate::pod::PodInfo;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The node that the scheduler chose for a claim whose volume is made for its first consumer.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Who binds a claim to a volume says with it that all is written.
pub(crate) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// A volume was bound by a program, and by no user.
pub(crate) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const CLASS_OF_OLD: &str = "volume.beta.kubernetes.io/storage-class";

/// Claims, volumes and drivers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Storage {
    claims: HashMap<Name, Arc<PersistentVolumeClaim>>,
    volumes: BTreeMap<String, Arc<PersistentVolume>>,
    classes: HashMap<String, Arc<StorageClass>>,
    csi_nodes: HashMap<String, Arc<CSINode>>,
    drivers: HashMap<String, Arc<CSIDriver>>,
    pub(crate) capacities: BTreeMap<Name, Arc<CSIStorageCapacity>>,
    pub(crate) attachments: BTreeMap<String, Arc<VolumeAttachment>>,
    /// What we decided to write and the server does not show yet.
    assumed_claims: HashMap<Name, Arc<PersistentVolumeClaim>>,
    assumed_volumes: HashMap<String, Arc<PersistentVolume>>,
    /// How many placed pods use each claim.
    users: HashMap<Name, i64>,
}

impl Storage {
    pub(crate) fn put(&mut self, object: &Object) {
        match object {
            Object::Claim(it) => {
                self.assumed_claims.remove(&name_of(&**it));
                self.claims.insert(name_of(&**it), Arc::clone(it));
            }
            Object::Volume(it) => {
                self.assumed_volumes.remove(&name_of(&**it).1);
                self.volumes.insert(name_of(&**it).1, Arc::clone(it));
            }
            Object::Class(it) => drop(self.classes.insert(name_of(&**it).1, Arc::clone(it))),
            Object::CsiNode(it) => drop(self.csi_nodes.insert(name_of(&**it).1, Arc::clone(it))),
            Object::CsiDriver(it) => drop(self.drivers.insert(name_of(&**it).1, Arc::clone(it))),
            Object::Capacity(it) => drop(self.capacities.insert(name_of(&**it), Arc::clone(it))),
            Object::Attachment(it) => drop(self.attachments.insert(name_of(&**it).1, Arc::clone(it))),
            _ => {}
        }
    }

    pub(crate) fn remove(&mut self, object: &Object) {
        match object {
            Object::Claim(it) => {
                self.assumed_claims.remove(&name_of(&**it));
                self.claims.remove(&name_of(&**it));
            }
            Object::Volume(it) => {
                self.assumed_volumes.remove(&name_of(&**it).1);
                self.volumes.remove(&name_of(&**it).1);
            }
            Object::Class(it) => drop(self.classes.remove(&name_of(&**it).1)),
            Object::CsiNode(it) => drop(self.csi_nodes.remove(&name_of(&**it).1)),
            Object::CsiDriver(it) => drop(self.drivers.remove(&name_of(&**it).1)),
            Object::Capacity(it) => drop(self.capacities.remove(&name_of(&**it))),
            Object::Attachment(it) => drop(self.attachments.remove(&name_of(&**it).1)),
            _ => {}
        }
    }

    pub(crate) fn use_claims(&mut self, pod: &PodInfo, by: i64) {
        for claim in pod.claims() {
            let key = (pod.namespace.clone(), claim.name);
            let users = self.users.entry(key.clone()).or_default();
            *users += by;
            if *users == 0 {
                self.users.remove(&key);
            }
        }
    }

    pub(crate) fn is_used(&self, namespace: &str, claim: &str) -> bool {
        self.users.contains_key(&(namespace.to_owned(), claim.to_owned()))
    }

    pub(crate) fn claim(&self, namespace: &str, name: &str) -> Option<&Arc<PersistentVolumeClaim>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.assumed_claims.get(&key).or_else(|| self.claims.get(&key))
    }

    pub(crate) fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.assumed_volumes.get(name).or_else(|| self.volumes.get(name))
    }

    /// All volumes of a class, by name.
    pub(crate) fn volumes_of<'a>(&'a self, class: &'a str) -> impl Iterator<Item = &'a Arc<PersistentVolume>> {
        let volumes = self.volumes.iter().map(|(name, volume)| self.assumed_volumes.get(name).unwrap_or(volume));
        volumes.filter(move |volume| class_of_volume(volume) == class)
    }

    pub(crate) fn class(&self, name: &str) -> Option<&StorageClass> {
        self.classes.get(name).map(|class| &**class)
    }

    pub(crate) fn csi_node(&self, name: &str) -> Option<&CSINode> {
        self.csi_nodes.get(name).map(|node| &**node)
    }

    pub(crate) fn driver(&self, name: &str) -> Option<&CSIDriver> {
        self.drivers.get(name).map(|driver| &**driver)
    }

    /// What a pod's claims get on its node counts before it is written.
    pub(crate) fn assume(&mut self, volumes: &OnNode, node: &str) {
        for (volume, claim) in &volumes.bindings {
            let mut volume = PersistentVolume::clone(volume);
            if let Some(spec) = &mut volume.spec {
                spec.claim_ref = Some(ObjectReference {
                    namespace: claim.metadata.namespace.clone(),
                    name: claim.metadata.name.clone(),
                    uid: claim.metadata.uid.clone(),
                    ..ObjectReference::default()
                });
            }
            self.assumed_volumes.insert(name_of(&volume).1, Arc::new(volume));
        }
        for claim in &volumes.provisions {
            let mut claim = PersistentVolumeClaim::clone(claim);
            let annotations = claim.metadata.annotations.get_or_insert_default();
            annotations.insert(SELECTED_NODE.to_owned(), node.to_owned());
            self.assumed_claims.insert(name_of(&claim), Arc::new(claim));
        }
    }

    /// What was decided of these is not written.
    pub(crate) fn forget(&mut self, claims: &[Arc<PersistentVolumeClaim>], volumes: &[Arc<PersistentVolume>]) {
        for claim in claims {
            self.assumed_claims.remove(&name_of(&**claim));
        }
        for volume in volumes {
            self.assumed_volumes.remove(&name_of(&**volume).1);
        }
    }
}

/// The class that a claim asks for; empty for none.
pub(crate) fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    let old = claim.metadata.annotations.as_ref().and_then(|all| all.get(CLASS_OF_OLD));
    let named = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    old.or(named).map_or("", String::as_str)
}

/// The class of a volume; empty for none.
pub(crate) fn class_of_volume(volume: &PersistentVolume) -> &str {
    let old = volume.metadata.annotations.as_ref().and_then(|all| all.get(CLASS_OF_OLD));
    let named = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    old.or(named).map_or("", String::as_str)
}

/// Whether a class leaves its volumes until a pod wants them.
pub(crate) fn waits_for_consumer(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

/// The volume that a claim names; empty for none.
pub(crate) fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default()
}

/// Whether both sides of a claim's binding are written.
pub(crate) fn is_fully_bound(claim: &PersistentVolumeClaim) -> bool {
    let completed = claim.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(BIND_COMPLETED));
    !volume_name(claim).is_empty() && completed
}

/// The node that was chosen for a claim.
pub(crate) fn selected_node(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.metadata.annotations.as_ref()?.get(SELECTED_NODE).map(String::as_str)
}
