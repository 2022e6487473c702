//! What a pod's containers wait for.

use super::{config, container, crash, create, image, volume, whom};
use crate::answer::Finding;
use crate::facts::Facts;
use crate::look::{condition, list, text};
use crate::words::{clipped, for_so_long, sentence};
use serde_json::Value;

/// One container with its status.
pub(super) struct Case<'a> {
    pub(super) facts: &'a Facts,
    pub(super) pod: &'a Value,
    pub(super) spec: &'a Value,
    pub(super) status: &'a Value,
    pub(super) name: &'a str,
    pub(super) is_init: bool,
}

impl Case<'_> {
    /// `container web of pod a/b`.
    pub(super) fn about(&self) -> String {
        let kind = if self.is_init { "init container" } else { "container" };
        format!("{kind} {} of {}", self.name, whom(self.pod))
    }

    /// A finding about it.
    pub(super) fn finding(&self, reason: &'static str, cause: impl Into<String>) -> Finding {
        Finding::new(reason, self.about(), cause)
    }
}

/// The statuses of its containers, each with whether it is an init container's, those first.
pub(super) fn statuses(pod: &Value) -> impl Iterator<Item = (&Value, bool)> {
    let inits = list(pod, "/status/initContainerStatuses").iter().map(|status| (status, true));
    inits.chain(list(pod, "/status/containerStatuses").iter().map(|status| (status, false)))
}

/// What keeps the containers of `pod` from running.
pub(super) fn findings(facts: &Facts, pod: &Value) -> Vec<Finding> {
    let (mut found, mut creating) = (Vec::new(), false);
    for (status, is_init) in statuses(pod) {
        let name = text(status, "/name");
        let Some(spec) = container(pod, name) else { continue };
        let case = Case { facts, pod, spec, status, name, is_init };
        creating |= text(status, "/state/waiting/reason") == "ContainerCreating";
        found.extend(one(&case));
    }
    let statuses = list(pod, "/status/containerStatuses");
    creating |= statuses.is_empty()
        || (found.is_empty() && statuses.iter().any(|one| text(one, "/state/waiting/reason") == "PodInitializing"));
    let has_sandbox = condition(pod, "PodReadyToStartContainers").is_some_and(|one| one["status"] == "True");
    if creating || !has_sandbox {
        let mut before = config::findings(facts, pod);
        before.extend(volume::findings(facts, pod, before.is_empty()));
        before.extend(image::under_way(facts, pod));
        found.splice(0..0, before);
    }
    found
}

fn one(case: &Case<'_>) -> Vec<Finding> {
    let waiting = &case.status["state"]["waiting"];
    let (reason, message) = (text(waiting, "/reason"), text(waiting, "/message"));
    match reason {
        "" => not_waiting(case),
        "ContainerCreating" | "PodInitializing" => Vec::new(),
        "CrashLoopBackOff" => crash::findings(case),
        "CreateContainerConfigError" => {
            let missing = config::of_container(case);
            if missing.is_empty() { vec![create::finding(case, message)] } else { missing }
        }
        "CreateContainerError" | "RunContainerError" | "StartError" | "ContainerCannotRun" => {
            vec![create::finding(case, message)]
        }
        reason if image::is_about(reason) => vec![image::finding(case, reason, message)],
        other => {
            let cause = format!("Container {} waits ({other}): {}", case.name, sentence(&clipped(message, 600)));
            vec![case.finding("ContainerWaiting", cause)]
        }
    }
}

/// A container that runs or has ended.
fn not_waiting(case: &Case<'_>) -> Vec<Finding> {
    let ended = &case.status["state"]["terminated"];
    if ended.is_object() {
        let well = ended["exitCode"] == 0 && (case.is_init || text(case.pod, "/spec/restartPolicy") != "Always");
        return if well { Vec::new() } else { crash::findings(case) };
    }
    let is_sidecar = text(case.spec, "/restartPolicy") == "Always";
    let running = &case.status["state"]["running"];
    if case.is_init && !is_sidecar && running.is_object() {
        let age = for_so_long(case.facts.now, text(running, "/startedAt"));
        let cause =
            format!("The pod's containers wait for its init container {}, which has not ended yet{age}.", case.name);
        let log = crash::last_lines(case, false);
        return vec![case.finding("Initializing", cause).fact(log).advice(format!(
            "See what it does: kubectl logs -n {} {} -c {}",
            text(case.pod, "/metadata/namespace"),
            text(case.pod, "/metadata/name"),
            case.name
        ))];
    }
    crash::recent(case).into_iter().collect()
}
