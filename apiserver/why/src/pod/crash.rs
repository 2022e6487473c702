//! Containers that end: with which code, after how long, with which last words, and when they are started again.

use super::containers::Case;
use super::{events_about, last_time, probe};
use crate::answer::Finding;
use crate::look::{list, number, text};
use crate::paths;
use crate::words::{amount, bytes, clipped, count, moment, parsed, sentence, time};
use jiff::SignedDuration;
use serde_json::Value;
use skiff_proto::age::duration;

/// So many lines of a log are shown.
const LINES_MAX: usize = 5;
/// How long a container that runs again is told of, seconds.
const RECENT: i64 = 3600;

/// Signals by their numbers (signal(7), the numbers of x86 and ARM).
const SIGNALS: [(i64, &str, &str); 12] = [
    (1, "SIGHUP", "hang-up"),
    (2, "SIGINT", "interrupt"),
    (3, "SIGQUIT", "quit"),
    (4, "SIGILL", "an instruction that this processor does not have"),
    (6, "SIGABRT", "it aborted itself"),
    (7, "SIGBUS", "bad access to memory"),
    (8, "SIGFPE", "bad arithmetic"),
    (9, "SIGKILL", "killed"),
    (11, "SIGSEGV", "access to memory that is not its own"),
    (13, "SIGPIPE", "a pipe without a reader"),
    (15, "SIGTERM", "told to end"),
    (31, "SIGSYS", "a system call that a seccomp filter forbids"),
];

/// An exit code in words.
pub(super) fn code(code: i64) -> String {
    let signal = |number: i64| SIGNALS.iter().find(|(of, ..)| *of == number);
    match (code, signal(code - 128)) {
        (0, _) => "exit code 0 (its work was done)".to_owned(),
        (126, _) => "exit code 126 (a shell found the program and could not execute it)".to_owned(),
        (127, _) => "exit code 127 (a shell did not find the program, or the loader a library)".to_owned(),
        (_, Some((_, name, what))) => format!("exit code {code} (signal {name}: {what})"),
        (129..=192, None) => format!("exit code {code} (signal {})", code - 128),
        _ => format!("exit code {code}"),
    }
}

/// The run that ended last.
fn last_run<'a>(case: &Case<'a>) -> Option<&'a Value> {
    let of = ["/state/terminated", "/lastState/terminated"].into_iter();
    of.filter_map(|pointer| case.status.pointer(pointer)).find(|ended| ended.is_object())
}

/// Why a container that ended did, and when it starts again.
pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let Some(run) = last_run(case) else {
        let message = sentence(text(case.status, "/state/waiting/message"));
        return vec![case.finding("CrashLoop", format!("Container {} is started again later: {message}", case.name))];
    };
    vec![explained(case, run)]
}

/// A run that ended within the last hour, of a container that runs again.
pub(super) fn recent(case: &Case<'_>) -> Option<Finding> {
    let run = case.status.pointer("/lastState/terminated").filter(|run| run.is_object())?;
    let ago = case.facts.now.as_second() - time(text(run, "/finishedAt"))?.as_second();
    let bad = run["exitCode"] != 0;
    (bad && (0..RECENT).contains(&ago)).then(|| explained(case, run))
}

fn explained(case: &Case<'_>, run: &Value) -> Finding {
    let reason = text(run, "/reason");
    let finding = match reason {
        "OOMKilled" => out_of_memory(case, run),
        "StartError" | "ContainerCannotRun" => super::create::finding(case, text(run, "/message")),
        _ => match killed_by_probe(case, run) {
            Some(finding) => finding,
            None => plain(case, run),
        },
    };
    let finding = finding.fact(ran(run)).fact(next_start(case, run));
    let said = text(run, "/message");
    let words = if said.is_empty() || reason == "StartError" {
        String::new()
    } else {
        format!("It left the message: {}", clipped(said, 400))
    };
    finding.fact(words).fact(last_lines(case, case.status["state"]["terminated"].is_null()))
}

fn plain(case: &Case<'_>, run: &Value) -> Finding {
    let exit = number(run, "/exitCode").unwrap_or(-1);
    let kind = if case.is_init { "Init container" } else { "Container" };
    let advice = match exit {
        0 => {
            "A container of a pod that restarts always must not end: let its program stay in the foreground, or use a Job."
        }
        126 | 127 => "Check command and args, and what its log says is missing.",
        132 => {
            "The image is for newer processors than this one: use one for the baseline (x86-64-v1), or another machine."
        }
        137 => {
            "Something killed it from outside: see whether the node was short of memory, or a limit or a probe ended it."
        }
        159 => "Allow the system call (securityContext.seccompProfile), or do without it.",
        _ => "Its own log says why, if anything does.",
    };
    let reason = if exit == 0 { "EndsByItself" } else { "Crash" };
    case.finding(reason, format!("{kind} {} ended with {}.", case.name, code(exit))).advice(advice)
}

/// `It ran for 3s, from 12:00:00 UTC (…) on.`
fn ran(run: &Value) -> String {
    let (started, finished) = (time(text(run, "/startedAt")), time(text(run, "/finishedAt")));
    let Some((started, finished)) = started.zip(finished).filter(|(started, _)| started.as_second() > 0) else {
        return String::new();
    };
    let length = duration((finished.as_second() - started.as_second()).max(0));
    format!("It started at {} and ran for {length}.", started.strftime("%Y-%m-%d %H:%M:%S UTC"))
}

/// When it is started again.
fn next_start(case: &Case<'_>, run: &Value) -> String {
    let restarts = number(case.status, "/restartCount").unwrap_or(0);
    let so_far = format!("It has been restarted {}", count(usize::try_from(restarts).unwrap_or(0), "time"));
    if case.status["state"]["running"].is_object() {
        return format!("{so_far}, and runs again.");
    }
    let message = text(case.status, "/state/waiting/message");
    let delay =
        message.strip_prefix("back-off ").and_then(|rest| skiff_proto::duration::parse(rest.split(' ').next()?));
    let delay = delay.and_then(|delay| SignedDuration::try_from(delay).ok());
    let due = delay
        .zip(time(text(run, "/finishedAt")))
        .and_then(|(delay, at)| at.checked_add(delay).ok().map(|at| (delay, at)));
    match due {
        Some((delay, at)) => format!(
            "{so_far}; the next start is due at {}, after a back-off of {}.",
            moment(case.facts.now, at),
            duration(delay.as_secs())
        ),
        None => format!("{so_far}."),
    }
}

/// The end of the log of the last run, or of this one.
pub(super) fn last_lines(case: &Case<'_>, previous: bool) -> String {
    let (namespace, pod) = (text(case.pod, "/metadata/namespace"), text(case.pod, "/metadata/name"));
    let log = case.facts.get(&paths::log(namespace, pod, case.name, previous)).is();
    let Some(log) = log.map(|log| log.as_str().unwrap_or_default()) else { return String::new() };
    let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).map(|line| clipped(line, 300)).collect();
    match lines[lines.len().saturating_sub(LINES_MAX)..].join("\n") {
        empty if empty.is_empty() => "Its log is empty.".to_owned(),
        lines => format!("Its log ends with:\n{lines}"),
    }
}

/// A container that a probe's verdict ended.
fn killed_by_probe(case: &Case<'_>, run: &Value) -> Option<Finding> {
    let ended = time(text(run, "/finishedAt"))?;
    let named = format!("ontainer {} failed ", case.name);
    let events = events_about(case.facts, case.pod);
    let kill = events.iter().find(|event| {
        let near = time(last_time(event)).is_some_and(|at| (at.as_second() - ended.as_second()).abs() < 120);
        text(event, "/reason") == "Killing" && text(event, "/message").contains(&named) && near
    })?;
    let kind = if text(kill, "/message").contains("startup probe") { "startup" } else { "liveness" };
    Some(probe::failed(case, kind, &format!("Container {} was ended because its {kind} probe failed", case.name)))
}

/// Who ran out of memory: the container against its limit, the pod against its own, or the node.
fn out_of_memory(case: &Case<'_>, run: &Value) -> Finding {
    let limit = |of: &Value| of.pointer("/resources/limits/memory").map(|value| parsed("memory", value));
    let own = limit(case.spec);
    let whole = case.pod.get("spec").and_then(limit);
    let node = text(case.pod, "/spec/nodeName");
    let exit = number(run, "/exitCode").unwrap_or(-1);
    let (who, advice) = match (own, whole) {
        (Some(own), _) => (
            format!("it reached its own limit of {}", bytes(own)),
            format!("Raise resources.limits.memory above {}, or let the program take less.", bytes(own)),
        ),
        (None, Some(whole)) => (
            format!("the pod as a whole reached its limit of {}", bytes(whole)),
            "Raise the pod's limit, or let its containers take less.".to_owned(),
        ),
        (None, None) => (
            format!("neither it nor its pod has a limit, so that node {node} itself ran out of memory"),
            "Give the pods of this node limits, and this one a request of what it needs.".to_owned(),
        ),
    };
    let process = match exit {
        137 => "Its first process was killed (exit code 137, SIGKILL).".to_owned(),
        other => format!("A process other than its first one was killed; the first one ended with {}.", code(other)),
    };
    let finding = case.finding(
        "OOMKilled",
        format!("The kernel killed a process of container {} for lack of memory: {who}.", case.name),
    );
    finding.fact(process).fact(peak(case, run)).fact(of_node(case)).advice(advice)
}

/// How much it had taken at most, where the node remembers.
fn peak(case: &Case<'_>, run: &Value) -> String {
    let id = text(run, "/containerID").rsplit('/').next().unwrap_or_default();
    let known = case.facts.known(text(case.pod, "/spec/nodeName"));
    let most = known.and_then(|known| known.get("memoryPeaks")?.get(id)?.as_i64());
    match most {
        Some(most) => format!("It had taken {} at most.", bytes(most)),
        None => "How much it had taken at most is not recorded.".to_owned(),
    }
}

/// What the node says of the process.
fn of_node(case: &Case<'_>) -> String {
    let node = text(case.pod, "/spec/nodeName");
    let events = case.facts.list(&paths::within("default", "events")).unwrap_or_default();
    let is_it = |event: &&Value| {
        matches!(text(event, "/reason"), "SystemOOM" | "OOMKilling") && text(event, "/involvedObject/name") == node
    };
    let newest = events.iter().filter(is_it).max_by_key(|event| last_time(event));
    newest.map(|event| format!("Node {node} said: {}", sentence(text(event, "/message")))).unwrap_or_default()
}

/// What the pod's containers ask for of a resource, for those who are told that it was too much.
pub(super) fn requested(pod: &Value, resource: &str) -> String {
    let told: Vec<String> = list(pod, "/spec/containers")
        .iter()
        .map(|one| {
            let value = one.get("resources").and_then(|of| of.get("requests")).and_then(|map| map.get(resource));
            format!(
                "{} {}",
                text(one, "/name"),
                value.map_or_else(|| "nothing".to_owned(), |value| amount(resource, parsed(resource, value)))
            )
        })
        .collect();
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn exit_codes_have_words() {
        assert!(code(139).contains("SIGSEGV") && code(137).contains("SIGKILL") && code(127).contains("did not find"));
        assert_eq!([code(1), code(170)], ["exit code 1", "exit code 170 (signal 42)"]);
    }
}
