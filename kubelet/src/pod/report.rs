//! Writes pod statuses to the API server: one task per pod, the latest status only, and only when it changed.

use super::resources::qos_class;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Map, Value, json};
use skiff_client::sentence;
use skiff_step::{Engine, Step as Named};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

const STATUS: Named = Named::new("pod.status", "Kubernetes API, PATCH pods/status");
/// How long a status that only says "still starting" waits for a better one. A pod whose image is present starts within
/// this time, so it is written once and not twice.
const STARTING_DELAY: Duration = Duration::from_millis(100);
/// How long after a failed write the next is tried.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Patches `status` in, provided that the pod is still this one: the server refuses a patch with another uid (409).
pub(super) async fn patch(pods: &Api<Pod>, pod: &Pod, status: &PodStatus) -> kube::Result<Pod> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let body = body(pod, pod.status.as_ref(), status);
    pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(body)).await
}

/// Lets the API server forget a pod that it waits for us to end: grace 0, and only if it is still this pod (uid).
pub(super) async fn release(pods: &Api<Pod>, pod: &Pod) -> kube::Result<()> {
    let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let parameters =
        DeleteParams { grace_period_seconds: Some(0), preconditions: Some(preconditions), ..Default::default() };
    pods.delete(pod.metadata.name.as_deref().unwrap_or_default(), &parameters).await.map(drop)
}

/// Whether `error` says that the pod is gone, or another of its name there.
pub(super) fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}

/// Lists of a pod's status that merge by a key, and of which we are the only writer: a dead address must not stay beside
/// the new one.
const OUR_LISTS: [&str; 2] = ["hostIPs", "podIPs"];

/// The strategic merge patch from `old` to `new`: conditions merge by type, all other lists are replaced, what is no
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
    // A condition that is gone has to be taken away by its key.
    if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        let gone = known.iter().filter(|before| !conditions.iter().any(|now| now["type"] == before["type"]));
        let gone: Vec<_> = gone.map(|before| json!({"type": before["type"], "$patch": "delete"})).collect();
        conditions.extend(gone);
    }
    clear_missing(&old, &mut status);
    replace_lists(&mut status, &OUR_LISTS);
    json!({"metadata": {"uid": pod.metadata.uid}, "status": status})
}

fn clear_missing(old: &Map<String, Value>, new: &mut Map<String, Value>) {
    for key in old.keys().filter(|key| !new.contains_key(*key)).cloned().collect::<Vec<_>>() {
        new.insert(key, Value::Null);
    }
}

/// Makes a strategic merge patch replace the lists `names`, which it would merge by their keys.
pub(crate) fn replace_lists(patch: &mut Map<String, Value>, names: &[&str]) {
    for name in names {
        if let Some(list) = patch.get_mut(*name).and_then(Value::as_array_mut) {
            list.push(json!({"$patch": "replace"}));
        }
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

/// The status to write: the newest one, or one that says more than "still starting" if such a one comes in time.
async fn settled(statuses: &mut watch::Receiver<Option<PodStatus>>, delay: Duration) -> Option<PodStatus> {
    let give_up_at = Instant::now() + delay;
    loop {
        let status = statuses.borrow_and_update().clone();
        if !status.as_ref().is_some_and(is_starting) {
            return status;
        }
        // Its sandbox and its addresses are news too, but of a pod that is still starting.
        match tokio::time::timeout_at(give_up_at, statuses.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return status,
        }
    }
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
        let status = settled(&mut statuses, STARTING_DELAY).await;
        let Some(status) = status.filter(|status| Some(status) != written.status.as_ref()) else { continue };
        match patch(&pods, &written, &status).await {
            Ok(_) => {
                engine.note(&STATUS, || format!("{} {}", name(&pod), status.phase.clone().unwrap_or_default()));
                written.status = Some(status);
            }
            // Gone or replaced: the watch will tell the worker.
            Err(error) if is_gone(&error) => {}
            Err(error) => {
                tracing::warn!(pod = name(&pod), error = sentence(&error), "status not written");
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
        qos_class: pod.spec.as_ref().map(|spec| qos_class(spec).name().to_owned()),
        observed_generation: pod.metadata.generation,
        reason: Some(reason.to_owned()),
        message: Some(format!("Pod was rejected: {message}")),
        ..Default::default()
    };
    let written = patch(&pods, &Pod { status: None, ..pod.clone() }, &status).await;
    let ended = match written {
        // It was told to go before it had failed, so that the API server waits for its node.
        Ok(now) if now.metadata.deletion_timestamp.is_some() => release(&pods, &now).await,
        other => other.map(drop),
    };
    if let Err(error) = ended
        && !is_gone(&error)
    {
        tracing::warn!(pod = name(pod), error = sentence(&error), "rejection not written");
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

    fn phase(phase: &str, address: Option<&str>) -> PodStatus {
        let waiting = json!({"name": "web", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": if phase == "Pending" { json!({"waiting": {"reason": "ContainerCreating"}}) } else { json!({}) }});
        serde_json::from_value(json!({"phase": phase, "podIP": address, "containerStatuses": [waiting]})).unwrap()
    }

    /// Every write is a commit and an event for all who watch: a quick start has one.
    #[tokio::test]
    async fn a_quick_start_is_written_once() {
        let (sender, mut statuses) = watch::channel(Some(phase("Pending", None)));
        let starting = async {
            tokio::task::yield_now().await;
            sender.send_replace(Some(phase("Pending", Some("10.244.0.2"))));
            tokio::task::yield_now().await;
            sender.send_replace(Some(phase("Running", Some("10.244.0.2"))));
        };
        let (status, ()) = tokio::join!(settled(&mut statuses, Duration::from_secs(3600)), starting);
        assert_eq!(status, Some(phase("Running", Some("10.244.0.2"))));
    }

    #[tokio::test]
    async fn a_slow_start_is_told_in_time() {
        let (sender, mut statuses) = watch::channel(Some(phase("Pending", None)));
        let told = settled(&mut statuses, Duration::from_millis(20));
        let starting = async {
            // More news than the delay has room for, of which none says that it runs.
            for address in ["10.244.0.2", "10.244.0.3"].iter().cycle().take(1_000_000) {
                sender.send_replace(Some(phase("Pending", Some(address))));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            status = told => assert_eq!(status.and_then(|status| status.phase).as_deref(), Some("Pending")),
            () = starting => unreachable!("it was never told"),
        }
    }

    /// Fault N3: by their keys, old addresses would stay.
    #[test]
    fn addresses_are_replaced() {
        let status = |ip: &str| -> PodStatus { serde_json::from_value(json!({"podIPs": [{"ip": ip}]})).unwrap() };
        let patch = body(&Pod::default(), Some(&status("10.244.0.2")), &status("10.244.0.3"));
        assert_eq!(patch["status"]["podIPs"], json!([{"ip": "10.244.0.3"}, {"$patch": "replace"}]));
        let patch = body(&Pod::default(), Some(&status("10.244.0.2")), &PodStatus::default());
        assert_eq!(patch["status"]["podIPs"], json!(null));
    }

    #[test]
    fn a_condition_that_is_gone_is_taken_away() {
        let old: PodStatus = serde_json::from_value(json!({"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "PodResizeInProgress", "status": "True"}]}))
        .unwrap();
        let new: PodStatus =
            serde_json::from_value(json!({"conditions": [{"type": "Ready", "status": "True"}]})).unwrap();
        let expected =
            json!([{"type": "Ready", "status": "True"}, {"type": "PodResizeInProgress", "$patch": "delete"}]);
        assert_eq!(body(&Pod::default(), Some(&old), &new)["status"]["conditions"], expected);
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
