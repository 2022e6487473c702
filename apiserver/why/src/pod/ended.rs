//! Pods that failed: evicted, turned away, out of time, or by their own containers.

use super::containers::{Case, statuses};
use super::{container, crash, whom};
use crate::answer::Finding;
use crate::facts::Facts;
use crate::look::{condition, text};
use crate::words::sentence;
use serde_json::Value;

/// Why `pod` failed.
pub(super) fn findings(facts: &Facts, pod: &Value) -> Vec<Finding> {
    let (reason, message) = (text(pod, "/status/reason"), text(pod, "/status/message"));
    let told = match reason {
        "Evicted" => Some(evicted(pod, message)),
        "" => disrupted(pod),
        other => Some(rejected(pod, other, message)),
    };
    if let Some(finding) = told {
        return vec![finding];
    }
    let bad = statuses(pod).filter(|(status, _)| {
        status["state"]["terminated"].is_object() && status["state"]["terminated"]["exitCode"] != 0
    });
    let mut found = Vec::new();
    for (status, is_init) in bad {
        let name = text(status, "/name");
        if let Some(spec) = container(pod, name) {
            found.extend(crash::findings(&Case { facts, pod, spec, status, name, is_init }));
        }
    }
    found
}

/// The text between two marks.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = text.split_once(start)?.1;
    Some(rest.split_once(end).map_or(rest, |(found, _)| found).trim())
}

/// What the kubelet told an evicted pod, taken apart.
fn evicted(pod: &Value, message: &str) -> Finding {
    let finding = |cause: String| Finding::new("Evicted", whom(pod), cause);
    let node = text(pod, "/spec/nodeName");
    let Some(resource) = between(message, "low on resource: ", ". ") else {
        let advice = if message.contains("ephemeral") || message.contains("EmptyDir") {
            "Raise the limit that it names, or let the containers write less."
        } else {
            "See why the node is under pressure: skiff why node/NAME."
        };
        return finding(format!("Node {node} evicted it: {}", sentence(message))).advice(advice);
    };
    let resource = resource.trim_matches(['[', ']']);
    let (threshold, left) = (between(message, "Threshold quantity: ", ", "), between(message, "available: ", ". "));
    let figures =
        threshold.zip(left).map(|(threshold, left)| format!(": {left} were left, and the threshold is {threshold}"));
    let uses: Vec<String> = message
        .split("Container ")
        .skip(1)
        .map(|part| format!("Container {}", sentence(part.split(", has larger").next().unwrap_or(part))))
        .collect();
    let requested = format!("Requests of {resource}: {}.", crash::requested(pod, resource));
    let advice = match resource {
        "memory" => {
            "Ask for as much memory as the containers take (resources.requests), so that others go first; or give the node more."
        }
        "ephemeral-storage" | "inodes" => {
            "Let the containers write less to their layers, logs and emptyDir volumes, ask for the storage (requests.ephemeral-storage), or make room on the node."
        }
        _ => "Find out what takes it on the node.",
    };
    finding(format!("Node {node} evicted it, because it was low on {resource}{}.", figures.unwrap_or_default()))
        .facts(uses)
        .fact(requested)
        .advice(advice)
}

/// A pod that its node turned away, or ended.
fn rejected(pod: &Value, reason: &str, message: &str) -> Finding {
    let node = text(pod, "/spec/nodeName");
    let (what, advice) = match reason {
        "DeadlineExceeded" => (
            "It was ended because its activeDeadlineSeconds were over",
            "Raise spec.activeDeadlineSeconds, or find out why it takes so long.",
        ),
        "NodeShutdown" | "Terminated" => {
            ("It was ended because its node was shut down", "Whoever made it makes another one.")
        }
        "Preempting" | "Preempted" => {
            ("It was ended to make room for a pod of higher priority", "Give it a priority class, or add a node.")
        }
        "Unsupported" => ("Its node cannot do what it asks for", "Leave it out, or use another kubelet."),
        "NodeLost" => ("Its node is lost", "Whoever made it makes another one elsewhere."),
        other if other.starts_with("OutOf") => (
            "Its node turned it away, because it has not enough for it",
            "Ask for less, or let the scheduler choose a node (leave spec.nodeName out).",
        ),
        _ => ("Its node turned it away or ended it", ""),
    };
    let figures = sentence(message.trim_start_matches("Pod was rejected: "));
    Finding::new("PodFailed", whom(pod), format!("{what} ({reason}): {figures}"))
        .fact(format!("Its node is {node}."))
        .advice(advice)
}

/// Ended by the control plane (KEP-3329).
fn disrupted(pod: &Value) -> Option<Finding> {
    let target = condition(pod, "DisruptionTarget").filter(|one| one["status"] == "True")?;
    let cause =
        format!("It was ended from outside ({}): {}", text(target, "/reason"), sentence(text(target, "/message")));
    Some(Finding::new("Disrupted", whom(pod), cause))
}
