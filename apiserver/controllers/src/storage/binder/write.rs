//! Performs the steps of a plan, each on the object as it was read or as our last write left it: whoever wrote meanwhile has the
//! next look at it decided anew.

use super::Binder;
use super::plan::Step;
use super::read::{BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONER, PROVISIONER_BETA, Reference, SELECTED_NODE};
use crate::context::{ControllerError, EventKind, On};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use skiff_client::Key;
use skiff_client::loose::PersistentVolume;
use std::collections::HashMap;

/// What a plan's steps are about, each in its last known state.
struct Scene {
    claim: Option<PersistentVolumeClaim>,
    volumes: HashMap<String, PersistentVolume>,
}

impl Binder {
    /// Performs `steps` about `key`, until one fails.
    pub(super) async fn perform(
        &self,
        key: &Key,
        steps: Vec<Step>,
        claim: Option<PersistentVolumeClaim>,
    ) -> Result<(), ControllerError> {
        let mut scene = Scene { claim, volumes: HashMap::new() };
        for step in steps {
            self.step(key, &mut scene, step).await?;
        }
        Ok(())
    }

    async fn step(&self, key: &Key, scene: &mut Scene, step: Step) -> Result<(), ControllerError> {
        match step {
            Step::Look(of) => self.queue.add(Key::new(&of.namespace, &of.name)),
            Step::Tell { warning, reason, message } => self.tell(key, scene, warning, reason, message),
            Step::Reserve { volume, claim, ours } => {
                let mut patch = json!({"spec": {"claimRef": reference(&claim, scene)}});
                if ours {
                    patch["metadata"] = json!({"annotations": {BOUND_BY_CONTROLLER: "yes"}});
                }
                self.patch_volume(key, scene, &volume, patch, None).await?;
            }
            Step::Unbind { volume, keep } => {
                let patch = if keep {
                    json!({"spec": {"claimRef": {"uid": null, "resourceVersion": null}}})
                } else {
                    json!({"metadata": {"annotations": {BOUND_BY_CONTROLLER: null}}, "spec": {"claimRef": null}})
                };
                self.patch_volume(key, scene, &volume, patch, None).await?;
            }
            Step::VolumePhase { volume, phase, message } => {
                let message = if message.is_empty() { Value::Null } else { message.into() };
                let patch = json!({"status": {"phase": phase, "message": message}});
                self.patch_volume(key, scene, &volume, patch, Some("status")).await?;
            }
            Step::Settle { volume, ours } => {
                let mut annotations = json!({BIND_COMPLETED: "yes"});
                if ours {
                    annotations[BOUND_BY_CONTROLLER] = "yes".into();
                }
                let patch = json!({"metadata": {"annotations": annotations}, "spec": {"volumeName": volume}});
                self.patch_claim(key, scene, patch, None).await?;
            }
            Step::ClaimPhase { phase, volume } => {
                let volume = volume.and_then(|name| scene.volumes.remove(&name).or_else(|| self.known(&name)));
                let patch = json!({"status": claim_status(phase, volume.as_ref(), scene.claim.as_ref())});
                self.patch_claim(key, scene, patch, Some("status")).await?;
            }
            Step::SetClass(class) => {
                self.patch_claim(key, scene, json!({"spec": {"storageClassName": class}}), None).await?;
            }
            Step::SelectNode(node) => {
                let patch = json!({"metadata": {"annotations": {SELECTED_NODE: node}}});
                self.patch_claim(key, scene, patch, None).await?;
            }
            Step::Ask(by) => {
                let patch = json!({"metadata": {"annotations": {PROVISIONER: by, PROVISIONER_BETA: by}}});
                self.patch_claim(key, scene, patch, None).await?;
            }
        }
        Ok(())
    }

    fn known(&self, name: &str) -> Option<PersistentVolume> {
        self.volumes.get("", name).map(|volume| (*volume).clone())
    }

    fn tell(&self, key: &Key, scene: &Scene, warning: bool, reason: &str, message: String) {
        if !self.told.is_new(key, &message) {
            return;
        }
        let kind = if warning { EventKind::Warning } else { EventKind::Normal };
        if let Some(claim) = &scene.claim {
            self.context.tell(claim, kind, reason, message);
        } else if let Some(volume) = self.known(&key.name) {
            self.context.tell(&volume, kind, reason, message);
        }
    }

    async fn patch_volume(
        &self,
        key: &Key,
        scene: &mut Scene,
        name: &str,
        mut patch: Value,
        part: Option<&str>,
    ) -> Result<(), ControllerError> {
        let Some(volume) = scene.volumes.remove(name).or_else(|| self.known(name)) else { return Ok(()) };
        guard(&mut patch, &volume.metadata);
        let api: Api<PersistentVolume> = Api::all(self.context.client.clone());
        let (options, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let written = match part {
            None => api.patch(name, &options, &patch).await,
            Some(_) => api.patch_status(name, &options, &patch).await,
        };
        let written = written.on(|| format!("update persistentvolume {name}"))?;
        self.own.wrote(key, &self.volumes, &written);
        scene.volumes.insert(name.to_owned(), written);
        Ok(())
    }

    async fn patch_claim(
        &self,
        key: &Key,
        scene: &mut Scene,
        mut patch: Value,
        part: Option<&str>,
    ) -> Result<(), ControllerError> {
        let Some(claim) = &scene.claim else { return Ok(()) };
        guard(&mut patch, &claim.metadata);
        let api: Api<PersistentVolumeClaim> = self.context.api(&key.namespace);
        let (options, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let written = match part {
            None => api.patch(&key.name, &options, &patch).await,
            Some(_) => api.patch_status(&key.name, &options, &patch).await,
        };
        let written = written.on(|| format!("update persistentvolumeclaim {key}"))?;
        self.own.wrote(key, &self.claims, &written);
        scene.claim = Some(written);
        Ok(())
    }
}

/// A patch of the object in this state and no other.
fn guard(patch: &mut Value, meta: &kube::api::ObjectMeta) {
    patch["metadata"]["uid"] = json!(meta.uid);
    patch["metadata"]["resourceVersion"] = json!(meta.resource_version);
}

fn reference(claim: &Reference, scene: &Scene) -> Value {
    let revision = scene.claim.as_ref().and_then(|claim| claim.metadata.resource_version.clone());
    json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": claim.namespace, "name": claim.name,
        "uid": claim.uid, "resourceVersion": revision})
}

/// The status of a claim in `phase`: what it may do with its volume and how large that is. What a bound claim has been told
/// about its size stays, because a filesystem grows after its device.
fn claim_status(phase: &str, volume: Option<&PersistentVolume>, claim: Option<&PersistentVolumeClaim>) -> Value {
    let Some(volume) = volume else {
        return json!({"phase": phase, "accessModes": null, "capacity": null, "currentVolumeAttributesClassName": null});
    };
    let mut status = json!({"phase": phase, "accessModes": volume.fields["spec"]["accessModes"]});
    let before = claim.and_then(|claim| claim.status.as_ref()?.phase.clone()).unwrap_or_default();
    if before != phase {
        status["capacity"] = json!({"storage": volume.fields["spec"]["capacity"]["storage"]});
    }
    let attributes = &volume.fields["spec"]["volumeAttributesClassName"];
    if before == "Pending" && attributes.is_string() {
        status["currentVolumeAttributesClassName"] = attributes.clone();
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_claim_keeps_the_size_that_it_was_told() {
        let volume: PersistentVolume = serde_json::from_value(json!({"metadata": {"name": "v"},
            "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}}}))
        .unwrap();
        let claim = |phase: &str| serde_json::from_value(json!({"metadata": {}, "status": {"phase": phase}})).unwrap();
        let first = claim_status("Bound", Some(&volume), Some(&claim("Pending")));
        assert_eq!(first["capacity"]["storage"], "2Gi");
        let again = claim_status("Bound", Some(&volume), Some(&claim("Bound")));
        assert_eq!(again.get("capacity"), None);
        assert_eq!(claim_status("Lost", None, None)["accessModes"], Value::Null);
    }
}
