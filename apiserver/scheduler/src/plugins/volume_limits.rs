//! NodeVolumeLimits: how many volumes a CSI driver can attach to a node.

use super::Counts;
use super::volumes::no_claim;
use crate::cycle::Cycle;
use crate::node::NodeInfo;
use crate::plugin::{Plugin, Refusal};
use crate::pod::PodInfo;
use crate::storage::{Storage, class_of_claim, volume_name};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use std::collections::BTreeMap;

/// Volumes with the driver of each.
type Volumes = BTreeMap<String, String>;

pub(super) fn filter(cycle: &Cycle<'_>, _: &Counts, node: &NodeInfo) -> Option<Refusal> {
    let storage = &cycle.cluster.storage;
    cycle.pod.claims().next()?;
    let mut new = match volumes_of(storage, cycle.pod) {
        Ok(volumes) => volumes,
        Err(missing) => return Some(no_claim(Plugin::NodeVolumeLimits, &missing)),
    };
    let drivers = storage.csi_node(&node.name)?.spec.drivers.iter();
    let limits: BTreeMap<&str, i64> = drivers
        .filter_map(|driver| Some((driver.name.as_str(), i64::from(driver.allocatable.as_ref()?.count?))))
        .collect();
    if new.is_empty() || limits.is_empty() {
        return None;
    }
    let mut attached = Volumes::new();
    for other in &node.pods {
        // One of its claims may be gone, and its volumes with it.
        attached.extend(volumes_of(storage, other).unwrap_or_default());
    }
    for attachment in storage.attachments.values().filter(|one| one.spec.node_name == node.name) {
        let name = attachment.spec.source.persistent_volume_name.as_deref();
        let volume = name.and_then(|name| storage.volume(name)).and_then(|volume| volume.spec.as_ref()?.csi.as_ref());
        if let Some(csi) = volume {
            attached.insert(unique(&csi.driver, &csi.volume_handle), csi.driver.clone());
        }
    }
    new.retain(|name, _| !attached.contains_key(name));
    let of = |driver: &str, volumes: &Volumes| volumes.values().filter(|one| *one == driver).count() as i64;
    let over = new.values().any(|driver| {
        limits.get(driver.as_str()).is_some_and(|limit| of(driver, &attached) + of(driver, &new) > *limit)
    });
    over.then(|| Refusal::by_pods(Plugin::NodeVolumeLimits, "node(s) exceed max volume count"))
}

fn unique(driver: &str, handle: &str) -> String {
    format!("{driver}/{handle}")
}

/// The volumes of a pod that a CSI driver attaches; the name of a claim that is not there.
fn volumes_of(storage: &Storage, pod: &PodInfo) -> Result<Volumes, String> {
    let mut volumes = Volumes::new();
    for named in pod.claims() {
        let Some(claim) = storage.claim(&pod.namespace, &named.name) else { return Err(named.name) };
        if let Some((driver, name)) = attachable(storage, claim, &pod.namespace) {
            volumes.insert(name, driver);
        }
    }
    Ok(volumes)
}

/// Driver and volume of a claim; a volume that is still to be made counts by its claim.
fn attachable(storage: &Storage, claim: &PersistentVolumeClaim, namespace: &str) -> Option<(String, String)> {
    if let Some(volume) = storage.volume(volume_name(claim)) {
        let csi = volume.spec.as_ref()?.csi.as_ref()?;
        return Some((csi.driver.clone(), unique(&csi.driver, &csi.volume_handle)));
    }
    let driver = storage.class(class_of_claim(claim))?.provisioner.clone();
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    Some((driver.clone(), unique(&driver, &format!("claim {namespace}/{name}"))))
}
