//! Volumes that are not mounted, and sandboxes that do not come up.

use super::{events_about, last_time, times, whom};
use crate::answer::Finding;
use crate::facts::Facts;
use crate::look::{list, name, number, text};
use crate::words::{ago, clipped, sentence, since};
use crate::{claims, paths, place};
use serde_json::Value;

const MOUNT: [&str; 4] = ["FailedMount", "FailedAttachVolume", "FailedMapVolume", "VolumeFailedMount"];

/// Why volumes or the sandbox are not there. What mounts say of objects that are missing is told elsewhere: `of_objects` says whether that
/// is to be told here.
pub(super) fn findings(facts: &Facts, pod: &Value, of_objects: bool) -> Vec<Finding> {
    let mut found = claims::findings(facts, pod);
    let events = events_about(facts, pod);
    let started = text(pod, "/status/startTime");
    let failed = events.iter().find(|event| MOUNT.contains(&text(event, "/reason")));
    if let Some(event) = failed.filter(|event| of_objects || !text(event, "/message").contains("not found")) {
        found.push(mount(facts, pod, event));
    }
    let sandbox =
        events.iter().find(|event| text(event, "/reason") == "FailedCreatePodSandBox" && last_time(event) >= started);
    if let Some(event) = sandbox {
        let age = ago(facts.now, last_time(event));
        let cause = format!(
            "Its sandbox (namespaces and network) could not be made, {age} ago: {}",
            sentence(&clipped(text(event, "/message"), 500))
        );
        let wanted = place::host_ports(pod);
        let ports: Vec<_> = wanted.iter().map(|port| (port.port, port.protocol.as_str())).collect();
        let holders = place::listeners(facts, text(pod, "/spec/nodeName"), &ports)
            .into_iter()
            .map(|holder| format!("A port that it wants is held: {holder}."));
        let finding = Finding::new("SandboxFailed", whom(pod), cause)
            .facts(holders)
            .fact(format!("It was tried {}.", times(facts, event)));
        found.push(
            finding
                .fact(attempt(facts, pod))
                .advice("See what the container runtime and the network plugin log on the node."),
        );
    } else if found.is_empty() {
        found.extend(after_reboot(facts, pod));
    }
    found
}

fn mount(facts: &Facts, pod: &Value, event: &Value) -> Finding {
    let message = text(event, "/message");
    let volumes = list(pod, "/spec/volumes");
    let named = volumes.iter().find(|volume| {
        message.contains(&format!("\"{}\"", text(volume, "/name")))
            || message.contains(&format!("[{}]", text(volume, "/name")))
    });
    let age = ago(facts.now, last_time(event));
    let (whose, source) = named.map_or(("A volume".to_owned(), String::new()), |volume| {
        (format!("The volume {}", text(volume, "/name")), described(volume))
    });
    let cause = format!("{whose}{source} could not be mounted, {age} ago: {}", sentence(&clipped(message, 500)));
    let advice = if message.contains("hostPath") {
        "Make the path on the node, or use a type that makes it (DirectoryOrCreate, FileOrCreate)."
    } else {
        ""
    };
    Finding::new("VolumeMount", whom(pod), cause).fact(format!("It was tried {}.", times(facts, event))).advice(advice)
}

/// What a volume is made of.
fn described(volume: &Value) -> String {
    let kind = volume.as_object().into_iter().flatten().find(|(field, _)| *field != "name");
    let Some((kind, source)) = kind else { return String::new() };
    let at = ["/path", "/claimName", "/secretName", "/name", "/server", "/driver", "/reference"]
        .into_iter()
        .map(|field| text(source, field))
        .find(|value| !value.is_empty());
    at.map_or_else(|| format!(" ({kind})"), |at| format!(" ({kind} {at})"))
}

fn known<'a>(facts: &'a Facts, pod: &Value) -> Option<&'a Value> {
    let known = facts.known(text(pod, "/spec/nodeName"))?;
    known.get("pods")?.get(text(pod, "/metadata/uid"))
}

/// Which sandbox of the pod it is.
fn attempt(facts: &Facts, pod: &Value) -> String {
    let attempt = known(facts, pod).and_then(|known| number(known, "/sandboxAttempt"));
    attempt.map(|attempt| format!("It is the sandbox with the attempt {attempt} (counted from 0).")).unwrap_or_default()
}

/// A pod that had run, whose node started anew.
fn after_reboot(facts: &Facts, pod: &Value) -> Option<Finding> {
    let named = text(pod, "/spec/nodeName");
    let node = facts.get(&paths::global("nodes", named)).is()?;
    let events = events_about(facts, pod);
    let changed = events.iter().find(|event| text(event, "/reason") == "SandboxChanged");
    let of_node = facts.list(&paths::within("default", "events")).unwrap_or_default();
    let rebooted = of_node
        .iter()
        .find(|event| text(event, "/reason") == "Rebooted" && text(event, "/involvedObject/name") == name(node));
    let ran = list(pod, "/status/containerStatuses")
        .iter()
        .any(|one| number(one, "/restartCount").unwrap_or(0) > 0 || one["lastState"]["terminated"].is_object());
    if changed.is_none() && !(rebooted.is_some() && ran) {
        return None;
    }
    let when = rebooted
        .and_then(|event| since(facts.now, last_time(event)))
        .map(|age| format!("Node {named} was started anew {age} ago"))
        .unwrap_or_else(|| "Its sandbox fell".to_owned());
    let cause = format!("{when}; a new sandbox is being made for the pod, which takes its containers up again.");
    Some(
        Finding::new("NewSandbox", whom(pod), cause)
            .fact(attempt(facts, pod))
            .fact("The old one holds nothing: its names and addresses are free, and nothing has to be removed by hand.")
            .advice("Wait; if it lasts, see what the container runtime logs."),
    )
}
