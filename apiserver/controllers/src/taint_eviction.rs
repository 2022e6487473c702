//! Removes pods from nodes whose taints they do not tolerate, or not any longer.
//!
//! A pod that tolerates a taint for a time is given that time from when the taint was first seen on its node, by our own clock:
//! nobody has to say when a taint was added. It stays if the taint goes before.

mod plan;

use crate::context::{Context, EventKind, On, absent_is_none, is_status};
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use plan::Stay;
use serde_json::json;
use skiff_client::{Cache, Change, Key};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

struct Keeper {
    context: Context,
    own: Own,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    /// Pods whose time runs, with when that began.
    leaving: Mutex<HashMap<Key, Instant>>,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let (nodes, pods) = (looking.context.caches.all::<Node>(), looking.context.caches.all::<Pod>());
    looking.when(&pods, |change| if concerns(&change) { vec![Key::of(change.meta())] } else { Vec::new() });
    let of_nodes = pods.clone();
    looking.when(&nodes, move |change| {
        let taints = |node: Option<&Arc<Node>>| node.map(|node| plan::no_execute(node)).unwrap_or_default();
        if taints(change.before) == taints(change.now) {
            return Vec::new();
        }
        let pods = of_nodes.on_node(change.meta().name.as_deref().unwrap_or_default());
        pods.iter().map(|pod| Key::of(&pod.metadata)).collect()
    });
    let (context, own) = (looking.context.clone(), looking.own.clone());
    let keeper = Arc::new(Keeper { context, own, nodes, pods, leaving: Mutex::default() });
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

/// Whether the pod has come to another node, tolerates other things, or is gone.
fn concerns(change: &Change<'_, Pod>) -> bool {
    let parts = |pod: &Pod| pod.spec.as_ref().map(|spec| (spec.node_name.clone(), spec.tolerations.clone()));
    match (change.before, change.now) {
        (Some(before), Some(now)) => before.metadata.uid != now.metadata.uid || parts(before) != parts(now),
        _ => true,
    }
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let pod = self.pods.get(&key.namespace, &key.name).filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let Some(pod) = pod else {
            self.leaving().remove(&key);
            return Ok(Again::OnChange);
        };
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let node = node.and_then(|name| self.nodes.get("", name));
        let stay = node.map_or(Stay::Forever, |node| plan::stay(&pod, &node));
        let stay = match stay {
            Stay::Forever => {
                if self.leaving().remove(&key).is_some() {
                    self.tell(&pod, format!("Cancelling deletion of Pod {key}"));
                }
                return Ok(Again::OnChange);
            }
            Stay::For(time) => time,
        };
        let began = *self.leaving().entry(key.clone()).or_insert_with(Instant::now);
        let left = stay.saturating_sub(began.elapsed());
        if !left.is_zero() {
            return Ok(Again::After(left));
        }
        self.evict(&key, &pod).await?;
        self.leaving().remove(&key);
        Ok(Again::OnChange)
    }

    async fn evict(&self, key: &Key, pod: &Pod) -> Result<(), crate::ControllerError> {
        self.tell(pod, format!("Marking for deletion Pod {key}"));
        let api: Api<Pod> = self.context.api(&key.namespace);
        let condition = plan::disruption(pod, Timestamp::now());
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
        let said = api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        match absent_is_none(said) {
            Ok(Some(_)) => {}
            // It is gone, or another has come in its place.
            Ok(None) => return Ok(()),
            Err(error) if is_status(&error, 409) => return Ok(()),
            Err(error) => return Err(error).on(|| format!("write why pod {key} is removed")),
        }
        let gone = self.own.delete(&api, key, &self.pods, pod, DeleteParams::default()).await;
        gone.map(drop).on(|| format!("delete pod {key} for a taint of its node"))
    }

    fn tell(&self, pod: &Pod, message: String) {
        self.context.tell(pod, EventKind::Normal, "TaintManagerEviction", message);
    }

    fn leaving(&self) -> MutexGuard<'_, HashMap<Key, Instant>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
