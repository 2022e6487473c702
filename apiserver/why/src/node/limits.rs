//! Open files and inotify watches, of which the kernel gives each user and the machine so many.

use crate::answer::Finding;
use crate::facts::Facts;
use crate::look::{list, name, number, text};
use crate::words::listed;
use serde_json::Value;

/// What of a node's figures is used up: name of the limit, where used and limit stand, what is to be set.
const LIMITS: [(&str, &str, &str, &str); 3] = [
    ("inotify instances", "/inotify/instances", "/inotify/instancesMax", "fs.inotify.max_user_instances"),
    ("inotify watches", "/inotify/watches", "/inotify/watchesMax", "fs.inotify.max_user_watches"),
    ("open files", "/files/open", "/files/max", "fs.file-max"),
];

/// How much of a limit may be used before it is told, hundredths.
const NEARLY: i64 = 95;

/// Limits of the node that are nearly or wholly used up.
pub(super) fn exhausted(facts: &Facts, node: &Value) -> Vec<Finding> {
    let Some(known) = facts.known(name(node)) else { return Vec::new() };
    let mut found = Vec::new();
    for (what, used, most, key) in LIMITS {
        let Some((used, most)) = number(known, used).zip(number(known, most)).filter(|(_, most)| *most > 0) else {
            continue;
        };
        if used.saturating_mul(100) / most >= NEARLY {
            let cause = format!("Node {} has used {used} of {most} {what} ({key}).", name(node));
            found.push(
                Finding::new("KernelLimit", format!("node {}", name(node)), cause)
                    .fact(holders(known))
                    .advice(format!("sysctl -w {key}={}", most.saturating_mul(4))),
            );
        }
    }
    found
}

fn holders(known: &Value) -> String {
    let all: Vec<_> = list(known, "/inotify/most")
        .iter()
        .map(|one| format!("{} (pid {}) {}", text(one, "/process"), one["pid"], one["instances"]))
        .collect();
    if all.is_empty() { String::new() } else { format!("Most inotify instances: {}.", listed(&all)) }
}

/// What a program that says "too many open files" has met on `node`.
pub(crate) fn open_files(facts: &Facts, node: &str, about: &str, line: &str) -> Finding {
    let cause = format!("Its log says so: \"{line}\".");
    let finding = Finding::new("TooManyOpenFiles", about, cause);
    let Some(known) = facts.known(node) else {
        return finding
            .fact(format!(
                "How many files and inotify instances node {node} has given out is not known: its kubelet does not say."
            ))
            .advice("On the node: sysctl fs.inotify.max_user_instances fs.inotify.max_user_watches fs.file-nr");
    };
    let figures: Vec<_> = LIMITS
        .iter()
        .filter_map(|(what, used, most, key)| {
            Some(format!("{} of {} {what} ({key})", number(known, used)?, number(known, most)?))
        })
        .collect();
    let full = LIMITS.iter().find(|(_, used, most, _)| {
        number(known, used)
            .zip(number(known, most))
            .is_some_and(|(used, most)| used.saturating_mul(100) / most.max(1) >= NEARLY)
    });
    let advice = match full {
        Some((_, _, most, key)) => format!("sysctl -w {key}={}", number(known, most).unwrap_or(128).saturating_mul(4)),
        None => "The node has enough left: it is the process's own limit (ulimit -n), which its image or the container runtime sets.".to_owned(),
    };
    finding.fact(format!("Node {node} has given out {}.", listed(&figures))).fact(holders(known)).advice(advice)
}
