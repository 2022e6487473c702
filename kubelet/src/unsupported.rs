//! The one list of pod fields that we do not implement.
//!
//! A pod that uses one of them is not started: it is turned away, with an event and a message that name the fields.
//! Nothing is ignored in silence. Ephemeral containers are not here, because they come to a pod that runs already: each is
//! reported as waiting, for the same reason.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};

#[cfg(test)]
mod fields; // a table of all of a pod's fields

/// The reason in events, statuses and waiting states.
pub(crate) const REASON: &str = "Unsupported";

/// What is said of an ephemeral container.
pub(crate) const EPHEMERAL: &str = "ephemeral containers are not implemented by this kubelet";

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
        let path = format!("spec.{list}[{index}]");
        of_container(&path, container, &mut found);
        // A policy of its own makes an init container a sidecar; another one only matters if it is not the pod's.
        let own = container.restart_policy.as_deref();
        let known = own == Some("Always") && list == "initContainers" || own == spec.restart_policy.as_deref();
        note(&mut found, own.is_some() && !known, format!("{path}.restartPolicy"));
    }
    found
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
    note(found, spec.host_users == Some(false), "spec.hostUsers=false");
    note(found, spec.resource_claims.as_ref().is_some_and(|list| !list.is_empty()), "spec.resourceClaims");
    note(found, spec.resources.is_some(), "spec.resources");
    note(found, spec.scheduling_group.is_some(), "spec.schedulingGroup");
    note(found, spec.runtime_class_name.as_deref().is_some_and(|name| !name.is_empty()), "spec.runtimeClassName");
    note(found, spec.set_hostname_as_fqdn == Some(true), "spec.setHostnameAsFQDN");
    note(found, spec.hostname_override.is_some(), "spec.hostnameOverride");
    note(found, spec.os.as_ref().is_some_and(|os| os.name != "linux"), "spec.os");
    note(found, spec.image_pull_secrets.as_ref().is_some_and(|list| !list.is_empty()), "spec.imagePullSecrets");
    let security = spec.security_context.clone().unwrap_or_default();
    note(found, security.windows_options.is_some(), "spec.securityContext.windowsOptions");
}

fn of_container(path: &str, container: &Container, found: &mut Vec<String>) {
    note(
        found,
        container.volume_devices.as_ref().is_some_and(|list| !list.is_empty()),
        format!("{path}.volumeDevices"),
    );
    note(found, container.restart_policy_rules.is_some(), format!("{path}.restartPolicyRules"));
    let claims = container.resources.as_ref().and_then(|resources| resources.claims.as_ref());
    note(found, claims.is_some_and(|claims| !claims.is_empty()), format!("{path}.resources.claims"));
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    // Requests count when a node is chosen; nobody measures what a container writes.
    let storage = limits.is_some_and(|limits| limits.contains_key("ephemeral-storage"));
    note(found, storage, format!("{path}.resources.limits.ephemeral-storage"));
    let security = container.security_context.clone().unwrap_or_default();
    note(found, security.windows_options.is_some(), format!("{path}.securityContext.windowsOptions"));
    let lifecycle = container.lifecycle.clone().unwrap_or_default();
    note(found, lifecycle.stop_signal.is_some(), format!("{path}.lifecycle.stopSignal"));
    for (name, hook) in [("postStart", lifecycle.post_start), ("preStop", lifecycle.pre_stop)] {
        note(found, hook.is_some_and(|hook| hook.tcp_socket.is_some()), format!("{path}.lifecycle.{name}.tcpSocket"));
    }
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let at = format!("{path}.volumeMounts[{index}]");
        let recursive = mount.recursive_read_only.as_deref().is_some_and(|mode| mode == "Enabled");
        note(found, recursive, format!("{at}.recursiveReadOnly=Enabled"));
    }
    for (index, env) in container.env.iter().flatten().enumerate() {
        let file = env.value_from.as_ref().is_some_and(|from| from.file_key_ref.is_some());
        note(found, file, format!("{path}.env[{index}].valueFrom.fileKeyRef"));
    }
}

fn of_volume(path: &str, volume: &Volume, found: &mut Vec<String>) {
    let known = volume.empty_dir.is_some()
        || volume.host_path.is_some()
        || volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some();
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
        let spec = json!({"containers": [{"name": "a", "lifecycle": {"preStop": {"tcpSocket": {"port": 1}}}}],
            "volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}], "hostUsers": false});
        let expected =
            ["spec.hostUsers=false", "spec.volumes[0] (nfs)", "spec.containers[0].lifecycle.preStop.tcpSocket"];
        assert_eq!(found(spec), expected);
    }
}
