//! Has a driver grow what it has put in place, when the volume has grown, and says so in the claim.

use super::driver::call;
use super::publish::{Wanted, secret};
use crate::events::Severity;
use crate::volume::record;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use skiff_client::sentence;
use skiff_csi::call::said;
use skiff_csi::csi::v1 as csi;
use skiff_csi::csi::v1::node_service_capability::rpc::Type as Can;
use skiff_proto::quantity::Quantity;

/// Grows the volume of `claim` if its driver grows volumes on nodes and it has not grown here yet; whether it may have to be looked at again.
///
/// # Errors
/// Why it has not grown, as a sentence.
pub(crate) async fn grow(wanted: &Wanted<'_>, claim: &PersistentVolumeClaim) -> Result<bool, String> {
    let (agent, source) = (wanted.agent, wanted.source);
    let driver = match agent.plugins.driver(&source.driver) {
        Ok(driver) if driver.can(Can::ExpandVolume) && !source.read_only => driver,
        Ok(_) => return Ok(false),
        // After a restart of the kubelet it comes back in a moment.
        Err(_) => return Ok(true),
    };
    let told = claim.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage"));
    let told = told.and_then(|amount| Quantity::parse(&amount.0).ok()).map_or(0, |amount| amount.units());
    if told == 0 || told >= source.capacity {
        return Ok(true);
    }
    let about = |error: std::io::Error| format!("read what was set up: {error}");
    let Some(published) = record::read(&wanted.dir, wanted.name).map_err(about)?.and_then(|record| record.driver)
    else {
        return Ok(true);
    };
    let request = csi::NodeExpandVolumeRequest {
        volume_id: source.handle.clone(),
        volume_path: published.target.display().to_string(),
        capacity_range: Some(csi::CapacityRange { required_bytes: source.capacity, limit_bytes: 0 }),
        staging_target_path: published.staging.map(|path| path.display().to_string()).unwrap_or_default(),
        volume_capability: Some(source.capability(None, driver.can(Can::SingleNodeMultiWriter))),
        secrets: secret(agent, source.expand_secret.as_ref()).await?,
    };
    let grown = driver.node().node_expand_volume(call(request)).await;
    grown.map_err(|status| format!("NodeExpandVolume failed for volume \"{}\": {}", source.name, said(&status)))?;
    finish(wanted, claim).await?;
    let message = format!("MountVolume.NodeExpandVolume succeeded for volume \"{}\" {}", source.name, agent.node_name);
    agent.recorder.pod(wanted.pod, None, Severity::Normal, "FileSystemResizeSuccessful", message);
    Ok(true)
}

/// The claim has what it was promised.
async fn finish(wanted: &Wanted<'_>, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let conditions = claim.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let left: Vec<Value> = conditions
        .iter()
        .filter(|one| !matches!(one.type_.as_str(), "FileSystemResizePending" | "Resizing"))
        .map(|one| json!(one))
        .collect();
    let patch = json!({"status": {"capacity": {"storage": wanted.source.size}, "conditions": left,
        "allocatedResourceStatuses": null}});
    let (namespace, name) = (claim.metadata.namespace.as_deref().unwrap_or_default(), claim.metadata.name.as_deref());
    let api: Api<PersistentVolumeClaim> = Api::namespaced(wanted.agent.client.clone(), namespace);
    let name = name.unwrap_or_default();
    let written = api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    written.map(drop).map_err(|error| format!("update the status of PVC {namespace}/{name}: {}", sentence(&error)))
}
