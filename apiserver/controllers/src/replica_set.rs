//! Keeps so many pods of one template alive.

mod plan;

use crate::claim::Claims;
use crate::context::{Context, ControllerError, EventKind, On, absent_is_none, drive};
use crate::owned::{generated_name, owner_reference, selector_text};
use futures::{StreamExt, stream};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use plan::Difference;
use serde_json::json;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Writes under way at once; the server commits concurrent writes together, so some parallelism pays.
const WRITES_AT_ONCE: usize = 32;

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let sets: Api<ReplicaSet> = Api::all(context.client.clone());
    let pods: Api<Pod> = Api::all(context.client.clone());
    let controller = Controller::new(sets, watcher::Config::default());
    let claims = Claims::new(controller.store());
    let concerned = claims.clone();
    let controller = controller.watches(pods, watcher::Config::default(), move |pod| concerned.concerned(&pod));
    drive(controller, context, shutdown, move |seen, context| reconcile(seen, context, claims.clone())).await;
}

async fn reconcile(
    seen: Arc<ReplicaSet>,
    context: Arc<Context>,
    claims: Claims<ReplicaSet>,
) -> Result<Action, ControllerError> {
    let (name, namespace) = (seen.name_any(), seen.namespace().unwrap_or_default());
    let sets: Api<ReplicaSet> = context.api(&namespace);
    // The cache may lag behind a scale or a deletion, so the decision is made on the present.
    let Some(set) = absent_is_none(sets.get(&name).await).on(|| format!("get replicaset {namespace}/{name}"))? else {
        return Ok(Action::await_change());
    };
    let pods = owned_pods(&context, &set, &claims).await?;
    if set.metadata.deletion_timestamp.is_none() {
        act(&context, &set, plan::difference(&set, &pods)).await?;
    }
    write_status(&sets, &set, &pods).await
}

/// The pods that match the selector and are ours; matching pods without an owner are adopted.
async fn owned_pods(
    context: &Context,
    set: &ReplicaSet,
    claims: &Claims<ReplicaSet>,
) -> Result<Vec<Pod>, ControllerError> {
    let namespace = set.namespace().unwrap_or_default();
    let selector = set.spec.as_ref().and_then(|spec| selector_text(&spec.selector)).filter(|text| !text.is_empty());
    let Some(selector) = selector else {
        return Err(ControllerError::Malformed(format!(
            "replicaset {namespace}/{}: no usable selector",
            set.name_any()
        )));
    };
    let api: Api<Pod> = context.api(&namespace);
    let list = api.list(&ListParams::default().labels(&selector)).await.on(|| format!("list pods {selector}"))?;
    claims.settle(&api, set, list.items).await
}

async fn act(context: &Context, set: &ReplicaSet, difference: Difference) -> Result<(), ControllerError> {
    let api: Api<Pod> = context.api(&set.namespace().unwrap_or_default());
    let results: Vec<_> = match difference {
        Difference::Nothing => return Ok(()),
        Difference::Create(number) => {
            let pods = (0..number).map(|_| create(context, set, &api));
            stream::iter(pods).buffer_unordered(WRITES_AT_ONCE).collect().await
        }
        Difference::Delete(names) => {
            let deletions = names.into_iter().map(|name| delete(context, set, &api, name));
            stream::iter(deletions).buffer_unordered(WRITES_AT_ONCE).collect().await
        }
    };
    results.into_iter().collect()
}

async fn create(context: &Context, set: &ReplicaSet, api: &Api<Pod>) -> Result<(), ControllerError> {
    let name = generated_name(&set.name_any());
    let pod = pod_of(set, &name);
    match api.create(&PostParams::default(), &pod).await {
        Ok(_) => {
            context.tell(set, EventKind::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
            Ok(())
        }
        Err(error) => {
            context.tell(
                set,
                EventKind::Warning,
                "FailedCreate",
                format!("Error creating: {}", skiff_client::sentence(&error)),
            );
            Err(error).on(|| format!("create pod {name}"))
        }
    }
}

fn pod_of(set: &ReplicaSet, name: &str) -> Pod {
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.name = Some(name.to_owned());
    metadata.generate_name = Some(format!("{}-", set.name_any()));
    metadata.namespace = set.namespace();
    metadata.owner_references = Some(vec![owner_reference(set)]);
    Pod { metadata, spec: template.spec, status: None }
}

async fn delete(context: &Context, set: &ReplicaSet, api: &Api<Pod>, name: String) -> Result<(), ControllerError> {
    let gone = absent_is_none(api.delete(&name, &DeleteParams::default()).await).on(|| format!("delete pod {name}"))?;
    if gone.is_some() {
        context.tell(set, EventKind::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
    }
    Ok(())
}

async fn write_status(sets: &Api<ReplicaSet>, set: &ReplicaSet, pods: &[Pod]) -> Result<Action, ControllerError> {
    let (status, again) = plan::status(set, pods, jiff::Timestamp::now());
    if set.status.as_ref() != Some(&status) {
        let name = set.name_any();
        let patch = Patch::Merge(json!({"status": status}));
        absent_is_none(sets.patch_status(&name, &PatchParams::default(), &patch).await)
            .on(|| format!("write status of replicaset {name}"))?;
    }
    Ok(again.and_then(|wait| wait.try_into().ok()).map_or_else(Action::await_change, Action::requeue))
}
