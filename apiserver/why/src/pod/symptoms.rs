//! What a program logs that has its cause outside of it: names that do not resolve, files that cannot be opened.

use super::whom;
use crate::answer::Finding;
use crate::facts::Facts;
use crate::look::{list, name, text};
use crate::words::clipped;
use crate::{node, paths, reach};
use serde_json::Value;

const FILES: [&str; 4] = ["too many open files", "EMFILE", "inotify_init", "inotify_add_watch"];
const NAMES: [&str; 7] = [
    "no such host",
    "Name or service not known",
    "Temporary failure in name resolution",
    "getaddrinfo",
    "ould not resolve host",
    "nodename nor servname",
    "Name does not resolve",
];

/// What the ends of the logs of `pod` show.
pub(super) fn findings(facts: &Facts, pod: &Value) -> Vec<Finding> {
    let (namespace, pod_name) = (text(pod, "/metadata/namespace"), name(pod));
    let mut found = Vec::new();
    for status in list(pod, "/status/containerStatuses").iter().filter(|status| status["state"]["running"].is_object())
    {
        let log = facts
            .get(&paths::log(namespace, pod_name, text(status, "/name"), false))
            .is()
            .and_then(Value::as_str)
            .unwrap_or_default();
        let line = |words: &[&str]| {
            log.lines().rev().find(|line| words.iter().any(|word| line.to_lowercase().contains(&word.to_lowercase())))
        };
        if let Some(line) = line(&FILES) {
            found.push(node::open_files(facts, text(pod, "/spec/nodeName"), &whom(pod), &clipped(line, 300)));
        }
        if let Some(line) = line(&NAMES) {
            found.push(unresolved(facts, pod, line));
        }
    }
    found
}

/// The name that a line is about, where it can be told.
fn name_in(line: &str) -> Option<&str> {
    for start in [
        "lookup ",
        "resolve host: ",
        "resolve host \"",
        "getaddrinfo ENOTFOUND ",
        "getaddrinfo EAI_AGAIN ",
        "bad address '",
        "translate host name \"",
    ] {
        if let Some((_, rest)) = line.split_once(start) {
            let end = rest.find([' ', ':', '"', '\'', ',', ')']).unwrap_or(rest.len());
            return Some(&rest[..end]).filter(|name| !name.is_empty());
        }
    }
    None
}

fn unresolved(facts: &Facts, pod: &Value, line: &str) -> Finding {
    let finding = Finding::new(
        "NameUnresolved",
        whom(pod),
        format!("Its log says that a name does not resolve: \"{}\".", clipped(line, 300)),
    );
    match name_in(line) {
        Some(wanted) => {
            let again = format!("skiff why pod/{} -n {} --to {wanted}", name(pod), text(pod, "/metadata/namespace"));
            finding.facts(reach::search_words(facts, pod, wanted)).advice(again)
        }
        None => {
            finding.fact("Which name it was cannot be told from the line.").advice("skiff why pod/NAME --to THE-NAME")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::name_in;

    #[test]
    fn names_are_found_in_what_libraries_say() {
        let found = [
            "dial tcp: lookup db on 10.96.0.10:53: no such host",
            "curl: (6) Could not resolve host: db.shop",
            "Error: getaddrinfo ENOTFOUND db",
            "ping: bad address 'db'",
            "no such host",
        ]
        .map(name_in);
        assert_eq!(found, [Some("db"), Some("db.shop"), Some("db"), Some("db"), None]);
    }
}
