//! The controls of the level `baseline`: nothing that is known to lead out of a container.

use super::checks::{Check, Pod, Violation, containers, plural, quoted, setters};
use serde_json::Value;
use skiff_proto::usual::SAFE_SYSCTLS;
use std::collections::BTreeSet;

const fn since(id: &'static str, since: &'static [(u32, super::checks::Look)]) -> Check {
    Check { id, since, instead_of: "" }
}

pub(super) const BASELINE: &[Check] = &[
    since("appArmorProfile", &[(0, app_armor)]),
    since("capabilities_baseline", &[(0, capabilities)]),
    since("hostNamespaces", &[(0, host_namespaces)]),
    since("hostPathVolumes", &[(0, host_path)]),
    since("hostPorts", &[(0, host_ports)]),
    since("hostProbesAndHostLifecycle", &[(34, hosts_of_probes)]),
    since("privileged", &[(0, privileged)]),
    since("procMount", &[(0, proc_mount), (35, |pod| if pod.has_own_users() { None } else { proc_mount(pod) })]),
    since("seLinuxOptions", &[(0, |pod| selinux(pod, &SELINUX_TYPES[..4])), (31, |pod| selinux(pod, &SELINUX_TYPES))]),
    since("seccompProfile_baseline", &[(0, seccomp_annotations), (19, seccomp)]),
    since(
        "sysctls",
        &[
            (0, |pod| sysctls(pod, &SAFE_SYSCTLS[..5])),
            (27, |pod| sysctls(pod, &SAFE_SYSCTLS[..6])),
            (29, |pod| sysctls(pod, &SAFE_SYSCTLS[..10])),
            (32, |pod| sysctls(pod, &SAFE_SYSCTLS)),
        ],
    ),
    since("windowsHostProcess", &[(0, windows_host_process)]),
];

/// What containers have by default, less NET_RAW.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Types that confine a container; the last one since 1.31.
const SELINUX_TYPES: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// Annotations that named profiles before there were fields.
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn annotations(pod: Pod<'_>) -> impl Iterator<Item = (&str, &str)> {
    pod.metadata["annotations"].as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), text(value)))
}

/// `key="value"`.
fn annotation((key, value): (&str, &str)) -> String {
    format!("{key}={}", Value::from(value))
}

fn app_armor(pod: Pod<'_>) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let mut is_bad = |context: &Value| {
        let profile = &context["appArmorProfile"];
        let bad = profile.is_object() && !matches!(text(&profile["type"]), "RuntimeDefault" | "Localhost");
        if bad {
            values.insert(text(&profile["type"]).to_owned());
        }
        bad
    };
    let pod_sets = is_bad(&pod.spec["securityContext"]);
    let names = pod.names(|container| is_bad(&container["securityContext"]));
    let confined = |value: &str| matches!(value, "" | "runtime/default") || value.starts_with("localhost/");
    let noted = annotations(pod).filter(|(key, value)| key.starts_with(APP_ARMOR) && !confined(value));
    let mut noted: Vec<String> = noted.map(annotation).collect();
    noted.sort_unstable();
    let by = setters(pod_sets, &names);
    let word = (!noted.is_empty()).then(|| plural("annotation", "annotations", noted.len()).to_owned());
    let by: Vec<String> = by.into_iter().chain(word).collect();
    let values: Vec<String> = values.into_iter().chain(noted).collect();
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    let detail = format!("{} must not set AppArmor profile type to {}", by.join(" and "), quoted(&values));
    (!by.is_empty()).then(|| Violation::new(reason, detail))
}

fn capabilities(pod: Pod<'_>) -> Option<Violation> {
    let mut others: BTreeSet<&str> = BTreeSet::new();
    let names = pod.names(|container| {
        let added = items(&container["securityContext"]["capabilities"]["add"]).map(text);
        let bad: Vec<&str> = added.filter(|name| !CAPABILITIES.contains(name)).collect();
        others.extend(&bad);
        !bad.is_empty()
    });
    let detail =
        format!("{} must not include {} in securityContext.capabilities.add", containers(&names), quoted(&others));
    (!names.is_empty()).then(|| Violation::new("non-default capabilities", detail))
}

fn host_namespaces(pod: Pod<'_>) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| pod.spec[field] == true);
    let shared: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    (!shared.is_empty()).then(|| Violation::new("host namespaces", shared.join(", ")))
}

fn host_path(pod: Pod<'_>) -> Option<Violation> {
    let volumes = items(&pod.spec["volumes"]).filter(|volume| volume["hostPath"].is_object());
    let names: Vec<&str> = volumes.map(|volume| text(&volume["name"])).collect();
    let detail = format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names));
    (!names.is_empty()).then(|| Violation::new("hostPath volumes", detail))
}

fn host_ports(pod: Pod<'_>) -> Option<Violation> {
    let mut ports = BTreeSet::new();
    let names = pod.names(|container| {
        let taken = items(&container["ports"]).filter_map(|port| port["hostPort"].as_i64());
        let taken: Vec<String> = taken.filter(|port| *port != 0).map(|port| port.to_string()).collect();
        let any = !taken.is_empty();
        ports.extend(taken);
        any
    });
    let uses = plural("uses", "use", names.len());
    let what = plural("hostPort", "hostPorts", ports.len());
    let list = ports.into_iter().collect::<Vec<_>>().join(", ");
    let detail = format!("{} {uses} {what} {list}", containers(&names));
    (!names.is_empty()).then(|| Violation::new("hostPort", detail))
}

fn hosts_of_probes(pod: Pod<'_>) -> Option<Violation> {
    let mut hosts: BTreeSet<&str> = BTreeSet::new();
    let names: BTreeSet<&str> = pod
        .names(|container| {
            let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|field| &container[field]);
            let hooks = ["postStart", "preStop"].map(|field| &container["lifecycle"][field]);
            let actions = probes.into_iter().chain(hooks);
            let named = actions.flat_map(|action| ["httpGet", "tcpSocket"].map(|way| text(&action[way]["host"])));
            let named: Vec<&str> = named.filter(|host| !host.is_empty()).collect();
            hosts.extend(&named);
            !named.is_empty()
        })
        .into_iter()
        .collect();
    let names: Vec<&str> = names.into_iter().collect();
    let uses = plural("uses", "use", names.len());
    let what = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
    let detail = format!("{} {uses} {what} {}", containers(&names), quoted(&hosts));
    (!names.is_empty()).then(|| Violation::new("probe or lifecycle host", detail))
}

fn privileged(pod: Pod<'_>) -> Option<Violation> {
    let names = pod.names(|container| container["securityContext"]["privileged"] == true);
    let detail = format!("{} must not set securityContext.privileged=true", containers(&names));
    (!names.is_empty()).then(|| Violation::new("privileged", detail))
}

/// Unmasked `/proc`; `restricted` refuses it to pods with users of their own too.
pub(super) fn proc_mount(pod: Pod<'_>) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let names = pod.names(|container| {
        let kind = container["securityContext"]["procMount"].as_str().filter(|kind| *kind != "Default");
        kinds.extend(kind);
        kind.is_some()
    });
    let detail = format!("{} must not set securityContext.procMount to {}", containers(&names), quoted(&kinds));
    (!names.is_empty()).then(|| Violation::new("procMount", detail))
}

fn selinux(pod: Pod<'_>, allowed: &[&str]) -> Option<Violation> {
    let mut types = BTreeSet::new();
    let (mut user, mut role) = (false, false);
    let mut is_bad = |context: &Value| {
        let options = &context["seLinuxOptions"];
        let kind = Some(text(&options["type"])).filter(|kind| !allowed.contains(kind));
        types.extend(kind.map(str::to_owned));
        let set = ["user", "role"].map(|field| !text(&options[field]).is_empty());
        user |= set[0];
        role |= set[1];
        kind.is_some() || set[0] || set[1]
    };
    let pod_sets = is_bad(&pod.spec["securityContext"]);
    let names = pod.names(|container| is_bad(&container["securityContext"]));
    let by = setters(pod_sets, &names)?;
    let kinds = (!types.is_empty()).then(|| format!("{} {}", plural("type", "types", types.len()), quoted(&types)));
    let user = user.then(|| "user may not be set".to_owned());
    let role = role.then(|| "role may not be set".to_owned());
    let what: Vec<String> = [kinds, user, role].into_iter().flatten().collect();
    let detail = format!("{by} set forbidden securityContext.seLinuxOptions: {}", what.join("; "));
    Some(Violation::new("seLinuxOptions", detail))
}

/// Before 1.19 profiles were named in annotations only.
fn seccomp_annotations(pod: Pod<'_>) -> Option<Violation> {
    let confined =
        |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let keys = pod.containers().map(|container| format!("{SECCOMP_CONTAINER}{}", text(&container["name"])));
    let keys: BTreeSet<String> = keys.chain([SECCOMP_POD.to_owned()]).collect();
    let bad = annotations(pod).filter(|(key, value)| keys.contains(*key) && !confined(value));
    let bad: BTreeSet<String> = bad.map(annotation).collect();
    let list: Vec<&str> = bad.iter().map(String::as_str).collect();
    let detail = format!("forbidden {} {}", plural("annotation", "annotations", bad.len()), list.join(", "));
    (!bad.is_empty()).then(|| Violation::new("seccompProfile", detail))
}

/// The profile of a security context that confines nothing: its type.
pub(super) fn unconfined(context: &Value) -> Option<&str> {
    let profile = context["seccompProfile"].as_object()?;
    let kind = profile.get("type").map_or("", text);
    (!matches!(kind, "Localhost" | "RuntimeDefault")).then_some(kind)
}

/// Somebody sets a profile that confines nothing.
pub(super) fn seccomp(pod: Pod<'_>) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let of_pod = unconfined(&pod.spec["securityContext"]);
    kinds.extend(of_pod);
    let names = pod.names(|container| {
        let kind = unconfined(&container["securityContext"]);
        kinds.extend(kind);
        kind.is_some()
    });
    let by = setters(of_pod.is_some(), &names)?;
    let detail = format!("{by} must not set securityContext.seccompProfile.type to {}", quoted(&kinds));
    Some(Violation::new("seccompProfile", detail))
}

fn sysctls(pod: Pod<'_>, allowed: &[&str]) -> Option<Violation> {
    let names = items(&pod.spec["securityContext"]["sysctls"]).map(|sysctl| text(&sysctl["name"]));
    let bad: Vec<&str> = names.filter(|name| !allowed.contains(name)).collect();
    (!bad.is_empty()).then(|| Violation::new("forbidden sysctls", bad.join(", ")))
}

fn windows_host_process(pod: Pod<'_>) -> Option<Violation> {
    let is_set = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
    let names = pod.names(|container| is_set(&container["securityContext"]));
    let by = setters(is_set(&pod.spec["securityContext"]), &names)?;
    Some(Violation::new("hostProcess", format!("{by} must not set securityContext.windowsOptions.hostProcess=true")))
}
