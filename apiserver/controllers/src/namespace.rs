//! Empties a namespace that is being deleted, then lets go of it.
//!
//! A namespace carries the finalizer `kubernetes` in its spec (not in its metadata, as other objects do); when everything
//! inside is gone the controller removes it through the `finalize` subresource and the API server removes the namespace.

use crate::context::{Context, ControllerError, On, absent_is_none};
use crate::looking::{Again, Loop, Outcome};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::discovery::{Discovery, Scope, verbs};
use skiff_client::{Cache, Key};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pods take their grace period to go; there is no event for "the last object of a namespace is gone", so look again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let (namespaces, context) = (looking.over::<Namespace>(), looking.context.clone());
    looking.run(shutdown, move |key| reconcile(key, namespaces.clone(), context.clone()).boxed()).await;
}

async fn reconcile(key: Key, namespaces: Cache<Namespace>, context: Context) -> Outcome {
    let namespace = namespaces.get("", &key.name);
    if namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_none()) {
        return Ok(Again::OnChange);
    }
    if delete_content(&context, &key.name).await? > 0 {
        return Ok(Again::After(LOOK_AGAIN));
    }
    finalize(&context, &key.name).await?;
    Ok(Again::OnChange)
}

/// Deletes what is in the namespace; returns how many objects were still there.
async fn delete_content(context: &Context, namespace: &str) -> Result<usize, ControllerError> {
    let discovery =
        Discovery::new(context.client.clone()).run_aggregated().await.on(|| "discover resources".to_owned())?;
    let mut left = 0;
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let deletable =
                capabilities.supports_operation(verbs::LIST) && capabilities.supports_operation(verbs::DELETE);
            if capabilities.scope != Scope::Namespaced || !deletable {
                continue;
            }
            let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
            left += delete_all(&api, &resource.plural).await?;
        }
    }
    Ok(left)
}

async fn delete_all(api: &Api<DynamicObject>, plural: &str) -> Result<usize, ControllerError> {
    let list = api.list_metadata(&ListParams::default()).await.on(|| format!("list {plural}"))?;
    for object in &list.items {
        if object.metadata.deletion_timestamp.is_none() {
            let name = object.name_any();
            let deleted = api.delete(&name, &DeleteParams::background()).await;
            absent_is_none(deleted.map(drop)).on(|| format!("delete {plural}/{name}"))?;
        }
    }
    Ok(list.items.len())
}

async fn finalize(context: &Context, name: &str) -> Result<(), ControllerError> {
    let api: Api<Namespace> = Api::all(context.client.clone());
    let present = absent_is_none(api.get(name).await).on(|| format!("get namespace {name}"))?;
    let Some(mut namespace) = present else { return Ok(()) };
    let finalizers = namespace.spec.get_or_insert_default().finalizers.get_or_insert_default();
    finalizers.retain(|finalizer| finalizer != "kubernetes");
    let done = api.replace_subresource("finalize", name, &PostParams::default(), &namespace).await;
    absent_is_none(done).map(drop).on(|| format!("finalize namespace {name}"))
}
