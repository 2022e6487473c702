//! The controls of the level `restricted`: a pod says itself that it needs nothing special.

use super::baseline::{items, proc_mount, seccomp, text};
use super::checks::{Check, Look, Pod, Violation, containers, plural, quoted, setters};
use serde_json::Value;
use std::collections::BTreeSet;

const fn since(id: &'static str, since: &'static [(u32, Look)], instead_of: &'static str) -> Check {
    Check { id, since, instead_of }
}

pub(super) const RESTRICTED: &[Check] = &[
    since("allowPrivilegeEscalation", &[(8, escalation), (25, |pod| on_linux(pod, escalation))], ""),
    since(
        "capabilities_restricted",
        &[(22, capabilities), (25, |pod| on_linux(pod, capabilities))],
        "capabilities_baseline",
    ),
    since("procMount_restricted", &[(35, proc_mount)], "procMount"),
    since("restrictedVolumes", &[(0, volumes)], "hostPathVolumes"),
    since("runAsNonRoot", &[(0, non_root), (35, |pod| as_host_user(pod, non_root))], ""),
    since("runAsUser", &[(23, no_root), (35, |pod| as_host_user(pod, no_root))], ""),
    since(
        "seccompProfile_restricted",
        &[(19, seccomp_needed), (25, |pod| on_linux(pod, seccomp_needed))],
        "seccompProfile_baseline",
    ),
];

/// Volumes that hold nothing of the host.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// The others that are known by name.
const OTHER_VOLUMES: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn on_linux(pod: Pod<'_>, look: Look) -> Option<Violation> {
    if pod.is_windows() { None } else { look(pod) }
}

fn as_host_user(pod: Pod<'_>, look: Look) -> Option<Violation> {
    if pod.has_own_users() { None } else { look(pod) }
}

fn escalation(pod: Pod<'_>) -> Option<Violation> {
    let names = pod.names(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names));
    (!names.is_empty()).then(|| Violation::new("allowPrivilegeEscalation != false", detail))
}

fn capabilities(pod: Pod<'_>) -> Option<Violation> {
    let of = |container: &'_ Value, list: &str| -> Vec<String> {
        items(&container["securityContext"]["capabilities"][list]).map(|name| text(name).to_owned()).collect()
    };
    let keep = pod.names(|container| !of(container, "drop").iter().any(|name| name == "ALL"));
    let mut others = BTreeSet::new();
    let add = pod.names(|container| {
        let bad: Vec<String> = of(container, "add").into_iter().filter(|name| name != "NET_BIND_SERVICE").collect();
        let any = !bad.is_empty();
        others.extend(bad);
        any
    });
    let dropped = (!keep.is_empty())
        .then(|| format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keep)));
    let added = (!add.is_empty()).then(|| {
        format!("{} must not include {} in securityContext.capabilities.add", containers(&add), quoted(&others))
    });
    let details: Vec<String> = [dropped, added].into_iter().flatten().collect();
    (!details.is_empty()).then(|| Violation::new("unrestricted capabilities", details.join("; ")))
}

fn volumes(pod: Pod<'_>) -> Option<Violation> {
    let is_of = |volume: &Value, kinds: &[&'static str]| kinds.iter().copied().find(|kind| volume[kind].is_object());
    let bad = items(&pod.spec["volumes"]).filter(|volume| is_of(volume, &VOLUMES).is_none());
    let bad: Vec<&Value> = bad.collect();
    let names: Vec<&str> = bad.iter().map(|volume| text(&volume["name"])).collect();
    let kinds: BTreeSet<&str> = bad.iter().map(|volume| is_of(volume, &OTHER_VOLUMES).unwrap_or("unknown")).collect();
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", names.len()),
        quoted(&names),
        plural("uses", "use", names.len()),
        plural("restricted volume type", "restricted volume types", kinds.len()),
        quoted(&kinds)
    );
    (!names.is_empty()).then(|| Violation::new("restricted volume types", detail))
}

fn non_root(pod: Pod<'_>) -> Option<Violation> {
    let said = |context: &Value| context["runAsNonRoot"].as_bool();
    let of_pod = said(&pod.spec["securityContext"]);
    let of = |container: &Value| said(&container["securityContext"]);
    let names = pod.names(|container| of(container) == Some(false));
    if let Some(by) = setters(of_pod == Some(false), &names) {
        let detail = format!("{by} must not set securityContext.runAsNonRoot=false");
        return Some(Violation::new("runAsNonRoot != true", detail));
    }
    let silent = pod.names(|container| of(container).is_none() && of_pod.is_none());
    let detail = format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent));
    (!silent.is_empty()).then(|| Violation::new("runAsNonRoot != true", detail))
}

fn no_root(pod: Pod<'_>) -> Option<Violation> {
    let is_root = |context: &Value| context["runAsUser"].as_i64() == Some(0);
    let names = pod.names(|container| is_root(&container["securityContext"]));
    let by = setters(is_root(&pod.spec["securityContext"]), &names)?;
    Some(Violation::new("runAsUser=0", format!("{by} must not set runAsUser=0")))
}

fn seccomp_needed(pod: Pod<'_>) -> Option<Violation> {
    if let Some(violation) = seccomp(pod) {
        return Some(violation);
    }
    let is_set = |context: &Value| context["seccompProfile"].is_object();
    if is_set(&pod.spec["securityContext"]) {
        return None;
    }
    let names = pod.names(|container| !is_set(&container["securityContext"]));
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        containers(&names)
    );
    (!names.is_empty()).then(|| Violation::new("seccompProfile", detail))
}
