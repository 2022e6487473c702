//! Claims that ask for more than their volumes have.

use super::{AGAIN, Keeper, words};
use crate::context::{ControllerError, EventKind, On};
use crate::looking::{Again, Outcome};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use skiff_client::Key;
use skiff_client::loose::PersistentVolume;
use skiff_proto::quantity::Quantity;

/// What a claim's status says while its volume grows.
enum Stage {
    Begun,
    /// The nodes where it is mounted have to do the rest.
    OnNodes,
    Done,
    Failed,
}

impl Keeper {
    /// Grows the volume `name` of a bound claim, if the claim asks for more.
    pub(super) async fn grow(&self, key: &Key, claim: &PersistentVolumeClaim, name: &str) -> Outcome {
        let Some(volume) = self.volumes.get("", name) else { return Ok(Again::OnChange) };
        let status = claim.status.as_ref();
        let bound = status.and_then(|status| status.phase.as_deref()) == Some("Bound");
        let (wanted, has) = (words::bytes_of(claim), bytes(volume.text("/spec/capacity/storage")));
        let told = status.and_then(|status| status.capacity.as_ref()?.get("storage"));
        let told = told.map_or(0, |amount| bytes(&amount.0));
        if !bound || volume.text("/spec/csi/driver") != self.driver.name() || wanted <= told.min(has) {
            return Ok(Again::OnChange);
        }
        if wanted <= has && is_on_nodes(claim) {
            // The kubelet has its part to do.
            return Ok(Again::OnChange);
        }
        self.say(key, claim, &Stage::Begun, wanted).await?;
        let message = format!("External resizer is resizing volume {name}");
        self.context.tell(claim, EventKind::Normal, "Resizing", message);
        let grown = self.driver.grow(volume.text("/spec/csi/volumeHandle"), wanted).await;
        let (bytes, on_nodes) = match grown {
            Ok(grown) => grown,
            Err(trouble) => {
                let message =
                    format!("resize volume \"{name}\" by resizer \"{}\" failed: {trouble}", self.driver.name());
                self.context.tell(claim, EventKind::Warning, "VolumeResizeFailed", message);
                self.say(key, claim, &Stage::Failed, wanted).await?;
                return Ok(Again::After(AGAIN));
            }
        };
        self.write_size(key, &volume, bytes.max(wanted)).await?;
        if on_nodes {
            self.say(key, claim, &Stage::OnNodes, wanted).await?;
            let message = "Require file system resize of volume on node".to_owned();
            self.context.tell(claim, EventKind::Normal, "FileSystemResizeRequired", message);
        } else {
            self.say(key, claim, &Stage::Done, bytes.max(wanted)).await?;
            self.context.tell(claim, EventKind::Normal, "VolumeResizeSuccessful", "Resize volume succeeded".to_owned());
        }
        Ok(Again::OnChange)
    }

    async fn write_size(&self, key: &Key, volume: &PersistentVolume, bytes: i64) -> Result<(), ControllerError> {
        let name = volume.name();
        let patch = json!({"metadata": {"resourceVersion": volume.metadata.resource_version},
            "spec": {"capacity": {"storage": words::quantity(bytes)}}});
        let api: Api<PersistentVolume> = Api::all(self.context.client.clone());
        let written = api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        let written = written.on(|| format!("update persistentvolume {name}"))?;
        self.own.wrote(key, &self.volumes, &written);
        Ok(())
    }

    async fn say(
        &self,
        key: &Key,
        claim: &PersistentVolumeClaim,
        stage: &Stage,
        bytes: i64,
    ) -> Result<(), ControllerError> {
        let status = status(claim, stage, bytes);
        self.patch_claim(key, &json!({ "status": status }), true).await.map(drop)
    }
}

fn bytes(text: &str) -> i64 {
    Quantity::parse(text).map_or(0, |amount| amount.units())
}

/// Whether the nodes have the rest to do.
fn is_on_nodes(claim: &PersistentVolumeClaim) -> bool {
    let conditions = claim.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "FileSystemResizePending"))
}

/// The part of the claim's status that growth changes.
fn status(claim: &PersistentVolumeClaim, stage: &Stage, bytes: i64) -> Value {
    let of_ours = |kind: &str| matches!(kind, "Resizing" | "FileSystemResizePending");
    let all = claim.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut conditions: Vec<Value> = all.iter().filter(|one| !of_ours(&one.type_)).map(|one| json!(one)).collect();
    let mut add = |kind: &str, message: &str| {
        conditions.push(json!({"type": kind, "status": "True", "message": message,
            "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()}));
    };
    let size = words::quantity(bytes);
    let step = match stage {
        Stage::Begun => {
            add("Resizing", "");
            Value::from("ControllerResizeInProgress")
        }
        Stage::OnNodes => {
            let message = "Waiting for user to (re-)start a pod to finish file system resize of volume on node.";
            add("FileSystemResizePending", message);
            "NodeResizePending".into()
        }
        Stage::Failed => {
            add("Resizing", "");
            "ControllerResizeInProgress".into()
        }
        Stage::Done => Value::Null,
    };
    let mut status = json!({"allocatedResources": {"storage": size}, "allocatedResourceStatuses": {"storage": step}});
    status["conditions"] = conditions.into();
    if let Stage::Done = stage {
        status["capacity"] = json!({"storage": size});
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_says_how_far_its_growth_is() {
        let claim = serde_json::from_value(json!({"metadata": {}, "status": {"conditions": [
            {"type": "Resizing", "status": "True"}, {"type": "Other", "status": "True"}]}}))
        .unwrap();
        let of = |stage| status(&claim, &stage, 2 << 30);
        let kinds = |status: &Value| {
            let list = status["conditions"].as_array().unwrap().clone();
            list.iter().map(|one| one["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&of(Stage::Begun)), ["Other", "Resizing"]);
        assert_eq!(kinds(&of(Stage::OnNodes)), ["Other", "FileSystemResizePending"]);
        let done = of(Stage::Done);
        assert_eq!((kinds(&done), done["capacity"]["storage"].as_str()), (vec!["Other".to_owned()], Some("2Gi")));
    }
}
