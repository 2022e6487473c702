//! One pod of a template on every node that it fits, and new versions of the template node by node.

mod fit; // on which nodes its pod belongs
mod plan; // what it needs next
mod pod; // what its pods look like
#[cfg(test)]
mod tests; // the plan against a model of nodes and pods

use crate::claim::{Claim, concerned};
use crate::context::{Context, ControllerError, EventKind};
use crate::history::plan::{POD_LABEL, is_of};
use crate::history::{Found, History};
use crate::looking::{Again, Loop, Outcome, Own};
use crate::owned::phase;
use crate::pods::Pods;
use futures::FutureExt;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::Api;
use plan::{Backoffs, Place, Plan, Seen};
use serde_json::{Value, json};
use skiff_client::{Cache, Change, Key};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// For which template of which set failed pods were counted: a new one may do better.
type Version = (Option<String>, Option<i64>);

struct Keeper {
    context: Context,
    own: Own,
    sets: Cache<DaemonSet>,
    nodes: Cache<Node>,
    revisions: Cache<ControllerRevision>,
    pods: Pods,
    backoffs: Mutex<HashMap<Key, (Version, Backoffs)>>,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context.reporting_as("daemonset-controller"));
    let caches = looking.context.caches.clone();
    let (sets, nodes) = (looking.over::<DaemonSet>(), caches.all::<Node>());
    let (revisions, pods) = (caches.all::<ControllerRevision>(), caches.all::<Pod>());
    let all = sets.clone();
    looking.when(&pods, move |change| concerned(&all, &change));
    let all = sets.clone();
    looking.when(&revisions, move |change| concerned(&all, &change));
    let all = sets.clone();
    looking.when(&nodes, move |change| {
        let sets = if is_another_place(&change) { all.all() } else { Vec::new() };
        sets.iter().map(|set| Key::of(&set.metadata)).collect()
    });
    let (context, own) = (looking.context.clone(), looking.own.clone());
    let pods = Pods { context: context.clone(), own: own.clone(), cache: pods };
    let keeper = Arc::new(Keeper { context, own, sets, nodes, revisions, pods, backoffs: Mutex::default() });
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

/// Whether other pods may belong on a node now. A node's heartbeats change nothing of that.
fn is_another_place(change: &Change<'_, Node>) -> bool {
    let (Some(before), Some(now)) = (change.before, change.now) else { return true };
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone());
    before.metadata.labels != now.metadata.labels || taints(before) != taints(now)
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let set = self.sets.get(&key.namespace, &key.name);
        let Some(set) = set.filter(|set| set.metadata.deletion_timestamp.is_none()) else {
            self.backoffs().remove(&key);
            return Ok(Again::OnChange);
        };
        let Some(spec) = &set.spec else { return Ok(Again::OnChange) };
        let history = History {
            key: &key,
            own: &self.own,
            client: &self.context.client,
            revisions: &self.revisions,
            hash_label: POD_LABEL,
        };
        let counted = set.status.as_ref().and_then(|status| status.collision_count);
        let Found { revisions, present, collisions } = history.look(&*set, &spec.template, counted).await?;
        let claim = Claim { children: &self.pods.cache, own: &self.own, client: &self.context.client };
        let (pods, nodes) = (claim.settle(&*set).await?, self.nodes.all());
        let mut same: Vec<_> = revisions.iter().filter(|one| is_of(one, &spec.template)).collect();
        same.retain(|one| one.name_any() != present.name_any());
        same.push(&present);
        let hashes = same.iter().map(|one| hash_of(one)).collect();
        let seen = Seen { set: &set, hashes, nodes: &nodes, pods: &pods, now: jiff::Timestamp::now() };
        let places = seen.places();
        let plan = self.plan(&key, &seen, &places);
        let again = Again::within(plan.again);
        let acted = self.act(&key, &seen, plan).await;
        self.write_status(&key, &set, &plan::status(&seen, &places, collisions)).await?;
        acted?;
        let live = plan::live(&pods);
        let is_live =
            |one: &ControllerRevision| one.name_any() == present.name_any() || live.contains(hash_of(one).as_str());
        history.forget(&revisions, spec.revision_history_limit, is_live).await?;
        Ok(again)
    }

    /// What is next; pods that failed are counted.
    fn plan(&self, key: &Key, seen: &Seen<'_>, places: &[Place<'_>]) -> Plan {
        let version = (seen.set.metadata.uid.clone(), seen.set.metadata.generation);
        let mut all = self.backoffs();
        let (of, backoffs) = all.entry(key.clone()).or_default();
        if *of != version {
            (*of, *backoffs) = (version, Backoffs::default());
        }
        let plan = plan::plan(seen, places, backoffs);
        for (_, node) in plan.ended.iter().filter(|(pod, _)| phase(pod) == "Failed") {
            backoffs.failed(node, seen.now);
        }
        plan
    }

    fn backoffs(&self) -> std::sync::MutexGuard<'_, HashMap<Key, (Version, Backoffs)>> {
        self.backoffs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn act(&self, key: &Key, seen: &Seen<'_>, plan: Plan) -> Result<(), ControllerError> {
        let hash = seen.hashes.last().map_or("", String::as_str);
        let new = plan.create.iter().map(|node| pod::pod_of(seen.set, node, hash)).collect();
        let (_, created) = self.pods.create_all(key, seen.set, new).await;
        let mut going = plan.delete;
        for (pod, node) in plan.ended {
            self.tell_end(seen.set, &pod, &node);
            going.push(pod);
        }
        self.pods.delete_all(key, seen.set, going).await?;
        created
    }

    fn tell_end(&self, set: &DaemonSet, pod: &Pod, node: &str) {
        let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
        if phase(pod) == "Failed" {
            let message = format!("Found failed daemon pod {name} on node {node}, will try to kill it");
            self.context.tell(set, EventKind::Warning, "FailedDaemonPod", message);
        } else {
            let message = format!("Found succeeded daemon pod {name} on node {node}, will try to delete it");
            self.context.tell(set, EventKind::Normal, "SucceededDaemonPod", message);
        }
    }

    async fn write_status(&self, key: &Key, set: &DaemonSet, status: &DaemonSetStatus) -> Result<(), ControllerError> {
        if set.status.as_ref() == Some(status) {
            return Ok(());
        }
        let api: Api<DaemonSet> = self.context.api(&key.namespace);
        self.own.patch_status(&api, key, &self.sets, written(status)).await
    }
}

/// What the pods of a revision have as their label.
fn hash_of(revision: &ControllerRevision) -> String {
    revision.labels().get(POD_LABEL).cloned().unwrap_or_else(|| revision.name_any())
}

/// A status as a merge patch: what it does not have has to go.
fn written(status: &DaemonSetStatus) -> Value {
    let mut patch = json!(status);
    for field in ["updatedNumberScheduled", "numberAvailable", "numberUnavailable"] {
        patch[field] = patch[field].take();
    }
    patch
}
