//! Performs one step of a plan and tells the worker how it went. No decisions here.

use super::memory::{Failure, ReadyImage};
use super::names::kernel_hostname;
use super::observed::{Instance, Sandbox};
use super::plan::{Logs, Step};
use super::resources::{Needs, of_pod};
use super::sandbox::{SandboxInputs, config, correlation};
use super::sources::{self, References};
use super::wanted::PullPolicy;
use super::{env::Downward, ephemeral, hooks, pulling, report, resize_act, start, users};
use crate::agent::Agent;
use crate::cri::said;
use crate::devices;
use crate::events::Severity;
use crate::volume::{self, Preparation};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus, ResourceRequirements};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;
use skiff_client::sentence;
use skiff_proto::cri::v1 as cri;
use skiff_step::{Engine, Step as Named};
use std::sync::Arc;
use std::time::Instant;

const SANDBOX: Named = Named::new("pod.sandbox", "CRI v1 RunPodSandbox");
const PULL: Named = Named::new("pod.pull", "CRI v1 ImageStatus, PullImage");
const VOLUMES: Named = Named::new("pod.volumes", "Kubernetes, Volumes");
const STOP: Named = Named::new("pod.stop", "CRI v1 StopContainer");
const REMOVE: Named = Named::new("pod.remove", "CRI v1 RemovePodSandbox");

/// How a runtime begins the reason of a pull that failed because nobody could be asked (cri-api, errors).
const UNAVAILABLE: &str = "RegistryUnavailable";

/// How a step ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Folders, volumes and a cgroup that allows this stand; they age at the given moment.
    Prepared(Result<(Option<Timestamp>, Needs), Failure>),
    /// A sandbox stands.
    Sandbox(Result<Sandbox, Failure>),
    /// An image is there, for a container's start with this restart count.
    Image(String, u32, Result<ReadyImage, Failure>),
    /// A container runs, with these resources; where it does not, there may still be an instance.
    Started(String, ResourceRequirements, Result<Instance, Box<(Failure, Option<Instance>)>>),
    /// A postStart hook ran for an instance.
    Hooked(String, String, Result<(), String>),
    /// A container was stopped.
    Stopped(Result<Instance, Failure>),
    /// A sandbox was stopped.
    SandboxStopped(Result<String, Failure>),
    /// A container or sandbox is gone.
    Removed(Result<String, Failure>),
    /// Folders and cgroup are gone.
    Cleared(Result<(), Failure>),
    /// The pod's cgroup allows this, and instances (by name and id) have these resources.
    Resized(Needs, Result<Vec<(String, String, ResourceRequirements)>, Failure>),
    /// The API server knows.
    DeletionFinished(Result<(), Failure>),
}

/// What a step is performed on.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) agent: Arc<Agent>,
    pub(crate) pod: Arc<Pod>,
    /// The standing sandbox.
    pub(crate) sandbox: Option<Sandbox>,
    /// The image of the container that the step is about.
    pub(crate) image: Option<ReadyImage>,
    /// When its image is fetched.
    pub(crate) pull: PullPolicy,
    /// The container whose processes an ephemeral one sees, or why there is none.
    pub(crate) target: Result<Option<String>, String>,
    /// The status to leave behind.
    pub(crate) last_status: PodStatus,
}

impl Scene {
    pub(super) fn engine(&self, attempt: u32) -> Engine {
        self.agent.engine.correlated(Some(&correlation(&self.pod, attempt)))
    }

    pub(super) fn event(
        &self,
        container: Option<&str>,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.agent.recorder.pod(&self.pod, container, severity, reason, message);
    }

    pub(super) fn downward<'a>(&'a self, ips: &'a [String]) -> Downward<'a> {
        Downward {
            pod: &self.pod,
            ips,
            host_ip: &self.agent.facts.host_ip,
            node_milli_cpu: self.agent.machine.cpus * 1000,
            node_memory_bytes: self.agent.machine.memory_bytes,
        }
    }

    pub(super) fn sandbox_config(&self, attempt: u32) -> cri::PodSandboxConfig {
        let agent = &self.agent;
        let inputs = SandboxInputs {
            node_name: &agent.node_name,
            attempt,
            log_directory: &agent.logs(&self.pod),
            cgroup: &agent.cgroup(&self.pod),
            cluster: &agent.cluster,
            resolver: &agent.resolver,
            users: agent.users.of(uid(&self.pod)),
        };
        config(&self.pod, &inputs)
    }
}

/// Performs `step`.
pub(crate) async fn act(scene: Scene, step: Step) -> Outcome {
    match step {
        Step::Prepare => Outcome::Prepared(prepare(&scene).await),
        Step::RunSandbox { attempt } => Outcome::Sandbox(run_sandbox(&scene, attempt).await),
        Step::EnsureImage { container, attempt } => {
            let result = ensure_image(&scene, &container, attempt).await;
            Outcome::Image(container, attempt, result)
        }
        Step::Start { container, attempt, sandbox } => {
            let result = start::start(&scene, &container, attempt, &sandbox).await;
            let resources = ephemeral::find(&scene.pod, &container).and_then(|found| found.resources.clone());
            Outcome::Started(container, resources.unwrap_or_default(), result.map_err(Box::new))
        }
        Step::PostStart { container, id } => {
            let result = hooks::post_start(&scene, &container, &id).await;
            Outcome::Hooked(container, id, result)
        }
        Step::Stop { container, id, grace_seconds, why } => {
            Outcome::Stopped(stop(&scene, &container, &id, grace_seconds, &why).await)
        }
        Step::Remove { id, .. } => Outcome::Removed(remove(&scene, id).await),
        Step::StopSandbox { id } => {
            let result = scene.agent.cri.stop_sandbox(&id).await;
            Outcome::SandboxStopped(
                result.map(|()| id).map_err(|status| failed("FailedKillPod", "StopPodSandbox", &status)),
            )
        }
        Step::RemoveSandbox { id } => Outcome::Removed(remove_sandbox(&scene, id).await),
        Step::Clear { logs } => Outcome::Cleared(clear(&scene, logs).await),
        Step::Resize { before, containers } => {
            Outcome::Resized(of_pod(&scene.pod), resize_act::resize(&scene, before, containers).await)
        }
        Step::FinishDeletion => Outcome::DeletionFinished(finish_deletion(&scene).await),
    }
}

pub(super) fn failed(reason: &str, operation: &str, status: &tonic::Status) -> Failure {
    Failure::new(reason, format!("{operation}: {}", said(status)))
}

/// Runs blocking file work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Failure::new("FailedMount", format!("file work ended early: {error}"))),
    }
}

async fn prepare(scene: &Scene) -> Result<(Option<Timestamp>, Needs), Failure> {
    let engine = scene.engine(0);
    let needs = of_pod(&scene.pod);
    let work = async {
        let volumes = scene.pod.spec.as_ref().and_then(|spec| spec.volumes.clone()).unwrap_or_default();
        let namespace = scene.pod.metadata.namespace.clone().unwrap_or_default();
        let references = References::of_volumes(&volumes);
        let sources = sources::fetch(&scene.agent.client, &namespace, &references).await?;
        let (tokens, refresh_at) = scene.agent.tokens.of(&scene.agent, &scene.pod).await?;
        let (agent, pod) = (Arc::clone(&scene.agent), Arc::clone(&scene.pod));
        let scene = scene.clone();
        blocking(move || {
            let cgroup = scene.agent.cgroup(&scene.pod);
            cgroup.create(&needs).map_err(|message| Failure::new("FailedCreatePodContainer", message))?;
            let dir = scene.agent.dir(&scene.pod);
            let down = scene.downward(&[]);
            volume::prepare(&Preparation { dir: &dir, pod: &scene.pod, sources: &sources, tokens: &tokens, down })
        })
        .await?;
        let look_at = volume::set_up(&agent, &pod, &agent.dir(&pod)).await?;
        Ok((refresh_at.into_iter().chain(look_at).min(), needs))
    };
    let result: Result<_, Failure> =
        engine.run_async(&VOLUMES, || scene.agent.dir(&scene.pod).path().display().to_string(), work).await;
    if let Err(failure) = &result {
        scene.event(None, Severity::Warning, "FailedMount", &failure.message);
    }
    result
}

async fn run_sandbox(scene: &Scene, attempt: u32) -> Result<Sandbox, Failure> {
    let engine = scene.engine(attempt);
    let work = async {
        let logs = scene.agent.logs(&scene.pod);
        tokio::fs::create_dir_all(&logs)
            .await
            .map_err(|error| Failure::new("FailedCreatePodSandBox", format!("create {}: {error}", logs.display())))?;
        let wrong = |message: String| Failure::new("FailedCreatePodSandBox", message);
        kernel_hostname(&scene.pod, &scene.agent.cluster).map_err(wrong)?;
        let handler = runtime_handler(scene).await?;
        users::give(scene, &handler).await?;
        devices::prepare(&scene.agent, &scene.pod).await?;
        let blame = |call: &'static str| move |status: tonic::Status| failed("FailedCreatePodSandBox", call, &status);
        let id = scene
            .agent
            .cri
            .run_sandbox(scene.sandbox_config(attempt), handler)
            .await
            .map_err(blame("RunPodSandbox"))?;
        let answer = scene.agent.cri.sandbox_status(&id).await.map_err(blame("PodSandboxStatus"))?;
        let sandbox = answer.status.as_ref().map(Sandbox::of).ok_or_else(|| {
            Failure::new("FailedCreatePodSandBox", format!("PodSandboxStatus {id}: answer without status"))
        })?;
        if let Some(on_addresses) = &scene.agent.on_addresses {
            on_addresses.wait(Arc::clone(&scene.pod), sandbox.ips.clone()).await;
        }
        Ok(sandbox)
    };
    let result: Result<_, Failure> = engine.run_async(&SANDBOX, || format!("attempt {attempt}"), work).await;
    if let Err(failure) = &result {
        let message = format!("Failed to create pod sandbox: {}", failure.message);
        scene.event(None, Severity::Warning, "FailedCreatePodSandBox", message);
    }
    result
}

pub(super) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// What the runtime is to run the pod with: its class's handler, or the default one.
async fn runtime_handler(scene: &Scene) -> Result<String, Failure> {
    let class = scene.pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref());
    let Some(class) = class.filter(|class| !class.is_empty()) else { return Ok(String::new()) };
    let classes: Api<RuntimeClass> = Api::all(scene.agent.client.clone());
    let found = classes.get(class).await.map_err(|error| {
        let message = format!("failed to get the handler of RuntimeClass \"{class}\": {}", sentence(&error));
        Failure::new("FailedCreatePodSandBox", message)
    })?;
    Ok(found.handler)
}

async fn ensure_image(scene: &Scene, container: &str, attempt: u32) -> Result<ReadyImage, Failure> {
    let name = ephemeral::find(&scene.pod, container).and_then(|container| container.image.clone());
    let name = name.unwrap_or_default();
    let spec = cri::ImageSpec { image: name.clone(), user_specified_image: name.clone(), ..Default::default() };
    let work = find_or_pull(scene, container, &name, spec);
    scene.engine(attempt).run_async(&PULL, || name.clone(), work).await
}

async fn find_or_pull(scene: &Scene, container: &str, name: &str, spec: cri::ImageSpec) -> Result<ReadyImage, Failure> {
    let runtime = &scene.agent.cri;
    let present = runtime.image(spec.clone()).await.map_err(|status| uninspected(scene, container, name, &status))?;
    // Whether it is there is nobody's business who may not use it.
    let present = match present {
        Some(image)
            if scene.pull == PullPolicy::Always
                || pulling::may_use(&scene.agent, &scene.pod, name, &image.id).await =>
        {
            Some(image)
        }
        _ => None,
    };
    match (scene.pull, present) {
        (PullPolicy::Never | PullPolicy::IfNotPresent, Some(image)) => {
            let message =
                format!("Container image \"{name}\" already present on machine and can be accessed by the pod");
            scene.event(Some(container), Severity::Normal, "Pulled", message);
            return Ok(ready(&image));
        }
        (PullPolicy::Never, None) => {
            let message = format!("Container image \"{name}\" is not present with pull policy of Never");
            scene.event(Some(container), Severity::Warning, "ErrImageNeverPull", &message);
            return Err(Failure::new("ErrImageNeverPull", message));
        }
        (PullPolicy::Always, _) | (PullPolicy::IfNotPresent, None) => {}
    }
    scene.event(Some(container), Severity::Normal, "Pulling", format!("Pulling image \"{name}\""));
    let waiting = Instant::now();
    // Nobody closes it: an error is as good as a permit.
    let _permit = scene.agent.pulls.acquire().await;
    let started = Instant::now();
    let pulled = pulling::pull(&scene.agent, &scene.pod, &spec, &scene.sandbox_config(0)).await;
    let image = pulled.map_err(|status| unpulled(scene, container, name, &status))?;
    let image =
        image.ok_or_else(|| Failure::new("ErrImagePull", format!("image \"{name}\" is not there after its pull")))?;
    let (took, with_waiting) = (shown_time(started.elapsed()), shown_time(waiting.elapsed()));
    let message = format!(
        "Successfully pulled image \"{name}\" in {took} ({with_waiting} including waiting). Image size: {} bytes.",
        image.size
    );
    scene.event(Some(container), Severity::Normal, "Pulled", message);
    Ok(ready(&image))
}

/// Why an image cannot be had.
fn unpulled(scene: &Scene, container: &str, name: &str, status: &tonic::Status) -> Failure {
    let message = said(status);
    let shown = format!("Failed to pull image \"{name}\": {message}");
    scene.event(Some(container), Severity::Warning, "Failed", shown);
    match message.strip_prefix(UNAVAILABLE) {
        Some(rest) => {
            let message = format!("image pull failed for {name} because the registry is unavailable{rest}");
            Failure::new(UNAVAILABLE, message)
        }
        None => Failure::new("ErrImagePull", message),
    }
}

/// Why the runtime cannot say whether it has an image; a name that is none has a reason of its own.
fn uninspected(scene: &Scene, container: &str, name: &str, status: &tonic::Status) -> Failure {
    let (reason, message) = if status.code() == tonic::Code::InvalidArgument {
        let why = format!("couldn't parse image name \"{name}\": invalid reference format: {}", said(status));
        ("InvalidImageName", format!("Failed to apply default image tag \"{name}\": {why}"))
    } else {
        ("ImageInspectError", format!("Failed to inspect image \"{name}\": {}", said(status)))
    };
    scene.event(Some(container), Severity::Warning, "InspectFailed", &message);
    Failure::new(reason, message)
}

/// As Go writes a duration of milliseconds: `734ms`, `1.5s`, `2m3.04s`.
fn shown_time(took: std::time::Duration) -> String {
    let millis = took.as_millis();
    let seconds = |millis: u128| {
        let text = format!("{}.{:03}", millis / 1000, millis % 1000);
        format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match millis {
        0 => "0s".to_owned(),
        1..1000 => format!("{millis}ms"),
        1000..60_000 => seconds(millis),
        60_000..3_600_000 => format!("{}m{}", millis / 60_000, seconds(millis % 60_000)),
        _ => format!("{}h{}m{}", millis / 3_600_000, millis / 60_000 % 60, seconds(millis % 60_000)),
    }
}

fn ready(image: &cri::Image) -> ReadyImage {
    let uid = image.uid.as_ref().map(|uid| uid.value);
    ReadyImage { reference: image.id.clone(), uid, username: image.username.clone() }
}

async fn stop(scene: &Scene, container: &str, id: &str, grace_seconds: i64, why: &str) -> Result<Instance, Failure> {
    let message = if why == "Stopping container" { format!("Stopping container {container}") } else { why.to_owned() };
    scene.event(Some(container), Severity::Normal, "Killing", message);
    let left = hooks::pre_stop(scene, container, id, grace_seconds).await;
    let work = async {
        let blame = |call: &'static str| move |status: tonic::Status| failed("FailedKillPod", call, &status);
        scene.agent.cri.stop_container(id, left).await.map_err(blame("StopContainer"))?;
        let status = scene.agent.cri.container_status(id).await.map_err(blame("ContainerStatus"))?;
        let sandbox = scene.sandbox.as_ref().map_or("", |sandbox| &sandbox.id);
        Instance::of(&status, sandbox)
            .ok_or_else(|| Failure::new("FailedKillPod", format!("container {id} lost its labels")))
    };
    scene.engine(0).run_async(&STOP, || format!("{container} {id} grace {left}s"), work).await
}

/// Removes a dead instance and its logs.
async fn remove(scene: &Scene, id: String) -> Result<String, Failure> {
    let removed = scene.agent.cri.remove_container(&id).await;
    removed.map_err(|status| failed("FailedRemove", "RemoveContainer", &status))?;
    let posted = scene.agent.board.of(&scene.pod);
    if let Some(instance) = posted.as_ref().and_then(|posted| posted.seen.containers.get(&id)) {
        let log = scene.agent.log(&scene.pod, instance);
        blocking(move || crate::rotation::remove(&log).map_err(|message| Failure::new("FailedRemove", message)))
            .await?;
    }
    Ok(id)
}

async fn remove_sandbox(scene: &Scene, id: String) -> Result<String, Failure> {
    let work = async {
        let blame = |call: &'static str| move |status: tonic::Status| failed("FailedKillPod", call, &status);
        scene.agent.cri.stop_sandbox(&id).await.map_err(blame("StopPodSandbox"))?;
        scene.agent.cri.remove_sandbox(&id).await.map_err(blame("RemovePodSandbox"))
    };
    scene.engine(0).run_async(&REMOVE, || id.clone(), work).await?;
    Ok(id)
}

async fn clear(scene: &Scene, logs: Logs) -> Result<(), Failure> {
    scene.agent.tokens.forget(scene.pod.metadata.uid.as_deref().unwrap_or_default());
    let gone = volume::csi::unpublish_all(&scene.agent, &scene.agent.dir(&scene.pod)).await;
    gone.map_err(|why| Failure::new("FailedCleanup", why))?;
    scene.agent.counted.release(uid(&scene.pod));
    let gone = devices::unprepare(&scene.agent, uid(&scene.pod)).await;
    gone.map_err(|why| Failure::new("FailedCleanup", why))?;
    let scene = scene.clone();
    blocking(move || {
        let failed = |message: String| Failure::new("FailedCleanup", message);
        volume::clear(&scene.agent.dir(&scene.pod)).map_err(|error| failed(error.to_string()))?;
        scene.agent.cgroup(&scene.pod).remove().map_err(failed)?;
        let folder = scene.agent.logs(&scene.pod);
        match logs {
            Logs::Remove if folder.exists() => std::fs::remove_dir_all(&folder)
                .map_err(|error| failed(format!("remove {}: {error}", folder.display()))),
            _ => Ok(()),
        }
    })
    .await
}

/// Leaves the last status and lets the object go.
async fn finish_deletion(scene: &Scene) -> Result<(), Failure> {
    let meta = &scene.pod.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(scene.agent.client.clone(), meta.namespace.as_deref().unwrap_or_default());
    if let Err(error) = report::patch(&pods, &scene.pod, &scene.last_status).await
        && !report::is_gone(&error)
    {
        tracing::warn!(pod = name, error = sentence(&error), "last status not written");
    }
    match report::release(&pods, &scene.pod).await {
        Err(error) if !report::is_gone(&error) => {
            Err(Failure::new("FailedDelete", format!("delete pod {name}: {}", sentence(&error))))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_written_as_go_does() {
        for (millis, text) in
            [(0, "0s"), (7, "7ms"), (1000, "1s"), (1500, "1.5s"), (123_040, "2m3.04s"), (7_260_000, "2h1m0s")]
        {
            assert_eq!(shown_time(Duration::from_millis(millis)), text);
        }
    }
}
