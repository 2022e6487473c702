//! The CRI container that a container of a pod becomes.
//!
//! Pure: from spec, environment and mounts to a `ContainerConfig`.

use super::env::Env;
use super::memory::{Failure, ReadyImage};
use super::{resources, sandbox, security};
use crate::labels;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use skiff_csi::deviceplugin::v1beta1 as words;
use skiff_devices::Options;
use skiff_proto::cri::v1 as cri;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What a container needs besides its definition.
pub(crate) struct ContainerInputs<'a> {
    pub(crate) node_name: &'a str,
    pub(crate) attempt: u32,
    pub(crate) sandbox: &'a str,
    pub(crate) image: &'a ReadyImage,
    /// The container whose processes this one sees, if it is there to look into that.
    pub(crate) target: Option<String>,
    pub(crate) env: &'a Env,
    pub(crate) mounts: Vec<cri::Mount>,
    pub(crate) devices: Vec<cri::Device>,
    /// Those of its claims.
    pub(crate) claimed: Vec<cri::CdiDevice>,
    /// What it gets for those that it asks for by number.
    pub(crate) counted: Options,
    /// The pod's own users, if it has some.
    pub(crate) users: Option<cri::UserNamespace>,
    pub(crate) termination_file: &'a Path,
    pub(crate) memory_bytes: i64,
}

/// Where its log is, below the pod's log folder.
pub(crate) fn log_path(container: &str, attempt: u32) -> String {
    format!("{container}/{attempt}.log")
}

/// The configuration of `container`.
///
/// # Errors
/// Its security context cannot be kept.
pub(crate) fn config(
    pod: &Pod,
    container: &Container,
    inputs: ContainerInputs<'_>,
) -> Result<cri::ContainerConfig, Failure> {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let expand = |list: &Option<Vec<String>>| list.iter().flatten().map(|text| inputs.env.expand(text)).collect();
    let Options { envs, mounts, devices, annotations: noted, cdi } = inputs.counted;
    Ok(cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: container.name.clone(), attempt: inputs.attempt }),
        image: Some(cri::ImageSpec {
            image: inputs.image.reference.clone(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expand(&container.command),
        args: expand(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: variables(envs, inputs.env),
        mounts: inputs.mounts.into_iter().chain(mounts.into_values().map(mount)).collect(),
        devices: inputs.devices.into_iter().chain(devices.into_values().map(device)).collect(),
        cdi_devices: inputs.claimed.into_iter().chain(cdi.into_iter().map(|name| cri::CdiDevice { name })).collect(),
        labels: labels::of_container(pod, inputs.node_name, &container.name),
        annotations: {
            let file = inputs.termination_file.display().to_string();
            let ours = annotations(pod, container, &file, inputs.attempt, inputs.sandbox);
            noted.into_iter().chain(ours).collect()
        },
        log_path: log_path(&container.name, inputs.attempt),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        stop_signal: stop_signal(container)?.into(),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(resources::of_container(spec, container, inputs.memory_bytes)),
            security_context: Some(targeted(
                security::of_container(spec, container, inputs.image, inputs.users)?,
                inputs.target,
            )),
        }),
        ..Default::default()
    })
}

/// Those of plugins first: what the pod itself says of a variable counts.
fn variables(of_plugins: BTreeMap<String, String>, env: &Env) -> Vec<cri::KeyValue> {
    let of_plugins = of_plugins.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let of_plugins = of_plugins.filter(|(key, _)| !env.iter().any(|(own, _)| own == *key));
    let all = of_plugins.chain(env.iter());
    all.map(|(key, value)| cri::KeyValue { key: key.to_owned(), value: value.as_bytes().to_vec() }).collect()
}

fn mount(of_plugin: words::Mount) -> cri::Mount {
    cri::Mount {
        container_path: of_plugin.container_path,
        host_path: of_plugin.host_path,
        readonly: of_plugin.read_only,
        ..Default::default()
    }
}

fn device(of_plugin: words::DeviceSpec) -> cri::Device {
    cri::Device {
        container_path: of_plugin.container_path,
        host_path: of_plugin.host_path,
        permissions: of_plugin.permissions,
    }
}

/// In a pod whose containers share their processes anyway, a target means nothing.
fn targeted(
    mut security: cri::LinuxContainerSecurityContext,
    target: Option<String>,
) -> cri::LinuxContainerSecurityContext {
    let options = security.namespace_options.get_or_insert_default();
    if let Some(target) = target.filter(|_| options.pid() == cri::NamespaceMode::Container) {
        options.pid = cri::NamespaceMode::Target.into();
        options.target_id = target;
    }
    security
}

/// What the container is told to stop with; the image's own signal where it names none.
fn stop_signal(container: &Container) -> Result<cri::Signal, Failure> {
    let named = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.as_deref());
    let Some(name) = named.filter(|name| !name.is_empty()) else { return Ok(cri::Signal::RuntimeDefault) };
    let in_cri = format!("SIGNAL_{}", name.replace('+', "PLUS").replace('-', "MINUS"));
    cri::Signal::from_str_name(&in_cri).ok_or_else(|| {
        let message = format!("container {}: lifecycle.stopSignal: {name} is not known", container.name);
        Failure::new("CreateContainerConfigError", message)
    })
}

fn annotations(
    pod: &Pod,
    container: &Container,
    file: &str,
    attempt: u32,
    sandbox_id: &str,
) -> HashMap<String, String> {
    let path = container.termination_message_path.clone().unwrap_or_else(|| TERMINATION_PATH.to_owned());
    let policy = container.termination_message_policy.clone().unwrap_or_else(|| "File".to_owned());
    let grace = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
    HashMap::from([
        (labels::HASH.to_owned(), labels::hash(container)),
        (labels::RESTART_COUNT.to_owned(), attempt.to_string()),
        (labels::SANDBOX.to_owned(), sandbox_id.to_owned()),
        (labels::TERMINATION_FILE.to_owned(), file.to_owned()),
        ("io.kubernetes.container.terminationMessagePath".to_owned(), path),
        ("io.kubernetes.container.terminationMessagePolicy".to_owned(), policy),
        ("io.kubernetes.pod.terminationGracePeriod".to_owned(), grace.to_string()),
        (skiff_step::CORRELATION_ANNOTATION.to_owned(), sandbox::correlation(pod, attempt)),
    ])
}

/// Where a container finds its termination message file when it names no other place (Kubernetes' default).
pub(crate) const TERMINATION_PATH: &str = "/dev/termination-log";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::env::{Downward, environment};
    use crate::pod::sources::Sources;
    use serde_json::json;

    #[test]
    fn variables_of_plugins_give_way_to_those_of_the_pod() {
        let env = json!({"name": "a", "env": [{"name": "OWN", "value": "pod"}]});
        let (pod, sources) = (Pod::default(), Sources::default());
        let down = Downward { pod: &pod, ips: &[], host_ip: "", node_milli_cpu: 0, node_memory_bytes: 0 };
        let env = environment(&serde_json::from_value(env).unwrap(), &sources, &down).unwrap();
        let all = variables(
            [("OWN", "plugin"), ("GPUS", "0")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            &env,
        );
        let all: Vec<_> = all.iter().map(|pair| (pair.key.as_str(), pair.value.as_slice())).collect();
        assert_eq!(all, [("GPUS", b"0".as_slice()), ("OWN", b"pod")]);
    }

    #[test]
    fn signals_have_the_names_of_kubernetes() {
        let signal = |name: &str| {
            let container = json!({"name": "a", "lifecycle": {"stopSignal": name}});
            stop_signal(&serde_json::from_value(container).unwrap()).map_err(|failure| failure.message)
        };
        assert_eq!(signal("SIGUSR1"), Ok(cri::Signal::Sigusr1));
        assert_eq!(signal(""), Ok(cri::Signal::RuntimeDefault));
        assert!(signal("SIGRTMIN+1").is_ok() && signal("SIGRTMAX-1").is_ok());
        assert_eq!(signal("SIGNO").unwrap_err(), "container a: lifecycle.stopSignal: SIGNO is not known");
    }
}
