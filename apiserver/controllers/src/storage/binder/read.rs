//! What the binder reads of volumes, claims and classes: nothing optional that it relies on.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;
use skiff_client::loose::{PersistentVolume, StorageClass};
use skiff_proto::quantity::Quantity;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub(super) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
pub(super) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
pub(super) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
pub(super) const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// As provisioners of older versions read it.
pub(super) const PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// The class that makes no volumes: somebody has to make them by hand.
pub(super) const BY_HAND: &str = "kubernetes.io/no-provisioner";
const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// A claim as a volume names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reference {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Empty: reserved by name, before the claim was there.
    pub(super) uid: String,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) deleting: bool,
    /// In units of 10⁻⁹ bytes.
    pub(super) capacity: i128,
    pub(super) modes: BTreeSet<String>,
    pub(super) class: String,
    pub(super) attributes: String,
    pub(super) block: bool,
    pub(super) labels: BTreeMap<String, String>,
    /// The terms of its required node affinity; nothing: any node.
    pub(super) affinity: Value,
    pub(super) claim: Option<Reference>,
    pub(super) bound_by_controller: bool,
    pub(super) provisioned: bool,
    /// Whether a driver outside of us removes it.
    pub(super) external: bool,
    pub(super) policy: String,
    pub(super) phase: String,
}

/// A claim.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Claim {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) request: i128,
    pub(super) modes: BTreeSet<String>,
    /// `None`: it did not say, so that the default class is meant.
    pub(super) class: Option<String>,
    pub(super) attributes: String,
    pub(super) block: bool,
    pub(super) selector: Option<LabelSelector>,
    pub(super) volume: String,
    pub(super) bound_by_controller: bool,
    pub(super) bind_completed: bool,
    pub(super) selected_node: String,
    pub(super) provisioner: String,
    pub(super) phase: String,
    /// What its status says that it may do with the volume.
    pub(super) has: BTreeSet<String>,
}

/// A class of volumes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Class {
    pub(super) name: String,
    pub(super) provisioner: String,
    pub(super) delayed: bool,
}

fn nanos(text: &str) -> i128 {
    Quantity::parse(text).map_or(0, |amount| amount.nanos())
}

fn words(value: Option<&Value>) -> BTreeSet<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Volume {
    pub(super) fn of(volume: &PersistentVolume) -> Self {
        let text = |pointer: &str| volume.text(pointer).to_owned();
        let provisioned = volume.annotation(PROVISIONED_BY).is_some();
        let claim = volume.fields.pointer("/spec/claimRef").filter(|it| it.is_object()).map(|_| Reference {
            namespace: text("/spec/claimRef/namespace"),
            name: text("/spec/claimRef/name"),
            uid: text("/spec/claimRef/uid"),
        });
        Self {
            name: volume.name().to_owned(),
            deleting: volume.metadata.deletion_timestamp.is_some(),
            capacity: nanos(volume.text("/spec/capacity/storage")),
            modes: words(volume.fields.pointer("/spec/accessModes")),
            class: volume.annotation(CLASS_BETA).map_or_else(|| text("/spec/storageClassName"), str::to_owned),
            attributes: text("/spec/volumeAttributesClassName"),
            block: volume.text("/spec/volumeMode") == "Block",
            labels: volume.metadata.labels.clone().unwrap_or_default(),
            affinity: volume
                .fields
                .pointer("/spec/nodeAffinity/required/nodeSelectorTerms")
                .cloned()
                .unwrap_or_default(),
            claim,
            bound_by_controller: volume.annotation(BOUND_BY_CONTROLLER).is_some(),
            provisioned,
            external: provisioned || volume.fields.pointer("/spec/csi").is_some_and(Value::is_object),
            policy: text("/spec/persistentVolumeReclaimPolicy"),
            phase: text("/status/phase"),
        }
    }

    /// Whether it is this claim's, or kept for it.
    pub(super) fn is_for(&self, claim: &Claim) -> bool {
        self.claim.as_ref().is_some_and(|of| {
            of.name == claim.name && of.namespace == claim.namespace && (of.uid.is_empty() || of.uid == claim.uid)
        })
    }
}

impl Claim {
    pub(super) fn of(claim: &PersistentVolumeClaim) -> Self {
        let (spec, status) = (claim.spec.clone().unwrap_or_default(), claim.status.clone().unwrap_or_default());
        let annotation = |key: &str| claim.metadata.annotations.as_ref().and_then(|all| all.get(key)).cloned();
        let request = spec.resources.and_then(|resources| resources.requests?.get("storage").cloned());
        Self {
            namespace: claim.metadata.namespace.clone().unwrap_or_default(),
            name: claim.metadata.name.clone().unwrap_or_default(),
            uid: claim.metadata.uid.clone().unwrap_or_default(),
            request: request.map_or(0, |amount| nanos(&amount.0)),
            modes: spec.access_modes.unwrap_or_default().into_iter().collect(),
            class: annotation(CLASS_BETA).or(spec.storage_class_name),
            attributes: spec.volume_attributes_class_name.unwrap_or_default(),
            block: spec.volume_mode.as_deref() == Some("Block"),
            selector: spec.selector,
            volume: spec.volume_name.unwrap_or_default(),
            bound_by_controller: annotation(BOUND_BY_CONTROLLER).is_some(),
            bind_completed: annotation(BIND_COMPLETED).is_some(),
            selected_node: annotation(SELECTED_NODE).unwrap_or_default(),
            provisioner: annotation(PROVISIONER).unwrap_or_default(),
            phase: status.phase.unwrap_or_default(),
            has: status.access_modes.unwrap_or_default().into_iter().collect(),
        }
    }

    /// The class it asks for; empty: volumes without a class.
    pub(super) fn class(&self) -> &str {
        self.class.as_deref().unwrap_or_default()
    }

    pub(super) fn reference(&self) -> Reference {
        Reference { namespace: self.namespace.clone(), name: self.name.clone(), uid: self.uid.clone() }
    }
}

impl Class {
    pub(super) fn of(class: &StorageClass) -> Self {
        Self {
            name: class.name().to_owned(),
            provisioner: class.text("/provisioner").to_owned(),
            delayed: class.text("/volumeBindingMode") == "WaitForFirstConsumer",
        }
    }
}

/// The class of claims that name none: the youngest of those that are marked, and of equally old ones the first by name.
pub(super) fn default_class(classes: &[std::sync::Arc<StorageClass>]) -> Option<String> {
    let marked = classes.iter().filter(|class| DEFAULT_CLASS.iter().any(|key| class.annotation(key) == Some("true")));
    let oldest_last = |class: &&std::sync::Arc<StorageClass>| {
        let made = class.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (std::cmp::Reverse(made), class.name().to_owned())
    };
    marked.min_by_key(oldest_last).map(|class| class.name().to_owned())
}
