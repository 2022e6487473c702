//! Writes pod statuses to the API server: one task per pod, the latest status only, and only when it changed.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Map, Value, json};
use skiff_step::{Engine, Step as Named};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const STATUS: Named = Named::new("pod.status", "Kubernetes API, PATCH pods/status");
/// How long a status that only says "still starting" waits for a better one. A pod whose image is present starts within
/// this time, so it is written once and not twice.
const STARTING_DELAY: Duration = Duration::from_millis(100);
/// How long after a failed write the next is tried.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Patches `status` in, provided that the pod is still this one: the server refuses a patch with another uid (409).
pub(super) async fn patch(pods: &Api<Pod>, pod: &Pod, status: &PodStatus) -> kube::Result<()> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let body = body(pod, pod.status.as_ref(), status);
    pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(body)).await.map(drop)
}

/// The strategic merge patch from `old` to `new`: conditions merge by type, lists of containers are replaced, what is no
/// longer there is null, in conditions too (the reason why something was not so, when it is so).
fn body(pod: &Pod, old: Option<&PodStatus>, new: &PodStatus) -> Value {
    let object = |status: &PodStatus| match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let mut status = object(new);
    let old = old.map(object).unwrap_or_default();
    let known = old.get("conditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        let before = known.iter().find(|before| before["type"] == condition["type"]);
        if let (Some(before), Some(condition)) = (before.and_then(Value::as_object), condition.as_object_mut()) {
            clear_missing(before, condition);
        }
    }
    clear_missing(&old, &mut status);
    json!({"metadata": {"uid": pod.metadata.uid}, "status": status})
}

fn clear_missing(old: &Map<String, Value>, new: &mut Map<String, Value>) {
    for key in old.keys().filter(|key| !new.contains_key(*key)).cloned().collect::<Vec<_>>() {
        new.insert(key, Value::Null);
    }
}

/// Whether the only news in `status` is that the pod is on its way.
fn is_starting(status: &PodStatus) -> bool {
    let on_its_way = |container: &ContainerStatus| {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        waiting
            .is_some_and(|waiting| matches!(waiting.reason.as_deref(), Some("ContainerCreating" | "PodInitializing")))
    };
    let inits = status.init_container_statuses.as_ref().is_none_or(Vec::is_empty);
    status.phase.as_deref() == Some("Pending") && inits && status.container_statuses.iter().flatten().all(on_its_way)
}

/// Writes what `statuses` holds until it closes. `pod` is the object as first seen.
pub(super) async fn follow(
    client: kube::Client,
    pod: Arc<Pod>,
    mut statuses: watch::Receiver<Option<PodStatus>>,
    engine: Engine,
) {
    let pods: Api<Pod> = Api::namespaced(client, pod.metadata.namespace.as_deref().unwrap_or_default());
    let mut written = Pod { metadata: pod.metadata.clone(), spec: None, status: pod.status.clone() };
    while statuses.changed().await.is_ok() {
        let mut status = statuses.borrow_and_update().clone();
        if status.as_ref().is_some_and(is_starting) {
            let _either_way = tokio::time::timeout(STARTING_DELAY, statuses.changed()).await;
            status = statuses.borrow_and_update().clone();
        }
        let Some(status) = status.filter(|status| Some(status) != written.status.as_ref()) else { continue };
        match patch(&pods, &written, &status).await {
            Ok(()) => {
                engine.note(&STATUS, || format!("{} {}", name(&pod), status.phase.clone().unwrap_or_default()));
                written.status = Some(status);
            }
            // Gone or replaced: the watch will tell the worker.
            Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409) => {}
            Err(error) => {
                tracing::warn!(pod = name(&pod), %error, "status not written");
                tokio::time::sleep(RETRY_DELAY).await;
                statuses.mark_changed();
            }
        }
    }
}

/// Fails a pod that this node does not take.
pub(super) async fn reject(client: &kube::Client, pod: &Pod, reason: &str, message: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default());
    let status = PodStatus {
        phase: Some("Failed".to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        ..Default::default()
    };
    if let Err(error) = patch(&pods, &Pod { status: None, ..pod.clone() }, &status).await {
        tracing::warn!(pod = name(pod), %error, "rejection not written");
    }
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_null_and_the_uid_guards() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "u"}})).unwrap();
        let old = PodStatus { reason: Some("Evicted".into()), phase: Some("Pending".into()), ..Default::default() };
        let new = PodStatus { phase: Some("Running".into()), ..Default::default() };
        let expected = json!({"metadata": {"uid": "u"}, "status": {"phase": "Running", "reason": null}});
        assert_eq!(body(&pod, Some(&old), &new), expected);
    }

    #[test]
    fn a_condition_that_turns_true_loses_its_reason() {
        let status =
            |conditions: Value| -> PodStatus { serde_json::from_value(json!({ "conditions": conditions })).unwrap() };
        let old =
            status(json!([{"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "[web]"}]));
        let new = status(json!([{"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"}]));
        let expected = json!([{"type": "Ready", "status": "True", "reason": null, "message": null},
            {"type": "ContainersReady", "status": "True"}]);
        assert_eq!(body(&Pod::default(), Some(&old), &new)["status"]["conditions"], expected);
    }
}
