//! Claims of devices: made for pods by templates, given back when no pod has them any more.
//!
//! ```text
//!  pod with a template ──► claim, and its name in the pod's status                 [templates]
//!  pod ended or gone ──► reservation gone ──► the last one: devices given back     [claims]
//!                                          └─► made for the pod: claim deleted
//! ```

mod plan; // what becomes of a claim; no I/O

use crate::context::{Context, ControllerError, EventKind, On, absent_is_none, is_status};
use crate::looking::{Again, Loop, Outcome, Own};
use crate::owned::{controller, has_ended, is_going, key_of_controller, owner_reference};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Pod, PodResourceClaim};
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use plan::{FINALIZER, Reserved, Upkeep, upkeep};
use serde_json::{Value, json};
use skiff_client::loose::{ResourceClaim, ResourceClaimTemplate};
use skiff_client::{Cache, Key};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Which of the pod's claims one that was made for it is.
const POD_CLAIM_NAME: &str = "resource.kubernetes.io/pod-claim-name";

/// Names of the claims of a pod: those that it names, and those that were made for it.
fn names(pod: &Pod) -> Vec<String> {
    let named = pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten());
    let named = named.filter_map(|claim| claim.resource_claim_name.clone());
    let made = pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
    named.chain(made.filter_map(|claim| claim.resource_claim_name.clone())).collect()
}

struct Keeper {
    context: Context,
    own: Own,
    pods: Cache<Pod>,
    claims: Cache<ResourceClaim>,
}

/// Gives devices back that no pod has any more. Runs until `shutdown`.
pub(crate) async fn claims(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context.reporting_as("resource_claim"));
    let claims = looking.over::<ResourceClaim>();
    let pods = looking.context.caches.all::<Pod>();
    looking.when(&pods, |change| {
        let Some(pod) = change.now.or(change.before) else { return Vec::new() };
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        names(pod).iter().map(|name| Key::new(&namespace, name)).collect()
    });
    let keeper = Arc::new(Keeper { context: looking.context.clone(), own: looking.own.clone(), pods, claims });
    looking.run(shutdown, move |key| keeper.clone().look_after(key).boxed()).await;
}

/// Makes claims by templates. Runs until `shutdown`.
pub(crate) async fn templates(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context.reporting_as("resource_claim"));
    let caches = looking.context.caches.clone();
    let (pods, claims) = (caches.all::<Pod>(), caches.all::<ResourceClaim>());
    let templates = caches.all::<ResourceClaimTemplate>();
    looking.when(&pods, |change| {
        let claims = change.now.and_then(|pod| pod.spec.as_ref()).and_then(|spec| spec.resource_claims.as_ref());
        let has = claims.is_some_and(|claims| !claims.is_empty());
        if has { vec![Key::of(change.meta())] } else { Vec::new() }
    });
    looking.when(&claims, |change| key_of_controller(change.meta(), "Pod").into_iter().collect());
    let waiting = pods.clone();
    looking.when(&templates, move |change| {
        let meta = change.meta();
        let names = |claim: &PodResourceClaim| claim.resource_claim_template_name == meta.name;
        let uses = |pod: &Pod| pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten()).any(names);
        let pods = waiting.within(meta.namespace.as_deref().unwrap_or_default());
        pods.iter().filter(|pod| uses(pod)).map(|pod| Key::of(&pod.metadata)).collect()
    });
    let keeper = Keeper { context: looking.context.clone(), own: looking.own.clone(), pods, claims };
    let keeper = Arc::new((keeper, templates));
    looking.run(shutdown, move |key| make(keeper.clone(), key).boxed()).await;
}

async fn make(keeper: Arc<(Keeper, Cache<ResourceClaimTemplate>)>, key: Key) -> Outcome {
    let (keeper, templates) = &*keeper;
    let Some(pod) = keeper.pods.get(&key.namespace, &key.name) else { return Ok(Again::OnChange) };
    if is_going(&pod) || has_ended(&pod) {
        return Ok(Again::OnChange);
    }
    let mut statuses = Vec::new();
    for claim in pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten()) {
        let Some(template) = &claim.resource_claim_template_name else { continue };
        match keeper.ensure(&key, &pod, claim, templates.get(&key.namespace, template)).await {
            Ok(name) => statuses.push(json!({"name": claim.name, "resourceClaimName": name})),
            Err(error) => {
                let message = format!("PodResourceClaim {}: {}", claim.name, skiff_client::sentence(&error));
                keeper.context.tell(&*pod, EventKind::Warning, "FailedResourceClaimCreation", message);
                return Err(error);
            }
        }
    }
    let known = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.clone()).unwrap_or_default();
    let is_known = |status: &Value| {
        known.iter().any(|one| {
            status["name"] == one.name.as_str()
                && status["resourceClaimName"].as_str() == one.resource_claim_name.as_deref()
        })
    };
    if !statuses.iter().all(is_known) {
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"resourceClaimStatuses": statuses}});
        let api: Api<Pod> = keeper.context.api(&key.namespace);
        let written = api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        if let Some(written) = absent_is_none(written).on(|| format!("write status of pod {key}"))? {
            keeper.own.wrote(&key, &keeper.pods, &written);
        }
    }
    keeper.reserve(&key, &pod).await?;
    Ok(Again::OnChange)
}

impl Keeper {
    /// The name of the claim that was made for `wanted` of a pod, which is made if there is none.
    async fn ensure(
        &self,
        key: &Key,
        pod: &Pod,
        wanted: &PodResourceClaim,
        template: Option<Arc<ResourceClaimTemplate>>,
    ) -> Result<String, ControllerError> {
        let is_it = |claim: &ResourceClaim| {
            let own = controller(&claim.metadata).is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref());
            own && claim.annotation(POD_CLAIM_NAME) == Some(&wanted.name) && claim.metadata.deletion_timestamp.is_none()
        };
        if let Some(claim) = self.claims.within(&key.namespace).iter().find(|claim| is_it(claim)) {
            return Ok(claim.name().to_owned());
        }
        let template = template.ok_or_else(|| {
            let name = wanted.resource_claim_template_name.as_deref().unwrap_or_default();
            ControllerError::Malformed(format!(
                "resource claim template \"{name}\": resourceclaimtemplate.resource.k8s.io \"{name}\" not found"
            ))
        })?;
        let of_template = |field: &str| -> BTreeMap<String, String> {
            let given = template.fields["spec"]["metadata"][field].clone();
            serde_json::from_value(given).unwrap_or_default()
        };
        let mut annotations = of_template("annotations");
        annotations.insert(POD_CLAIM_NAME.to_owned(), wanted.name.clone());
        let meta = ObjectMeta {
            generate_name: Some(format!("{}-{}-", key.name, wanted.name)),
            annotations: Some(annotations),
            labels: Some(of_template("labels")),
            owner_references: Some(vec![owner_reference(pod)]),
            ..ObjectMeta::default()
        };
        let claim = ResourceClaim::new(meta, json!({"spec": template.fields["spec"]["spec"]}));
        let api: Api<ResourceClaim> = self.context.api(&key.namespace);
        let made = api.create(&PostParams::default(), &claim).await.on(|| "create ResourceClaim".to_owned())?;
        self.own.wrote(key, &self.claims, &made);
        Ok(made.name().to_owned())
    }

    /// A pod that was put on a node without a scheduler has what is allocated already.
    async fn reserve(&self, key: &Key, pod: &Pod) -> Result<(), ControllerError> {
        if pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()) {
            return Ok(());
        }
        for name in names(pod) {
            let Some(claim) = self.claims.get(&key.namespace, &name) else { continue };
            let Some(users) = plan::with(&claim, pod) else { continue };
            let meta = json!({"uid": claim.metadata.uid, "resourceVersion": claim.metadata.resource_version});
            let patch = json!({"metadata": meta, "status": {"reservedFor": users}});
            self.write_status(key, &claim, patch).await?;
        }
        Ok(())
    }

    async fn write_status(
        &self,
        key: &Key,
        claim: &ResourceClaim,
        patch: Value,
    ) -> Result<Option<ResourceClaim>, ControllerError> {
        let api: Api<ResourceClaim> = self.context.api(&key.namespace);
        let written = api.patch_status(claim.name(), &PatchParams::default(), &Patch::Merge(patch)).await;
        let written = absent_is_none(written).on(|| format!("write status of resourceclaim {}", claim.name()))?;
        if let Some(written) = &written {
            self.own.wrote(key, &self.claims, written);
        }
        Ok(written)
    }

    async fn look_after(self: Arc<Self>, key: Key) -> Outcome {
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else { return Ok(Again::OnChange) };
        let mut reserved = Vec::new();
        for user in claim.fields["status"]["reservedFor"].as_array().into_iter().flatten() {
            let has_it = self.has_it(&key.namespace, user).await?;
            reserved.push(Reserved { user: user.clone(), has_it });
        }
        let owner_done = self.owner_is_done(&claim);
        match upkeep(&claim, &reserved, owner_done) {
            Upkeep::Nothing => {}
            Upkeep::Write { status, release } => {
                let mut current = ResourceClaim::clone(&claim);
                if let Some(status) = status {
                    let meta = json!({"uid": claim.metadata.uid, "resourceVersion": claim.metadata.resource_version});
                    let patch = json!({"metadata": meta, "status": status});
                    let Some(written) = self.write_status(&key, &claim, patch).await? else {
                        return Ok(Again::OnChange);
                    };
                    current = written;
                }
                if release {
                    self.release(&key, &current).await?;
                }
            }
            Upkeep::Delete => {
                let api: Api<ResourceClaim> = self.context.api(&key.namespace);
                let gone = self.own.delete(&api, &key, &self.claims, &*claim, DeleteParams::default()).await;
                gone.on(|| format!("delete resourceclaim {key}"))?;
            }
        }
        Ok(Again::OnChange)
    }

    async fn release(&self, key: &Key, claim: &ResourceClaim) -> Result<(), ControllerError> {
        let meta = &claim.metadata;
        let list: Vec<_> = meta.finalizers.iter().flatten().filter(|one| *one != FINALIZER).cloned().collect();
        let patch =
            json!({"metadata": {"finalizers": list, "uid": meta.uid, "resourceVersion": meta.resource_version}});
        let api: Api<ResourceClaim> = self.context.api(&key.namespace);
        let written = api.patch(claim.name(), &PatchParams::default(), &Patch::Merge(patch)).await;
        let written = absent_is_none(written).on(|| format!("remove finalizer of resourceclaim {key}"))?;
        if let Some(written) = written.filter(|written| written.metadata.deletion_timestamp.is_none()) {
            self.own.wrote(key, &self.claims, &written);
        }
        Ok(())
    }

    /// Whether a user has a claim still: a pod that is there and has not ended. Others than pods are not ours to judge.
    async fn has_it(&self, namespace: &str, user: &Value) -> Result<bool, ControllerError> {
        let text = |field: &str| user[field].as_str().unwrap_or_default();
        if text("resource") != "pods" || !text("apiGroup").is_empty() {
            return Ok(true);
        }
        let is_it = |pod: &Pod| pod.metadata.uid.as_deref() == Some(text("uid"));
        if let Some(pod) = self.pods.get(namespace, text("name")).filter(|pod| is_it(pod)) {
            return Ok(!plan::is_done(&pod));
        }
        // What is given back is gone, so the cache's word is not enough.
        let api: Api<Pod> = self.context.api(namespace);
        match api.get(text("name")).await {
            Ok(pod) => Ok(is_it(&pod) && !plan::is_done(&pod)),
            Err(error) if is_status(&error, 404) => Ok(false),
            Err(error) => Err(error).on(|| format!("get pod {namespace}/{}", text("name"))),
        }
    }

    /// Whether the claim was made for a pod that has no use for it any more.
    fn owner_is_done(&self, claim: &ResourceClaim) -> bool {
        let Some(owner) = controller(&claim.metadata).filter(|owner| owner.kind == "Pod") else { return false };
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        let pod = self.pods.get(namespace, &owner.name);
        pod.is_some_and(|pod| pod.metadata.uid.as_ref() == Some(&owner.uid) && plan::is_done(&pod))
    }
}
