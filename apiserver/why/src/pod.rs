//! A pod: why it has no node, does not start, does not stay, is not ready or does not go.

mod config; // objects and keys that it refers to
mod containers; // what its containers wait for
mod crash; // containers that end
mod create; // containers that cannot be made or started
mod ended; // pods that were ended from outside
mod image; // images that do not come
mod pending; // no node
mod probe; // probes that fail
mod symptoms; // what a log says that has a cause outside of the program
mod terminating; // told to go, and still there
mod volume; // volumes and sandboxes that do not come up

use crate::answer::{Answer, Finding};
use crate::facts::{Facts, Look};
use crate::look::{condition, full_name, list, name, number, text};
use crate::words::{ago, clipped, count, for_so_long, sentence, since};
use crate::{Target, node, paths, reach};
use serde_json::Value;

/// Explains a pod.
pub(crate) fn explain(facts: &Facts, target: &Target) -> Answer {
    let about = format!("pod {}/{}", target.namespace, target.name);
    match facts.get(&paths::one(&target.namespace, "pods", &target.name)) {
        Look::Unknown => Answer::new(about, "It could not be looked at.", false),
        Look::Absent => absent(facts, target, about),
        Look::Is(pod) => {
            let mut findings = causes(facts, pod);
            let mut answer = Answer::new(about, summary(facts, pod), is_well(pod));
            if let Some(to) = &target.to {
                let (found, unknown, said) = reach::explain(facts, pod, to);
                // Of two questions the one that was asked comes first.
                findings.splice(0..0, found);
                answer.summary += &format!(" {said}");
                answer.unknown.extend(unknown);
            }
            answer.with(findings)
        }
    }
}

fn absent(facts: &Facts, target: &Target, about: String) -> Answer {
    let known = serde_json::json!({"kind": "Pod", "metadata": {"namespace": target.namespace, "name": target.name}});
    let events = events_about(facts, &known);
    let said = events
        .first()
        .map(|event| format!(" Said of it last ({}): {}", text(event, "/reason"), sentence(text(event, "/message"))));
    let answer = Answer::new(about, format!("There is no such pod.{}", said.unwrap_or_default()), false);
    match facts.get(&paths::global("namespaces", &target.namespace)) {
        Look::Absent => {
            let cause = format!("There is no namespace {}.", target.namespace);
            answer.with([Finding::new("NamespaceMissing", format!("namespace {}", target.namespace), cause)])
        }
        _ => answer,
    }
}

/// The events about `object`, newest first.
pub(crate) fn events_about<'a>(facts: &'a Facts, object: &Value) -> Vec<&'a Value> {
    let namespace =
        Some(text(object, "/metadata/namespace")).filter(|namespace| !namespace.is_empty()).unwrap_or("default");
    let uid = text(object, "/metadata/uid");
    let all = facts.list(&paths::within(namespace, "events")).unwrap_or_default();
    let is_about = |event: &&Value| {
        let theirs = text(event, "/involvedObject/uid");
        let same = uid.is_empty() || theirs.is_empty() || theirs == uid;
        // Kubelets write the node's name where its uid belongs.
        let of_kind = object.get("kind").is_none_or(|kind| event.pointer("/involvedObject/kind") == Some(kind));
        of_kind && text(event, "/involvedObject/name") == name(object) && (same || theirs == name(object))
    };
    let mut found: Vec<&Value> = all.iter().filter(is_about).collect();
    found.sort_by_key(|event| std::cmp::Reverse(last_time(event)));
    found
}

/// When an event happened last.
pub(crate) fn last_time(event: &Value) -> &str {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    times.into_iter().map(|pointer| text(event, pointer)).find(|time| !time.is_empty()).unwrap_or_default()
}

/// `(x12 over 5m)`, of an event that came more than once.
pub(crate) fn times(facts: &Facts, event: &Value) -> String {
    let count = number(event, "/series/count").or_else(|| number(event, "/count")).unwrap_or(1);
    match since(facts.now, text(event, "/firstTimestamp")) {
        Some(over) if count > 1 => format!("{count} times in {over}"),
        _ if count > 1 => format!("{count} times"),
        _ => "once".to_owned(),
    }
}

/// Whether a pod does what it is for: it runs and is ready, or has done its work.
pub(crate) fn is_well(pod: &Value) -> bool {
    let going = !text(pod, "/metadata/deletionTimestamp").is_empty();
    let ready = condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True");
    text(pod, "/status/phase") == "Succeeded" || (ready && !going)
}

/// How a pod is, in one sentence.
pub(crate) fn summary(facts: &Facts, pod: &Value) -> String {
    let phase = Some(text(pod, "/status/phase")).filter(|phase| !phase.is_empty()).unwrap_or("Pending");
    let node = match text(pod, "/spec/nodeName") {
        "" => "without a node".to_owned(),
        node => format!("on node {node}"),
    };
    let deleted = text(pod, "/metadata/deletionTimestamp");
    if !deleted.is_empty() {
        return format!("Terminating, {node}.");
    }
    let scheduled = condition(pod, "PodScheduled").map_or("", |one| text(one, "/lastTransitionTime"));
    let ready = condition(pod, "Ready");
    let (word, from) = match (phase, ready.map(|ready| text(ready, "/status"))) {
        ("Running", Some("True")) => {
            ("Running and ready", ready.map_or("", |ready| text(ready, "/lastTransitionTime")))
        }
        ("Running", _) => ("Running, but not ready", ready.map_or("", |ready| text(ready, "/lastTransitionTime"))),
        ("Pending", _) if node == "without a node" => ("Pending", text(pod, "/metadata/creationTimestamp")),
        ("Pending", _) => ("Pending", scheduled),
        (other, _) => (other, text(pod, "/status/startTime")),
    };
    let age = if matches!(phase, "Running" | "Pending") { for_so_long(facts.now, from) } else { String::new() };
    let statuses = list(pod, "/status/containerStatuses");
    let restarts: i64 = statuses.iter().filter_map(|one| number(one, "/restartCount")).sum();
    let restarts = usize::try_from(restarts)
        .ok()
        .filter(|restarts| *restarts > 0)
        .map(|restarts| format!(", {}", count(restarts, "restart")));
    format!("{word}{age}, {node}{}.", restarts.unwrap_or_default())
}

/// Everything that is wrong with a pod, as far as can be seen.
pub(crate) fn causes(facts: &Facts, pod: &Value) -> Vec<Finding> {
    if !text(pod, "/metadata/deletionTimestamp").is_empty() {
        return terminating::findings(facts, pod);
    }
    match text(pod, "/status/phase") {
        "Succeeded" => return Vec::new(),
        "Failed" => return ended::findings(facts, pod),
        _ => {}
    }
    if text(pod, "/spec/nodeName").is_empty() {
        return pending::findings(facts, pod);
    }
    let mut findings = silent_node(facts, pod);
    findings.extend(containers::findings(facts, pod));
    findings.extend(probe::findings(facts, pod));
    if findings.is_empty() {
        findings.extend(symptoms::findings(facts, pod));
    }
    if findings.is_empty() && !is_well(pod) {
        findings.extend(last_warning(facts, pod));
    }
    findings
}

/// A node that is not ready: what the pod's status says may be old.
fn silent_node(facts: &Facts, pod: &Value) -> Vec<Finding> {
    let named = text(pod, "/spec/nodeName");
    match facts.get(&paths::global("nodes", named)) {
        Look::Is(of) => node::not_ready(facts, of).into_iter().collect(),
        Look::Absent => {
            let cause = format!("Its node {named} does not exist: nobody runs it, and its status is old.");
            vec![
                Finding::new("NodeMissing", whom(pod), cause)
                    .advice("Delete the pod, so that whoever made it makes another one elsewhere."),
            ]
        }
        Look::Unknown => Vec::new(),
    }
}

/// What was complained of last, where nothing else is known.
fn last_warning(facts: &Facts, pod: &Value) -> Option<Finding> {
    let event = events_about(facts, pod).into_iter().find(|event| text(event, "/type") == "Warning")?;
    let (age, times) = (ago(facts.now, last_time(event)), times(facts, event));
    let cause = format!(
        "{} complained {age} ago ({}): {}",
        reporter(event),
        text(event, "/reason"),
        sentence(&clipped(text(event, "/message"), 600))
    );
    Some(Finding::new("LastWarning", whom(pod), cause).fact(format!("It did so {times}.")))
}

/// Who wrote an event.
pub(crate) fn reporter(event: &Value) -> &str {
    let names = ["/source/component", "/reportingComponent"];
    names.into_iter().map(|pointer| text(event, pointer)).find(|name| !name.is_empty()).unwrap_or("somebody")
}

/// `pod a/b`.
pub(crate) fn whom(pod: &Value) -> String {
    format!("pod {}", full_name(pod))
}

/// The container `named` of the pod's spec.
pub(crate) fn container<'a>(pod: &'a Value, named: &str) -> Option<&'a Value> {
    let lists = ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"];
    lists.into_iter().flat_map(|pointer| list(pod, pointer)).find(|one| text(one, "/name") == named)
}
