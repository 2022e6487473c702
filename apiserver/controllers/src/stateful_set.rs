//! Pods with names that stay, each with claims of its own, made, replaced and scaled away in order.

mod claims; // what its claims look like, and whom they go with
mod plan; // what it needs next
mod pod; // what its pods look like
#[cfg(test)]
mod tests; // the plan against a model of pods and claims

use crate::claim::{Claim, concerned};
use crate::context::{Context, ControllerError, EventKind, On, absent_is_none};
use crate::history::plan::{revisions_of, template_of};
use crate::history::{Found, History};
use crate::looking::{Again, Loop, Outcome, Own};
use crate::pods::{Pods, WRITES_AT_ONCE};
use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use plan::{Plan, Seen, Step, Version};
use serde_json::{Value, json};
use skiff_client::{Cache, Change, Key};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Under which label a revision says its hash.
const HASH_LABEL: &str = "controller.kubernetes.io/hash";

struct Keeper {
    context: Context,
    own: Own,
    sets: Cache<StatefulSet>,
    revisions: Cache<ControllerRevision>,
    claims: Cache<PersistentVolumeClaim>,
    pods: Pods,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context.reporting_as("statefulset-controller"));
    let caches = looking.context.caches.clone();
    let sets = looking.over::<StatefulSet>();
    let (revisions, pods) = (caches.all::<ControllerRevision>(), caches.all::<Pod>());
    let claims = caches.all::<PersistentVolumeClaim>();
    let all = sets.clone();
    looking.when(&pods, move |change| concerned(&all, &change));
    let all = sets.clone();
    looking.when(&revisions, move |change| concerned(&all, &change));
    let all = sets.clone();
    looking.when(&claims, move |change| claimants(&all, &change));
    let (context, own) = (looking.context.clone(), looking.own.clone());
    let pods = Pods { context: context.clone(), own: own.clone(), cache: pods };
    let keeper = Arc::new(Keeper { context, own, sets, revisions, claims, pods });
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

/// The sets that a claim is of by its name: while it goes, a pod may wait for it.
fn claimants(sets: &Cache<StatefulSet>, change: &Change<'_, PersistentVolumeClaim>) -> Vec<Key> {
    let meta = change.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    let all = sets.within(meta.namespace.as_deref().unwrap_or_default());
    all.iter().filter(|set| claims::is_named(set, name)).map(|set| Key::of(&set.metadata)).collect()
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let set = self.sets.get(&key.namespace, &key.name);
        let Some(set) = set.filter(|set| set.metadata.deletion_timestamp.is_none()) else { return Ok(Again::OnChange) };
        let Some(spec) = &set.spec else { return Ok(Again::OnChange) };
        let history = History {
            key: &key,
            own: &self.own,
            client: &self.context.client,
            revisions: &self.revisions,
            hash_label: HASH_LABEL,
        };
        let counted = set.status.as_ref().and_then(|status| status.collision_count);
        let Found { revisions, present, collisions } = history.look(&*set, &spec.template, counted).await?;
        let claim = Claim { children: &self.pods.cache, own: &self.own, client: &self.context.client };
        let pods = claim.settle(&*set).await?;
        let update = Version { name: present.name_any(), template: spec.template.clone() };
        let current = current(&set, &revisions, &update);
        let find = |name: &str| self.claims.get(&key.namespace, name);
        let (set, now) = (&*set, jiff::Timestamp::now());
        let seen = Seen { set, current: &current, update: &update, collisions, pods: &pods, claim: &find, now };
        let plan = plan::plan(&seen);
        let again = Again::within(plan.again);
        let acted = self.act(&key, set, &plan).await;
        self.write_status(&key, set, &plan.status).await?;
        let live = revisions_of(pods.iter().map(AsRef::as_ref));
        let is_live = |one: &ControllerRevision| {
            let name = one.name_any();
            name == current.name || name == update.name || live.contains(name.as_str())
        };
        history.forget(&revisions, spec.revision_history_limit, is_live).await?;
        acted.map(|()| again)
    }

    /// Carries out the steps; those of other pods go on where one fails, if they may be done in parallel.
    async fn act(&self, key: &Key, set: &StatefulSet, plan: &Plan) -> Result<(), ControllerError> {
        let at_once = if plan.parallel { WRITES_AT_ONCE } else { 1 };
        let chains: Vec<_> = plan.chains.iter().map(|chain| self.follow(key, set, chain).boxed()).collect();
        let mut chains = stream::iter(chains).buffer_unordered(at_once);
        let mut outcome = Ok(());
        while let Some(done) = chains.next().await {
            outcome = outcome.and(done);
            if outcome.is_err() && !plan.parallel {
                break;
            }
        }
        outcome
    }

    async fn follow(&self, key: &Key, set: &StatefulSet, chain: &[Step]) -> Result<(), ControllerError> {
        for step in chain {
            self.step(key, set, step).await?;
        }
        Ok(())
    }

    async fn step(&self, key: &Key, set: &StatefulSet, step: &Step) -> Result<(), ControllerError> {
        match step {
            Step::Claim { claim, pod } => self.make_claim(key, set, claim, pod).await,
            Step::Own { claim, owners } => self.give(key, claim, owners).await,
            Step::Create(pod) => self.create(key, set, pod).await,
            Step::Update { pod, patch } => self.update(key, set, pod, patch).await,
            Step::Delete(pod) => self.delete(key, set, pod).await,
            Step::Refuse { pod, why } => {
                self.tell(set, "create", pod, Some(why));
                Err(ControllerError::Malformed(format!("create pod {pod}: {why}")))
            }
            Step::Conflict { claim } => {
                let message = format!(
                    "PersistentVolumeClaim {claim} has a conflicting OwnerReference that acts as a managing controller, \
                     the retention policy is ignored for this claim"
                );
                self.context.tell(set, EventKind::Warning, "ConflictingController", message);
                Ok(())
            }
        }
    }

    async fn make_claim(
        &self,
        key: &Key,
        set: &StatefulSet,
        claim: &PersistentVolumeClaim,
        pod: &str,
    ) -> Result<(), ControllerError> {
        let (name, api): (_, Api<PersistentVolumeClaim>) = (claim.name_any(), self.context.api(&key.namespace));
        let made = api.create(&PostParams::default(), claim).await;
        match &made {
            Ok(made) => {
                self.own.wrote(key, &self.claims, made);
                let message = format!("Create Claim {name} Pod {pod} in StatefulSet {} success", set.name_any());
                self.context.tell(set, EventKind::Normal, "SuccessfulCreate", message);
            }
            Err(error) => {
                let why = skiff_client::sentence(error);
                let message =
                    format!("Create Claim {name} for Pod {pod} in StatefulSet {} failed error: {why}", set.name_any());
                self.context.tell(set, EventKind::Warning, "FailedCreate", message);
            }
        }
        made.map(drop).on(|| format!("create persistentvolumeclaim {name}"))
    }

    async fn give(&self, key: &Key, name: &str, owners: &[OwnerReference]) -> Result<(), ControllerError> {
        let Some(claim) = self.claims.get(&key.namespace, name) else { return Ok(()) };
        let api: Api<PersistentVolumeClaim> = self.context.api(&key.namespace);
        // What was decided on must still be there as it was.
        let (uid, version) = (claim.uid(), claim.resource_version());
        let patch = json!({"metadata": {"uid": uid, "resourceVersion": version, "ownerReferences": owners}});
        let written = absent_is_none(api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await);
        if let Some(written) = written.on(|| format!("set owners of persistentvolumeclaim {name}"))? {
            self.own.wrote(key, &self.claims, &written);
        }
        Ok(())
    }

    async fn create(&self, key: &Key, set: &StatefulSet, pod: &Pod) -> Result<(), ControllerError> {
        let (name, api): (_, Api<Pod>) = (pod.name_any(), self.context.api(&key.namespace));
        let made = api.create(&PostParams::default(), pod).await;
        if let Ok(made) = &made {
            self.own.wrote(key, &self.pods.cache, made);
        }
        self.tell_of(set, "create", &name, &made);
        made.map(drop).on(|| format!("create pod {name}"))
    }

    async fn update(&self, key: &Key, set: &StatefulSet, name: &str, patch: &Value) -> Result<(), ControllerError> {
        let api: Api<Pod> = self.context.api(&key.namespace);
        let written = api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        if let Ok(written) = &written {
            self.own.wrote(key, &self.pods.cache, written);
        }
        self.tell_of(set, "update", name, &written);
        written.map(drop).on(|| format!("update pod {name}"))
    }

    async fn delete(&self, key: &Key, set: &StatefulSet, pod: &Pod) -> Result<(), ControllerError> {
        let (name, gone) = (pod.name_any(), self.pods.remove(key, pod).await);
        self.tell_of(set, "delete", &name, &gone);
        gone.map(drop).on(|| format!("delete pod {name}"))
    }

    fn tell_of<T>(&self, set: &StatefulSet, verb: &str, pod: &str, done: &Result<T, kube::Error>) {
        self.tell(set, verb, pod, done.as_ref().err().map(|error| skiff_client::sentence(error)).as_deref());
    }

    /// Tells the user of what was done to a pod, or why it was not.
    fn tell(&self, set: &StatefulSet, verb: &str, pod: &str, error: Option<&str>) {
        let title = match verb {
            "create" => "Create",
            "update" => "Update",
            _ => "Delete",
        };
        let what = format!("{title} Pod {pod} in StatefulSet {}", set.name_any());
        let (kind, reason, message) = match error {
            None => (EventKind::Normal, format!("Successful{title}"), format!("{what} successful")),
            Some(error) => (EventKind::Warning, format!("Failed{title}"), format!("{what} failed error: {error}")),
        };
        self.context.tell(set, kind, &reason, message);
    }

    async fn write_status(
        &self,
        key: &Key,
        set: &StatefulSet,
        status: &StatefulSetStatus,
    ) -> Result<(), ControllerError> {
        if set.status.as_ref() == Some(status) {
            return Ok(());
        }
        let api: Api<StatefulSet> = self.context.api(&key.namespace);
        self.own.patch_status(&api, key, &self.sets, json!(status)).await
    }
}

/// The version that the status says is current, if it is kept; otherwise the new one.
fn current(set: &StatefulSet, revisions: &[Arc<ControllerRevision>], update: &Version) -> Version {
    let name = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
    let found = revisions.iter().find(|one| one.metadata.name.as_deref() == name);
    let kept = found.and_then(|one| Some(Version { name: one.name_any(), template: template_of(one)? }));
    kept.unwrap_or_else(|| Version { name: update.name.clone(), template: update.template.clone() })
}
