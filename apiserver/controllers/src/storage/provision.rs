//! Has a driver make, grow and remove volumes for claims (the external provisioner's and resizer's part), over CSI alone.
//!
//! A key with a namespace is a claim, one without is a volume. What a driver is asked has a name that every try shares, so asking again after a crash
//! makes no second volume.

mod defaults; // the class and the driver as objects
mod driver; // how it is asked
mod growth; // claims that ask for more
mod words; // from claims to requests; no I/O

use crate::context::{Context, ControllerError, EventKind, On, absent_is_none, is_status};
use crate::looking::{Again, Loop, Outcome, Own};
use driver::{Driver, Trouble};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Map, Value, json};
use skiff_client::loose::{CSINode, PersistentVolume, StorageClass};
use skiff_client::{Cache, Key};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use words::{FINALIZER, Places};

const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const SELECTED: &str = "volume.kubernetes.io/selected-node";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// How long to wait before a driver is asked again that did not do it.
const AGAIN: Duration = Duration::from_secs(5);

/// A driver, and what is made for it when the loop begins.
#[derive(Debug, Clone)]
pub struct Provisioner {
    /// The driver's name.
    pub driver: String,
    /// Where its controller service listens.
    pub socket: PathBuf,
    /// The default class, if one is to be there.
    pub class: Option<String>,
}

struct Keeper {
    context: Context,
    own: Own,
    driver: Driver,
    claims: Cache<PersistentVolumeClaim>,
    volumes: Cache<PersistentVolume>,
    classes: Cache<StorageClass>,
    nodes: Cache<Node>,
    places: Cache<CSINode>,
}

/// Runs until `shutdown`.
pub(crate) async fn run(context: Context, given: Provisioner, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => return,
        () = defaults::make(&context, &given) => {}
    }
    let mut looking = Loop::new(context);
    let claims = looking.over::<PersistentVolumeClaim>();
    let volumes = looking.over::<PersistentVolume>();
    let caches = looking.context.caches.clone();
    let keeper = Keeper {
        context: looking.context.clone(),
        own: looking.own.clone(),
        driver: Driver::at(&given.driver, &given.socket),
        classes: caches.all::<StorageClass>(),
        nodes: caches.all::<Node>(),
        places: caches.all::<CSINode>(),
        claims,
        volumes,
    };
    looking.needs(&keeper.classes);
    looking.needs(&keeper.nodes);
    let (waiting, name) = (keeper.claims.clone(), given.driver.clone());
    // A driver that has just come to a node may be what claims wait for.
    looking.when(&keeper.places, move |_| {
        let ours = |claim: &&Arc<PersistentVolumeClaim>| annotation(claim, PROVISIONER) == Some(name.as_str());
        waiting.all().iter().filter(ours).map(|claim| Key::of(&claim.metadata)).collect()
    });
    let keeper = Arc::new(keeper);
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

fn annotation<'a>(claim: &'a PersistentVolumeClaim, key: &str) -> Option<&'a str> {
    claim.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        if key.namespace.is_empty() {
            return self.volume(&key).await;
        }
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else { return Ok(Again::OnChange) };
        let bound = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
        if bound.is_empty() { self.provision(&key, &claim).await } else { self.grow(&key, &claim, bound).await }
    }

    /// The claim's class, if the claim is to get a volume of this driver now.
    fn class_of(&self, claim: &PersistentVolumeClaim) -> Option<Arc<StorageClass>> {
        let ours = annotation(claim, PROVISIONER) == Some(self.driver.name());
        let name = claim.spec.as_ref()?.storage_class_name.as_deref()?;
        let class = self.classes.get("", name).filter(|class| class.text("/provisioner") == self.driver.name())?;
        let delayed = class.text("/volumeBindingMode") == "WaitForFirstConsumer";
        let placed = !delayed || annotation(claim, SELECTED).is_some();
        (ours && placed && claim.metadata.deletion_timestamp.is_none()).then_some(class)
    }

    async fn provision(&self, key: &Key, claim: &PersistentVolumeClaim) -> Outcome {
        let Some(class) = self.class_of(claim) else { return Ok(Again::OnChange) };
        let name = words::volume_name(claim);
        if self.volumes.get("", &name).is_some() {
            return Ok(Again::OnChange);
        }
        let asked = match self
            .places_of(claim)
            .and_then(|places| words::request(claim, &class, &places, self.source_of(claim)?))
        {
            Ok(asked) => asked,
            Err(why) => return Ok(self.failed(claim, &class, &why)),
        };
        let made = match self.driver.create(asked).await {
            Ok(made) => made,
            Err(trouble) => {
                if matches!(trouble, Trouble::Full(_)) && annotation(claim, SELECTED).is_some() {
                    self.place_elsewhere(key, claim).await?;
                }
                return Ok(self.failed(claim, &class, &trouble.to_string()));
            }
        };
        let volume = words::volume(claim, &class, self.driver.name(), &made);
        let api: Api<PersistentVolume> = Api::all(self.context.client.clone());
        match api.create(&PostParams::default(), &volume).await {
            Err(error) if is_status(&error, 409) => return Ok(Again::OnChange),
            written => {
                let written = written.on(|| format!("create persistentvolume {name}"))?;
                self.own.wrote(key, &self.volumes, &written);
            }
        }
        let message = format!("Successfully provisioned volume {name}");
        self.context.tell(claim, EventKind::Normal, "ProvisioningSucceeded", message);
        Ok(Again::OnChange)
    }

    fn failed(&self, claim: &PersistentVolumeClaim, class: &StorageClass, why: &str) -> Again {
        let message = format!("failed to provision volume with StorageClass \"{}\": {why}", class.name());
        self.context.tell(claim, EventKind::Warning, "ProvisioningFailed", message);
        Again::After(AGAIN)
    }

    /// The volume that the claim is to be a copy of.
    fn source_of(&self, claim: &PersistentVolumeClaim) -> Result<Option<String>, String> {
        let spec = claim.spec.as_ref();
        let source = spec.and_then(|spec| json!(spec.data_source).as_object().cloned());
        let Some(source) = source else { return Ok(None) };
        let (kind, name) = (source["kind"].as_str().unwrap_or_default(), source["name"].as_str().unwrap_or_default());
        if kind != "PersistentVolumeClaim" {
            return Err(format!("spec.dataSource: copies of {kind} are not implemented"));
        }
        let from = self.claims.get(claim.metadata.namespace.as_deref().unwrap_or_default(), name);
        let volume = from.and_then(|from| self.volumes.get("", from.spec.as_ref()?.volume_name.as_deref()?));
        let volume = volume.filter(|volume| volume.text("/spec/csi/driver") == self.driver.name());
        let handle = volume.map(|volume| volume.text("/spec/csi/volumeHandle").to_owned());
        handle.map(Some).ok_or_else(|| format!("spec.dataSource: claim {name} has no volume of this driver"))
    }

    /// Where the volume may be: at the node that was chosen, or wherever the driver is.
    fn places_of(&self, claim: &PersistentVolumeClaim) -> Result<Places, String> {
        let chosen = annotation(claim, SELECTED);
        let nodes = self.nodes.all();
        let mut places = Places::new();
        for node in nodes.iter().filter(|node| chosen.is_none_or(|name| node.metadata.name.as_deref() == Some(name))) {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            let Some(keys) = self.keys_at(name) else { continue };
            let labels = node.metadata.labels.iter().flatten();
            let labels: Map<String, Value> = labels.map(|(key, value)| (key.clone(), value.clone().into())).collect();
            let place = words::place(&keys, &labels);
            if place.len() == keys.len() {
                places.push(place);
            }
        }
        match chosen {
            Some(name) if places.is_empty() => {
                Err(format!("node {name} does not have driver {} yet", self.driver.name()))
            }
            _ => Ok(places),
        }
    }

    /// By which labels the driver tells places apart at a node; `None`: it is not there.
    fn keys_at(&self, node: &str) -> Option<Vec<String>> {
        let object = self.places.get("", node)?;
        let drivers = object.fields.pointer("/spec/drivers")?.as_array()?.clone();
        let ours = drivers.into_iter().find(|one| one["name"] == self.driver.name())?;
        let keys = ours["topologyKeys"].as_array().cloned().unwrap_or_default();
        Some(keys.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// Gives the choice of a node back to the scheduler.
    async fn place_elsewhere(&self, key: &Key, claim: &PersistentVolumeClaim) -> Result<(), ControllerError> {
        let revision = &claim.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": revision, "annotations": {SELECTED: null}}});
        self.patch_claim(key, &patch, false).await.map(drop)
    }

    async fn patch_claim(
        &self,
        key: &Key,
        patch: &Value,
        status: bool,
    ) -> Result<Option<PersistentVolumeClaim>, ControllerError> {
        let api: Api<PersistentVolumeClaim> = self.context.api(&key.namespace);
        let (options, patch) = (PatchParams::default(), Patch::Merge(patch));
        let written = match status {
            true => api.patch_status(&key.name, &options, &patch).await,
            false => api.patch(&key.name, &options, &patch).await,
        };
        let written = absent_is_none(written).on(|| format!("update persistentvolumeclaim {key}"))?;
        if let Some(written) = &written {
            self.own.wrote(key, &self.claims, written);
        }
        Ok(written)
    }

    /// Removes what a released volume was.
    async fn volume(&self, key: &Key) -> Outcome {
        let Some(volume) = self.volumes.get("", &key.name) else { return Ok(Again::OnChange) };
        let ours = volume.annotation(PROVISIONED_BY) == Some(self.driver.name());
        let deleting = volume.metadata.deletion_timestamp.is_some();
        let unused = volume.text("/status/phase") != "Bound";
        let held = volume.metadata.finalizers.iter().flatten().any(|one| one == FINALIZER);
        let deletes = volume.text("/spec/persistentVolumeReclaimPolicy") == "Delete";
        let released = matches!(volume.text("/status/phase"), "Released" | "Failed");
        if !ours || !(deletes && released || deleting && unused && held) {
            return Ok(Again::OnChange);
        }
        let api: Api<PersistentVolume> = Api::all(self.context.client.clone());
        if deletes {
            if let Err(trouble) = self.driver.delete(volume.text("/spec/csi/volumeHandle")).await {
                self.context.tell(&*volume, EventKind::Warning, "VolumeFailedDelete", trouble.to_string());
                return Ok(Again::After(AGAIN));
            }
            if !deleting {
                let gone = absent_is_none(api.delete(&key.name, &DeleteParams::default()).await);
                gone.map(drop).on(|| format!("delete persistentvolume {}", key.name))?;
            }
        }
        let list = volume.metadata.finalizers.iter().flatten().filter(|one| *one != FINALIZER);
        let patch = json!({"metadata": {"finalizers": list.collect::<Vec<_>>()}});
        let written = absent_is_none(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await);
        if let Some(written) = written.on(|| format!("update persistentvolume {}", key.name))? {
            self.own.wrote(key, &self.volumes, &written);
        }
        Ok(Again::OnChange)
    }
}
