//! VolumeRestrictions: disks and claims that only one pod may use. VolumeZone: volumes of another zone.

use super::Counts;
use crate::cycle::Cycle;
use crate::node::NodeInfo;
use crate::plugin::{Plugin, Refusal};
use crate::pod::PodInfo;
use crate::storage::{class_of_claim, volume_name, waits_for_consumer};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Keys of labels, with the values that the volumes allow.
pub(super) type Zones = Vec<(&'static str, BTreeSet<String>)>;

/// Labels that say where a volume is, each with its newer name.
const ZONES: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];

/// What a claim that is not there is called in every message.
pub(super) fn no_claim(plugin: Plugin, name: &str) -> Refusal {
    Refusal::lasting(plugin, format!("persistentvolumeclaim \"{name}\" not found"))
}

fn only_one_pod(claim: &PersistentVolumeClaim) -> bool {
    let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_ref());
    modes.into_iter().flatten().any(|mode| mode == "ReadWriteOncePod")
}

/// Claims that only one pod may use and one does.
pub(super) fn claims_in_use(cycle: &Cycle<'_>, counts: &mut Counts) -> Result<(), Refusal> {
    let (storage, namespace) = (&cycle.cluster.storage, &cycle.pod.namespace);
    for named in cycle.pod.claims().filter(|claim| !claim.ephemeral) {
        let claim = storage.claim(namespace, &named.name);
        let claim = claim.ok_or_else(|| no_claim(Plugin::VolumeRestrictions, &named.name))?;
        if only_one_pod(claim) && storage.is_used(namespace, &named.name) {
            counts.claims_in_use += 1;
        }
    }
    Ok(())
}

/// A pod comes or goes that may use such a claim.
pub(super) fn follow(cycle: &Cycle<'_>, counts: &mut Counts, other: &PodInfo, by: i64) {
    if other.namespace != cycle.pod.namespace {
        return;
    }
    for named in other.claims() {
        let claim = cycle.cluster.storage.claim(&other.namespace, &named.name);
        if claim.is_some_and(|claim| only_one_pod(claim)) && cycle.pod.claims().any(|own| own == named) {
            counts.claims_in_use += by;
        }
    }
}

pub(super) fn restrictions(cycle: &Cycle<'_>, counts: &Counts, node: &NodeInfo) -> Option<Refusal> {
    if node.pods.iter().any(|other| disks_conflict(&cycle.pod.pod, &other.pod)) {
        return Some(Refusal::by_pods(Plugin::VolumeRestrictions, "node(s) had no available disk"));
    }
    let reason = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    (counts.claims_in_use > 0).then(|| Refusal::by_pods(Plugin::VolumeRestrictions, reason))
}

fn volumes(pod: &Pod) -> &[Volume] {
    pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default()
}

/// Whether two pods name a disk that cannot be attached for both.
pub(crate) fn disks_conflict(pod: &Pod, other: &Pod) -> bool {
    let mut disks = volumes(pod).iter().filter(|own| is_disk(own));
    disks.any(|own| volumes(other).iter().any(|theirs| is_same_disk(own, theirs)))
}

/// Whether a volume is of the kinds that [`is_same_disk`] knows. Most pods have none, and every pod of every node is asked.
fn is_disk(volume: &Volume) -> bool {
    volume.gce_persistent_disk.is_some()
        || volume.aws_elastic_block_store.is_some()
        || volume.iscsi.is_some()
        || volume.rbd.is_some()
}

fn is_same_disk(own: &Volume, theirs: &Volume) -> bool {
    let both_read = |own: Option<bool>, theirs: Option<bool>| own == Some(true) && theirs == Some(true);
    if let (Some(own), Some(theirs)) = (&own.gce_persistent_disk, &theirs.gce_persistent_disk) {
        return own.pd_name == theirs.pd_name && !both_read(own.read_only, theirs.read_only);
    }
    if let (Some(own), Some(theirs)) = (&own.aws_elastic_block_store, &theirs.aws_elastic_block_store) {
        return own.volume_id == theirs.volume_id;
    }
    if let (Some(own), Some(theirs)) = (&own.iscsi, &theirs.iscsi) {
        return own.iqn == theirs.iqn && !both_read(own.read_only, theirs.read_only);
    }
    if let (Some(own), Some(theirs)) = (&own.rbd, &theirs.rbd) {
        let monitors = own.monitors.iter().any(|monitor| theirs.monitors.contains(monitor));
        return monitors
            && own.pool == theirs.pool
            && own.image == theirs.image
            && !both_read(own.read_only, theirs.read_only);
    }
    false
}

/// Where the pod's volumes are.
pub(super) fn zones(cycle: &Cycle<'_>, counts: &mut Counts) -> Result<(), Refusal> {
    let storage = &cycle.cluster.storage;
    let refuse = |reason: String| Refusal::lasting(Plugin::VolumeZone, reason);
    for named in cycle.pod.claims().filter(|claim| !claim.ephemeral) {
        let claim: &Arc<PersistentVolumeClaim> = storage
            .claim(&cycle.pod.namespace, &named.name)
            .ok_or_else(|| no_claim(Plugin::VolumeZone, &named.name))?;
        let name = volume_name(claim);
        if name.is_empty() {
            let class = class_of_claim(claim);
            if class.is_empty() {
                return Err(refuse("PersistentVolumeClaim had no pv name and storageClass name".to_owned()));
            }
            let known = storage.class(class);
            let known = known.ok_or_else(|| refuse(format!("storageclass.storage.k8s.io \"{class}\" not found")))?;
            if waits_for_consumer(known) {
                continue;
            }
            return Err(refuse("PersistentVolume had no name".to_owned()));
        }
        let volume = storage.volume(name).ok_or_else(|| refuse(format!("persistentvolume \"{name}\" not found")))?;
        let labels = crate::selector::labels(&volume.metadata);
        for (key, _) in ZONES {
            if let Some(value) = labels.get(key) {
                counts.zones.push((key, value.split("__").map(str::to_owned).collect()));
            }
        }
    }
    Ok(())
}

pub(super) fn zone(_: &Cycle<'_>, counts: &Counts, node: &NodeInfo) -> Option<Refusal> {
    let labels = node.labels();
    if counts.zones.is_empty() || ZONES.iter().all(|(key, _)| !labels.contains_key(*key)) {
        return None;
    }
    let newer = |key: &str| ZONES.iter().find(|(old, _)| *old == key).and_then(|(_, new)| labels.get(*new));
    let fits = counts
        .zones
        .iter()
        .all(|(key, values)| labels.get(*key).or_else(|| newer(key)).is_some_and(|value| values.contains(value)));
    (!fits).then(|| Refusal::lasting(Plugin::VolumeZone, "node(s) had no available volume zone"))
}
