//! Lets go of volumes, claims and classes of attributes that are to be deleted once nobody uses them any more.
//!
//! They are held by a finalizer each, which the API server gives them when they are made; objects older than that get it here.

use super::users;
use crate::context::{Context, ControllerError, On, absent_is_none};
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::json;
use skiff_client::loose::{PersistentVolume, VolumeAttributesClass};
use skiff_client::{Cache, Change, Kept, Key};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const OF_CLAIMS: &str = "kubernetes.io/pvc-protection";
const OF_VOLUMES: &str = "kubernetes.io/pv-protection";
const OF_ATTRIBUTES: &str = "kubernetes.io/vac-protection";

/// What has to be done about an object's finalizer.
#[derive(Debug, PartialEq, Eq)]
enum Hold {
    Take,
    /// Whoever asks must look whether it is used.
    Ask,
    Leave,
}

fn hold(meta: &kube::api::ObjectMeta, finalizer: &str) -> Hold {
    let held = meta.finalizers.iter().flatten().any(|one| one == finalizer);
    match (meta.deletion_timestamp.is_some(), held) {
        (false, false) => Hold::Take,
        (true, true) => Hold::Ask,
        _ => Hold::Leave,
    }
}

/// Writes the list of finalizers with or without ours, if the object is still as it was read.
async fn write<K: Kept + Clone + DeserializeOwned>(
    api: &Api<K>,
    object: &K,
    finalizer: &str,
    held: bool,
) -> Result<Option<K>, ControllerError> {
    let meta = object.meta();
    let mut list: Vec<_> = meta.finalizers.iter().flatten().filter(|one| *one != finalizer).cloned().collect();
    if held {
        list.push(finalizer.to_owned());
    }
    let name = meta.name.clone().unwrap_or_default();
    let patch = json!({"metadata": {"finalizers": list, "resourceVersion": meta.resource_version, "uid": meta.uid}});
    let written = absent_is_none(api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await);
    let word = if held { "add" } else { "remove" };
    written.on(|| format!("{word} finalizer {finalizer} of {} {name}", K::kind(&())))
}

struct Claims {
    context: Context,
    own: Own,
    claims: Cache<PersistentVolumeClaim>,
    pods: Cache<Pod>,
}

/// Holds claims that pods use. Runs until `shutdown`.
pub(crate) async fn claims(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let claims = looking.over::<PersistentVolumeClaim>();
    let pods = looking.context.caches.all::<Pod>();
    looking.when(&pods, |change| change.now.or(change.before).map(|pod| users::keys(pod)).unwrap_or_default());
    let keeper = Arc::new(Claims { context: looking.context.clone(), own: looking.own.clone(), claims, pods });
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

impl Claims {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else { return Ok(Again::OnChange) };
        let held = match hold(&claim.metadata, OF_CLAIMS) {
            Hold::Leave => return Ok(Again::OnChange),
            Hold::Take => true,
            Hold::Ask if self.is_used(&claim).await? => return Ok(Again::OnChange),
            Hold::Ask => false,
        };
        let api: Api<PersistentVolumeClaim> = self.context.api(&key.namespace);
        if let Some(written) = write(&api, &*claim, OF_CLAIMS, held).await? {
            self.own.wrote(&key, &self.claims, &written);
        }
        Ok(Again::OnChange)
    }

    /// Whether a pod on a node uses it. A pod without a node does not count: its kubelet will see that the claim is going.
    async fn is_used(&self, claim: &PersistentVolumeClaim) -> Result<bool, ControllerError> {
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        let counts = |pod: &Pod| !users::node(pod).is_empty() && users::uses(pod, claim);
        if self.pods.within(namespace).iter().any(|pod| counts(pod)) {
            return Ok(true);
        }
        // What is let go is gone, so the cache's word that nobody uses it is not enough.
        let api: Api<Pod> = self.context.api(namespace);
        let all = api.list(&ListParams::default()).await.on(|| format!("list pods in namespace {namespace}"))?;
        Ok(all.items.iter().any(counts))
    }
}

/// Holds volumes that are bound. Runs until `shutdown`.
pub(crate) async fn volumes(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let volumes = looking.over::<PersistentVolume>();
    let (context, own) = (looking.context.clone(), looking.own.clone());
    looking
        .run(shutdown, move |key| {
            let (context, own, volumes) = (context.clone(), own.clone(), volumes.clone());
            async move {
                let Some(volume) = volumes.get("", &key.name) else { return Ok(Again::OnChange) };
                let used = volume.text("/status/phase") == "Bound";
                let held = match hold(&volume.metadata, OF_VOLUMES) {
                    Hold::Take => true,
                    Hold::Ask if !used => false,
                    _ => return Ok(Again::OnChange),
                };
                let api: Api<PersistentVolume> = Api::all(context.client.clone());
                if let Some(written) = write(&api, &*volume, OF_VOLUMES, held).await? {
                    own.wrote(&key, &volumes, &written);
                }
                Ok(Again::OnChange)
            }
            .boxed()
        })
        .await;
}

struct Attributes {
    context: Context,
    own: Own,
    classes: Cache<VolumeAttributesClass>,
    volumes: Cache<PersistentVolume>,
    claims: Cache<PersistentVolumeClaim>,
}

/// Holds classes of attributes that volumes and claims name. Runs until `shutdown`.
pub(crate) async fn attributes(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let classes = looking.over::<VolumeAttributesClass>();
    let caches = looking.context.caches.clone();
    let (volumes, claims) = (caches.all::<PersistentVolume>(), caches.all::<PersistentVolumeClaim>());
    let both = |change: Change<'_, PersistentVolume>| -> Vec<Key> {
        let sides = [change.before, change.now].into_iter().flatten();
        sides.filter_map(|volume| named(volume)).map(|name| Key::new("", name)).collect()
    };
    looking.when(&volumes, both);
    looking.when(&claims, |change| {
        let sides = [change.before, change.now].into_iter().flatten();
        sides.flat_map(|claim| names_of(claim)).map(|name| Key::new("", &name)).collect()
    });
    let keeper = Attributes { context: looking.context.clone(), own: looking.own.clone(), classes, volumes, claims };
    let keeper = Arc::new(keeper);
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

/// The class of attributes of a volume.
fn named(volume: &PersistentVolume) -> Option<&str> {
    Some(volume.text("/spec/volumeAttributesClassName")).filter(|name| !name.is_empty())
}

/// The classes of attributes that a claim asks for, has, or is being given.
fn names_of(claim: &PersistentVolumeClaim) -> Vec<String> {
    let status = claim.status.as_ref();
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    let present = status.and_then(|status| status.current_volume_attributes_class_name.clone());
    let target =
        status.and_then(|status| status.modify_volume_status.as_ref()?.target_volume_attributes_class_name.clone());
    [wanted, present, target].into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

impl Attributes {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let Some(class) = self.classes.get("", &key.name) else { return Ok(Again::OnChange) };
        let used = || {
            self.volumes.all().iter().any(|volume| named(volume) == Some(&key.name))
                || self.claims.all().iter().any(|claim| names_of(claim).contains(&key.name))
        };
        let held = match hold(&class.metadata, OF_ATTRIBUTES) {
            Hold::Take => true,
            Hold::Ask if !used() => false,
            _ => return Ok(Again::OnChange),
        };
        let api: Api<VolumeAttributesClass> = Api::all(self.context.client.clone());
        if let Some(written) = write(&api, &*class, OF_ATTRIBUTES, held).await? {
            self.own.wrote(&key, &self.classes, &written);
        }
        Ok(Again::OnChange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_held_and_what_goes_is_asked_about() {
        let of = |deleting: bool, held: bool| {
            let meta = json!({"deletionTimestamp": deleting.then_some("2026-01-01T00:00:00Z"),
                "finalizers": if held { vec![OF_CLAIMS] } else { vec!["other"] }});
            hold(&serde_json::from_value(meta).unwrap(), OF_CLAIMS)
        };
        assert_eq!(of(false, false), Hold::Take);
        assert_eq!(of(false, true), Hold::Leave);
        assert_eq!(of(true, true), Hold::Ask);
        assert_eq!(of(true, false), Hold::Leave, "nothing is added to what is going");
    }
}
