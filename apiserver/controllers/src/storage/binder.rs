//! Binds claims to volumes: to those that are there, or to one that a provisioner makes for the claim.
//!
//! One loop over both kinds. A key with a namespace is a claim, one without is a volume.

mod fit; // which volume fits a claim
mod plan; // what to write; no I/O
mod read; // volumes and claims as the plan sees them
mod told; // what users have been told already
mod write; // performs a plan's steps

use super::users;
use crate::context::{Context, ControllerError, On, absent_is_none};
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::api::Api;
use plan::{Classes, Users};
use read::{Claim, Class, Volume, default_class};
use skiff_client::affinity::Place;
use skiff_client::loose::{PersistentVolume, StorageClass};
use skiff_client::{Cache, Change, Key, Queue};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use told::Told;

struct Binder {
    context: Context,
    own: Own,
    queue: Queue,
    told: Told,
    volumes: Cache<PersistentVolume>,
    claims: Cache<PersistentVolumeClaim>,
    classes: Cache<StorageClass>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
}

/// Runs until `shutdown`.
pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let claims = looking.over::<PersistentVolumeClaim>();
    let volumes = looking.over::<PersistentVolume>();
    let caches = looking.context.caches.clone();
    let (classes, pods, nodes) = (caches.all::<StorageClass>(), caches.all::<Pod>(), caches.all::<Node>());
    // A free volume may be what a claim waits for, and a claim that came or went changes its volume.
    let waiting = claims.clone();
    looking.when(&volumes, move |change| concerned_by_volume(&change, &waiting));
    looking.when(&claims, |change| {
        let named = |claim: &Arc<PersistentVolumeClaim>| claim.spec.as_ref()?.volume_name.clone();
        let sides = [change.before, change.now].into_iter().flatten();
        sides.filter_map(named).map(|name| Key::new("", &name)).collect()
    });
    let waiting = claims.clone();
    looking.when(&classes, move |_| unbound(&waiting));
    looking.when(&pods, |change| change.now.or(change.before).map(|pod| users::keys(pod)).unwrap_or_default());
    looking.needs(&nodes);
    let (context, own, queue) = (looking.context.clone(), looking.own.clone(), looking.queue());
    let binder = Binder { context, own, queue, told: Told::default(), volumes, claims, classes, pods, nodes };
    let binder = Arc::new(binder);
    looking.run(shutdown, move |key| binder.clone().reconcile(key).boxed()).await;
}

/// The claims that have no volume yet.
fn unbound(claims: &Cache<PersistentVolumeClaim>) -> Vec<Key> {
    let is_waiting = |claim: &Arc<PersistentVolumeClaim>| {
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        !matches!(phase, Some("Bound" | "Lost"))
    };
    claims.all().iter().filter(|claim| is_waiting(claim)).map(|claim| Key::of(&claim.metadata)).collect()
}

fn concerned_by_volume(change: &Change<'_, PersistentVolume>, claims: &Cache<PersistentVolumeClaim>) -> Vec<Key> {
    let of = |volume: &Arc<PersistentVolume>| {
        let name = volume.text("/spec/claimRef/name");
        (!name.is_empty()).then(|| Key::new(volume.text("/spec/claimRef/namespace"), name))
    };
    let mut keys: Vec<_> = [change.before, change.now].into_iter().flatten().filter_map(of).collect();
    let is_free = |volume: &Arc<PersistentVolume>| volume.text("/status/phase") == "Available";
    if change.now.is_some_and(is_free) && !change.before.is_some_and(is_free) {
        keys.extend(unbound(claims));
    }
    // Claims that name a volume which came or went.
    if change.now.is_none() || change.before.is_none() {
        let name = change.meta().name.clone();
        let named =
            |claim: &Arc<PersistentVolumeClaim>| claim.spec.as_ref().is_some_and(|spec| spec.volume_name == name);
        keys.extend(claims.all().iter().filter(|claim| named(claim)).map(|claim| Key::of(&claim.metadata)));
    }
    keys
}

impl Binder {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        if key.namespace.is_empty() { self.volume(&key).await } else { self.claim(&key).await }
    }

    async fn claim(&self, key: &Key) -> Outcome {
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else {
            self.told.forget(key);
            return Ok(Again::OnChange);
        };
        let seen = Claim::of(&claim);
        // Only a claim that names no volume may take any of them.
        let offered = match seen.volume.as_str() {
            "" => self.volumes.all(),
            named => self.volumes.get("", named).into_iter().collect(),
        };
        let volumes: Vec<_> = offered.iter().map(|volume| Volume::of(volume)).collect();
        let named = self.classes.get("", seen.class()).map(|class| Class::of(&class));
        let classes = Classes { named, default: default_class(&self.classes.all()) };
        let steps = plan::claim(&seen, &volumes, &classes, &self.users(&claim));
        self.perform(key, steps, Some((*claim).clone())).await?;
        Ok(Again::OnChange)
    }

    /// The pods that use `claim`.
    fn users(&self, claim: &PersistentVolumeClaim) -> Users {
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        let mut pods = self.pods.within(namespace);
        pods.retain(|pod| crate::owned::is_active(pod) && users::uses(pod, claim));
        pods.sort_by_key(|pod| pod.metadata.name.clone());
        let name = pods.iter().map(|pod| users::node(pod)).find(|name| !name.is_empty());
        let place = name.and_then(|name| self.nodes.get("", name)).map(|node| Place {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
        });
        let waiting = pods.iter().filter(|pod| users::node(pod).is_empty());
        Users { place, waiting: waiting.filter_map(|pod| pod.metadata.name.clone()).collect() }
    }

    async fn volume(&self, key: &Key) -> Outcome {
        let Some(volume) = self.volumes.get("", &key.name) else {
            self.told.forget(key);
            return Ok(Again::OnChange);
        };
        let seen = Volume::of(&volume);
        let claim = match &seen.claim {
            Some(of) if !of.uid.is_empty() => self.claim_of(&seen, of).await?,
            _ => None,
        };
        let steps = plan::volume(&seen, claim.as_ref());
        self.perform(key, steps, None).await?;
        Ok(Again::OnChange)
    }

    /// The claim that a volume names. What is not in the cache may only not be there yet, and a volume must not be given up for that: so the server
    /// is asked.
    async fn claim_of(&self, volume: &Volume, of: &read::Reference) -> Result<Option<Claim>, ControllerError> {
        let known = self.claims.get(&of.namespace, &of.name).map(|claim| Claim::of(&claim));
        if known.as_ref().is_some_and(|claim| claim.uid == of.uid)
            || volume.phase == "Released"
            || volume.phase == "Failed"
        {
            return Ok(known);
        }
        let api: Api<PersistentVolumeClaim> = self.context.api(&of.namespace);
        let found = absent_is_none(api.get(&of.name).await);
        let found = found.on(|| format!("get persistentvolumeclaim {}/{}", of.namespace, of.name))?;
        Ok(found.map(|claim| Claim::of(&claim)))
    }
}
