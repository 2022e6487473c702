//! The `linux` object: namespaces, limits, devices, hidden paths.

use super::{Device, Host, Request, caps, namespaces, seccomp};
use crate::error::CriError;
use serde_json::{Map, Value, json};
use skiff_proto::cri::v1::{ContainerConfig, LinuxContainerResources, MountPropagation, NamespaceMode};
use skiff_proto::usual::{MASKED_PATHS, READ_ONLY_PATHS};

pub(super) fn linux(request: &Request<'_>, notes: &mut Vec<String>) -> Result<Value, CriError> {
    let security = request.security();
    let asked = request.config.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default();
    let mut limits = resources(&asked, request.host, notes)?;
    limits["devices"] = device_rules(&request.devices, security.privileged);
    let mut linux = json!({
        "cgroupsPath": request.cgroups_path,
        "namespaces": namespace_list(request)?,
        "resources": limits,
        "devices": request.devices.iter().map(device).collect::<Vec<_>>(),
    });
    if !security.privileged {
        let (masked, readonly) = hidden(request.config);
        linux["maskedPaths"] = json!(masked);
        linux["readonlyPaths"] = json!(readonly);
    }
    if let Some(profile) = seccomp::profile(request, &caps::of(request)?)? {
        linux["seccomp"] = profile;
    }
    let sysctls = request.sandbox.linux.as_ref().map(|linux| &linux.sysctls).filter(|sysctls| !sysctls.is_empty());
    if let Some(sysctls) = sysctls {
        linux["sysctl"] = json!(sysctls.iter().collect::<std::collections::BTreeMap<_, _>>());
    }
    if let Some(propagation) = root_propagation(request) {
        linux["rootfsPropagation"] = json!(propagation);
    }
    Ok(linux)
}

/// A security context lists all paths to hide, and none if none are to be hidden (`procMount: Unmasked`). Who says nothing at all gets
/// the usual ones.
fn hidden(config: &ContainerConfig) -> (Vec<String>, Vec<String>) {
    let usual = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect();
    match config.linux.as_ref().and_then(|linux| linux.security_context.as_ref()) {
        Some(security) => (security.masked_paths.clone(), security.readonly_paths.clone()),
        None => (usual(&MASKED_PATHS), usual(&READ_ONLY_PATHS)),
    }
}

/// A mount that propagates needs a root that does not stop it (mount_namespaces(7)).
fn root_propagation(request: &Request<'_>) -> Option<&'static str> {
    let has = |wanted| request.config.mounts.iter().any(|mount| mount.propagation() == wanted);
    match (has(MountPropagation::PropagationBidirectional), has(MountPropagation::PropagationHostToContainer)) {
        (true, _) => Some("rshared"),
        (false, true) => Some("rslave"),
        (false, false) => None,
    }
}

/// A namespace that is left out is the runtime's own, which is the host's.
fn namespace_list(request: &Request<'_>) -> Result<Vec<Value>, CriError> {
    let own = namespaces(request.config);
    let of_pod = super::pod_namespaces(request.sandbox);
    let joined = |kind: &str, pid: i32, file: &str| json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")});
    let mut all = vec![json!({"type": "mount"})];
    // Its maps are there already; some runtimes refuse to be told both.
    all.extend(request.users.map(|path| json!({"type": "user", "path": path})));
    match (own.pid(), request.pod_pid) {
        (NamespaceMode::Node, _) => {}
        (NamespaceMode::Container, _) => all.push(json!({"type": "pid"})),
        (NamespaceMode::Pod | NamespaceMode::Target, Some(pid)) => all.push(joined("pid", pid, "pid")),
        (NamespaceMode::Pod, None) => return Err(CriError::Runtime("pid namespace: the pod has none".to_owned())),
        (NamespaceMode::Target, None) => {
            return Err(CriError::Runtime("pid namespace: the target container has none".to_owned()));
        }
    }
    if !request.on_host_network() {
        all.push(joined("network", request.supervisor_pid, "net"));
        all.push(joined("uts", request.supervisor_pid, "uts"));
    }
    if of_pod.ipc() != NamespaceMode::Node {
        all.push(joined("ipc", request.supervisor_pid, "ipc"));
    }
    if request.host.cgroup_v2 && !request.security().privileged {
        all.push(json!({"type": "cgroup"}));
    }
    Ok(all)
}

/// CRI limits as OCI `resources`; zero means "not set" in CRI.
pub(crate) fn resources(
    asked: &LinuxContainerResources,
    host: &Host,
    notes: &mut Vec<String>,
) -> Result<Value, CriError> {
    if let Some(huge) = asked.hugepage_limits.iter().find(|huge| huge.limit > 0) {
        return Err(CriError::Unimplemented(format!("hugepage limit for {}", huge.page_size)));
    }
    let (mut cpu, mut memory, mut all) = (Map::new(), Map::new(), Map::new());
    let numbers = [("shares", asked.cpu_shares), ("quota", asked.cpu_quota), ("period", asked.cpu_period)];
    cpu.extend(numbers.iter().filter(|(_, value)| *value != 0).map(|(name, value)| ((*name).to_owned(), json!(value))));
    let sets = [("cpus", &asked.cpuset_cpus), ("mems", &asked.cpuset_mems)];
    cpu.extend(
        sets.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| ((*name).to_owned(), json!(value))),
    );
    if asked.memory_limit_in_bytes != 0 {
        memory.insert("limit".to_owned(), json!(asked.memory_limit_in_bytes));
    }
    if asked.memory_swap_limit_in_bytes != 0 {
        if host.limits_swap {
            memory.insert("swap".to_owned(), json!(asked.memory_swap_limit_in_bytes));
        } else {
            notes.push("memory_swap_limit_in_bytes is not applied: this kernel does not account swap".to_owned());
        }
    }
    if !asked.unified.is_empty() {
        if !host.cgroup_v2 {
            return Err(CriError::Invalid("unified: this node's controllers are on cgroup v1".to_owned()));
        }
        all.insert("unified".to_owned(), json!(asked.unified));
    }
    if !cpu.is_empty() {
        all.insert("cpu".to_owned(), Value::Object(cpu));
    }
    if !memory.is_empty() {
        all.insert("memory".to_owned(), Value::Object(memory));
    }
    Ok(Value::Object(all))
}

fn device_rules(devices: &[Device], privileged: bool) -> Value {
    if privileged {
        return json!([{"allow": true, "access": "rwm"}]);
    }
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    rules.extend(devices.iter().map(|device| {
        json!({
            "allow": true, "type": device.kind, "major": device.major, "minor": device.minor, "access": device.access,
        })
    }));
    Value::Array(rules)
}

fn device(device: &Device) -> Value {
    json!({
        "path": device.path, "type": device.kind, "major": device.major, "minor": device.minor,
        "fileMode": device.mode,
    })
}
