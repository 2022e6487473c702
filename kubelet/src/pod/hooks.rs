//! Lifecycle hooks: what runs right after a container's start and right before its end.

use super::act::Scene;
use super::ephemeral::find;
use crate::events::Severity;
use crate::probe::http;
use k8s_openapi::api::core::v1::{Container, Lifecycle, LifecycleHandler};
use std::time::{Duration, Instant};

/// What a process always gets between preStop and SIGKILL, seconds (Kubernetes, "minimum grace period").
const GRACE_SECONDS_MIN: i64 = 2;
/// How long a postStart hook may take: it has no limit of its own in Kubernetes, the pod just waits. Ours is a day.
const POST_START_SECONDS_MAX: i64 = 86_400;

fn handler(
    scene: &Scene,
    name: &str,
    pick: fn(&Lifecycle) -> Option<&LifecycleHandler>,
) -> Option<(Container, LifecycleHandler)> {
    let container = find(&scene.pod, name)?.into_owned();
    let handler = container.lifecycle.as_ref().and_then(pick)?.clone();
    Some((container, handler))
}

/// Runs the postStart hook of the container `name`.
pub(super) async fn post_start(scene: &Scene, name: &str, id: &str) -> Result<(), String> {
    let Some((container, handler)) = handler(scene, name, |lifecycle| lifecycle.post_start.as_ref()) else {
        return Ok(());
    };
    let result = run(scene, &container, id, &handler, POST_START_SECONDS_MAX).await;
    if let Err(error) = &result {
        scene.event(Some(name), Severity::Warning, "FailedPostStartHook", format!("PostStartHook failed: {error}"));
    }
    result
}

/// Runs the preStop hook of the container `name`; what is left of the grace period, seconds.
pub(super) async fn pre_stop(scene: &Scene, name: &str, id: &str, grace_seconds: i64) -> i64 {
    let Some((container, handler)) = handler(scene, name, |lifecycle| lifecycle.pre_stop.as_ref()) else {
        return grace_seconds;
    };
    if grace_seconds <= 0 {
        return 0;
    }
    let started = Instant::now();
    let limit = Duration::from_secs(grace_seconds.unsigned_abs());
    let result = match tokio::time::timeout(limit, run(scene, &container, id, &handler, grace_seconds)).await {
        Ok(result) => result,
        Err(_) => Err(format!("not done after the grace period of {grace_seconds}s")),
    };
    if let Err(error) = result {
        scene.event(Some(name), Severity::Warning, "FailedPreStopHook", format!("PreStopHook failed: {error}"));
    }
    let spent = i64::try_from(started.elapsed().as_secs()).unwrap_or(grace_seconds);
    (grace_seconds - spent).max(GRACE_SECONDS_MIN)
}

async fn run(
    scene: &Scene,
    container: &Container,
    id: &str,
    handler: &LifecycleHandler,
    seconds: i64,
) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        let command = exec.command.clone().unwrap_or_default();
        let answer =
            scene.agent.cri.exec_sync(id, command, seconds).await.map_err(|status| crate::cri::said(&status))?;
        return match answer.exit_code {
            0 => Ok(()),
            code => Err(format!("command exited with {code}: {}", String::from_utf8_lossy(&answer.stderr))),
        };
    }
    if let Some(get) = &handler.http_get {
        let ip = scene.sandbox.as_ref().and_then(|sandbox| sandbox.ips.first().cloned());
        let ip = ip.unwrap_or_else(|| scene.agent.facts.host_ip.clone());
        return http::get(get, container, &ip, Duration::from_secs(seconds.unsigned_abs())).await.map(drop);
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds.unsigned_abs())).await;
        return Ok(());
    }
    // A hook that only connects has never run in Kubernetes either: the field is there for old objects.
    Err("invalid handler: neither exec nor httpGet nor sleep".to_owned())
}
