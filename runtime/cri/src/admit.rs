//! What a request may ask for: the rest is refused in words, before anything is made.
//!
//! Each field of each request has its decision in the table of `fields.rs`. A number that an enumeration does not have is refused too: the
//! decoder would take it for the enumeration's first value, which may allow more than was meant.

use crate::bundle::{self, Host, pod_namespaces};
use crate::error::CriError;
use crate::users::PodUsers;
use skiff_proto::cri::v1 as pb;
use skiff_proto::cri::v1::security_profile::ProfileType;
use skiff_proto::cri::v1::{ContainerConfig, NamespaceMode, NamespaceOption, PodSandboxConfig};
use std::path::Path;

/// Whether RunPodSandbox can be done.
pub(crate) fn sandbox(
    config: &PodSandboxConfig,
    handler: &str,
    host: &Host,
) -> Result<pb::PodSandboxMetadata, CriError> {
    let metadata =
        config.metadata.clone().ok_or_else(|| CriError::Invalid("sandbox: metadata is missing".to_owned()))?;
    if metadata.name.is_empty() {
        return Err(CriError::Invalid("sandbox: metadata.name is empty".to_owned()));
    }
    only_handler(handler)?;
    if config.windows.is_some() {
        return Err(CriError::Invalid("sandbox: windows settings on a Linux node".to_owned()));
    }
    for mapping in &config.port_mappings {
        known::<pb::Protocol>("port mapping: protocol", mapping.protocol)?;
    }
    if let Some(security) = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref()) {
        selinux(security.selinux_options.as_ref(), host)?;
        known::<pb::SupplementalGroupsPolicy>("supplemental_groups_policy", security.supplemental_groups_policy)?;
        for profile in [&security.seccomp, &security.apparmor].into_iter().flatten() {
            known::<ProfileType>("profile_type", profile.profile_type)?;
        }
    }
    let namespaces = pod_namespaces(config);
    namespace_modes(&namespaces)?;
    if namespaces.pid() == NamespaceMode::Target {
        return Err(CriError::Invalid("namespace_options.pid: TARGET is for containers".to_owned()));
    }
    for (field, mode) in [("network", namespaces.network()), ("ipc", namespaces.ipc())] {
        if !matches!(mode, NamespaceMode::Pod | NamespaceMode::Node) {
            let mode = mode.as_str_name();
            return Err(CriError::Invalid(format!("namespace_options.{field}: {mode} is neither POD nor NODE")));
        }
    }
    Ok(metadata)
}

/// Whether CreateContainer can be done.
pub(crate) fn container(
    config: &ContainerConfig,
    sandbox: &PodSandboxConfig,
    host: &Host,
) -> Result<pb::ContainerMetadata, CriError> {
    let metadata =
        config.metadata.clone().ok_or_else(|| CriError::Invalid("container: metadata is missing".to_owned()))?;
    if metadata.name.is_empty() {
        return Err(CriError::Invalid("container: metadata.name is empty".to_owned()));
    }
    match config.image.as_ref().filter(|image| !image.image.is_empty()) {
        None => return Err(CriError::Invalid(format!("container {}: image is missing", metadata.name))),
        Some(image) => only_handler(&image.runtime_handler)?,
    }
    if config.windows.is_some() {
        return Err(CriError::Invalid(format!("container {}: windows settings on a Linux node", metadata.name)));
    }
    known::<pb::Signal>("stop_signal", config.stop_signal)?;
    for pair in &config.envs {
        environment(pair)?;
    }
    if let Some(device) = config.devices.iter().find(|device| !Path::new(&device.container_path).is_absolute()) {
        let at = &device.container_path;
        return Err(CriError::Invalid(format!("device {}: container_path `{at}` is not absolute", device.host_path)));
    }
    config.mounts.iter().try_for_each(bundle::check_mount)?;
    let linux = config.linux.clone().unwrap_or_default();
    // What it would come to is of no interest yet, only whether it can be.
    bundle::resources(&linux.resources.unwrap_or_default(), host, &mut Vec::new())?;
    security(&linux.security_context.unwrap_or_default(), sandbox, host)?;
    Ok(metadata)
}

fn security(
    asked: &pb::LinuxContainerSecurityContext,
    sandbox: &PodSandboxConfig,
    host: &Host,
) -> Result<(), CriError> {
    let of_sandbox = sandbox.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    if asked.privileged && !of_sandbox.is_some_and(|security| security.privileged) {
        return Err(CriError::Invalid("privileged: the sandbox is not privileged".to_owned()));
    }
    selinux(asked.selinux_options.as_ref(), host)?;
    known::<pb::SupplementalGroupsPolicy>("supplemental_groups_policy", asked.supplemental_groups_policy)?;
    if let Some(namespaces) = &asked.namespace_options {
        namespace_modes(namespaces)?;
        same_users(namespaces, &pod_namespaces(sandbox))?;
    }
    if let Some(profile) = &asked.seccomp {
        known::<ProfileType>("seccomp.profile_type", profile.profile_type)?;
    }
    let Some(profile) = &asked.apparmor else { return Ok(()) };
    match known::<ProfileType>("apparmor.profile_type", profile.profile_type)? {
        ProfileType::Localhost if profile.localhost_ref.is_empty() => {
            Err(CriError::Invalid("apparmor: profile_type Localhost without localhost_ref".to_owned()))
        }
        ProfileType::Localhost if !host.apparmor => {
            let name = &profile.localhost_ref;
            Err(CriError::Precondition(format!("apparmor: profile {name}: this node has no AppArmor, or has it off")))
        }
        _ => Ok(()),
    }
}

/// The request with its deprecated fields in the words of those that replaced them, which win where both are given.
pub(crate) fn in_new_words(mut config: ContainerConfig) -> Result<ContainerConfig, CriError> {
    let Some(security) = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut()) else {
        return Ok(config);
    };
    #[allow(deprecated, reason = "a client that still sends the old fields must not be ignored")]
    let (seccomp, apparmor) =
        (std::mem::take(&mut security.seccomp_profile_path), std::mem::take(&mut security.apparmor_profile));
    if security.seccomp.is_none() {
        security.seccomp = old_profile("seccomp_profile_path", &seccomp)?;
    }
    if security.apparmor.is_none() {
        security.apparmor = old_profile("apparmor_profile", &apparmor)?;
    }
    Ok(config)
}

fn old_profile(field: &str, text: &str) -> Result<Option<pb::SecurityProfile>, CriError> {
    let profile = |kind: ProfileType, name: &str| {
        Ok(Some(pb::SecurityProfile { profile_type: kind.into(), localhost_ref: name.to_owned() }))
    };
    match (text, text.strip_prefix("localhost/")) {
        ("", _) => Ok(None),
        ("runtime/default" | "docker/default", _) => profile(ProfileType::RuntimeDefault, ""),
        ("unconfined", _) => profile(ProfileType::Unconfined, ""),
        (_, Some(name)) => profile(ProfileType::Localhost, name),
        _ => Err(CriError::Invalid(format!("{field}: `{text}` is no profile"))),
    }
}

/// One of an enumeration's numbers.
pub(crate) fn known<E: TryFrom<i32>>(field: &str, number: i32) -> Result<E, CriError> {
    E::try_from(number).map_err(|_| CriError::Invalid(format!("{field}: {number} is not known")))
}

/// Handlers are other OCI runtimes; there is one.
pub(crate) fn only_handler(handler: &str) -> Result<(), CriError> {
    if handler.is_empty() {
        return Ok(());
    }
    Err(CriError::Invalid(format!("runtime_handler `{handler}`: this node has only the default one")))
}

/// Labels mean something to a kernel with SELinux only.
fn selinux(asked: Option<&pb::SeLinuxOption>, host: &Host) -> Result<(), CriError> {
    if asked.is_some() && host.selinux {
        return Err(CriError::Unimplemented("selinux_options on a node with SELinux".to_owned()));
    }
    Ok(())
}

fn namespace_modes(asked: &NamespaceOption) -> Result<(), CriError> {
    for (field, mode) in [("network", asked.network), ("pid", asked.pid), ("ipc", asked.ipc)] {
        known::<NamespaceMode>(&format!("namespace_options.{field}"), mode)?;
    }
    if asked.pid() == NamespaceMode::Target && asked.target_id.is_empty() {
        return Err(CriError::Invalid("namespace_options.pid: TARGET without target_id".to_owned()));
    }
    PodUsers::asked(asked).map(drop)
}

/// A container's users are its pod's; who says nothing means them.
fn same_users(own: &NamespaceOption, of_pod: &NamespaceOption) -> Result<(), CriError> {
    if own.userns_options.is_none() || PodUsers::asked(own)? == PodUsers::asked(of_pod)? {
        return Ok(());
    }
    Err(CriError::Invalid("userns_options: they are not those of the sandbox".to_owned()))
}

/// A configuration is JSON, and execve(2) ends a text at a zero: what cannot be passed on whole is refused.
fn environment(pair: &pb::KeyValue) -> Result<(), CriError> {
    let refuse = |why: &str| Err(CriError::Invalid(format!("environment variable {}: {why}", pair.key.escape_debug())));
    match std::str::from_utf8(&pair.value) {
        _ if pair.key.is_empty() || pair.key.contains(['=', '\0']) => refuse("this is no name"),
        Err(_) => refuse("its value is not UTF-8"),
        Ok(value) if value.contains('\0') => refuse("its value has a zero in it"),
        Ok(_) => Ok(()),
    }
}
