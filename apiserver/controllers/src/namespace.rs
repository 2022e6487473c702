//! Empties a namespace that is being deleted, then lets go of it.
//!
//! A namespace carries the finalizer `kubernetes` in its spec (not in its metadata, as other objects do); when everything
//! inside is gone the controller removes it through the `finalize` subresource and the API server removes the namespace.
//!
//! Guarantees: pods go first (KEP-5080): what protects them, such as a network policy, stays until they have ended. Its
//! conditions say what is left and who holds it.

mod plan; // what its conditions say

use crate::context::{Context, ControllerError, On, absent_is_none, is_status};
use crate::looking::{Again, Loop, Outcome};
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::discovery::{Discovery, Scope, verbs};
use plan::Remaining;
use skiff_client::{Cache, Key};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pods take their grace period to go; there is no event for "the last object of a namespace is gone", so look again: soon,
/// and then the later the longer it takes.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(250);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(15);

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let (namespaces, context) = (looking.over::<Namespace>(), looking.context.clone());
    looking.run(shutdown, move |key| reconcile(key, namespaces.clone(), context.clone()).boxed()).await;
}

async fn reconcile(key: Key, namespaces: Cache<Namespace>, context: Context) -> Outcome {
    let namespace = namespaces.get("", &key.name);
    let Some(deleted) = namespace.as_ref().and_then(|namespace| namespace.metadata.deletion_timestamp.as_ref()) else {
        return Ok(Again::OnChange);
    };
    let Some(live) = live(&context, &key.name).await? else { return Ok(Again::OnChange) };
    if !live.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten()).any(|one| one == "kubernetes") {
        return Ok(Again::OnChange);
    }
    let left = empty(&context, &key.name).await;
    say(&context, live, &left).await?;
    if left.is_nothing() {
        finalize(&context, &key.name).await?;
        return Ok(Again::OnChange);
    }
    for failure in &left.failures {
        tracing::warn!(namespace = %key.name, error = failure, "empty a namespace");
    }
    Ok(Again::After(wait_after(Timestamp::now().duration_since(deleted.0))))
}

/// A tenth of the time that it has taken.
fn wait_after(taken: jiff::SignedDuration) -> Duration {
    let taken = Duration::try_from(taken).unwrap_or_default();
    (taken / 10).clamp(LOOK_AGAIN_MIN, LOOK_AGAIN_MAX)
}

/// The namespace as the server has it, if it is still on its way out.
async fn live(context: &Context, name: &str) -> Result<Option<Namespace>, ControllerError> {
    let api: Api<Namespace> = Api::all(context.client.clone());
    let live = absent_is_none(api.get(name).await).on(|| format!("get namespace {name}"))?;
    Ok(live.filter(|live| live.metadata.deletion_timestamp.is_some()))
}

/// Deletes what is in the namespace; returns what is still there.
async fn empty(context: &Context, namespace: &str) -> Remaining {
    let resources = match deletable(context).await {
        Ok(resources) => resources,
        Err(error) => {
            let undiscovered = Some(skiff_client::sentence(&error));
            return Remaining { undiscovered, ..Remaining::default() };
        }
    };
    let is_pods = |one: &ApiResource| one.group.is_empty() && one.plural == "pods";
    let (pods, others): (Vec<_>, Vec<_>) = resources.into_iter().partition(is_pods);
    let left = sweep(context, namespace, [&pods, &others]).await;
    if left.is_nothing() && left.deleted {
        // What was being made when the namespace was deleted came after the list.
        return sweep(context, namespace, [&pods, &others]).await;
    }
    left
}

/// Deletes what there is of some resources, and of those that come later only when nothing of the earlier ones is left.
async fn sweep(context: &Context, namespace: &str, order: [&[ApiResource]; 2]) -> Remaining {
    let mut left = Remaining::default();
    for resources in order {
        for resource in resources {
            if let Err(error) = delete_all(context, namespace, resource, &mut left).await {
                left.failures.push(skiff_client::sentence(&error));
            }
        }
        if !left.is_nothing() {
            break;
        }
    }
    left
}

/// The resources of namespaces whose objects can be listed and deleted.
async fn deletable(context: &Context) -> Result<Vec<ApiResource>, ControllerError> {
    let discovery =
        Discovery::new(context.client.clone()).run_aggregated().await.on(|| "discover resources".to_owned())?;
    let all = discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources);
    let fit = all.filter(|(_, capabilities)| {
        capabilities.scope == Scope::Namespaced
            && [verbs::LIST, verbs::DELETE].iter().all(|verb| capabilities.supports_operation(verb))
    });
    Ok(fit.map(|(resource, _)| resource).collect())
}

async fn delete_all(
    context: &Context,
    namespace: &str,
    resource: &ApiResource,
    left: &mut Remaining,
) -> Result<(), ControllerError> {
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, resource);
    let plural = &resource.plural;
    let list = match api.list_metadata(&ListParams::default()).await {
        // It was served a moment ago.
        Err(error) if is_status(&error, 404) || is_status(&error, 405) => return Ok(()),
        list => list.on(|| format!("list {plural}"))?,
    };
    let mut failed = Ok(());
    for object in &list.items {
        let name = object.name_any();
        if object.metadata.deletion_timestamp.is_none() {
            left.deleted = true;
            let deleted = api.delete(&name, &DeleteParams::background()).await.map(|answer| answer.left());
            let deleted = absent_is_none(deleted).map(Option::flatten);
            match deleted.on(|| format!("delete {plural}/{name}")) {
                Ok(object) if !object.as_ref().is_some_and(stays) => continue,
                Ok(_) => {}
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        left.note(plural, &resource.group, object.finalizers().iter().map(String::as_str));
    }
    failed
}

/// Whether an object that was deleted is still there.
fn stays(object: &DynamicObject) -> bool {
    !object.finalizers().is_empty() || object.metadata.deletion_grace_period_seconds.unwrap_or(0) > 0
}

/// Writes what is left into the conditions.
async fn say(context: &Context, mut namespace: Namespace, left: &Remaining) -> Result<(), ControllerError> {
    let status = namespace.status.get_or_insert_default();
    let before = status.conditions.clone().unwrap_or_default();
    let Some(conditions) = plan::conditions(&before, left, Timestamp::now()) else { return Ok(()) };
    // One that goes at once had nothing to say.
    if before.is_empty() && left.is_nothing() {
        return Ok(());
    }
    status.conditions = Some(conditions);
    let (name, api): (_, Api<Namespace>) = (namespace.name_any(), Api::all(context.client.clone()));
    let written = api.replace_status(&name, &PostParams::default(), &namespace).await;
    absent_is_none(written).map(drop).on(|| format!("write status of namespace {name}"))
}

async fn finalize(context: &Context, name: &str) -> Result<(), ControllerError> {
    let api: Api<Namespace> = Api::all(context.client.clone());
    let Some(mut namespace) = live(context, name).await? else { return Ok(()) };
    let finalizers = namespace.spec.get_or_insert_default().finalizers.get_or_insert_default();
    finalizers.retain(|finalizer| finalizer != "kubernetes");
    let done = api.replace_subresource("finalize", name, &PostParams::default(), &namespace).await;
    absent_is_none(done).map(drop).on(|| format!("finalize namespace {name}"))
}
