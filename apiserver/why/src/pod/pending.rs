//! A pod without a node.

use super::{events_about, last_time, whom};
use crate::answer::Finding;
use crate::facts::{Facts, Look};
use crate::look::{condition, list, number, text};
use crate::words::{ago, for_so_long, listed, sentence, since, time};
use crate::{claims, paths, place};
use serde_json::Value;
use skiff_proto::age::duration;

/// How long a scheduler may take before its silence is told, seconds.
const SILENCE: i64 = 10;

/// Why `pod` has no node.
pub(super) fn findings(facts: &Facts, pod: &Value) -> Vec<Finding> {
    let gates: Vec<_> = list(pod, "/spec/schedulingGates").iter().map(|gate| text(gate, "/name")).collect();
    if !gates.is_empty() {
        let age = for_so_long(facts.now, text(pod, "/metadata/creationTimestamp"));
        let cause =
            format!("Schedulers must not look at it as long as it has scheduling gates: {}{age}.", listed(&gates));
        let advice = "Whoever set the gate takes it away (spec.schedulingGates); see whether that program runs.";
        return vec![Finding::new("SchedulingGated", whom(pod), cause).advice(advice)];
    }
    let mut found: Vec<Finding> = claims::findings(facts, pod).into_iter().filter(|one| !waits_for_us(one)).collect();
    found.extend(place::findings(facts, pod));
    found.extend(nominated(pod));
    if !found.is_empty() {
        return found;
    }
    match condition(pod, "PodScheduled") {
        None => silence(facts, pod).into_iter().collect(),
        Some(said) => last_said(facts, pod, said),
    }
}

/// A claim that is bound at its first pod holds nothing up.
fn waits_for_us(finding: &Finding) -> bool {
    finding.cause.contains("WaitForFirstConsumer")
}

fn nominated(pod: &Value) -> Option<Finding> {
    let node = text(pod, "/status/nominatedNodeName");
    let priority = number(pod, "/spec/priority").unwrap_or(0);
    let cause = format!(
        "It waits for pods of lower priority than {priority} to leave node {node}, which the scheduler has told to go."
    );
    (!node.is_empty()).then(|| {
        Finding::new("Preempting", whom(pod), cause)
            .advice("Wait until their time to end is over; skiff why names it for each of them.")
    })
}

/// Nobody has tried to place it.
fn silence(facts: &Facts, pod: &Value) -> Option<Finding> {
    let created = time(text(pod, "/metadata/creationTimestamp"))?;
    let waited = facts.now.as_second() - created.as_second();
    if waited < SILENCE {
        return None;
    }
    let wanted = Some(text(pod, "/spec/schedulerName")).filter(|name| !name.is_empty()).unwrap_or("default-scheduler");
    let cause = format!(
        "The scheduler {wanted} has not looked at it in {}: it does not run, or serves another name.",
        duration(waited)
    );
    let finding = Finding::new("NoScheduler", whom(pod), cause);
    if wanted != "default-scheduler" {
        return Some(
            finding.advice(format!("Start a scheduler with the name {wanted}, or leave spec.schedulerName out.")),
        );
    }
    let lease = facts.get(&(paths::of_group("coordination.k8s.io/v1", "kube-system", "leases") + "/kube-scheduler"));
    let said = match lease {
        Look::Is(lease) => {
            let age = ago(facts.now, text(lease, "/spec/renewTime"));
            format!(
                "Its lease kube-system/kube-scheduler was renewed {age} ago by {}.",
                text(lease, "/spec/holderIdentity")
            )
        }
        Look::Absent => {
            "There is no lease kube-system/kube-scheduler, by which schedulers that elect a leader could be seen."
                .to_owned()
        }
        Look::Unknown => String::new(),
    };
    Some(finding.fact(said).advice("See whether the scheduler runs, and what it logs."))
}

/// What the scheduler said, where we see no obstacle.
fn last_said(facts: &Facts, pod: &Value, said: &Value) -> Vec<Finding> {
    let message = text(said, "/message");
    if message.is_empty() {
        return Vec::new();
    }
    let events = events_about(facts, pod);
    let event = events.iter().find(|event| text(event, "/reason") == "FailedScheduling");
    let age = event
        .and_then(|event| since(facts.now, last_time(event)))
        .or_else(|| since(facts.now, text(said, "/lastTransitionTime")));
    let cause =
        format!("The scheduler said {} ago: {}", age.unwrap_or_else(|| "some time".to_owned()), sentence(message));
    vec![
        Finding::new(reason(message), whom(pod), cause)
            .fact("By what nodes and pods say now, a node has room for it: the next try may place it."),
    ]
}

fn reason(message: &str) -> &'static str {
    if message.contains("not implemented") { "Unsupported" } else { "SchedulerSaid" }
}
