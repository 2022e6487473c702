//! Containers that cannot be made or started.

use super::containers::Case;
use crate::answer::Finding;
use crate::look::{number, text};
use crate::paths;
use crate::words::{clipped, sentence};
use serde_json::Value;

/// What the words of a runtime amount to: words, reason, cause, advice. `{}` is the container's name.
const KINDS: &[(&[&str], &str, &str, &str)] = &[
    (
        &["runAsNonRoot"],
        "RunAsNonRoot",
        "Container {} must not run as root (runAsNonRoot)",
        "Set securityContext.runAsUser to a number other than 0, or use an image whose USER is such a number.",
    ),
    (
        &[
            "no matching entries in passwd",
            "unable to find user",
            "no users found",
            "not in /etc/passwd",
            "no such user",
            "no user ",
        ],
        "UserUnknown",
        "The user of container {} is not in the image's /etc/passwd",
        "Use a number (securityContext.runAsUser), or add the user to the image.",
    ),
    (
        &["exec format error", "ENOEXEC", "e_machine", "was built for"],
        "WrongArchitecture",
        "The program of container {} was built for another machine, or is a script without #!",
        "Use an image for this architecture; a script needs a first line such as #!/bin/sh.",
    ),
    (
        &["loading shared libraries", "interpreter"],
        "MissingLibrary",
        "The program of container {} lacks a library or its interpreter in the image",
        "Build it statically, or add what it needs to the image.",
    ),
    (
        &["chdir", "working directory", "cwd", "workingDir"],
        "WorkingDirectory",
        "The working directory of container {} cannot be entered",
        "Make it in the image, or change workingDir.",
    ),
    (
        &["executable file not found", "no such file or directory", "not found"],
        "CommandNotFound",
        "The program of container {} is not in its image",
        "Check command and args against what the image has; a shell's words need a shell: [sh, -c, …].",
    ),
    (
        &["permission denied"],
        "NotExecutable",
        "The program of container {} must not be executed",
        "chmod +x in the image, or run it by its interpreter.",
    ),
    (
        &["not implemented", "unsupported"],
        "Unsupported",
        "Container {} asks for something that this node cannot do",
        "Leave it out, or use another runtime.",
    ),
];

/// Why a container cannot be made or started.
pub(super) fn finding(case: &Case<'_>, message: &str) -> Finding {
    let folded = message.to_lowercase();
    // Our runtime looks for the file before execve(2): what the kernel misses then is the file's interpreter.
    let folded = if folded.contains("exec.payload") && folded.contains("no such file") {
        folded + " (its interpreter or loader is not in the image)"
    } else {
        folded
    };
    let kind = KINDS.iter().find(|(words, ..)| words.iter().any(|word| folded.contains(&word.to_lowercase())));
    let said = sentence(&clipped(message, 600));
    let Some((_, reason, cause, advice)) = kind else {
        return case
            .finding("CannotStart", format!("Container {} cannot be started: {said}", case.name))
            .fact(command(case));
    };
    let finding = case.finding(reason, format!("{}: {said}", cause.replace("{}", case.name))).advice(*advice);
    match *reason {
        "RunAsNonRoot" | "UserUnknown" => finding.fact(user(case)),
        "WrongArchitecture" => finding.fact(command(case)).fact(machine(case)),
        "WorkingDirectory" => finding.fact(directory(case)),
        _ => finding.fact(command(case)),
    }
}

/// As whom it would run, as far as the pod says.
fn user(case: &Case<'_>) -> String {
    let of = |value: &Value| number(value, "/securityContext/runAsUser");
    match of(case.spec).or_else(|| case.pod.get("spec").and_then(of)) {
        Some(uid) => format!("The pod asks for uid {uid}."),
        None => format!("The pod names no user, so that the image's own applies ({}).", text(case.spec, "/image")),
    }
}

fn command(case: &Case<'_>) -> String {
    let words = |field: &str| {
        let list = case.spec.get(field).and_then(Value::as_array);
        list.filter(|list| !list.is_empty())
            .map(|list| list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "))
    };
    match (words("command"), words("args")) {
        (None, None) => format!("It is what the image {} says (its ENTRYPOINT and CMD).", text(case.spec, "/image")),
        (Some(command), args) => clipped(&format!("It is: {command} {}", args.unwrap_or_default()), 300),
        (None, Some(args)) => {
            clipped(&format!("It is the ENTRYPOINT of the image {} with: {args}", text(case.spec, "/image")), 300)
        }
    }
}

fn machine(case: &Case<'_>) -> String {
    let named = text(case.pod, "/spec/nodeName");
    let node = case.facts.get(&paths::global("nodes", named)).is();
    let of = node.map(|node| text(node, "/status/nodeInfo/architecture")).filter(|of| !of.is_empty());
    of.map(|of| format!("Node {named} is of the architecture {of}.")).unwrap_or_default()
}

fn directory(case: &Case<'_>) -> String {
    match text(case.spec, "/workingDir") {
        "" => format!("It is the one of the image {} (WORKDIR).", text(case.spec, "/image")),
        directory => format!("The pod asks for {directory} (workingDir)."),
    }
}
