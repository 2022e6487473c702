//! Writes what the claims of a pod get on its node, and waits until they have it.

use super::Binder;
use crate::decide::Placement;
use crate::pod::PodInfo;
use crate::storage::{BOUND_BY_CONTROLLER, SELECTED_NODE, is_fully_bound, selected_node};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use skiff_client::sentence;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How one claim stands.
enum Stand {
    Bound,
    Waiting,
    Failed(String),
}

impl Binder {
    /// Writes and waits, at most for `timeout`.
    pub(super) async fn settle_claims(
        &self,
        pod: &PodInfo,
        placement: &Placement,
        timeout: Duration,
    ) -> Result<(), String> {
        if placement.volumes.is_nothing() {
            return Ok(());
        }
        for (volume, claim) in &placement.volumes.bindings {
            self.give(volume, claim).await.map_err(|error| sentence(&error))?;
        }
        for claim in &placement.volumes.provisions {
            self.choose_node(claim, &placement.node).await.map_err(|error| sentence(&error))?;
        }
        let waiting = tokio::time::timeout(timeout, self.until_bound(pod, placement)).await;
        waiting.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()))
    }

    /// Writes the claim into a volume; the controller of volumes does the rest.
    async fn give(&self, volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<(), kube::Error> {
        let meta = &claim.metadata;
        let reference = json!({
            "kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": meta.namespace, "name": meta.name,
            "uid": meta.uid, "resourceVersion": meta.resource_version,
        });
        let reserved = volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_some());
        let mut patch = json!({
            "metadata": {"resourceVersion": volume.metadata.resource_version}, "spec": {"claimRef": reference},
        });
        if !reserved {
            patch["metadata"]["annotations"] = json!({BOUND_BY_CONTROLLER: "yes"});
        }
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        volumes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }

    /// Writes for which node a volume is to be made.
    async fn choose_node(&self, claim: &PersistentVolumeClaim, node: &str) -> Result<(), kube::Error> {
        if selected_node(claim) == Some(node) {
            return Ok(());
        }
        let meta = &claim.metadata;
        let patch = json!({
            "metadata": {"resourceVersion": meta.resource_version, "annotations": {SELECTED_NODE: node}},
        });
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let name = meta.name.as_deref().unwrap_or_default();
        claims.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }

    /// Waits until every claim has its volume; wakes when a claim changes.
    async fn until_bound(&self, pod: &PodInfo, placement: &Placement) -> Result<(), String> {
        let changed = Arc::new(Notify::new());
        let told = Arc::clone(&changed);
        let _claims = self.claims.subscribe(move |_| told.notify_one());
        let told = Arc::clone(&changed);
        let _volumes = self.volumes.subscribe(move |_| told.notify_one());
        let given = placement.volumes.bindings.iter().map(|(_, claim)| (claim, false));
        let made = placement.volumes.provisions.iter().map(|claim| (claim, true));
        let all: Vec<_> = given.chain(made).collect();
        loop {
            let mut waiting = false;
            for (claim, made) in &all {
                match self.stand(pod, claim, *made, &placement.node) {
                    Stand::Bound => {}
                    Stand::Waiting => waiting = true,
                    Stand::Failed(reason) => return Err(reason),
                }
            }
            if !waiting {
                return Ok(());
            }
            changed.notified().await;
        }
    }

    fn stand(&self, pod: &PodInfo, claim: &PersistentVolumeClaim, made: bool, node: &str) -> Stand {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let Some(now) = self.claims.get(&pod.namespace, name) else {
            return Stand::Failed(format!("persistentvolumeclaim \"{name}\" not found"));
        };
        let is_new = now.metadata.resource_version != claim.metadata.resource_version;
        if made && is_new && selected_node(&now) != Some(node) {
            // Whoever makes volumes takes the choice back when it cannot make one there.
            return Stand::Failed(format!("provisioning failed for PVC \"{name}\""));
        }
        if is_fully_bound(&now) { Stand::Bound } else { Stand::Waiting }
    }
}
