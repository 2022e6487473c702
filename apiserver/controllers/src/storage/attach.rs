//! Has volumes attached to the nodes of the pods that use them, by objects that the volumes' drivers act on; and tells the nodes which are.
//!
//! A key is the name of a volume.

mod plan; // which nodes; no I/O

use super::users;
use crate::context::{Context, ControllerError, EventKind, On, absent_is_none, is_status};
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use plan::{Attachable, Attachment, plan};
use serde_json::{Value, json};
use skiff_client::loose::{CSIDriver, PersistentVolume, VolumeAttachment};
use skiff_client::{Cache, Key};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const VOLUME: &str = "/spec/source/persistentVolumeName";

struct Keeper {
    context: Context,
    own: Own,
    volumes: Cache<PersistentVolume>,
    claims: Cache<PersistentVolumeClaim>,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    drivers: Cache<CSIDriver>,
    attachments: Cache<VolumeAttachment>,
}

/// Runs until `shutdown`.
pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let volumes = looking.over::<PersistentVolume>();
    let caches = looking.context.caches.clone();
    let keeper = Keeper {
        context: looking.context.clone(),
        own: looking.own.clone(),
        claims: caches.all::<PersistentVolumeClaim>(),
        pods: caches.all::<Pod>(),
        nodes: caches.all::<Node>(),
        drivers: caches.all::<CSIDriver>(),
        attachments: caches.all::<VolumeAttachment>(),
        volumes,
    };
    let claims = keeper.claims.clone();
    looking.when(&keeper.pods, move |change| {
        let keys = change.now.or(change.before).map(|pod| users::keys(pod)).unwrap_or_default();
        keys.iter().filter_map(|key| volume_of(&claims, key)).collect()
    });
    looking.when(&keeper.claims, |change| {
        change
            .now
            .and_then(|claim| claim.spec.as_ref()?.volume_name.as_ref())
            .map(|name| Key::new("", name))
            .into_iter()
            .collect()
    });
    looking.when(&keeper.attachments, |change| {
        let of = change.now.or(change.before).map(|one| one.text(VOLUME)).filter(|name| !name.is_empty());
        of.map(|name| Key::new("", name)).into_iter().collect()
    });
    let attachments = keeper.attachments.clone();
    looking.when(&keeper.nodes, move |change| {
        let mounted = |node: Option<&Arc<Node>>| node.and_then(|node| node.status.as_ref()?.volumes_in_use.clone());
        if change.now.is_some() && mounted(change.now) == mounted(change.before) {
            return Vec::new();
        }
        let name = change.meta().name.clone().unwrap_or_default();
        let on_it = attachments.all().into_iter().filter(|one| one.text("/spec/nodeName") == name);
        on_it.map(|one| Key::new("", one.text(VOLUME))).collect()
    });
    looking.needs(&keeper.drivers);
    let keeper = Arc::new(keeper);
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

fn volume_of(claims: &Cache<PersistentVolumeClaim>, key: &Key) -> Option<Key> {
    let claim = claims.get(&key.namespace, &key.name)?;
    Some(Key::new("", claim.spec.as_ref()?.volume_name.as_ref()?))
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let volume = self.volumes.get("", &key.name);
        let attachable = volume.as_ref().and_then(|volume| self.attachable(volume));
        let of_it: Vec<_> = self.attachments.all().into_iter().filter(|one| one.text(VOLUME) == key.name).collect();
        if attachable.is_none() && of_it.is_empty() {
            return Ok(Again::OnChange);
        }
        let pods = volume.as_ref().map(|volume| self.pods_of(volume)).unwrap_or_default();
        let needed: BTreeSet<_> = pods.iter().map(|pod| users::node(pod).to_owned()).collect();
        let present: Vec<_> = of_it.iter().map(|one| attachment(one)).collect();
        let word = attachable.as_ref().map(Attachable::on_node).unwrap_or_default();
        let steps = plan(attachable.as_ref(), &needed, &self.mounted(&word), &present);
        for name in steps.detach {
            self.detach(&key, &name).await?;
        }
        for node in steps.attach {
            if let Some(attachable) = &attachable {
                self.attach(&key, attachable, &node).await?;
            }
        }
        for pod in pods.iter().filter(|pod| steps.waiting.iter().any(|node| node == users::node(pod))) {
            let message =
                format!("Multi-Attach error for volume \"{}\" Volume is already used by another node", key.name);
            self.context.tell(&**pod, EventKind::Warning, "FailedAttachVolume", message);
        }
        for one in of_it.iter().filter(|_| !word.is_empty()) {
            let attached = one.fields.pointer("/status/attached") == Some(&Value::Bool(true));
            let gone = one.metadata.deletion_timestamp.is_some();
            self.tell_node(one.text("/spec/nodeName"), &word, attached && !gone).await?;
        }
        Ok(Again::OnChange)
    }

    /// What has to be attached of `volume`; `None`: nothing has.
    fn attachable(&self, volume: &PersistentVolume) -> Option<Attachable> {
        let driver = volume.text("/spec/csi/driver").to_owned();
        if driver.is_empty() {
            return None;
        }
        // A driver that says nothing about itself needs it (storage/v1 CSIDriver).
        let said = self.drivers.get("", &driver);
        let required = said.and_then(|said| said.fields.pointer("/spec/attachRequired").and_then(Value::as_bool));
        let modes = volume.fields["spec"]["accessModes"].as_array().cloned().unwrap_or_default();
        let shared = modes.iter().any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany");
        let handle = volume.text("/spec/csi/volumeHandle").to_owned();
        required.unwrap_or(true).then_some(Attachable { driver, handle, shared })
    }

    /// The pods on nodes that use `volume`.
    fn pods_of(&self, volume: &PersistentVolume) -> Vec<Arc<Pod>> {
        let namespace = volume.text("/spec/claimRef/namespace");
        let claim = self.claims.get(namespace, volume.text("/spec/claimRef/name"));
        let bound = |claim: &PersistentVolumeClaim| {
            claim.spec.as_ref().is_some_and(|spec| spec.volume_name.as_deref() == Some(volume.name()))
        };
        let Some(claim) = claim.filter(|claim| bound(claim)) else { return Vec::new() };
        let mut pods = self.pods.within(namespace);
        pods.retain(|pod| !crate::owned::has_ended(pod) && !users::node(pod).is_empty() && users::uses(pod, &claim));
        pods
    }

    /// The nodes that say they have a volume mounted.
    fn mounted(&self, word: &str) -> BTreeSet<String> {
        let says = |node: &Arc<Node>| {
            let list = node.status.as_ref().and_then(|status| status.volumes_in_use.as_ref());
            list.is_some_and(|list| list.iter().any(|one| one == word))
        };
        self.nodes.all().iter().filter(|node| says(node)).filter_map(|node| node.metadata.name.clone()).collect()
    }

    async fn attach(&self, key: &Key, volume: &Attachable, node: &str) -> Result<(), ControllerError> {
        let name = plan::name(volume, node);
        let fields = json!({"spec": {"attacher": volume.driver, "nodeName": node,
            "source": {"persistentVolumeName": key.name}}});
        let wanted = VolumeAttachment::new(ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() }, fields);
        let api: Api<VolumeAttachment> = Api::all(self.context.client.clone());
        match api.create(&PostParams::default(), &wanted).await {
            Err(error) if is_status(&error, 409) => Ok(()),
            made => {
                let made =
                    made.on(|| format!("create volumeattachment {name} of volume {} to node {node}", key.name))?;
                self.own.wrote(key, &self.attachments, &made);
                Ok(())
            }
        }
    }

    async fn detach(&self, key: &Key, name: &str) -> Result<(), ControllerError> {
        let Some(present) = self.attachments.get("", name) else { return Ok(()) };
        let api: Api<VolumeAttachment> = Api::all(self.context.client.clone());
        let gone = self.own.delete(&api, key, &self.attachments, &*present, DeleteParams::default()).await;
        gone.map(drop).on(|| format!("delete volumeattachment {name} of volume {}", key.name))
    }

    /// Whether the node's status is to say that a volume is attached to it.
    async fn tell_node(&self, name: &str, word: &str, attached: bool) -> Result<(), ControllerError> {
        let Some(node) = self.nodes.get("", name) else { return Ok(()) };
        let listed = node.status.as_ref().and_then(|status| status.volumes_attached.clone()).unwrap_or_default();
        let known = listed.iter().any(|one| one.name == word);
        if known == attached {
            return Ok(());
        }
        let mut list: Vec<_> = listed.into_iter().filter(|one| one.name != word).map(|one| json!(one)).collect();
        if attached {
            list.push(json!({"name": word, "devicePath": ""}));
        }
        // Guarded, because the list is replaced as a whole.
        let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "status": {"volumesAttached": list}});
        let api: Api<Node> = Api::all(self.context.client.clone());
        let written = api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        absent_is_none(written).map(drop).on(|| format!("update status of node {name}"))
    }
}

fn attachment(one: &VolumeAttachment) -> Attachment {
    Attachment {
        name: one.name().to_owned(),
        node: one.text("/spec/nodeName").to_owned(),
        going: one.metadata.deletion_timestamp.is_some(),
    }
}
