//! Rollouts: a replica set for each version of the template, scaled against each other.

mod plan;
mod proportion; // how a scale is spread over several sets
mod status;

use crate::claim::{Claim, concerned};
use crate::context::{Context, ControllerError, EventKind, On, absent_is_none, is_of_terminating_namespace, is_status};
use crate::looking::{Again, Loop, Outcome, Own};
use crate::owned::{controller, owner_reference};
use futures::FutureExt;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use plan::{HASH_LABEL, REVISION, Scaling};
use serde_json::json;
use skiff_client::{Cache, Key};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

struct Keeper {
    context: Context,
    own: Own,
    deployments: Cache<Deployment>,
    sets: Cache<ReplicaSet>,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context.reporting_as("deployment-controller"));
    let (deployments, sets) = (looking.over::<Deployment>(), looking.context.caches.all::<ReplicaSet>());
    let all = deployments.clone();
    looking.when(&sets, move |change| concerned(&all, &change));
    let keeper = Keeper { context: looking.context.clone(), own: looking.own.clone(), deployments, sets };
    let keeper = Arc::new(keeper);
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let Some(deployment) = self.deployments.get(&key.namespace, &key.name) else { return Ok(Again::OnChange) };
        let claim = Claim { children: &self.sets, own: &self.own, client: &self.context.client };
        let owned = claim.settle(&*deployment).await?;
        let (deployments, sets) = (self.context.api(&key.namespace), self.context.api(&key.namespace));
        let rollout = Rollout { keeper: &self, key, deployments, sets, deployment };
        if rollout.deployment.metadata.deletion_timestamp.is_some() {
            return rollout.write_status(&owned, false).await;
        }
        let before: Vec<_> = owned.iter().filter_map(|set| set.uid()).collect();
        let owned = rollout.proceed(owned).await?;
        let is_made = |set: &ReplicaSet| set.uid().is_none_or(|uid| !before.contains(&uid));
        let is_made = plan::newest(&rollout.deployment, &owned).is_some_and(|new| is_made(new));
        rollout.write_status(&owned, is_made).await
    }
}

/// A deployment with the API doors that its reconciliation needs.
struct Rollout<'a> {
    keeper: &'a Keeper,
    key: Key,
    deployments: Api<Deployment>,
    sets: Api<ReplicaSet>,
    deployment: Arc<Deployment>,
}

impl Rollout<'_> {
    /// One step of the rollout; returns the sets as they are afterwards.
    async fn proceed(&self, sets: Vec<Arc<ReplicaSet>>) -> Result<Vec<Arc<ReplicaSet>>, ControllerError> {
        let Some(spec) = &self.deployment.spec else { return Ok(sets) };
        let newest = plan::newest(&self.deployment, &sets).cloned();
        let revision = plan::next_revision(newest.as_deref(), &sets);
        // A paused deployment scales, but starts no new version; and a scale comes before a rollout goes on.
        let proportion = proportion::Sets::of(&self.deployment, newest.as_deref(), &sets);
        let sizes = proportion.as_ref().map(proportion::Sets::sizes).unwrap_or_default();
        let scaled = proportion.is_some_and(|sets| sets.are_of_another_size()) && !sizes.is_empty();
        let new = match newest {
            Some(set) => Some(self.renew(set, revision).await?),
            None if scaled || spec.paused == Some(true) => None,
            None => Some(Arc::new(self.create_set(revision).await?)),
        };
        if new.is_some() {
            self.note_revision(revision).await?;
        }
        let mut sets: Vec<_> =
            sets.into_iter().filter(|set| new.as_ref().is_none_or(|new| set.uid() != new.uid())).collect();
        if scaled || spec.paused == Some(true) {
            sets.extend(new);
            return self.resize(sets, sizes).await;
        }
        let Some(new) = new else { return Ok(sets) };
        let olds: Vec<&ReplicaSet> = sets.iter().map(AsRef::as_ref).collect();
        let steps = plan::scale(spec, &new, &olds);
        let surplus: Vec<_> = plan::surplus_history(spec, &olds).into_iter().cloned().collect();
        sets.push(new);
        let sets = self.resize(sets, steps).await?;
        for set in surplus {
            let deleted = self.sets.delete(&set.name_any(), &DeleteParams::background()).await;
            absent_is_none(deleted.map(drop)).on(|| format!("delete old replicaset {}", set.name_any()))?;
            self.keeper.own.deleted(&self.key, &self.keeper.sets, &set);
        }
        Ok(sets)
    }

    async fn resize(
        &self,
        mut sets: Vec<Arc<ReplicaSet>>,
        steps: Vec<Scaling>,
    ) -> Result<Vec<Arc<ReplicaSet>>, ControllerError> {
        for step in steps {
            let scaled = self.scale(&step).await?;
            sets.retain(|set| set.uid() != scaled.uid());
            sets.push(Arc::new(scaled));
        }
        Ok(sets)
    }

    async fn create_set(&self, revision: i64) -> Result<ReplicaSet, ControllerError> {
        let collisions = self.deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        let set = new_set(&self.deployment, revision, collisions)?;
        let name = set.name_any();
        let made = match self.sets.create(&PostParams::default(), &set).await {
            Err(error) if is_status(&error, 409) => {
                let live = self.sets.get_opt(&name).await.on(|| format!("get replicaset {name}"))?;
                match live.filter(|live| self.is_own(live)) {
                    // Ours, and not in the cache yet.
                    Some(live) => live,
                    None => {
                        self.count_collision(collisions).await?;
                        return Err(error).on(|| format!("create replicaset {name}"));
                    }
                }
            }
            Err(error) => {
                self.tell_failure(&name, &error).await?;
                return Err(error).on(|| format!("create replicaset {name}"));
            }
            Ok(made) => made,
        };
        self.keeper.own.wrote(&self.key, &self.keeper.sets, &made);
        Ok(made)
    }

    /// Says that the new set cannot be made. Whose namespace goes needs none.
    async fn tell_failure(&self, name: &str, error: &kube::Error) -> Result<(), ControllerError> {
        if is_of_terminating_namespace(error) {
            return Ok(());
        }
        let message = format!("Failed to create new replica set \"{name}\": {}", skiff_client::sentence(error));
        let told = status::creation_failed(&self.deployment, message.clone(), jiff::Timestamp::now());
        self.keeper.context.tell(&*self.deployment, EventKind::Warning, status::CREATE_ERROR, message);
        let is_new = |conditions: &Vec<_>| {
            self.deployment.status.as_ref().and_then(|status| status.conditions.as_ref()) != Some(conditions)
        };
        let Some(conditions) = told.filter(is_new) else { return Ok(()) };
        let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
        let written = self.deployments.patch_status(&self.key.name, &PatchParams::default(), &patch).await;
        let written = written.on(|| format!("write status of deployment {}", self.key))?;
        self.keeper.own.wrote(&self.key, &self.keeper.deployments, &written);
        Ok(())
    }

    fn is_own(&self, set: &ReplicaSet) -> bool {
        let ours =
            controller(&set.metadata).is_some_and(|owner| Some(&owner.uid) == self.deployment.metadata.uid.as_ref());
        ours && plan::newest(&self.deployment, &[Arc::new(set.clone())]).is_some()
    }

    /// The name is taken by another template's set: a hash collision. Counted, so that the hash is another one next time.
    async fn count_collision(&self, collisions: i32) -> Result<(), ControllerError> {
        let patch = Patch::Merge(json!({"status": {"collisionCount": collisions + 1}}));
        let counted = self.deployments.patch_status(&self.key.name, &PatchParams::default(), &patch).await;
        let counted = counted.on(|| format!("count hash collision of deployment {}", self.key))?;
        self.keeper.own.wrote(&self.key, &self.keeper.deployments, &counted);
        Ok(())
    }

    /// Gives the newest set what it takes over from its deployment: revision, annotations, minReadySeconds.
    async fn renew(&self, set: Arc<ReplicaSet>, revision: i64) -> Result<Arc<ReplicaSet>, ControllerError> {
        let Some(patch) = plan::renewal(&self.deployment, &set, revision) else { return Ok(set) };
        let name = set.name_any();
        let renewed = self.sets.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
        let renewed = renewed.on(|| format!("set revision of replicaset {name}"))?;
        self.keeper.own.wrote(&self.key, &self.keeper.sets, &renewed);
        Ok(Arc::new(renewed))
    }

    async fn note_revision(&self, revision: i64) -> Result<(), ControllerError> {
        let text = revision.to_string();
        if self.deployment.annotations().get(REVISION) == Some(&text) {
            return Ok(());
        }
        let patch = Patch::Merge(json!({"metadata": {"annotations": {REVISION: text}}}));
        let noted = self.deployments.patch(&self.key.name, &PatchParams::default(), &patch).await;
        let noted = noted.on(|| format!("set revision of deployment {}", self.key))?;
        self.keeper.own.wrote(&self.key, &self.keeper.deployments, &noted);
        Ok(())
    }

    async fn scale(&self, step: &Scaling) -> Result<ReplicaSet, ControllerError> {
        let annotations = self.deployment.spec.as_ref().map(proportion::annotations);
        let patch = json!({"metadata": {"annotations": annotations}, "spec": {"replicas": step.to}});
        let scaled = self.sets.patch(&step.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        let scaled = scaled.on(|| format!("scale replicaset {} to {}", step.name, step.to))?;
        self.keeper.own.wrote(&self.key, &self.keeper.sets, &scaled);
        if step.to != step.from {
            let direction = if step.to > step.from { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {} from {} to {}", step.name, step.from, step.to);
            self.keeper.context.tell(&*self.deployment, EventKind::Normal, "ScalingReplicaSet", message);
        }
        Ok(scaled)
    }

    /// Says how the rollout stands; `is_made`: its set was made just now.
    async fn write_status(&self, sets: &[Arc<ReplicaSet>], is_made: bool) -> Outcome {
        let new = plan::newest(&self.deployment, sets).map(AsRef::as_ref);
        let rollout = status::Rollout { deployment: &self.deployment, new, is_made, all: sets };
        let (status, again) = status::status(&rollout, jiff::Timestamp::now());
        if self.deployment.status.as_ref() != Some(&status) {
            let (own, cache) = (&self.keeper.own, &self.keeper.deployments);
            own.patch_status(&self.deployments, &self.key, cache, json!(status)).await?;
        }
        Ok(Again::within(again))
    }
}

/// The replica set for the present template, at 0 replicas: scaling is the rollout's business.
fn new_set(deployment: &Deployment, revision: i64, collisions: i32) -> Result<ReplicaSet, ControllerError> {
    let name = deployment.name_any();
    let spec = deployment.spec.as_ref();
    let spec = spec.ok_or_else(|| ControllerError::Malformed(format!("deployment {name}: no spec")))?;
    let hash = plan::template_hash(&spec.template, collisions);
    let label = || (HASH_LABEL.to_owned(), hash.clone());
    let mut template = spec.template.clone();
    template.metadata.get_or_insert_default().labels.get_or_insert_default().extend([label()]);
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().extend([label()]);
    let mut annotations = plan::inherited(deployment);
    annotations.insert(REVISION.to_owned(), revision.to_string());
    annotations.extend(proportion::annotations(spec));
    Ok(ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: deployment.namespace(),
            labels: template.metadata.as_ref().and_then(|metadata| metadata.labels.clone()),
            annotations: Some(annotations),
            owner_references: Some(vec![owner_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    })
}
