//! Makes the claims of pods' ephemeral volumes; they go with their pod.

use super::users::{claim_name, is_own};
use crate::context::{Context, ControllerError, EventKind, On};
use crate::looking::{Again, Loop, Outcome, Own};
use crate::owned::{key_of_controller, owner_reference};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimTemplate, Pod, Volume};
use kube::api::{Api, ObjectMeta, PostParams};
use skiff_client::{Cache, Key};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

struct Keeper {
    context: Context,
    own: Own,
    pods: Cache<Pod>,
    claims: Cache<PersistentVolumeClaim>,
}

/// Runs until `shutdown`.
pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let caches = looking.context.caches.clone();
    let (pods, claims) = (caches.all::<Pod>(), caches.all::<PersistentVolumeClaim>());
    looking.when(&pods, |change| {
        let volumes = change.now.and_then(|pod| pod.spec.as_ref()).and_then(|spec| spec.volumes.as_ref());
        let has = volumes.is_some_and(|volumes| volumes.iter().any(|volume| volume.ephemeral.is_some()));
        if has { vec![Key::of(change.meta())] } else { Vec::new() }
    });
    looking.when(&claims, |change| key_of_controller(change.meta(), "Pod").into_iter().collect());
    let keeper = Arc::new(Keeper { context: looking.context.clone(), own: looking.own.clone(), pods, claims });
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let Some(pod) = self.pods.get(&key.namespace, &key.name) else { return Ok(Again::OnChange) };
        if pod.metadata.deletion_timestamp.is_some() {
            return Ok(Again::OnChange);
        }
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let template = volume.ephemeral.as_ref().and_then(|source| source.volume_claim_template.as_ref());
            let Some(template) = template else { continue };
            if let Err(error) = self.make(&key, &pod, volume, template).await {
                let message = format!("ephemeral volume {}: {}", volume.name, skiff_client::sentence(&error));
                self.context.tell(&*pod, EventKind::Warning, "FailedBinding", message);
                return Err(error);
            }
        }
        Ok(Again::OnChange)
    }

    async fn make(
        &self,
        key: &Key,
        pod: &Pod,
        volume: &Volume,
        template: &PersistentVolumeClaimTemplate,
    ) -> Result<(), ControllerError> {
        let name = claim_name(pod, volume);
        if let Some(present) = self.claims.get(&key.namespace, &name) {
            // Somebody else's data must not be taken for the pod's own, and must not go with it.
            return if is_own(pod, &present) {
                Ok(())
            } else {
                let why = format!("PVC {}/{name} was not created for pod {key} (pod is not owner)", key.namespace);
                Err(ControllerError::Malformed(why))
            };
        }
        let claim = wanted(pod, &name, template);
        let api: Api<PersistentVolumeClaim> = self.context.api(&key.namespace);
        let made = api.create(&PostParams::default(), &claim).await.on(|| format!("create PVC {name}"))?;
        self.own.wrote(key, &self.claims, &made);
        Ok(())
    }
}

/// The claim of a pod by a template.
fn wanted(pod: &Pod, name: &str, template: &PersistentVolumeClaimTemplate) -> PersistentVolumeClaim {
    let given = template.metadata.clone().unwrap_or_default();
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: given.labels,
            annotations: given.annotations,
            owner_references: Some(vec![owner_reference(pod)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec.clone()),
        status: None,
    }
}
