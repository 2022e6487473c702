//! Writes what the claims of devices of a pod get, and that the pod has them.
//!
//! Two writes for each claim, as kube-scheduler makes them: a finalizer first, so that the claim stays while its devices are given
//! away, then allocation and reservation at once.

use super::Binder;
use crate::decide::Placement;
use crate::devices::is_reserved_for;
use crate::pod::PodInfo;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use skiff_client::loose::ResourceClaim;
use skiff_client::sentence;

/// Keeps a claim as long as it has devices (resource.k8s.io).
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

impl Binder {
    /// Gives the pod's claims their devices, and the claims to the pod.
    pub(super) async fn reserve_devices(&self, pod: &PodInfo, placement: &Placement) -> Result<(), String> {
        for (claim, allocation) in &placement.devices {
            self.reserve(pod, claim, Some(allocation)).await?;
        }
        for claim in placement.allocated.iter().filter(|claim| !is_reserved_for(claim, &pod.uid)) {
            self.reserve(pod, claim, None).await?;
        }
        Ok(())
    }

    async fn reserve(&self, pod: &PodInfo, claim: &ResourceClaim, allocation: Option<&Value>) -> Result<(), String> {
        let (name, uid) = (claim.name(), &claim.metadata.uid);
        let claims: Api<ResourceClaim> = Api::namespaced(self.client.clone(), &pod.namespace);
        let mut revision = claim.metadata.resource_version.clone();
        if allocation.is_some() {
            let finalizers = claim.metadata.finalizers.iter().flatten().map(String::as_str);
            let all: Vec<&str> = finalizers.filter(|one| *one != FINALIZER).chain([FINALIZER]).collect();
            let meta = json!({"uid": uid, "resourceVersion": revision, "finalizers": all});
            let patch = Patch::Merge(json!({ "metadata": meta }));
            let written = claims.patch(name, &PatchParams::default(), &patch).await;
            let written = written.map_err(|error| format!("add finalizer to claim {name}: {}", sentence(&error)))?;
            revision = written.metadata.resource_version;
        }
        let user = json!({"resource": "pods", "name": pod.name, "uid": pod.uid});
        let users = claim.fields["status"]["reservedFor"].as_array().cloned().unwrap_or_default();
        let mut status = json!({"reservedFor": users.into_iter().chain([user]).collect::<Vec<_>>()});
        if let Some(allocation) = allocation {
            status["allocation"] = allocation.clone();
        }
        let meta = json!({"uid": uid, "resourceVersion": revision});
        let patch = Patch::Merge(json!({"metadata": meta, "status": status}));
        let written = claims.patch_status(name, &PatchParams::default(), &patch).await;
        let what = if allocation.is_some() { "allocation and reservation" } else { "reservation" };
        written.map(drop).map_err(|error| format!("add {what} to claim {name}: {}", sentence(&error)))
    }

    /// Takes the pod out of claims that it was not bound with; whoever looks after claims takes their devices back.
    pub(super) async fn unreserve_devices(&self, pod: &PodInfo, placement: &Placement) {
        let given = placement.devices.iter().map(|(claim, _)| claim);
        let claims: Api<ResourceClaim> = Api::namespaced(self.client.clone(), &pod.namespace);
        for claim in given.chain(placement.allocated.iter().filter(|claim| !is_reserved_for(claim, &pod.uid))) {
            let gone = json!({"$patch": "delete", "uid": pod.uid});
            let patch = json!({"metadata": {"uid": claim.metadata.uid}, "status": {"reservedFor": [gone]}});
            let written = claims.patch_status(claim.name(), &PatchParams::default(), &Patch::Strategic(patch)).await;
            if let Err(error) = written {
                tracing::debug!(error = sentence(&error), claim = claim.name(), "a reservation is not taken back");
            }
        }
    }
}
