//! Rollouts: a replica set for each version of the template, scaled against each other.

mod plan;
mod status;

use crate::claim::Claims;
use crate::context::{Context, ControllerError, EventKind, On, absent_is_none, drive, is_status};
use crate::owned::{owner_reference, selector_text};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use plan::{HASH_LABEL, REVISION, Scaling};
use serde_json::json;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let deployments: Api<Deployment> = Api::all(context.client.clone());
    let sets: Api<ReplicaSet> = Api::all(context.client.clone());
    let controller = Controller::new(deployments, watcher::Config::default());
    let claims = Claims::new(controller.store());
    let concerned = claims.clone();
    let controller = controller.watches(sets, watcher::Config::default(), move |set| concerned.concerned(&set));
    drive(controller, context, shutdown, move |seen, context| reconcile(seen, context, claims.clone())).await;
}

/// A deployment with the API doors that its reconciliation needs.
struct Rollout {
    context: Arc<Context>,
    deployments: Api<Deployment>,
    sets: Api<ReplicaSet>,
    claims: Claims<Deployment>,
    deployment: Deployment,
}

async fn reconcile(
    seen: Arc<Deployment>,
    context: Arc<Context>,
    claims: Claims<Deployment>,
) -> Result<Action, ControllerError> {
    let (name, namespace) = (seen.name_any(), seen.namespace().unwrap_or_default());
    let deployments: Api<Deployment> = context.api(&namespace);
    let present = absent_is_none(deployments.get(&name).await).on(|| format!("get deployment {namespace}/{name}"))?;
    let Some(deployment) = present else { return Ok(Action::await_change()) };
    let sets = context.api(&namespace);
    let rollout = Rollout { context, deployments, sets, claims, deployment };
    let owned = rollout.owned_sets().await?;
    if rollout.deployment.metadata.deletion_timestamp.is_some() {
        return rollout.write_status(&owned).await;
    }
    let owned = rollout.proceed(owned).await?;
    rollout.write_status(&owned).await
}

impl Rollout {
    /// The sets that match the selector and are ours; matching sets that were there before are adopted.
    async fn owned_sets(&self) -> Result<Vec<ReplicaSet>, ControllerError> {
        let name = self.deployment.name_any();
        let selector = self.deployment.spec.as_ref().and_then(|spec| selector_text(&spec.selector));
        let selector = selector.filter(|text| !text.is_empty());
        let selector =
            selector.ok_or_else(|| ControllerError::Malformed(format!("deployment {name}: no usable selector")))?;
        let list = self
            .sets
            .list(&ListParams::default().labels(&selector))
            .await
            .on(|| format!("list replicasets {selector}"))?;
        self.claims.settle(&self.sets, &self.deployment, list.items).await
    }

    /// One step of the rollout; returns the sets as they are afterwards.
    async fn proceed(&self, mut sets: Vec<ReplicaSet>) -> Result<Vec<ReplicaSet>, ControllerError> {
        let Some(spec) = &self.deployment.spec else { return Ok(sets) };
        let paused = spec.paused == Some(true);
        let newest = plan::newest(&self.deployment, &sets).cloned();
        let revision = plan::next_revision(newest.as_ref(), &sets);
        let new = match newest {
            Some(set) => self.set_revision(set, revision).await?,
            // A paused deployment scales, but starts no new version.
            None if paused => return Ok(sets),
            None => self.create_set(revision).await?,
        };
        self.note_revision(revision).await?;
        let olds: Vec<&ReplicaSet> = sets.iter().filter(|set| set.uid() != new.uid()).collect();
        let steps = plan::scale(spec, &new, &olds);
        let surplus: Vec<String> = plan::surplus_history(spec, &olds).iter().map(|set| set.name_any()).collect();
        sets.retain(|set| set.uid() != new.uid());
        sets.push(new);
        for step in steps {
            let scaled = self.scale(&step).await?;
            sets.retain(|set| set.uid() != scaled.uid());
            sets.push(scaled);
        }
        for name in surplus {
            let deleted = self.sets.delete(&name, &DeleteParams::background()).await;
            absent_is_none(deleted.map(drop)).on(|| format!("delete old replicaset {name}"))?;
        }
        Ok(sets)
    }

    async fn create_set(&self, revision: i64) -> Result<ReplicaSet, ControllerError> {
        let collisions = self.deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        let set = new_set(&self.deployment, revision, collisions)?;
        let name = set.name_any();
        match self.sets.create(&PostParams::default(), &set).await {
            // The name is taken by another template's set: a hash collision. Count it and hash differently next time.
            Err(error) if is_status(&error, 409) => {
                let patch = Patch::Merge(json!({"status": {"collisionCount": collisions + 1}}));
                let name = self.deployment.name_any();
                let counted = self.deployments.patch_status(&name, &PatchParams::default(), &patch).await;
                counted.on(|| format!("count hash collision of deployment {name}"))?;
                Err(error).on(|| format!("create replicaset {name}"))
            }
            created => created.on(|| format!("create replicaset {name}")),
        }
    }

    async fn set_revision(&self, set: ReplicaSet, revision: i64) -> Result<ReplicaSet, ControllerError> {
        if plan::revision(&set) == revision {
            return Ok(set);
        }
        let name = set.name_any();
        let patch = Patch::Merge(json!({"metadata": {"annotations": {REVISION: revision.to_string()}}}));
        self.sets
            .patch(&name, &PatchParams::default(), &patch)
            .await
            .on(|| format!("set revision of replicaset {name}"))
    }

    async fn note_revision(&self, revision: i64) -> Result<(), ControllerError> {
        let text = revision.to_string();
        if self.deployment.annotations().get(REVISION) == Some(&text) {
            return Ok(());
        }
        let name = self.deployment.name_any();
        let patch = Patch::Merge(json!({"metadata": {"annotations": {REVISION: text}}}));
        let noted = self.deployments.patch(&name, &PatchParams::default(), &patch).await;
        noted.map(drop).on(|| format!("set revision of deployment {name}"))
    }

    async fn scale(&self, step: &Scaling) -> Result<ReplicaSet, ControllerError> {
        let patch = Patch::Merge(json!({"spec": {"replicas": step.to}}));
        let scaled = self.sets.patch(&step.name, &PatchParams::default(), &patch).await;
        let scaled = scaled.on(|| format!("scale replicaset {} to {}", step.name, step.to))?;
        let direction = if step.to > step.from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {} from {} to {}", step.name, step.from, step.to);
        self.context.tell(&self.deployment, EventKind::Normal, "ScalingReplicaSet", message);
        Ok(scaled)
    }

    async fn write_status(&self, sets: &[ReplicaSet]) -> Result<Action, ControllerError> {
        let new = plan::newest(&self.deployment, sets);
        let (status, again) = status::status(&self.deployment, new, sets, jiff::Timestamp::now());
        if self.deployment.status.as_ref() != Some(&status) {
            let name = self.deployment.name_any();
            let patch = Patch::Merge(json!({"status": status}));
            let written = self.deployments.patch_status(&name, &PatchParams::default(), &patch).await;
            absent_is_none(written).on(|| format!("write status of deployment {name}"))?;
        }
        Ok(again.and_then(|wait| wait.try_into().ok()).map_or_else(Action::await_change, Action::requeue))
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
    let mut annotations = deployment.annotations().clone();
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    annotations.insert(REVISION.to_owned(), revision.to_string());
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
