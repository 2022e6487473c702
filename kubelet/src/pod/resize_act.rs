//! Puts CPU and memory in force while a pod runs. No decisions here.
//!
//! A pod's cgroup has to allow at every moment what its containers' do (on cgroup v1 the kernel insists on it), so it first gets the
//! larger of both, then the containers follow, then it gets what it is to have.

use super::act::{Scene, blocking, failed};
use super::ephemeral::find;
use super::memory::Failure;
use super::resize::larger;
use super::resources::{self, Needs, of_pod};
use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use skiff_proto::cri::v1 as cri;
use skiff_step::Step as Named;

const RESIZE: Named = Named::new("pod.resize", "CRI v1 UpdateContainerResources");
/// The reason in conditions.
const ERROR: &str = "Error";

/// Changes the pod's cgroup, which allows `before`, and `containers`, by name and id. Says what these have then.
pub(super) async fn resize(
    scene: &Scene,
    before: Needs,
    containers: Vec<(String, String)>,
) -> Result<Vec<(String, String, ResourceRequirements)>, Failure> {
    let work = async {
        let after = of_pod(&scene.pod);
        check_usage(scene, &containers).await?;
        allow(scene, larger(before, after)).await?;
        let mut done = Vec::new();
        for (name, id) in containers {
            let resources = update(scene, &name, &id).await?;
            done.push((name, id, resources));
        }
        allow(scene, after).await?;
        Ok(done)
    };
    scene.engine(0).run_async(&RESIZE, || scene.agent.cgroup(&scene.pod).absolute(), work).await
}

async fn allow(scene: &Scene, needs: Needs) -> Result<(), Failure> {
    let cgroup = scene.agent.cgroup(&scene.pod);
    blocking(move || cgroup.create(&needs).map_err(|message| Failure::new(ERROR, message))).await
}

async fn update(scene: &Scene, name: &str, id: &str) -> Result<ResourceRequirements, Failure> {
    let empty = PodSpec::default();
    let spec = scene.pod.spec.as_ref().unwrap_or(&empty);
    let container = find(&scene.pod, name)
        .ok_or_else(|| Failure::new(ERROR, format!("container {name}: not in the pod's spec")))?;
    let mut wanted = resources::of_container(spec, &container, scene.agent.machine.memory_bytes);
    // Zero says in CRI that a value stays as it is.
    if wanted.cpu_quota == 0 {
        (wanted.cpu_quota, wanted.cpu_period) = (-1, resources::PERIOD_US);
    }
    if wanted.memory_limit_in_bytes == 0 {
        wanted.memory_limit_in_bytes = -1;
    }
    let updated = scene.agent.cri.update_container(id, wanted).await;
    updated.map_err(|status| failed(ERROR, "UpdateContainerResources", &status))?;
    Ok(container.resources.clone().unwrap_or_default())
}

/// Memory that is in use cannot be taken away: the kernel would end the process, or refuse.
async fn check_usage(scene: &Scene, containers: &[(String, String)]) -> Result<(), Failure> {
    let limited: Vec<_> = containers
        .iter()
        .filter_map(|(name, id)| {
            let container = find(&scene.pod, name)?;
            Some((name, id, Needs::of(container.resources.as_ref()).memory_limit?))
        })
        .collect();
    if limited.is_empty() {
        return Ok(());
    }
    let stats = scene.agent.cri.container_stats().await;
    let stats = stats.map_err(|status| failed(ERROR, "ListContainerStats", &status))?;
    for (name, id, limit) in limited {
        let own = |stats: &&cri::ContainerStats| stats.attributes.as_ref().is_some_and(|known| known.id == *id);
        let memory = stats.iter().find(own).and_then(|stats| stats.memory.as_ref());
        let used = memory.and_then(|memory| memory.working_set_bytes.as_ref()).map_or(0, |bytes| bytes.value);
        if i64::try_from(used).is_ok_and(|used| used >= limit) {
            let why = format!(
                "cannot decrease memory limits: attempting to set container \"{name}\" memory limit ({limit}) below current usage ({used})"
            );
            return Err(Failure::new(ERROR, why));
        }
    }
    Ok(())
}
