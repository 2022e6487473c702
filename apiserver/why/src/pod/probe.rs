//! Probes that fail, and gates that are not open.

use super::containers::Case;
use super::{container, events_about, last_time, times, whom};
use crate::answer::Finding;
use crate::facts::Facts;
use crate::look::{condition, is_true, list, number, shown, text};
use crate::words::{ago, clipped, for_so_long, sentence, time};
use serde_json::Value;

/// Why containers that run are not ready, and the pod is not.
pub(super) fn findings(facts: &Facts, pod: &Value) -> Vec<Finding> {
    let sidecars = list(pod, "/status/initContainerStatuses").iter().map(|status| (status, true));
    let mut found = Vec::new();
    for (status, is_init) in list(pod, "/status/containerStatuses").iter().map(|status| (status, false)).chain(sidecars)
    {
        let name = text(status, "/name");
        let Some(spec) = container(pod, name) else { continue };
        if !status["state"]["running"].is_object()
            || is_true(status, "/ready")
            || (is_init && text(spec, "/restartPolicy") != "Always")
        {
            continue;
        }
        found.push(one(&Case { facts, pod, spec, status, name, is_init }));
    }
    for gate in list(pod, "/spec/readinessGates") {
        let kind = text(gate, "/conditionType");
        match condition(pod, kind) {
            Some(one) if one["status"] == "True" => {}
            Some(one) => {
                let cause = format!(
                    "The readiness gate {kind} is {}: {}",
                    text(one, "/status"),
                    sentence(text(one, "/message"))
                );
                found.push(Finding::new("ReadinessGate", whom(pod), cause));
            }
            None => {
                let cause = format!("The pod has the readiness gate {kind}, and nobody has set this condition.");
                found.push(
                    Finding::new("ReadinessGate", whom(pod), cause)
                        .advice(format!("See whether the program that sets {kind} runs.")),
                );
            }
        }
    }
    found
}

fn one(case: &Case<'_>) -> Finding {
    let age = for_so_long(case.facts.now, text(case.status, "/state/running/startedAt"));
    let starting = !is_true(case.status, "/started");
    let has = |field: &str| case.spec.get(field).is_some_and(Value::is_object);
    if starting && has("startupProbe") {
        return failed(
            case,
            "startup",
            &format!("Container {} runs{age}, and has not started yet by its startup probe", case.name),
        );
    }
    if starting && case.spec.pointer("/lifecycle/postStart").is_some_and(Value::is_object) {
        return case
            .finding(
                "PostStart",
                format!("Container {} runs{age}, and its postStart hook has not ended yet.", case.name),
            )
            .advice("A hook that does not end keeps the container from being ready; see what it does.");
    }
    if has("readinessProbe") {
        return failed(
            case,
            "readiness",
            &format!("Container {} runs{age}, and is not ready by its readiness probe", case.name),
        );
    }
    case.finding(
        "NotReady",
        format!(
            "Container {} runs{age} and has no readiness probe; its kubelet has not called it ready yet.",
            case.name
        ),
    )
}

/// What the probe `kind` asks, and what came back.
pub(super) fn failed(case: &Case<'_>, kind: &str, start: &str) -> Finding {
    let empty = Value::Null;
    let probe = case.spec.get(format!("{kind}Probe")).unwrap_or(&empty);
    let threshold = number(probe, "/failureThreshold").unwrap_or(3);
    let (period, timeout) =
        (number(probe, "/periodSeconds").unwrap_or(10), number(probe, "/timeoutSeconds").unwrap_or(1));
    let field = format!("{{{}}}", case.name);
    let events = events_about(case.facts, case.pod);
    let said = events.iter().find(|event| {
        text(event, "/reason") == "Unhealthy"
            && text(event, "/message").to_lowercase().starts_with(kind)
            && text(event, "/involvedObject/fieldPath").ends_with(&field)
    });
    let asked = format!(
        "{} every {period}s, with {timeout}s to answer and {threshold} failures in a row as its threshold",
        target(case, probe)
    );
    let Some(event) = said else {
        let finding = case.finding(reason(kind), format!("{start}: {asked}."));
        return finding.fact(
            "No answer to it has been reported yet: it may not have been asked, or waits for its initialDelaySeconds.",
        );
    };
    let message = text(event, "/message").split_once(": ").map_or(text(event, "/message"), |(_, said)| said);
    let count = number(event, "/count").unwrap_or(1);
    // Events are counted late: what was reported longer ago than two answers take says nothing of how many failed since.
    let silence = time(last_time(event)).map_or(0, |at| case.facts.now.as_second() - at.as_second());
    let is_fresh = silence <= period.saturating_mul(2).max(2);
    let n = if count < threshold && is_fresh { format!(" ({count} of {threshold})") } else { String::new() };
    let age = ago(case.facts.now, last_time(event));
    let finding = case.finding(reason(kind), format!("{start}: {}", sentence(&clipped(message, 500))));
    finding
        .fact(format!("It asks {asked}."))
        .fact(format!("Its failure was reported {}{n}, {age} ago for the last time.", times(case.facts, event)))
        .advice(advice(message))
}

fn reason(kind: &str) -> &'static str {
    match kind {
        "startup" => "StartupProbe",
        "liveness" => "LivenessProbe",
        _ => "ReadinessProbe",
    }
}

fn advice(message: &str) -> &'static str {
    let message = message.to_lowercase();
    let has = |word: &str| message.contains(word);
    if has("refused") {
        "Nothing listens at this port inside the pod: check the port, and whether the program listens on 0.0.0.0 and not on 127.0.0.1 only."
    } else if has("no answer within") || has("deadline") || has("timeout") || has("timed out") {
        "It takes longer than timeoutSeconds: raise that, or find out what makes the program slow (a CPU limit, say)."
    } else if has("statuscode") {
        "The program itself answered so: see its log, and whether the path is the right one."
    } else if has("exited with") {
        "The command itself failed: run it by kubectl exec, and see what it says."
    } else {
        "See the container's log."
    }
}

/// Whom a probe asks.
fn target(case: &Case<'_>, probe: &Value) -> String {
    let address =
        Some(text(case.pod, "/status/podIP")).filter(|address| !address.is_empty()).unwrap_or("the pod's address");
    let port = |of: &Value| {
        let named = shown(of);
        let number = list(case.spec, "/ports")
            .iter()
            .find(|port| text(port, "/name") == named)
            .and_then(|port| number(port, "/containerPort"));
        number.map_or(named, |number| number.to_string())
    };
    let host = |of: &Value| Some(text(of, "/host")).filter(|host| !host.is_empty()).unwrap_or(address).to_owned();
    if let Some(get) = probe.get("httpGet").filter(|get| get.is_object()) {
        let scheme = if text(get, "/scheme").eq_ignore_ascii_case("https") { "https" } else { "http" };
        let path = Some(text(get, "/path")).filter(|path| !path.is_empty()).unwrap_or("/");
        return format!("GET {scheme}://{}:{}{path}", host(get), port(&get["port"]));
    }
    if let Some(socket) = probe.get("tcpSocket").filter(|socket| socket.is_object()) {
        return format!("a TCP connection to {}:{}", host(socket), port(&socket["port"]));
    }
    if let Some(grpc) = probe.get("grpc").filter(|grpc| grpc.is_object()) {
        return format!("the gRPC health of {:?} at {address}:{}", text(grpc, "/service"), port(&grpc["port"]));
    }
    let words: Vec<_> = list(probe, "/exec/command").iter().filter_map(Value::as_str).collect();
    format!("the command {}", clipped(&words.join(" "), 200))
}
