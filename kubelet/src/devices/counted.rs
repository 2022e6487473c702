//! Devices that plugins count and hand out by resources such as `example.com/gpu`: what a pod asks for, and what becomes of that.

use crate::agent::Agent;
use crate::pod::admission::has_ended;
use crate::pod::memory::Failure;
use crate::pod::worker::Event;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus, ResourceHealth, ResourceStatus};
use skiff_devices::{After, Asked, AskedContainer, Health, Options, PodNames};
use skiff_proto::quantity::Quantity;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What a pod asks for: of each container its limits, which for such resources are its requests too.
pub(crate) fn asked(pod: &Pod) -> Asked {
    let spec = pod.spec.clone().unwrap_or_default();
    let first = spec.init_containers.unwrap_or_default();
    let after = |container: &Container| if is_sidecar(container) { After::Kept } else { After::GivenOn };
    let first = first.iter().map(|container| asked_by(pod, container, after(container)));
    let others = spec.containers.iter().map(|container| asked_by(pod, container, After::Kept));
    Asked { pod: super::uid(pod).to_owned(), containers: first.chain(others).collect() }
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn asked_by(pod: &Pod, container: &Container, after: After) -> AskedContainer {
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.clone()).unwrap_or_default();
    let extended = limits.into_iter().filter(|(name, _)| name.contains('/') && !is_claimed(pod, container, name));
    // What is no quantity was refused long ago.
    let count = |amount: &str| Quantity::parse(amount).map_or(0, |amount| u64::try_from(amount.units()).unwrap_or(0));
    let limits = extended.map(|(name, amount)| (name, count(&amount.0))).collect();
    AskedContainer { name: container.name.clone(), after, limits }
}

/// Whether a claim has the devices of this resource, made for the pod by the scheduler.
fn is_claimed(pod: &Pod, container: &Container, resource: &str) -> bool {
    let claim = pod.status.as_ref().and_then(|status| status.extended_resource_claim_status.as_ref());
    claim.is_some_and(|claim| {
        let of = &claim.request_mappings;
        of.iter().any(|one| one.container_name == container.name && one.resource_name == resource)
    })
}

/// What `container` gets for its devices, whose plugins are told that it is about to start.
///
/// # Errors
/// A plugin does not agree.
pub(crate) async fn options(agent: &Agent, pod: &Pod, container: &str) -> Result<Options, Failure> {
    let options = agent.counted.before_start(super::uid(pod), container).await;
    options.map_err(|why| Failure::new("CreateContainerConfigError", format!("container {container}: {why}")))
}

/// Adds to a pod's status how its devices are (KEP-4680).
pub(crate) fn tell(agent: &Agent, pod: &Pod, status: &mut PodStatus) {
    for container in status.container_statuses.iter_mut().flatten() {
        let healths = agent.counted.healths(super::uid(pod), &container.name);
        container.allocated_resources_status = Some(statuses(healths)).filter(|list| !list.is_empty());
    }
}

fn statuses(healths: Vec<Health>) -> Vec<ResourceStatus> {
    let mut of: BTreeMap<String, Vec<ResourceHealth>> = BTreeMap::new();
    for one in healths {
        let health = if one.healthy { "Healthy" } else { "Unhealthy" };
        let health = ResourceHealth { resource_id: one.device, health: Some(health.to_owned()), ..Default::default() };
        of.entry(one.resource).or_default().push(health);
    }
    of.into_iter().map(|(name, resources)| ResourceStatus { name, resources: Some(resources) }).collect()
}

/// Serves plugins and monitors, and has pods tell of their devices' health; runs until it is dropped.
pub(crate) async fn keep(agent: Arc<Agent>) {
    let plugins = skiff_devices::serve_registration(agent.counted.clone());
    let monitors = {
        let agent = Arc::clone(&agent);
        let path = socket_of_monitors(&agent);
        async move {
            let pods = Arc::clone(&agent);
            skiff_devices::serve_listing(agent.counted.clone(), &path, Box::new(move || names(&pods))).await
        }
    };
    let warn = |served: Result<(), String>| {
        if let Err(error) = served {
            tracing::warn!(error, "devices are not served any more");
        }
    };
    tokio::join!(async { warn(plugins.await) }, async { warn(monitors.await) }, follow(&agent));
}

fn socket_of_monitors(agent: &Agent) -> PathBuf {
    agent.root_dir.parent().unwrap_or(&agent.root_dir).join("pod-resources").join("kubelet.sock")
}

async fn follow(agent: &Agent) {
    let mut changes = agent.counted.changes();
    while changes.changed().await.is_ok() {
        for posted in agent.board.all() {
            let pod = asked(&posted.pod);
            if pod.containers.iter().any(|container| !container.limits.is_empty()) {
                agent.board.tell(&pod.pod, Event::DevicesChanged);
            }
        }
    }
}

/// The pods that have not ended, for monitors.
fn names(agent: &Agent) -> Vec<PodNames> {
    let pods = agent.board.all().into_iter().map(|posted| posted.pod);
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    pods.filter(|pod| !has_ended(pod))
        .map(|pod| {
            let spec = pod.spec.clone().unwrap_or_default();
            let sidecars = spec.init_containers.into_iter().flatten().filter(is_sidecar);
            PodNames {
                namespace: text(&pod.metadata.namespace),
                name: text(&pod.metadata.name),
                uid: super::uid(&pod).to_owned(),
                containers: sidecars.chain(spec.containers).map(|container| container.name).collect(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_asks_by_its_limits() {
        let gpus = |count: &str| json!({"limits": {"example.com/gpu": count, "cpu": "1"}});
        let pod = json!({"metadata": {"uid": "u"}, "spec": {
            "initContainers": [{"name": "first", "resources": gpus("1")},
                {"name": "proxy", "restartPolicy": "Always", "resources": gpus("2")}],
            "containers": [{"name": "web", "resources": {"limits": {"example.com/nic": "3"}}}]},
            "status": {"extendedResourceClaimStatus": {"resourceClaimName": "c", "requestMappings": [
                {"containerName": "first", "resourceName": "example.com/gpu", "requestName": "r"}]}}});
        let of = |name: &str, after, limits: &[(&str, u64)]| AskedContainer {
            name: name.to_owned(),
            after,
            limits: limits.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        };
        let expected = [
            of("first", After::GivenOn, &[]),
            of("proxy", After::Kept, &[("example.com/gpu", 2)]),
            of("web", After::Kept, &[("example.com/nic", 3)]),
        ];
        assert_eq!(asked(&serde_json::from_value(pod).unwrap()).containers, expected);
    }

    #[test]
    fn health_is_told_by_resource() {
        let one = |resource: &str, device: &str, healthy| Health {
            resource: resource.into(),
            device: device.into(),
            healthy,
        };
        let told = statuses(vec![one("a/x", "0", true), one("a/x", "1", false), one("a/y", "0", true)]);
        assert_eq!(
            json!(told),
            json!([{"name": "a/x", "resources": [{"resourceID": "0", "health": "Healthy"}, {"resourceID": "1", "health": "Unhealthy"}]},
                {"name": "a/y", "resources": [{"resourceID": "0", "health": "Healthy"}]}])
        );
    }
}
