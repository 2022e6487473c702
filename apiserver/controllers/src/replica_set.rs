//! Keeps so many pods of one template alive, for replica sets and for replication controllers, which are the same thing with
//! an older selector.

mod plan;

pub(crate) use plan::worth;

use crate::claim::{Claim, Selecting, concerned};
use crate::context::{Context, ControllerError};
use crate::looking::{Again, Loop, Outcome, Own};
use crate::owned::{controller, generated_name, owner_reference};
use crate::pods::Pods;
use futures::FutureExt;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use kube::ResourceExt;
use kube::api::Api;
use plan::{Difference, Failure};
use serde_json::{Value, json};
use skiff_client::{Cache, Key};
use std::borrow::Cow;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A kind that keeps so many pods of one template.
pub(crate) trait Replicated: Selecting {
    /// Whether its status counts pods that are on their way out.
    const COUNTS_TERMINATING: bool;
    /// Kubernetes' name of its controller.
    const CONTROLLER: &str;

    /// The same as a replica set.
    fn as_set(&self) -> Cow<'_, ReplicaSet>;
}

impl Replicated for ReplicaSet {
    const COUNTS_TERMINATING: bool = true;
    const CONTROLLER: &str = "replicaset-controller";

    fn as_set(&self) -> Cow<'_, ReplicaSet> {
        Cow::Borrowed(self)
    }
}

impl Replicated for ReplicationController {
    const COUNTS_TERMINATING: bool = false;
    const CONTROLLER: &str = "replication-controller";

    fn as_set(&self) -> Cow<'_, ReplicaSet> {
        let spec = self.spec.as_ref().map(|spec| ReplicaSetSpec {
            min_ready_seconds: spec.min_ready_seconds,
            replicas: spec.replicas,
            selector: self.selector().unwrap_or_default().into_owned(),
            template: spec.template.clone(),
        });
        // Their statuses have the same fields, but for one that is not counted here.
        let status = self.status.as_ref().and_then(|status| serde_json::from_value(json!(status)).ok());
        Cow::Owned(ReplicaSet { metadata: self.metadata.clone(), spec, status })
    }
}

/// The objects of one kind, and their pods.
struct Keeper<K: Replicated> {
    context: Context,
    own: Own,
    owners: Cache<K>,
    pods: Pods,
}

pub(crate) async fn run<K: Replicated>(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context.reporting_as(K::CONTROLLER));
    let (owners, pods) = (looking.over::<K>(), looking.context.caches.all::<Pod>());
    let all = owners.clone();
    looking.when(&pods, move |change| concerned(&all, &change));
    let (context, own) = (looking.context.clone(), looking.own.clone());
    let pods = Pods { context: context.clone(), own: own.clone(), cache: pods };
    let keeper = Arc::new(Keeper { context, own, owners, pods });
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

impl<K: Replicated> Keeper<K> {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let Some(owner) = self.owners.get(&key.namespace, &key.name) else { return Ok(Again::OnChange) };
        let claim = Claim { children: &self.pods.cache, own: &self.own, client: &self.context.client };
        let pods = claim.settle(&*owner).await?;
        let set = owner.as_set();
        let (mut acted, mut failure) = (Ok(()), None);
        if set.metadata.deletion_timestamp.is_none() {
            let difference = {
                let (related, now) = (|| self.related(&set), jiff::Timestamp::now());
                plan::difference(&plan::Seen { set: &set, owned: &pods, related: &related, now })
            };
            acted = self.act(&key, &owner, &set, &pods, &difference).await;
            failure = acted.as_ref().err().and_then(|error| Failure::of(&difference, error));
        }
        let again = self.write_status(&key, &set, &pods, failure).await?;
        acted.map(|()| again)
    }

    /// Its pods and those of the other sets of its owner: a deployment's old and new versions.
    fn related(&self, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let own = set.uid().unwrap_or_default();
        let siblings = match controller(&set.metadata) {
            Some(of) => self.owners.owned_by(&of.uid).iter().filter_map(|one| one.meta().uid.clone()).collect(),
            None => vec![own],
        };
        siblings.iter().flat_map(|uid| self.pods.cache.owned_by(uid)).collect()
    }

    async fn act(
        &self,
        key: &Key,
        owner: &K,
        set: &ReplicaSet,
        pods: &[Arc<Pod>],
        difference: &Difference,
    ) -> Result<(), ControllerError> {
        match difference {
            Difference::Nothing => Ok(()),
            Difference::Create(number) => {
                let reference = owner_reference(owner);
                let new = (0..*number).map(|_| {
                    let mut pod = pod_of(set, &generated_name(&key.name));
                    pod.metadata.owner_references = Some(vec![reference.clone()]);
                    pod
                });
                let (_, created) = self.pods.create_all(key, owner, new.collect()).await;
                created
            }
            Difference::Delete(names) => {
                let going = pods.iter().filter(|pod| names.contains(&pod.name_any())).cloned().collect();
                self.pods.delete_all(key, owner, going).await
            }
        }
    }

    async fn write_status(&self, key: &Key, set: &ReplicaSet, pods: &[Arc<Pod>], failure: Option<Failure>) -> Outcome {
        let (mut status, again) = plan::status(set, pods, failure, jiff::Timestamp::now());
        if !K::COUNTS_TERMINATING {
            status.terminating_replicas = None;
        }
        if set.status.as_ref() != Some(&status) {
            let api: Api<K> = self.context.api(&key.namespace);
            self.own.patch_status(&api, key, &self.owners, written(&status)).await?;
        }
        Ok(Again::within(again))
    }
}

/// A status as a merge patch: what it does not have has to go.
fn written(status: &ReplicaSetStatus) -> Value {
    let mut patch = json!(status);
    if status.conditions.is_none() {
        patch["conditions"] = Value::Null;
    }
    patch
}

fn pod_of(set: &ReplicaSet, name: &str) -> Pod {
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.name = Some(name.to_owned());
    metadata.generate_name = Some(format!("{}-", set.name_any()));
    metadata.namespace = set.namespace();
    Pod { metadata, spec: template.spec, status: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replication_controller_is_a_replica_set() {
        let controller: ReplicationController = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "a", "generation": 3},
            "spec": {"replicas": 2, "minReadySeconds": 5, "selector": {"app": "web"}, "template": {}},
            "status": {"replicas": 1, "readyReplicas": 1, "conditions": [{"type": "ReplicaFailure", "status": "True"}]}
        }))
        .unwrap();
        let set = controller.as_set();
        assert_eq!(set.spec.as_ref().unwrap().selector.match_labels, Some([("app".into(), "web".into())].into()));
        assert_eq!((set.spec.as_ref().unwrap().replicas, set.metadata.generation), (Some(2), Some(3)));
        let status = set.status.as_ref().unwrap();
        assert_eq!((status.replicas, status.ready_replicas), (1, Some(1)));
        assert_eq!(status.conditions.as_ref().unwrap()[0].type_, "ReplicaFailure");
    }

    #[test]
    fn conditions_that_went_are_taken_off() {
        assert_eq!(written(&ReplicaSetStatus::default())["conditions"], Value::Null);
    }
}
