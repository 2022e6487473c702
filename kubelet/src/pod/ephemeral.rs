//! Ephemeral containers: what people add to a pod that runs, to look into it (KEP-277). Pure.
//!
//! They start as soon as the pod has a sandbox, whatever its other containers do, never start again, and change nothing of the
//! pod's phase or readiness.

use super::observed::Observed;
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod};
use std::borrow::Cow;

/// The ephemeral containers of `pod`.
pub(crate) fn all(pod: &Pod) -> impl Iterator<Item = &EphemeralContainer> {
    pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten())
}

/// `ephemeral` as the container that it is once it runs. Ports, resources, probes and hooks are not its to have: the API server
/// lets none in.
pub(crate) fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let own = ephemeral.clone();
    Container {
        name: own.name,
        image: own.image,
        command: own.command,
        args: own.args,
        working_dir: own.working_dir,
        env: own.env,
        env_from: own.env_from,
        volume_mounts: own.volume_mounts,
        volume_devices: own.volume_devices,
        termination_message_path: own.termination_message_path,
        termination_message_policy: own.termination_message_policy,
        image_pull_policy: own.image_pull_policy,
        security_context: own.security_context,
        stdin: own.stdin,
        stdin_once: own.stdin_once,
        tty: own.tty,
        ..Default::default()
    }
}

/// The container `name` of `pod`, of whatever kind.
pub(crate) fn find<'a>(pod: &'a Pod, name: &str) -> Option<Cow<'a, Container>> {
    let spec = pod.spec.as_ref()?;
    let mut lasting = spec.init_containers.iter().flatten().chain(&spec.containers);
    let found = lasting.find(|container| container.name == name).map(Cow::Borrowed);
    found.or_else(|| all(pod).find(|own| own.name == name).map(|own| Cow::Owned(as_container(own))))
}

/// The running container whose processes the ephemeral container `name` is to see, by its CRI id; nothing if it names none.
///
/// # Errors
/// It names one that does not run.
pub(crate) fn target(pod: &Pod, name: &str, seen: &Observed) -> Result<Option<String>, String> {
    let target = all(pod).find(|own| own.name == name).and_then(|own| own.target_container_name.clone());
    let Some(target) = target.filter(|target| !target.is_empty()) else { return Ok(None) };
    let running = seen.latest(&target).filter(|instance| instance.is_running());
    let id = running.map(|instance| instance.id.clone());
    id.map(Some).ok_or_else(|| format!("unable to find target container \"{target}\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_is_found_among_the_others() {
        let spec =
            json!({"containers": [{"name": "a"}], "ephemeralContainers": [{"name": "b", "image": "x", "tty": true}]});
        let pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        assert_eq!(find(&pod, "b").unwrap().tty, Some(true));
        assert!(find(&pod, "a").is_some() && find(&pod, "c").is_none());
    }

    #[test]
    fn a_target_has_to_run() {
        let own = json!([{"name": "b", "targetContainerName": "a"}, {"name": "c"}]);
        let spec = json!({"containers": [{"name": "a"}], "ephemeralContainers": own});
        let pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        let nothing = Observed::default();
        assert_eq!(target(&pod, "b", &nothing).unwrap_err(), "unable to find target container \"a\"");
        assert_eq!(target(&pod, "c", &nothing), Ok(None));
    }
}
