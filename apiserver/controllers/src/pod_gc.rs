//! Deletes pods that nobody else will end: those of nodes that are gone, those that go and never had a node, those on nodes that
//! are out of service, and the oldest of very many that ended.

mod plan; // which ones, and why

use crate::context::{Context, ControllerError, On, absent_is_none};
use crate::looking::{Again, Loop, Outcome};
use crate::owned::has_ended;
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use plan::Why;
use serde_json::json;
use skiff_client::{Cache, Key};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a node must be gone before its pods are (Kubernetes' `quarantineTime`).
const QUARANTINE: Duration = Duration::from_secs(40);
/// Ended pods that are kept (kube-controller-manager `--terminated-pod-gc-threshold`).
const ENDED_MAX: usize = 12_500;
/// How often ended pods are counted (Kubernetes' `gcCheckPeriod`); only while there are that many.
const COUNT_AGAIN: Duration = Duration::from_secs(20);
/// Names no pod: the turn at which ended pods are counted.
const COUNT: &str = "";

struct Keeper {
    context: Context,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let (nodes, pods) = (looking.context.caches.all::<Node>(), looking.context.caches.all::<Pod>());
    let (known, queue) = (nodes.clone(), looking.queue());
    looking.when(&pods, move |change| {
        let Some(pod) = change.now else { return Vec::new() };
        match plan::why(pod, plan::node_of(pod).and_then(|name| known.get("", name)).as_deref()) {
            Some(Why::NodeGone) => queue.add_after(Key::of(&pod.metadata), QUARANTINE),
            Some(_) => return vec![Key::of(&pod.metadata)],
            None if has_ended(pod) => queue.add_after(Key::new("", COUNT), COUNT_AGAIN),
            None => {}
        }
        Vec::new()
    });
    let (all, queue) = (pods.clone(), looking.queue());
    looking.when(&nodes, move |change| {
        let of_node = all.on_node(change.meta().name.as_deref().unwrap_or_default());
        let keys = of_node.iter().map(|pod| Key::of(&pod.metadata));
        match change.now {
            Some(node) if plan::is_out_of_service(node) => return keys.collect(),
            Some(_) => {}
            None => keys.for_each(|key| queue.add_after(key, QUARANTINE)),
        }
        Vec::new()
    });
    let keeper = Arc::new(Keeper { context: looking.context.clone(), nodes, pods });
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        if key.name == COUNT {
            return self.thin_out().await;
        }
        let Some(pod) = self.pods.get(&key.namespace, &key.name) else { return Ok(Again::OnChange) };
        let name = plan::node_of(&pod);
        let node = name.and_then(|name| self.nodes.get("", name));
        let Some(why) = plan::why(&pod, node.as_deref()) else { return Ok(Again::OnChange) };
        if why == Why::NodeGone && self.node_is_there(name.unwrap_or_default()).await? {
            return Ok(Again::After(QUARANTINE));
        }
        self.delete(&pod, why).await?;
        Ok(Again::OnChange)
    }

    /// The cache may have missed a node that came back.
    async fn node_is_there(&self, name: &str) -> Result<bool, ControllerError> {
        let api: Api<Node> = Api::all(self.context.client.clone());
        Ok(absent_is_none(api.get(name).await).on(|| format!("get node {name}"))?.is_some())
    }

    async fn thin_out(&self) -> Outcome {
        for pod in plan::too_many(self.pods.all(), ENDED_MAX) {
            self.delete(&pod, Why::TooMany).await?;
        }
        Ok(Again::OnChange)
    }

    async fn delete(&self, pod: &Pod, why: Why) -> Result<(), ControllerError> {
        let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
        let api: Api<Pod> = self.context.api(&namespace);
        // A job counts a pod by how it ended, so that has to be written first.
        if let Some(status) = plan::change(pod, why, Timestamp::now()) {
            let patch = Patch::Strategic(json!({"metadata": {"uid": pod.uid()}, "status": status}));
            let written = api.patch_status(&name, &PatchParams::default(), &patch).await;
            if absent_is_none(written).on(|| format!("write status of pod {namespace}/{name}"))?.is_none() {
                return Ok(());
            }
        }
        let same = Preconditions { uid: pod.uid(), resource_version: None };
        let options = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }.preconditions(same);
        let deleted = absent_is_none(api.delete(&name, &options).await.map(drop));
        deleted.map(drop).on(|| format!("delete pod {namespace}/{name}"))
    }
}
