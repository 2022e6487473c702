//! What a driver is told about a volume. Pure.

use k8s_openapi::api::core::v1::{CSIVolumeSource, Pod};
use serde_json::Value;
use sha2::{Digest, Sha256};
use skiff_client::loose::PersistentVolume;
use skiff_csi::csi::v1 as csi;
use skiff_csi::csi::v1::volume_capability::access_mode::Mode;
use skiff_csi::csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use std::collections::HashMap;

/// Where a secret is: namespace and name.
pub(crate) type SecretAt = (String, String);

/// A volume of a driver.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Source {
    pub(crate) driver: String,
    pub(crate) handle: String,
    /// What the folder of the volume is called; the name of the persistent volume, or the pod's own name for it.
    pub(crate) name: String,
    /// Whether it is made with the pod and goes with it.
    pub(crate) inline: bool,
    pub(crate) fs_type: String,
    pub(crate) attributes: HashMap<String, String>,
    pub(crate) modes: Vec<String>,
    pub(crate) options: Vec<String>,
    pub(crate) block: bool,
    pub(crate) read_only: bool,
    pub(crate) stage_secret: Option<SecretAt>,
    pub(crate) publish_secret: Option<SecretAt>,
    pub(crate) expand_secret: Option<SecretAt>,
    /// In bytes; 0: not known.
    pub(crate) capacity: i64,
    /// The same as it is written.
    pub(crate) size: String,
}

/// What the driver calls a volume that goes with its pod.
pub(crate) fn inline_handle(uid: &str, volume: &str) -> String {
    format!("csi-{}", hex::encode(Sha256::digest(format!("{uid}{volume}"))))
}

fn strings(value: Option<&Value>) -> Vec<String> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Source {
    /// That of a persistent volume; `None`: it has another kind of source.
    pub(crate) fn of_volume(volume: &PersistentVolume, read_only: bool) -> Option<Self> {
        let of = volume.fields.pointer("/spec/csi")?.as_object()?;
        let text = |key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let secret = |key: &str| {
            let at = of.get(key)?;
            Some((at["namespace"].as_str()?.to_owned(), at["name"].as_str()?.to_owned()))
        };
        let attributes = of.get("volumeAttributes").and_then(Value::as_object).into_iter().flatten();
        let capacity = skiff_proto::quantity::Quantity::parse(volume.text("/spec/capacity/storage"));
        Some(Self {
            driver: text("driver"),
            handle: text("volumeHandle"),
            name: volume.name().to_owned(),
            inline: false,
            fs_type: text("fsType"),
            attributes: attributes.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
            modes: strings(volume.fields.pointer("/spec/accessModes")),
            options: strings(volume.fields.pointer("/spec/mountOptions")),
            block: volume.text("/spec/volumeMode") == "Block",
            read_only: read_only || of.get("readOnly") == Some(&Value::Bool(true)),
            stage_secret: secret("nodeStageSecretRef"),
            publish_secret: secret("nodePublishSecretRef"),
            expand_secret: secret("nodeExpandSecretRef"),
            size: volume.text("/spec/capacity/storage").to_owned(),
            capacity: capacity.map_or(0, |amount| amount.units()),
        })
    }

    /// That of a volume which a pod names itself.
    pub(crate) fn inline(pod: &Pod, name: &str, of: &CSIVolumeSource) -> Self {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        Self {
            driver: of.driver.clone(),
            handle: inline_handle(pod.metadata.uid.as_deref().unwrap_or_default(), name),
            name: name.to_owned(),
            inline: true,
            fs_type: of.fs_type.clone().unwrap_or_default(),
            attributes: of.volume_attributes.clone().unwrap_or_default().into_iter().collect(),
            modes: vec!["ReadWriteOnce".to_owned()],
            read_only: of.read_only == Some(true),
            publish_secret: of.node_publish_secret_ref.as_ref().map(|secret| (namespace, secret.name.clone())),
            ..Self::default()
        }
    }

    /// How the volume is to be used; `group`: whom the driver itself gives it to.
    pub(super) fn capability(&self, group: Option<u32>, several_writers: bool) -> csi::VolumeCapability {
        let access = if self.block {
            AccessType::Block(BlockVolume {})
        } else {
            AccessType::Mount(MountVolume {
                fs_type: self.fs_type.clone(),
                mount_flags: self.options.clone(),
                volume_mount_group: group.map(|group| group.to_string()).unwrap_or_default(),
            })
        };
        let mode = match (self.modes.first().map(String::as_str).unwrap_or_default(), several_writers) {
            ("ReadOnlyMany", _) => Mode::MultiNodeReaderOnly,
            ("ReadWriteMany", _) => Mode::MultiNodeMultiWriter,
            ("ReadWriteOncePod", true) => Mode::SingleNodeSingleWriter,
            (_, true) => Mode::SingleNodeMultiWriter,
            _ => Mode::SingleNodeWriter,
        };
        csi::VolumeCapability { access_type: Some(access), access_mode: Some(AccessMode { mode: mode.into() }) }
    }

    /// Whether the kubelet gives the volume to the pod's group, under a driver's policy.
    pub(super) fn is_given(&self, policy: &str) -> bool {
        if self.block {
            return false;
        }
        match policy {
            "File" => true,
            "None" => false,
            // Only what has a filesystem of its own that no other node writes to.
            _ => {
                !self.fs_type.is_empty()
                    && self.modes.iter().any(|mode| mode == "ReadWriteOnce" || mode == "ReadWriteOncePod")
            }
        }
    }
}

/// What drivers that ask for it are told about the pod.
pub(super) fn pod_info(pod: &Pod, inline: bool) -> HashMap<String, String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    let pairs = [
        ("pod.name", text(&pod.metadata.name)),
        ("pod.namespace", text(&pod.metadata.namespace)),
        ("pod.uid", text(&pod.metadata.uid)),
        ("serviceAccount.name", text(&account)),
        ("ephemeral", inline.to_string()),
    ];
    pairs.into_iter().map(|(key, value)| (format!("csi.storage.k8s.io/{key}"), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn source(spec: Value) -> Source {
        let volume = serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": spec})).unwrap();
        Source::of_volume(&volume, false).unwrap()
    }

    #[test]
    fn a_volume_is_told_as_it_stands() {
        let csi = json!({"driver": "d", "volumeHandle": "h", "fsType": "ext4", "volumeAttributes": {"a": "b"},
            "nodeStageSecretRef": {"namespace": "n", "name": "s"}});
        let of = source(json!({"csi": csi, "accessModes": ["ReadWriteOncePod"], "mountOptions": ["noatime"],
            "capacity": {"storage": "1Ki"}}));
        assert_eq!((of.capacity, of.stage_secret.clone()), (1024, Some(("n".to_owned(), "s".to_owned()))));
        let told = of.capability(Some(7), true);
        assert_eq!(told.access_mode.unwrap().mode(), Mode::SingleNodeSingleWriter);
        let Some(AccessType::Mount(mount)) = told.access_type else { panic!("a filesystem") };
        assert_eq!((mount.fs_type.as_str(), mount.volume_mount_group.as_str()), ("ext4", "7"));
        assert!(of.is_given("ReadWriteOnceWithFSType") && of.is_given("File") && !of.is_given("None"));
    }

    #[test]
    fn one_without_a_filesystem_is_not_given_away() {
        let of = source(json!({"csi": {"driver": "d", "volumeHandle": "h"}, "accessModes": ["ReadWriteOnce"]}));
        assert!(!of.is_given(""), "no type, so nobody knows what it is");
        assert_eq!(of.capability(None, false).access_mode.unwrap().mode(), Mode::SingleNodeWriter);
    }
}
