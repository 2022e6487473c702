//! From a CRI container to an OCI `config.json`: values in, a value out, no I/O.
//!
//! Whatever must be looked up (users in the image, device numbers, what this host can) comes in as a value; see
//! [`crate::container`] for who looks it up. The result uses only what OCI runtime-spec 1.0.2 has, so that any runtime
//! takes it.

mod caps; // which capabilities
mod linux; // namespaces, resources, devices, paths
mod mounts; // what is mounted where
mod process; // what is executed, as whom
mod seccomp; // which system calls

pub(crate) use linux::resources;
pub(crate) use mounts::check as check_mount;
pub(crate) use process::{User, exec_process};

use crate::error::CriError;
use oci_spec::image::ImageConfiguration;
use serde_json::{Value, json};
use skiff_proto::cri::v1::{
    ContainerConfig, LinuxContainerSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig,
};
use std::path::{Path, PathBuf};

/// Everything that a bundle is made of.
pub(crate) struct Request<'a> {
    pub(crate) sandbox_id: &'a str,
    pub(crate) sandbox: &'a PodSandboxConfig,
    pub(crate) config: &'a ContainerConfig,
    pub(crate) image: &'a ImageConfiguration,
    pub(crate) user: User,
    pub(crate) host: &'a Host,
    pub(crate) rootfs: PathBuf,
    pub(crate) cgroups_path: String,
    /// Whose namespaces are the pod's.
    pub(crate) supervisor_pid: i32,
    /// Where the namespace of the pod's own users is, if it has some.
    pub(crate) users: Option<&'a Path>,
    /// Whose pid namespace this one shares, if it shares one: the pod's or that of a container that it is to look into.
    pub(crate) pod_pid: Option<i32>,
    /// The files that every container of the pod sees.
    pub(crate) pod_files: PodFiles,
    /// The requested devices (or all, for a privileged container).
    pub(crate) devices: Vec<Device>,
    /// The content of the localhost seccomp profile, if one was asked for.
    pub(crate) seccomp_file: Option<String>,
}

/// What this machine allows.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// Our own bounding set (proc(5), CapBnd); a container cannot have more.
    pub(crate) capabilities: u64,
    /// Our own oom_score_adj; without CAP_SYS_RESOURCE no child may have less (proc(5)).
    pub(crate) oom_score_adj: i64,
    /// Whether all controllers are on cgroup v2.
    pub(crate) cgroup_v2: bool,
    /// Whether swap can be limited.
    pub(crate) limits_swap: bool,
    /// Whether the kernel has SELinux, and has it on.
    pub(crate) selinux: bool,
    /// The same for AppArmor.
    pub(crate) apparmor: bool,
}

/// Files made for the pod, on the host.
#[derive(Debug, Clone)]
pub(crate) struct PodFiles {
    pub(crate) shm: PathBuf,
    pub(crate) resolv_conf: PathBuf,
    pub(crate) hostname: PathBuf,
    pub(crate) hosts: PathBuf,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) path: String,
    /// `c` or `b`.
    pub(crate) kind: char,
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) mode: u32,
    /// Of `r`, `w` and `m`.
    pub(crate) access: String,
}

/// A bundle's configuration, and what could not be done as asked.
pub(crate) struct Bundle {
    pub(crate) config: Value,
    /// Sentences for people: kept with the container, shown by its verbose status.
    pub(crate) notes: Vec<String>,
}

/// Makes the `config.json`.
pub(crate) fn build(request: &Request<'_>) -> Result<Bundle, CriError> {
    let mut notes = Vec::new();
    let config = json!({
        "ociVersion": "1.0.2",
        "process": process::process(request, &mut notes)?,
        "root": {"path": request.rootfs, "readonly": request.security().readonly_rootfs},
        "mounts": mounts::mounts(request)?,
        "linux": linux::linux(request, &mut notes)?,
        "annotations": annotations(request),
    });
    Ok(Bundle { config, notes })
}

/// Only words of ours: a pod's author must not steer the runtime through annotations (crun and others obey some).
fn annotations(request: &Request<'_>) -> Value {
    let mut all = json!({"skiff.dev/sandbox": request.sandbox_id});
    if let Some(metadata) = &request.config.metadata {
        all["skiff.dev/container-name"] = json!(metadata.name);
    }
    if let Some(id) = correlation(request.sandbox, Some(request.config)) {
        all[skiff_step::CORRELATION_ANNOTATION] = json!(id);
    }
    all
}

/// The correlation id of a container's or its sandbox's annotations.
pub(crate) fn correlation<'a>(sandbox: &'a PodSandboxConfig, config: Option<&'a ContainerConfig>) -> Option<&'a str> {
    let of_container = config.and_then(|config| config.annotations.get(skiff_step::CORRELATION_ANNOTATION));
    of_container.or_else(|| sandbox.annotations.get(skiff_step::CORRELATION_ANNOTATION)).map(String::as_str)
}

/// A container's namespace modes; absent means the protocol's defaults, which are the pod's.
pub(crate) fn namespaces(config: &ContainerConfig) -> NamespaceOption {
    let security = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    security.and_then(|security| security.namespace_options.clone()).unwrap_or_default()
}

/// The pod's own namespace modes.
pub(crate) fn pod_namespaces(sandbox: &PodSandboxConfig) -> NamespaceOption {
    let security = sandbox.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    security.and_then(|security| security.namespace_options.clone()).unwrap_or_default()
}

impl Request<'_> {
    fn security(&self) -> LinuxContainerSecurityContext {
        self.config.linux.as_ref().and_then(|linux| linux.security_context.clone()).unwrap_or_default()
    }

    fn on_host_network(&self) -> bool {
        pod_namespaces(self.sandbox).network() == NamespaceMode::Node
    }
}

#[cfg(test)]
mod tests;
