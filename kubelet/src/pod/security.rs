//! Security contexts as CRI says them.
//!
//! Pure. A container's own setting wins over the pod's.

use super::memory::{Failure, ReadyImage};
use k8s_openapi::api::core::v1::{AppArmorProfile, Container, PodSpec, SELinuxOptions, SeccompProfile};
use skiff_proto::cri::v1 as cri;
use skiff_proto::usual::{MASKED_PATHS, READ_ONLY_PATHS};

/// The namespaces that a pod shares with the node or among its containers.
fn namespaces(spec: &PodSpec, users: Option<cri::UserNamespace>) -> cri::NamespaceOption {
    let mode = |on_node: Option<bool>, otherwise: cri::NamespaceMode| {
        let mode = if on_node.unwrap_or(false) { cri::NamespaceMode::Node } else { otherwise };
        i32::from(mode)
    };
    let shared = spec.share_process_namespace.unwrap_or(false);
    let pid = if shared { cri::NamespaceMode::Pod } else { cri::NamespaceMode::Container };
    cri::NamespaceOption {
        network: mode(spec.host_network, cri::NamespaceMode::Pod),
        pid: mode(spec.host_pid, pid),
        ipc: mode(spec.host_ipc, cri::NamespaceMode::Pod),
        userns_options: users,
        ..Default::default()
    }
}

/// A seccomp profile; without one a container is unconfined, as in Kubernetes.
fn seccomp(profile: Option<&SeccompProfile>) -> cri::SecurityProfile {
    use cri::security_profile::ProfileType;
    let kind = match profile.map(|profile| profile.type_.as_str()) {
        Some("RuntimeDefault") => ProfileType::RuntimeDefault,
        Some("Localhost") => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    let localhost_ref = profile.and_then(|profile| profile.localhost_profile.clone()).unwrap_or_default();
    cri::SecurityProfile { profile_type: kind.into(), localhost_ref }
}

fn apparmor(profile: &AppArmorProfile) -> cri::SecurityProfile {
    use cri::security_profile::ProfileType;
    let kind = match profile.type_.as_str() {
        "RuntimeDefault" => ProfileType::RuntimeDefault,
        "Localhost" => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    let localhost_ref = profile.localhost_profile.clone().unwrap_or_default();
    cri::SecurityProfile { profile_type: kind.into(), localhost_ref }
}

/// Labels, which have no effect where the host has no SELinux: that is for the runtime to know.
fn selinux(options: SELinuxOptions) -> cri::SeLinuxOption {
    cri::SeLinuxOption {
        user: options.user.unwrap_or_default(),
        role: options.role.unwrap_or_default(),
        r#type: options.type_.unwrap_or_default(),
        level: options.level.unwrap_or_default(),
    }
}

/// Refuses a `Localhost` profile without a file, which some runtimes take for unconfined (CVE-2023-2431).
fn check_localhost(what: &str, kind: &str, file: Option<&String>) -> Result<(), Failure> {
    if kind == "Localhost" && file.is_none_or(String::is_empty) {
        let message = format!("{what} profile: localhostProfile must be set if type is Localhost");
        return Err(Failure::new("CreateContainerConfigError", message));
    }
    Ok(())
}

const fn int(value: i64) -> cri::Int64Value {
    cri::Int64Value { value }
}

fn groups_policy(spec: &PodSpec) -> i32 {
    let policy = spec.security_context.as_ref().and_then(|context| context.supplemental_groups_policy.as_deref());
    if policy == Some("Strict") { cri::SupplementalGroupsPolicy::Strict.into() } else { 0 }
}

fn groups(spec: &PodSpec) -> Vec<i64> {
    let context = spec.security_context.clone().unwrap_or_default();
    context.supplemental_groups.unwrap_or_default().into_iter().chain(context.fs_group).collect()
}

/// The sandbox's context.
pub(super) fn of_sandbox(spec: &PodSpec, users: Option<cri::UserNamespace>) -> cri::LinuxSandboxSecurityContext {
    let context = spec.security_context.clone().unwrap_or_default();
    let privileged = spec.init_containers.iter().flatten().chain(&spec.containers).any(is_privileged);
    cri::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(spec, users)),
        run_as_user: context.run_as_user.map(int),
        run_as_group: context.run_as_group.filter(|_| context.run_as_user.is_some()).map(int),
        supplemental_groups: groups(spec),
        supplemental_groups_policy: groups_policy(spec),
        selinux_options: context.se_linux_options.map(selinux),
        privileged,
        // The sandbox's own process is the runtime's, not the user's.
        seccomp: Some(seccomp(Some(&SeccompProfile { type_: "RuntimeDefault".to_owned(), ..Default::default() }))),
        ..Default::default()
    }
}

fn is_privileged(container: &Container) -> bool {
    container.security_context.as_ref().and_then(|context| context.privileged).unwrap_or(false)
}

/// A container's context.
///
/// # Errors
/// `runAsNonRoot` and the user would be root, or nobody knows; a profile without a file.
pub(super) fn of_container(
    spec: &PodSpec,
    container: &Container,
    image: &ReadyImage,
    users: Option<cri::UserNamespace>,
) -> Result<cri::LinuxContainerSecurityContext, Failure> {
    let pod = spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(pod.run_as_user);
    let effective = user.or(image.uid);
    if own.run_as_non_root.or(pod.run_as_non_root).unwrap_or(false) {
        verify_non_root(container, effective, &image.username)?;
    }
    let (seccomp_profile, app_armor) =
        (own.seccomp_profile.or(pod.seccomp_profile), own.app_armor_profile.or(pod.app_armor_profile));
    if let Some(profile) = &seccomp_profile {
        check_localhost("seccomp", &profile.type_, profile.localhost_profile.as_ref())?;
    }
    if let Some(profile) = &app_armor {
        check_localhost("AppArmor", &profile.type_, profile.localhost_profile.as_ref())?;
    }
    let capabilities = own.capabilities.unwrap_or_default();
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let paths =
        |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|path| (*path).to_owned()).collect() };
    Ok(cri::LinuxContainerSecurityContext {
        capabilities: Some(cri::Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
            ..Default::default()
        }),
        privileged: own.privileged.unwrap_or(false),
        namespace_options: Some(namespaces(spec, users)),
        run_as_user: effective.map(int),
        run_as_username: if effective.is_none() { image.username.clone() } else { String::new() },
        run_as_group: own.run_as_group.or(pod.run_as_group).map(int),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: groups(spec),
        supplemental_groups_policy: groups_policy(spec),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READ_ONLY_PATHS),
        selinux_options: own.se_linux_options.or(pod.se_linux_options).map(selinux),
        seccomp: Some(seccomp(seccomp_profile.as_ref())),
        apparmor: app_armor.as_ref().map(apparmor),
        ..Default::default()
    })
}

fn verify_non_root(container: &Container, user: Option<i64>, username: &str) -> Result<(), Failure> {
    let refuse =
        |why: String| Err(Failure::new("CreateContainerConfigError", format!("container {}: {why}", container.name)));
    match user {
        Some(0) => refuse("runAsNonRoot is set and the user is root (uid 0)".to_owned()),
        Some(_) => Ok(()),
        None if username.is_empty() => refuse("runAsNonRoot is set and the image will run as root".to_owned()),
        None => refuse(format!(
            "runAsNonRoot is set and the image has non-numeric user ({username}), cannot verify user is non-root"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn context(
        pod: serde_json::Value,
        own: serde_json::Value,
        image: &ReadyImage,
    ) -> Result<cri::LinuxContainerSecurityContext, Failure> {
        let spec: PodSpec = serde_json::from_value(json!({"containers": [], "securityContext": pod})).unwrap();
        let container = serde_json::from_value(json!({"name": "c", "securityContext": own})).unwrap();
        of_container(&spec, &container, image, None)
    }

    #[test]
    fn non_root_is_verified_against_the_image() {
        let image = |uid, username: &str| ReadyImage { uid, username: username.into(), ..Default::default() };
        let ask = json!({"runAsNonRoot": true});
        assert!(context(ask.clone(), json!({}), &image(Some(0), "")).is_err());
        assert!(context(ask.clone(), json!({}), &image(None, "")).is_err());
        assert!(context(ask.clone(), json!({}), &image(None, "www")).is_err());
        assert!(context(ask.clone(), json!({}), &image(Some(33), "")).is_ok());
        assert!(context(ask, json!({"runAsUser": 5}), &image(Some(0), "")).is_ok());
    }

    #[test]
    fn a_localhost_profile_without_file_is_refused() {
        assert!(
            context(
                json!({"seccompProfile": {"type": "Localhost", "localhostProfile": ""}}),
                json!({}),
                &ReadyImage::default()
            )
            .is_err()
        );
    }

    /// Fault N19.
    #[test]
    fn selinux_options_are_passed_on() {
        let pod = json!({"seLinuxOptions": {"level": "s0:c1"}});
        let level = |own| context(pod.clone(), own, &ReadyImage::default()).unwrap().selinux_options.unwrap().level;
        assert_eq!(level(json!({})), "s0:c1");
        assert_eq!(level(json!({"seLinuxOptions": {"level": "s0:c2"}})), "s0:c2");
    }

    #[test]
    fn the_container_wins_over_the_pod() {
        let both = context(
            json!({"runAsUser": 1, "fsGroup": 7}),
            json!({"runAsUser": 2, "allowPrivilegeEscalation": false}),
            &ReadyImage::default(),
        )
        .unwrap();
        assert_eq!((both.run_as_user.unwrap().value, both.no_new_privs, both.supplemental_groups), (2, true, vec![7]));
    }
}
