//! The row of a pod: what its containers are doing, in one word.

use super::text::{age, is_true, name, number, or, seconds};
use super::{AGE, Column, NAME, Printer};
use crate::Resource;
use crate::view::{given, list, text};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) static POD: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Ready", "Containers that are ready, of all that should run."),
        Column::text("Status", "What the pod is doing, or why it does not."),
        Column::text("Restarts", "How often its containers were restarted, and when last."),
        AGE,
        Column::wide("IP", "Address of the pod."),
        Column::wide("Node", "Node the pod runs on."),
        Column::wide("Nominated Node", "Node that makes room for the pod."),
        Column::wide("Readiness Gates", "Conditions that are met, of those the pod waits for."),
    ],
    cells,
};

/// Finished pods are marked, so that kubectl can hide them.
pub(crate) fn row_conditions(resource: &Resource, pod: &Value) -> Option<Value> {
    if resource.kind != "Pod" {
        return None;
    }
    let phase = text(&pod["status"], "phase");
    let done = matches!(phase, "Succeeded" | "Failed");
    done.then(|| json!([{"type": "Completed", "status": "True", "reason": phase}]))
}

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let sum = summary(pod);
    let restarts = match sum.last_restart {
        Some(time) if sum.restarts > 0 => {
            format!("{} ({} ago)", sum.restarts, super::text::duration(now.as_second() - time))
        }
        _ => sum.restarts.to_string(),
    };
    let address = list(status, "podIPs").first().map_or_else(|| text(status, "podIP"), |first| text(first, "ip"));
    vec![
        name(pod),
        format!("{}/{}", sum.ready, sum.total).into(),
        sum.reason.into(),
        restarts.into(),
        age(pod, now),
        or(address, "<none>"),
        or(text(spec, "nodeName"), "<none>"),
        or(text(status, "nominatedNodeName"), "<none>"),
        readiness_gates(pod),
    ]
}

struct Summary {
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<i64>,
    reason: String,
}

impl Summary {
    fn count(&mut self, container: &Value) {
        self.restarts += number(&container["restartCount"]);
        let finished = seconds(&container["lastState"]["terminated"]["finishedAt"]);
        self.last_restart = self.last_restart.max(finished);
    }
}

/// An init container that runs beside the others (a sidecar).
fn is_sidecar(spec: &Value, container: &str) -> bool {
    list(spec, "initContainers").iter().any(|it| text(it, "name") == container && text(it, "restartPolicy") == "Always")
}

fn summary(pod: &Value) -> Summary {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let sidecars = list(spec, "initContainers").iter().filter(|it| text(it, "restartPolicy") == "Always").count();
    let reason = if given(status, "reason") { text(status, "reason") } else { text(status, "phase") };
    let total = list(spec, "containers").len() + sidecars;
    let mut sum = Summary { ready: 0, total, restarts: 0, last_restart: None, reason: reason.to_owned() };
    if is_scheduling_gated(status) {
        "SchedulingGated".clone_into(&mut sum.reason);
    }
    let initializing = init_reason(spec, status, &mut sum);
    if !initializing || is_true(status, "Initialized") {
        container_reason(status, &mut sum);
    }
    if given(&pod["metadata"], "deletionTimestamp") {
        let lost = text(status, "reason") == "NodeLost";
        let finished = matches!(text(status, "phase"), "Succeeded" | "Failed");
        if lost {
            "Unknown".clone_into(&mut sum.reason);
        } else if !finished {
            "Terminating".clone_into(&mut sum.reason);
        }
    }
    sum
}

fn is_scheduling_gated(status: &Value) -> bool {
    list(status, "conditions")
        .iter()
        .any(|condition| text(condition, "type") == "PodScheduled" && text(condition, "reason") == "SchedulingGated")
}

/// The first init container that is not done names the reason; `true` when there is one.
fn init_reason(spec: &Value, status: &Value, sum: &mut Summary) -> bool {
    let count = list(spec, "initContainers").len();
    for (index, container) in list(status, "initContainerStatuses").iter().enumerate() {
        sum.count(container);
        let state = &container["state"];
        let terminated = &state["terminated"];
        if is_sidecar(spec, text(container, "name")) && container["started"] == true {
            sum.ready += usize::from(container["ready"] == true);
            continue;
        }
        if terminated.is_object() && number(&terminated["exitCode"]) == 0 {
            continue;
        }
        sum.reason = if terminated.is_object() {
            format!("Init:{}", ended(terminated))
        } else {
            match text(&state["waiting"], "reason") {
                "" | "PodInitializing" => format!("Init:{index}/{count}"),
                reason => format!("Init:{reason}"),
            }
        };
        return true;
    }
    false
}

fn ended(terminated: &Value) -> String {
    match (text(terminated, "reason"), number(&terminated["signal"])) {
        ("", 0) => format!("ExitCode:{}", number(&terminated["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// The first container that waits or ended names the reason (the loop goes backwards, so that it has the last word).
fn container_reason(status: &Value, sum: &mut Summary) {
    let mut running = false;
    for container in list(status, "containerStatuses").iter().rev() {
        sum.count(container);
        let state = &container["state"];
        let waiting = text(&state["waiting"], "reason");
        if !waiting.is_empty() {
            waiting.clone_into(&mut sum.reason);
        } else if state["terminated"].is_object() {
            sum.reason = ended(&state["terminated"]);
        } else if container["ready"] == true && state["running"].is_object() {
            running = true;
            sum.ready += 1;
        }
    }
    // Some containers are done, others run on.
    if sum.reason == "Completed" && running {
        let reason = if is_true(status, "Ready") { "Running" } else { "NotReady" };
        reason.clone_into(&mut sum.reason);
    }
}

fn readiness_gates(pod: &Value) -> Value {
    let gates = list(&pod["spec"], "readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let met = gates.iter().filter(|gate| is_true(&pod["status"], text(gate, "conditionType"))).count();
    format!("{met}/{}", gates.len()).into()
}
