//! What daemon sets and stateful sets were: each version of a template is kept as a ControllerRevision, to roll back to.

pub(crate) mod plan; // what a revision says, and which one is the present

use crate::claim::{Claim, Selecting};
use crate::context::{ControllerError, On, is_status};
use crate::looking::Own;
use crate::owned::owner_reference;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use plan::{Present, Snapshot};
use serde_json::json;
use skiff_client::{Cache, Key};
use std::sync::Arc;

/// How many names are tried until one is free. Two of them being taken by chance would already be a wonder.
const NAMES_MAX: i32 = 16;

/// The revisions of one object's template.
pub(crate) struct History<'a> {
    pub(crate) key: &'a Key,
    pub(crate) own: &'a Own,
    pub(crate) client: &'a kube::Client,
    pub(crate) revisions: &'a Cache<ControllerRevision>,
    /// Under which label a revision says its hash: the two kinds differ.
    pub(crate) hash_label: &'static str,
}

/// What there is of an object's template.
pub(crate) struct Found {
    /// The revisions that there were, the oldest first.
    pub(crate) revisions: Vec<Arc<ControllerRevision>>,
    /// The one that is the present template.
    pub(crate) present: Arc<ControllerRevision>,
    /// How often a name was taken until the present one had its own.
    pub(crate) collisions: i32,
}

impl History<'_> {
    /// The revisions of `owner`, and the one that is its present `template`: made, or given the highest number again, if need
    /// be. `collisions` is what the owner's status says of them.
    pub(crate) async fn look<K: Selecting>(
        &self,
        owner: &K,
        template: &PodTemplateSpec,
        collisions: Option<i32>,
    ) -> Result<Found, ControllerError> {
        let claim = Claim { children: self.revisions, own: self.own, client: self.client };
        let mut revisions = claim.settle(owner).await?;
        plan::sort(&mut revisions);
        let collisions = collisions.unwrap_or(0);
        let (present, collisions) = match plan::present(&revisions, template) {
            Present::Is(revision) => (revision, collisions),
            Present::WasBefore { revision, number } => (self.renumber(&revision, number).await?, collisions),
            Present::IsNew { number } => {
                let (owner, reference) = (owner.meta(), owner_reference(owner));
                let snapshot = Snapshot { owner, reference, template, number, hash_label: self.hash_label };
                self.make(&snapshot, collisions).await?
            }
        };
        Ok(Found { revisions, present, collisions })
    }

    async fn make(
        &self,
        snapshot: &Snapshot<'_>,
        collisions: i32,
    ) -> Result<(Arc<ControllerRevision>, i32), ControllerError> {
        let api = self.api();
        for collisions in collisions..collisions.saturating_add(NAMES_MAX) {
            let revision = snapshot.revision(collisions);
            let name = revision.name_any();
            let made = match api.create(&PostParams::default(), &revision).await {
                Err(error) if is_status(&error, 409) => {
                    let there = api.get(&name).await.on(|| format!("get controllerrevision {name}"))?;
                    if !plan::is_of(&there, snapshot.template) {
                        continue;
                    }
                    there
                }
                made => made.on(|| format!("create controllerrevision {name}"))?,
            };
            self.own.wrote(self.key, self.revisions, &made);
            return Ok((Arc::new(made), collisions));
        }
        Err(ControllerError::Malformed(format!("{}: {NAMES_MAX} names of revisions are taken", self.key)))
    }

    async fn renumber(
        &self,
        revision: &ControllerRevision,
        number: i64,
    ) -> Result<Arc<ControllerRevision>, ControllerError> {
        let name = revision.name_any();
        let patch = Patch::Merge(json!({ "revision": number }));
        let written = self.api().patch(&name, &PatchParams::default(), &patch).await;
        let written = written.on(|| format!("set revision of controllerrevision {name}"))?;
        self.own.wrote(self.key, self.revisions, &written);
        Ok(Arc::new(written))
    }

    /// Deletes revisions that nobody will roll back to: those beyond the last `keep` of which `is_live` does not say that
    /// something is.
    pub(crate) async fn forget(
        &self,
        revisions: &[Arc<ControllerRevision>],
        keep: Option<i32>,
        is_live: impl Fn(&ControllerRevision) -> bool,
    ) -> Result<(), ControllerError> {
        let (api, surplus) = (self.api(), plan::surplus(revisions, keep, is_live));
        for revision in &surplus {
            let gone = self.own.delete(&api, self.key, self.revisions, &**revision, DeleteParams::default()).await;
            gone.on(|| format!("delete old controllerrevision {}", revision.name_any()))?;
        }
        Ok(())
    }

    fn api(&self) -> Api<ControllerRevision> {
        Api::namespaced(self.client.clone(), &self.key.namespace)
    }
}
