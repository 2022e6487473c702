//! The CRI sandbox that a pod gets.
//!
//! Pure: from the pod and the node's settings to a `PodSandboxConfig`.

use super::cgroup::PodCgroup;
use super::names::{ClusterNames, HostResolver, dns_config, kernel_hostname};
use super::resources;
use super::security;
use crate::labels;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use skiff_proto::cri::v1 as cri;
use std::path::Path;

/// What a sandbox needs besides its pod.
pub(crate) struct SandboxInputs<'a> {
    pub(crate) node_name: &'a str,
    pub(crate) attempt: u32,
    pub(crate) log_directory: &'a Path,
    pub(crate) cgroup: &'a PodCgroup,
    pub(crate) cluster: &'a ClusterNames,
    pub(crate) resolver: &'a HostResolver,
    /// The pod's own, if it has some.
    pub(crate) users: Option<cri::UserNamespace>,
}

/// The id that joins this start with its steps elsewhere: `<uid>/<attempt>`.
pub(crate) fn correlation(pod: &Pod, attempt: u32) -> String {
    format!("{}/{attempt}", pod.metadata.uid.as_deref().unwrap_or_default())
}

/// The configuration of the pod's sandbox.
pub(crate) fn config(pod: &Pod, inputs: &SandboxInputs<'_>) -> cri::PodSandboxConfig {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut annotations: std::collections::HashMap<_, _> =
        pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect();
    annotations.insert(skiff_step::CORRELATION_ANNOTATION.to_owned(), correlation(pod, inputs.attempt));
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: text(&pod.metadata.name),
            uid: text(&pod.metadata.uid),
            namespace: text(&pod.metadata.namespace),
            attempt: inputs.attempt,
        }),
        // One that is too long was refused before the sandbox was to be run.
        hostname: kernel_hostname(pod, inputs.cluster).unwrap_or_default(),
        log_directory: inputs.log_directory.display().to_string(),
        dns_config: Some(dns_config(pod, inputs.cluster, inputs.resolver)),
        port_mappings: port_mappings(spec),
        labels: labels::of_pod(pod, inputs.node_name),
        annotations,
        linux: Some(linux(pod, spec, inputs)),
        windows: None,
    }
}

fn linux(pod: &Pod, spec: &PodSpec, inputs: &SandboxInputs<'_>) -> cri::LinuxPodSandboxConfig {
    let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    let needs = resources::of_pod(pod);
    cri::LinuxPodSandboxConfig {
        cgroup_parent: inputs.cgroup.absolute(),
        security_context: Some(security::of_sandbox(spec, inputs.users.clone())),
        sysctls: sysctls.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect(),
        overhead: None,
        resources: Some(cri::LinuxContainerResources {
            cpu_period: resources::PERIOD_US,
            cpu_quota: needs.cpu_limit.map_or(0, resources::quota),
            cpu_shares: resources::shares(needs.cpu_request),
            memory_limit_in_bytes: needs.memory_limit.unwrap_or(0),
            ..Default::default()
        }),
    }
}

fn port_mappings(spec: &PodSpec) -> Vec<cri::PortMapping> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = sidecars.chain(&spec.containers).flat_map(|container| container.ports.iter().flatten());
    let mapping = |port: &k8s_openapi::api::core::v1::ContainerPort| cri::PortMapping {
        protocol: match port.protocol.as_deref() {
            Some("UDP") => cri::Protocol::Udp.into(),
            Some("SCTP") => cri::Protocol::Sctp.into(),
            _ => cri::Protocol::Tcp.into(),
        },
        container_port: port.container_port,
        host_port: port.host_port.unwrap_or(0),
        host_ip: port.host_ip.clone().unwrap_or_default(),
    };
    ports.map(mapping).collect()
}
