//! Creates and starts one container, and says what it became.

use super::act::{Scene, blocking, failed, uid};
use super::container::{ContainerInputs, config};
use super::env::{Env, environment};
use super::ephemeral::find;
use super::memory::Failure;
use super::names;
use super::observed::{Instance, Life};
use super::sources::{self, References};
use crate::devices;
use crate::events::Severity;
use crate::unsupported;
use crate::volume;
use k8s_openapi::api::core::v1::Container;
use skiff_proto::cri::v1 as cri;
use skiff_step::Step as Named;
use std::collections::BTreeMap;

const CREATE: Named = Named::new("pod.create", "CRI v1 CreateContainer");
const START: Named = Named::new("pod.start", "CRI v1 StartContainer");

/// Creates and starts the container `name` in `sandbox`; a failure comes with the instance that it left, if any.
pub(super) async fn start(
    scene: &Scene,
    name: &str,
    attempt: u32,
    sandbox: &str,
) -> Result<Instance, (Failure, Option<Instance>)> {
    let id = match create(scene, name, attempt, sandbox).await {
        Ok(id) => id,
        Err(failure) => {
            scene.event(Some(name), Severity::Warning, "Failed", format!("Error: {}", failure.message));
            return Err((failure, None));
        }
    };
    scene.event(Some(name), Severity::Normal, "Created", format!("Created container: {name}"));
    let runtime = &scene.agent.cri;
    let work = async {
        runtime.start_container(&id).await.map_err(|status| failed("RunContainerError", "StartContainer", &status))
    };
    let started = scene.engine(attempt).run_async(&START, || format!("{name} {id}"), work).await;
    let seen = runtime.container_status(&id).await.ok().and_then(|status| Instance::of(&status, sandbox));
    match (started, seen) {
        (Ok(()), Some(instance)) => {
            scene.event(Some(name), Severity::Normal, "Started", format!("Started container {name}"));
            Ok(instance)
        }
        (Ok(()), None) => Err((Failure::new("RunContainerError", format!("container {id} has no status")), None)),
        (Err(failure), instance) => {
            scene.event(Some(name), Severity::Warning, "Failed", format!("Error: {}", failure.message));
            // An instance that never ran is taken away again by the plan; one that the runtime calls ended stays to be seen.
            Err((failure, instance.filter(|instance| matches!(instance.life, Life::Created | Life::Exited { .. }))))
        }
    }
}

async fn create(scene: &Scene, name: &str, attempt: u32, sandbox: &str) -> Result<String, Failure> {
    let wrong = |message: &str| Failure::new("CreateContainerConfigError", format!("container {name}: {message}"));
    let container = find(&scene.pod, name).ok_or_else(|| wrong("not in the pod's spec"))?.into_owned();
    let target = scene.target.clone().map_err(|why| wrong(&why))?;
    unsupported::check(name, &container).map_err(|why| Failure::new(unsupported::REASON, why))?;
    let image = scene.image.clone().ok_or_else(|| wrong("its image is not known"))?;
    let host_network = scene.pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
    let ips = match &scene.sandbox {
        _ if host_network => vec![scene.agent.facts.host_ip.clone()],
        Some(sandbox) => sandbox.ips.clone(),
        None => Vec::new(),
    };
    let env = env_of(scene, &container, &ips).await?;
    let mounts = mounts(scene, &container, attempt, &env, &ips).await?;
    let dir = scene.agent.dir(&scene.pod);
    let devices = volume::devices(&dir, &scene.pod, &container)?;
    let counted = devices::counted::options(&scene.agent, &scene.pod, name).await?;
    let inputs = ContainerInputs {
        node_name: &scene.agent.node_name,
        attempt,
        sandbox,
        image: &image,
        target,
        env: &env,
        mounts,
        devices,
        claimed: devices::of_container(&scene.agent, &scene.pod, &container)?,
        counted,
        users: scene.agent.users.of(uid(&scene.pod)),
        termination_file: &dir.termination_file(name, attempt),
        memory_bytes: scene.agent.machine.memory_bytes,
    };
    let config = config(&scene.pod, &container, inputs)?;
    let sandbox_config = scene.sandbox_config(scene.sandbox.as_ref().map_or(0, |sandbox| sandbox.attempt));
    let work = async {
        let created = scene.agent.cri.create_container(sandbox, config, sandbox_config).await;
        created.map_err(|status| failed("CreateContainerError", "CreateContainer", &status))
    };
    scene.engine(attempt).run_async(&CREATE, || name.to_owned(), work).await
}

async fn env_of(scene: &Scene, container: &Container, ips: &[String]) -> Result<Env, Failure> {
    let namespace = scene.pod.metadata.namespace.clone().unwrap_or_default();
    let references = References::of_env(container);
    let mut sources = sources::fetch(&scene.agent.client, &namespace, &references).await?;
    sources.services = sources::linked(&scene.pod, &scene.agent.services);
    sources.files = files(scene, container).await?;
    environment(container, &sources, &scene.downward(ips))
}

/// The files of variables that `container` names, as the containers before it left them.
async fn files(
    scene: &Scene,
    container: &Container,
) -> Result<BTreeMap<(String, String), Result<String, String>>, Failure> {
    let named = container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()?.file_key_ref.as_ref());
    let named: Vec<_> = named.map(|file| (file.volume_name.clone(), file.path.clone())).collect();
    if named.is_empty() {
        return Ok(BTreeMap::new());
    }
    let scene = scene.clone();
    blocking(move || {
        let dir = scene.agent.dir(&scene.pod);
        let read = |file: (String, String)| {
            let text = volume::text_of_file(&dir, &scene.pod, &file.0, &file.1);
            (file, text)
        };
        Ok(named.into_iter().map(read).collect())
    })
    .await
}

async fn mounts(
    scene: &Scene,
    container: &Container,
    attempt: u32,
    env: &Env,
    ips: &[String],
) -> Result<Vec<cri::Mount>, Failure> {
    let (scene, container, env, ips) = (scene.clone(), container.clone(), env.clone(), ips.to_vec());
    blocking(move || {
        let dir = scene.agent.dir(&scene.pod);
        let logs = scene.agent.logs(&scene.pod).join(&container.name);
        let wrong = |what: &std::path::Path| {
            let what = what.display().to_string();
            move |error: std::io::Error| Failure::new("CreateContainerConfigError", format!("write {what}: {error}"))
        };
        std::fs::create_dir_all(&logs).map_err(wrong(&logs))?;
        std::fs::write(dir.hosts(), hosts(&scene, &ips)).map_err(wrong(&dir.hosts()))?;
        let mut mounts = volume::mounts(&dir, &scene.pod, &container, attempt, (&env, &scene.agent.features))?;
        // What belongs to root on the host belongs to root of the pod.
        if let Some(users) = scene.agent.users.of(uid(&scene.pod)) {
            for mount in &mut mounts {
                (mount.uid_mappings, mount.gid_mappings) = (users.uids.clone(), users.gids.clone());
            }
        }
        Ok(mounts)
    })
    .await
}

/// A pod in the host's network sees the host's names, and its own aliases.
fn hosts(scene: &Scene, ips: &[String]) -> String {
    let host_network = scene.pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
    if host_network {
        // A host without the file has no names of its own.
        return names::hosts_file_of_host(&scene.pod, &std::fs::read_to_string("/etc/hosts").unwrap_or_default());
    }
    names::hosts_file(&scene.pod, ips, &scene.agent.cluster)
}
