//! How much of its filesystems, memory and processes a node has left, and how much its kubelet wants to be left.

use crate::facts::Facts;
use crate::look::{list, name, number, text};
use crate::words::{bytes, count, listed, parsed};
use crate::{paths, place};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// So many images that could go are named.
const IMAGES_MAX: usize = 3;

/// Signals by the condition that they bring: name, where the kubelet's summary has what is left and what there is.
const SIGNALS: [(&str, &str, &str, &str); 6] = [
    ("DiskPressure", "nodefs.available", "/node/fs/availableBytes", "/node/fs/capacityBytes"),
    (
        "DiskPressure",
        "imagefs.available",
        "/node/runtime/imageFs/availableBytes",
        "/node/runtime/imageFs/capacityBytes",
    ),
    ("DiskPressure", "nodefs.inodesFree", "/node/fs/inodesFree", "/node/fs/inodes"),
    ("DiskPressure", "imagefs.inodesFree", "/node/runtime/imageFs/inodesFree", "/node/runtime/imageFs/inodes"),
    ("MemoryPressure", "memory.available", "/node/memory/availableBytes", ""),
    ("PIDPressure", "pid.available", "", "/node/rlimit/maxpid"),
];

/// One figure of a node.
struct Level {
    signal: &'static str,
    left: i64,
    all: i64,
}

impl Level {
    /// What the threshold `text`, a quantity or hundredths, comes to.
    fn least(&self, text: &str) -> i64 {
        match text.strip_suffix('%').map(str::parse::<f64>) {
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "kubelets reckon so too")]
            Some(Ok(percent)) => (self.all as f64 * percent / 100.0) as i64,
            _ => parsed("memory", &text.into()),
        }
    }

    fn shown(&self, number: i64) -> String {
        if self.signal.contains("inodes") || self.signal.starts_with("pid") {
            number.to_string()
        } else {
            bytes(number)
        }
    }
}

fn levels(facts: &Facts, node: &Value, kind: &str) -> Vec<Level> {
    let Some(summary) = facts.get(&paths::kubelet(name(node), "stats/summary")).is() else { return Vec::new() };
    let of_kind = SIGNALS.into_iter().filter(|(of, ..)| *of == kind);
    let level = |(_, signal, left, all): (&str, &'static str, &str, &str)| {
        let all = match signal {
            "memory.available" => node.pointer("/status/capacity/memory").map(|value| parsed("memory", value))?,
            _ => number(summary, all)?,
        };
        let left = match signal {
            "pid.available" => all - number(summary, "/node/rlimit/curproc")?,
            _ => number(summary, left)?,
        };
        Some(Level { signal, left, all })
    };
    of_kind.filter_map(level).collect()
}

/// The figures behind a pressure, those below their thresholds first, a sentence without its end each.
pub(super) fn figures(facts: &Facts, node: &Value, kind: &str) -> Vec<String> {
    let levels = levels(facts, node, kind);
    let config = facts.get(&paths::kubelet(name(node), "configz")).is();
    let wanted = config.and_then(|config| config.pointer("/kubeletconfig/evictionHard"));
    let known = facts.known(name(node));
    let mut told: Vec<(bool, String)> = Vec::new();
    for level in levels {
        let at = known.map(|known| mounted(known, level.signal)).unwrap_or_default();
        let has = format!("{}{at} has {} of {} left", level.signal, level.shown(level.left), level.shown(level.all));
        let threshold = wanted.map(|wanted| text(wanted, &format!("/{}", level.signal))).unwrap_or_default();
        if threshold.is_empty() {
            told.push((false, format!("{has}, and its threshold is not known")));
            continue;
        }
        let least = level.least(threshold);
        let amount = if threshold.ends_with('%') { format!(" ({threshold})") } else { String::new() };
        let below = level.left < least;
        let word = if below { "below" } else { "not below any more" };
        told.push((below, format!("{has}, {word} the threshold of {}{amount}", level.shown(least))));
    }
    let any = told.iter().any(|(below, _)| *below);
    told.retain(|(below, _)| *below || !any);
    told.into_iter().map(|(_, text)| text).collect()
}

/// ` (mounted at /var, device vda1)`, of a node that says so.
fn mounted(known: &Value, signal: &str) -> String {
    let of = signal.split('.').next().unwrap_or_default();
    let found = list(known, "/filesystems").iter().find(|one| text(one, "/name") == of);
    found
        .map(|one| {
            format!(" ({}, mounted at {} from {})", text(one, "/path"), text(one, "/mountPoint"), text(one, "/device"))
        })
        .unwrap_or_default()
}

/// What could go: images that no pod uses, and pods that are over.
pub(super) fn could_be_freed(facts: &Facts, node: &Value) -> Vec<String> {
    let Some(pods) = facts.list(&paths::all("pods")) else { return Vec::new() };
    let here: Vec<_> = pods.iter().filter(|pod| text(pod, "/spec/nodeName") == name(node)).collect();
    let containers = |pod: &&Value| [list(pod, "/spec/containers"), list(pod, "/spec/initContainers")].concat();
    let used: BTreeSet<String> = here.iter().flat_map(containers).map(|one| text(&one, "/image").to_owned()).collect();
    let statuses =
        |pod: &&Value| [list(pod, "/status/containerStatuses"), list(pod, "/status/initContainerStatuses")].concat();
    let ids: BTreeSet<String> = here.iter().flat_map(statuses).map(|one| text(&one, "/imageID").to_owned()).collect();
    let is_used = |image: &&Value| {
        let names: Vec<_> = list(image, "/names").iter().filter_map(Value::as_str).collect();
        names.iter().any(|name| used.iter().any(|used| same_image(used, name)) || ids.contains(*name))
    };
    let mut unused: Vec<(i64, &str)> = list(node, "/status/images")
        .iter()
        .filter(|image| !is_used(image))
        .map(|image| {
            (
                number(image, "/sizeBytes").unwrap_or(0),
                list(image, "/names").last().and_then(Value::as_str).unwrap_or("an image without a name"),
            )
        })
        .collect();
    unused.sort_by_key(|(size, name)| (Reverse(*size), *name));
    let total: i64 = unused.iter().map(|(size, _)| size).sum();
    let named: Vec<_> =
        unused.iter().take(IMAGES_MAX).map(|(size, name)| format!("{name} ({})", bytes(*size))).collect();
    let mut found = Vec::new();
    if !unused.is_empty() {
        found.push(format!(
            "{} that no pod uses could go, {} in all: {}.",
            count(unused.len(), "image"),
            bytes(total),
            listed(&named)
        ));
    }
    let over: Vec<_> = here.iter().filter(|pod| place::is_over(pod)).collect();
    if !over.is_empty() {
        found.push(format!("{} that are over still have their logs and volumes there.", count(over.len(), "pod")));
    }
    found
}

/// Whether a pod's `wanted` is the image that a node calls `named`: Docker's names may be shortened.
pub(crate) fn same_image(wanted: &str, named: &str) -> bool {
    let whole = |text: &str| {
        let tagged = if text.rsplit('/').next().is_some_and(|last| last.contains([':', '@'])) {
            text.to_owned()
        } else {
            format!("{text}:latest")
        };
        let short = tagged.strip_prefix("docker.io/").unwrap_or(&tagged);
        short.strip_prefix("library/").unwrap_or(short).to_owned()
    };
    whole(wanted) == whole(named)
}

#[cfg(test)]
mod tests {
    use super::same_image;

    #[test]
    fn names_of_images_may_be_short() {
        assert!(same_image("nginx", "docker.io/library/nginx:latest") && same_image("a/b:1", "docker.io/a/b:1"));
        assert!(!same_image("nginx:1", "docker.io/library/nginx:latest") && !same_image("h:5000/a", "a"));
    }
}
