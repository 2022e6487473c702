//! Pods that were told to go and are still there.

use super::{container, events_about, last_time, whom};
use crate::answer::Finding;
use crate::facts::{Facts, Look};
use crate::look::{list, number, text};
use crate::words::{ago, clipped, listed, sentence, since, time};
use crate::{node, paths};
use serde_json::Value;
use skiff_proto::age::duration;

/// What holds `pod` up.
pub(super) fn findings(facts: &Facts, pod: &Value) -> Vec<Finding> {
    let deadline = time(text(pod, "/metadata/deletionTimestamp")).map_or(0, jiff::Timestamp::as_second);
    let grace = number(pod, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
    let left = deadline - facts.now.as_second();
    let statuses = [list(pod, "/status/initContainerStatuses"), list(pod, "/status/containerStatuses")].concat();
    let running: Vec<&str> =
        statuses.iter().filter(|one| one["state"]["running"].is_object()).map(|one| text(one, "/name")).collect();
    let mut found = silent_node(facts, pod);
    let given = if grace > 0 { format!(", with {grace}s to end") } else { String::new() };
    let asked = format!("It was told to go {} ago{given}", duration((grace - left).max(0)));
    if !running.is_empty() && found.is_empty() {
        found.push(if left > 0 {
            ending(facts, pod, &running, &asked, left)
        } else {
            ignoring(pod, &running, &asked, -left)
        });
    }
    found.extend(finalizers(pod, &asked, running.is_empty()));
    found.extend(stuck(facts, pod));
    if found.is_empty() {
        let over = if left < 0 { format!(", {} over", duration(-left)) } else { String::new() };
        let cause =
            format!("{asked}{over}; no container runs any more, and its kubelet takes its volumes and network away.");
        found.push(
            Finding::new("Terminating", whom(pod), cause).advice("Wait; if it lasts, see what the kubelet logs."),
        );
    }
    found
}

fn silent_node(facts: &Facts, pod: &Value) -> Vec<Finding> {
    let named = text(pod, "/spec/nodeName");
    let why = match facts.get(&paths::global("nodes", named)) {
        Look::Is(of) => {
            return node::not_ready(facts, of)
                .into_iter()
                .map(|one| one.advice("Only if the machine is really off: kubectl delete pod --force --grace-period=0"))
                .collect();
        }
        Look::Absent if !named.is_empty() => format!("Its node {named} does not exist, so that nobody ends it."),
        Look::Absent | Look::Unknown => return Vec::new(),
    };
    vec![Finding::new("NodeMissing", whom(pod), why).advice("kubectl delete pod --force --grace-period=0")]
}

/// Within the time that it was given.
fn ending(facts: &Facts, pod: &Value, running: &[&str], asked: &str, left: i64) -> Finding {
    let hooks: Vec<&str> = running.iter().copied().filter(|name| has_hook(pod, name)).collect();
    let cause = format!("{asked}, of which {left}s are left; {} still run.", listed(running));
    let finding = Finding::new("Terminating", whom(pod), cause);
    if hooks.is_empty() {
        return finding
            .fact("They got their stop signal and have not ended yet: they finish their work, or ignore it.")
            .advice("Wait; when the time is over they are killed.");
    }
    let events = events_about(facts, pod);
    let killing = events
        .iter()
        .find(|event| text(event, "/reason") == "Killing")
        .and_then(|event| since(facts.now, last_time(event)));
    let since = killing.map(|age| format!(" since {age}")).unwrap_or_default();
    let cause = hooks
        .iter()
        .filter_map(|name| container(pod, name))
        .map(|spec| described(&spec["lifecycle"]["preStop"]))
        .collect::<Vec<_>>();
    finding
        .fact(format!(
            "The preStop hook of {} runs{since}, or has just ended ({}); its time counts as well.",
            listed(&hooks),
            listed(&cause)
        ))
        .advice("Wait, or make the hook shorter.")
}

fn has_hook(pod: &Value, name: &str) -> bool {
    container(pod, name).and_then(|spec| spec.pointer("/lifecycle/preStop")).is_some_and(Value::is_object)
}

fn described(hook: &Value) -> String {
    if let Some(seconds) = number(hook, "/sleep/seconds") {
        return format!("sleep {seconds}s");
    }
    let words: Vec<_> = list(hook, "/exec/command").iter().filter_map(Value::as_str).collect();
    match (words.is_empty(), text(hook, "/httpGet/path")) {
        (false, _) => clipped(&words.join(" "), 100),
        (true, path) => format!("GET {path}"),
    }
}

/// Beyond that time.
fn ignoring(pod: &Value, running: &[&str], asked: &str, over: i64) -> Finding {
    let cause = format!(
        "{asked}, {over}s over; {} still run: their processes ignore the stop signal or cannot be killed.",
        listed(running)
    );
    let shells = running.iter().filter_map(|name| container(pod, name)).any(|spec| matches!(list(spec, "/command").first().and_then(Value::as_str), Some(command) if command.ends_with("sh")));
    let shell = if shells {
        "A shell as first process does not pass SIGTERM on, and the kernel keeps from process 1 what it has no handler for."
    } else {
        ""
    };
    Finding::new("SignalIgnored", whom(pod), cause)
        .fact(shell)
        .advice("Let the program handle SIGTERM (exec PROGRAM in a shell). A process that SIGKILL does not end waits in the kernel, mostly for storage: ps -o stat,wchan.")
}

fn finalizers(pod: &Value, asked: &str, over: bool) -> Option<Finding> {
    let all: Vec<_> = list(pod, "/metadata/finalizers").iter().filter_map(Value::as_str).collect();
    let has = if all.len() == 1 { "finalizer" } else { "finalizers" };
    let when = if over { "No container runs any more" } else { "Its containers still run" };
    let cause = format!("{asked}, and has the {has} {}: it stays until whoever set them takes them off.", listed(&all));
    (!all.is_empty()).then(|| {
        Finding::new("Finalizers", whom(pod), cause).fact(format!("{when}.")).advice("See whether whoever set them runs; take one away by hand only if its owner is gone for good (kubectl edit).")
    })
}

/// What the kubelet could not do.
fn stuck(facts: &Facts, pod: &Value) -> Option<Finding> {
    const REASONS: [&str; 4] = ["FailedKillPod", "FailedUnMount", "FailedUnmount", "FailedPreStopHook"];
    let event = events_about(facts, pod).into_iter().find(|event| REASONS.contains(&text(event, "/reason")))?;
    let age = ago(facts.now, last_time(event));
    let busy = text(event, "/message").to_lowercase().contains("busy");
    let advice = if busy {
        "Something outside of the pod has files of the volume open: fuser -vm PATH"
    } else {
        "See what the kubelet and the container runtime log."
    };
    let cause = format!(
        "Its kubelet could not end it, {age} ago ({}): {}",
        text(event, "/reason"),
        sentence(&clipped(text(event, "/message"), 500))
    );
    Some(Finding::new("CannotEnd", whom(pod), cause).advice(advice))
}
