//! The one list of pod fields that we do not implement.
//!
//! A pod that uses one of them is not started: it is turned away, with an event and a message that name the fields.
//! Nothing is ignored in silence. Ephemeral containers are not looked through here, because they come to a pod that runs already:
//! one that cannot start waits, for the same reason; see [`check`].

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};

#[cfg(test)]
mod fields; // a table of all of a pod's fields

/// The reason in events, statuses and waiting states.
pub(crate) const REASON: &str = "Unsupported";

/// The paths of the fields of `pod` that we do not implement, in reading order.
pub(crate) fn fields(pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let mut found = Vec::new();
    of_spec(spec, &mut found);
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        of_volume(&format!("spec.volumes[{index}]"), volume, &mut found);
    }
    let inits = spec.init_containers.iter().flatten().enumerate().map(|item| ("initContainers", item));
    for (list, (index, container)) in inits.chain(spec.containers.iter().enumerate().map(|item| ("containers", item))) {
        of_container(&format!("spec.{list}[{index}]"), container, &mut found);
    }
    found
}

/// Whether the container `name` can start.
///
/// # Errors
/// The fields that we do not implement, as a sentence.
pub(crate) fn check(name: &str, container: &Container) -> Result<(), String> {
    let mut found = Vec::new();
    of_container(name, container, &mut found);
    if found.is_empty() { Ok(()) } else { Err(format!("not implemented by this kubelet: {}", found.join(", "))) }
}

/// Why `pod` cannot run here, as a sentence for people; `None` if it can.
pub(crate) fn sentence(pod: &Pod) -> Option<String> {
    let fields = fields(pod);
    (!fields.is_empty()).then(|| format!("not implemented by this kubelet: {}", fields.join(", ")))
}

fn note(found: &mut Vec<String>, used: bool, path: impl Into<String>) {
    if used {
        found.push(path.into());
    }
}

fn of_spec(spec: &PodSpec, found: &mut Vec<String>) {
    note(found, spec.scheduling_group.is_some(), "spec.schedulingGroup");
    note(found, spec.os.as_ref().is_some_and(|os| os.name != "linux"), "spec.os");
    let security = spec.security_context.clone().unwrap_or_default();
    note(found, security.windows_options.is_some(), "spec.securityContext.windowsOptions");
}

fn of_container(path: &str, container: &Container, found: &mut Vec<String>) {
    for (index, rule) in container.restart_policy_rules.iter().flatten().enumerate() {
        let at = format!("{path}.restartPolicyRules[{index}].action={}", rule.action);
        note(found, rule.action != "Restart", at);
    }
    let security = container.security_context.clone().unwrap_or_default();
    note(found, security.windows_options.is_some(), format!("{path}.securityContext.windowsOptions"));
}

fn of_volume(path: &str, volume: &Volume, found: &mut Vec<String>) {
    let known = volume.empty_dir.is_some()
        || volume.host_path.is_some()
        || volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.ephemeral.is_some()
        || volume.csi.is_some()
        || volume.image.is_some();
    note(found, !known, format!("{path} ({})", source_name(volume)));
    let medium = volume.empty_dir.as_ref().and_then(|source| source.medium.as_deref()).unwrap_or_default();
    note(found, !matches!(medium, "" | "Memory"), format!("{path}.emptyDir.medium={medium}"));
    for (index, source) in volume.projected.iter().flat_map(|all| all.sources.iter().flatten()).enumerate() {
        let at = format!("{path}.projected.sources[{index}]");
        note(found, source.cluster_trust_bundle.is_some(), format!("{at}.clusterTrustBundle"));
        note(found, source.pod_certificate.is_some(), format!("{at}.podCertificate"));
    }
}

/// The key under which a volume names its source, read from its JSON so that new kinds name themselves.
fn source_name(volume: &Volume) -> String {
    let json = serde_json::to_value(volume).unwrap_or_default();
    let keys = json.as_object().into_iter().flat_map(|object| object.keys());
    keys.filter(|key| *key != "name").cloned().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(spec: serde_json::Value) -> Vec<String> {
        fields(&serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap())
    }

    #[test]
    fn an_ordinary_pod_uses_nothing_unsupported() {
        let spec = json!({"containers": [{"name": "a", "image": "x", "livenessProbe": {"tcpSocket": {"port": 1}}}],
            "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}]});
        assert_eq!(found(spec), Vec::<String>::new());
    }

    #[test]
    fn each_unsupported_field_is_named_by_its_path() {
        let rules = json!([{"action": "RestartAllContainers"}]);
        let spec = json!({"containers": [{"name": "a", "restartPolicy": "Never", "restartPolicyRules": rules}],
            "volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]});
        let rule = "spec.containers[0].restartPolicyRules[0].action=RestartAllContainers";
        let expected = ["spec.volumes[0] (nfs)", rule];
        assert_eq!(found(spec), expected);
    }
}
