//! What is written, and to whom: a reader that is gone, a file instead of a terminal.

use crate::support::{apply, pod, ready_pod, shell};
use skiff_harness::{Ended, TestNode, skiff};
use std::path::Path;
use std::process::{Command, Stdio};

/// What a shell says of a program that died of SIGPIPE.
const CLOSED: i32 = 141;

/// Runs `command` with a standard output that nobody reads.
fn unread(mut command: Command) -> Ended {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap().into()
}

fn unread_skiff(node: &TestNode, words: &[&str]) -> Ended {
    let mut command = skiff();
    command.args(words).env("KUBECONFIG", node.kubeconfig());
    unread(command)
}

#[track_caller]
fn ends_quietly(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!((ended.code, ended.err.as_str()), (code, ""), "{words:?}: {ended:?}");
}

/// Fault N11: `skiff get events | true` panicked.
fn what_shows_ends_quietly(node: &TestNode) {
    let data = node.data().display().to_string();
    for words in [
        &["get", "events"][..],
        &["get", "pods", "-A", "-o", "json"],
        &["get", "pods", "-o", "name"],
        &["get", "pods", "--watch"],
        &["describe", "pod", "web"],
        &["logs", "web"],
        &["exec", "web", "--", "echo", "unheard"],
        &["image", "--data-dir", &data, "list"],
    ] {
        ends_quietly(&unread_skiff(node, words), CLOSED, words);
    }
    // The command line's own texts are written by its parser, which does not mind.
    for words in [&["--help"][..], &["--version"], &["get", "--help"]] {
        ends_quietly(&unread_skiff(node, words), 0, words);
    }
}

/// Who does something does it to the end.
fn what_works_goes_on(node: &TestNode) {
    let file = node.scratch().join("other.yaml").display().to_string();
    std::fs::write(&file, pod("other", &[shell("exec sleep 1000")]).to_string()).unwrap();
    ends_quietly(&unread_skiff(node, &["apply", "-f", &file]), 0, &["apply"]);
    ready_pod(node, "other");
    ends_quietly(&unread_skiff(node, &["delete", "-f", &file]), 0, &["delete"]);
    assert_eq!(node.skiff(["get", "pods", "-o", "name"]).ok(), "pod/web\n");
}

/// A full disk is no reader that went away.
fn a_full_disk_is_told(node: &TestNode) {
    let mut command = skiff();
    command.args(["get", "pods"]).env("KUBECONFIG", node.kubeconfig()).stderr(Stdio::piped());
    command.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let ended = Ended::from(command.spawn().unwrap().wait_with_output().unwrap());
    assert_eq!(ended.code, 1);
    assert_eq!(ended.err, "skiff: write to standard output: No space left on device (os error 28)\n");
}

/// The same of the OCI runtime.
fn the_runtime_ends_quietly(program: &Path, root: &Path) {
    for words in [&["--version"][..], &["--help"], &["features"], &["list"], &["list", "--format", "json"]] {
        let mut command = Command::new(program);
        command.arg("--root").arg(root).args(words);
        ends_quietly(&unread(command), CLOSED, words);
    }
}

/// Fault N13: `skiff up 2>file` wrote colours.
fn a_file_has_no_colours(node: &TestNode) {
    let log = node.log();
    assert!(log.contains(" INFO ") || log.contains("DEBUG "), "nothing was logged: {log}");
    assert!(!log.contains('\x1b'), "{}", log.lines().find(|line| line.contains('\x1b')).unwrap_or_default());
}

#[test]
fn nobody_reads_and_nobody_has_a_terminal() {
    let node = TestNode::up(&["-vv"]);
    apply(&node, &[pod("web", &[shell("echo a line; exec sleep 1000")])]);
    ready_pod(&node, "web");
    what_shows_ends_quietly(&node);
    what_works_goes_on(&node);
    a_full_disk_is_told(&node);
    the_runtime_ends_quietly(&node.data().join("bin/skiff-oci"), &node.scratch().join("oci"));
    a_file_has_no_colours(&node);
    node.down();
}
