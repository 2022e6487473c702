//! A node: whether it is ready, what it is short of, and whether its kubelet can be talked to.

mod limits; // files and watches that the kernel gives out
mod network; // packets that leave it
mod space; // what is left, and what thresholds want

use crate::answer::{Answer, Finding};
use crate::facts::{Facts, Look};
use crate::look::{condition, is_true, list, name, text};
use crate::paths;
use crate::words::{for_so_long, listed, sentence, since, time};
use serde_json::Value;
use skiff_proto::age::duration;

pub(crate) use limits::open_files;
pub(crate) use network::outward;
pub(crate) use space::same_image;

/// How far clocks may differ before it is told, seconds: certificates and tokens are younger than that.
const SKEW_MAX: i64 = 10;

/// The pressures by the keys of their taints: condition, what it is of.
const PRESSURES: [(&str, &str, &str); 3] = [
    ("node.kubernetes.io/disk-pressure", "DiskPressure", "disk"),
    ("node.kubernetes.io/memory-pressure", "MemoryPressure", "memory"),
    ("node.kubernetes.io/pid-pressure", "PIDPressure", "process ids"),
];

/// Whether a taint says that a node is short of something.
pub(crate) fn is_pressure(key: &str) -> bool {
    PRESSURES.iter().any(|(taint, ..)| *taint == key)
}

/// Explains the node `named`.
pub(crate) fn explain(facts: &Facts, named: &str) -> Answer {
    let about = format!("node {named}");
    let node = match facts.get(&paths::global("nodes", named)) {
        Look::Is(node) => node,
        Look::Absent => {
            return Answer::new(
                about,
                "There is no such node: no kubelet has registered itself under this name.",
                false,
            );
        }
        Look::Unknown => return Answer::new(about, "It could not be looked at.", false),
    };
    let mut findings: Vec<Finding> = not_ready(facts, node).into_iter().collect();
    for (taint, kind, _) in PRESSURES {
        if condition(node, kind).is_some_and(|condition| condition["status"] == "True") {
            findings.extend(pressure(facts, node, taint));
        }
    }
    findings.extend(condition(node, "NetworkUnavailable").filter(|one| one["status"] == "True").map(|one| {
        let cause = format!(
            "The network of node {named} is not set up{}: {}",
            for_so_long(facts.now, text(one, "/lastTransitionTime")),
            sentence(text(one, "/message"))
        );
        Finding::new("NetworkUnavailable", about.clone(), cause)
            .advice("See whether what sets up the network (the CNI plugin's own pods) runs.")
    }));
    findings.extend(silent_kubelet(facts, node));
    findings.extend(skewed_clock(facts, node));
    findings.extend(network::findings(facts, node));
    findings.extend(limits::exhausted(facts, node));
    if is_true(node, "/spec/unschedulable") {
        let cause = format!("Node {named} was cordoned: it takes no new pods.");
        findings.push(Finding::new("Cordoned", about.clone(), cause).advice(format!("kubectl uncordon {named}")));
    }
    let well = findings.is_empty();
    Answer::new(about, summary(facts, node), well).with(findings)
}

fn summary(facts: &Facts, node: &Value) -> String {
    let ready = condition(node, "Ready");
    let age = for_so_long(facts.now, ready.map_or("", |ready| text(ready, "/lastTransitionTime")));
    let state = match ready.map(|ready| text(ready, "/status")) {
        Some("True") => "Ready",
        Some("Unknown") => "NotReady, because it is silent",
        Some(_) => "NotReady",
        None => "It has not said yet how it is",
    };
    format!("{state}{age} (kubelet {}).", text(node, "/status/nodeInfo/kubeletVersion"))
}

/// When the node's lease was renewed last, in words.
fn lease(facts: &Facts, node: &Value) -> String {
    let path = paths::of_group("coordination.k8s.io/v1", "kube-node-lease", "leases") + "/" + name(node);
    match facts.get(&path) {
        Look::Is(lease) => match since(facts.now, text(lease, "/spec/renewTime")) {
            Some(age) => format!("Its kubelet renewed its lease {age} ago."),
            None => "Its lease was never renewed.".to_owned(),
        },
        Look::Absent => "It has no lease: its kubelet never ran, or cannot reach the API server.".to_owned(),
        Look::Unknown => String::new(),
    }
}

/// Why a node is not ready, if it is not.
pub(crate) fn not_ready(facts: &Facts, node: &Value) -> Option<Finding> {
    let about = format!("node {}", name(node));
    let Some(ready) = condition(node, "Ready") else {
        let cause = format!("Node {} has not said yet how it is.", name(node));
        return Some(
            Finding::new("NodeNotReady", about, cause).fact(lease(facts, node)).advice("See whether its kubelet runs."),
        );
    };
    if text(ready, "/status") == "True" {
        return None;
    }
    let age = for_so_long(facts.now, text(ready, "/lastTransitionTime"));
    let said = text(ready, "/message");
    let (part, advice) = match (text(ready, "/status"), said) {
        ("Unknown", _) => (
            "its kubelet, or the machine, is silent",
            "See whether the machine is up and its kubelet runs, and whether it reaches the API server.",
        ),
        (_, said) if said.contains("NetworkReady=false") || said.contains("cni") => {
            ("the pod network is not there", "See what the CNI plugin or the node's network configuration lacks.")
        }
        (_, said) if said.contains("runtime") || said.contains("RuntimeReady=false") => (
            "the container runtime does not answer or is not ready",
            "See whether the container runtime's service runs, and what it logs.",
        ),
        (_, said) if said.contains("PLEG") => {
            ("the kubelet cannot list containers in time", "See how busy the machine and its container runtime are.")
        }
        _ => ("its kubelet says so", "See what its kubelet logs."),
    };
    let cause = format!(
        "Node {} is not ready{age}: {part} ({}: {}).",
        name(node),
        text(ready, "/reason"),
        said.trim_end_matches('.')
    );
    Some(Finding::new("NodeNotReady", about, cause).fact(lease(facts, node)).advice(advice))
}

/// What a node is short of, by the taint that says so.
pub(crate) fn pressure(facts: &Facts, node: &Value, taint: &str) -> Option<Finding> {
    let (_, kind, what) = PRESSURES.into_iter().find(|(key, ..)| *key == taint)?;
    let age =
        for_so_long(facts.now, condition(node, kind).map_or("", |condition| text(condition, "/lastTransitionTime")));
    let mut figures = space::figures(facts, node, kind);
    let freed = if kind == "DiskPressure" { space::could_be_freed(facts, node) } else { Vec::new() };
    let first = if figures.is_empty() { "its kubelet gives no figures".to_owned() } else { figures.remove(0) };
    let advice = match kind {
        "DiskPressure" => {
            "Make room on that filesystem (images, logs, files of pods), enlarge it, or lower the threshold (--eviction-hard)."
        }
        "MemoryPressure" => "End what takes memory, or give pods requests and limits that add up to what the node has.",
        _ => "End what has so many processes, or raise kernel.pid_max.",
    };
    let cause = format!("Node {} is short of {what} ({kind}{age}): {first}.", name(node));
    let more = figures.into_iter().map(|figure| format!("Also: {figure}."));
    Some(Finding::new(kind, format!("node {}", name(node)), cause).facts(more).facts(freed).advice(advice))
}

/// Why the API server cannot talk to the node's kubelet, on which logs, exec, attach, port-forward and figures depend.
pub(crate) fn silent_kubelet(facts: &Facts, node: &Value) -> Option<Finding> {
    let path = paths::kubelet(name(node), "healthz");
    facts.peek(&path).is();
    let said = facts.refusal(&path)?;
    let has = |words: &[&str]| words.iter().any(|word| said.to_lowercase().contains(word));
    let (why, advice) = if has(&["forbidden", "cannot get resource"]) {
        return None;
    } else if has(&["x509", "certificate", "tls"]) {
        (
            "its certificate is not accepted",
            "Renew the certificate under the names and addresses that are asked for, and set the clocks right: dates are compared with them.",
        )
    } else if has(&["refused"]) {
        ("nobody listens at its port", "See whether its kubelet runs, and at which port (status.daemonEndpoints).")
    } else if has(&["timeout", "timed out", "deadline"]) {
        (
            "it does not answer in time",
            "See whether a firewall stands between the API server and the node's port 10250.",
        )
    } else {
        ("it was tried and failed", "See what the API server and the kubelet log.")
    };
    let cause = format!(
        "The API server cannot talk to the kubelet of node {}, so that logs, exec, attach and port-forward fail: {why}.",
        name(node)
    );
    let addresses: Vec<_> = list(node, "/status/addresses").iter().map(|address| text(address, "/address")).collect();
    let port =
        node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").map(ToString::to_string).unwrap_or_default();
    Some(
        Finding::new("KubeletUnreachable", format!("node {}", name(node)), cause)
            .fact(format!("It said: {}", sentence(said)))
            .fact(format!("The node is asked at {}, port {port}.", listed(&addresses)))
            .advice(advice),
    )
}

/// A clock that is ahead: a lease cannot have been renewed in the future.
fn skewed_clock(facts: &Facts, node: &Value) -> Option<Finding> {
    let path = paths::of_group("coordination.k8s.io/v1", "kube-node-lease", "leases") + "/" + name(node);
    let renewed = time(text(facts.get(&path).is()?, "/spec/renewTime"))?;
    let ahead = renewed.as_second() - facts.now.as_second();
    (ahead > SKEW_MAX).then(|| {
        let cause = format!(
            "The clock of node {} is {} ahead of this one: its lease is from the future.",
            name(node),
            duration(ahead)
        );
        Finding::new("ClockSkew", format!("node {}", name(node)), cause)
            .advice("Set both clocks by NTP: certificates and tokens are refused by clocks that are behind.")
    })
}
