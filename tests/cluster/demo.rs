//! What a newcomer sees first: `skiff up --demo`, and Ctrl-C.

use crate::support::fetch_from;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skiff_harness::{Follower, NEVER_EVICT, Snapshot, eventually, skiff};
use std::collections::BTreeSet;
use std::path::Path;

/// A page from inside the demo's box.
fn fetch(run: &Path, url: &str) -> Option<String> {
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(run.join("box.json")).unwrap()).unwrap();
    fetch_from(record["pid"].as_i64().unwrap(), url).ok()
}

/// `hello from NAME (IP)` → NAME.
fn who(answer: &str) -> Option<String> {
    answer.trim().strip_prefix("hello from ")?.split_whitespace().next().map(str::to_owned)
}

/// Eight answers of two pods chosen at random show both, but for 1 in 128 times; then a few more do.
fn both_answer(demo: &Follower, run: &Path) {
    let mut answered: BTreeSet<String> = demo.seen().iter().filter_map(|line| who(line)).collect();
    assert!(!answered.is_empty(), "nobody answered:\n{}", demo.seen().join("\n"));
    let asked = demo.seen().iter().find(|line| line.ends_with("answers:")).unwrap();
    let url = asked.split_whitespace().next().unwrap();
    eventually("both pods answer", || {
        answered.extend(fetch(run, url).as_deref().and_then(who));
        if answered.len() == 2 { Ok(()) } else { Err(answered.clone()) }
    });
}

fn shows_a_table_of_pods(demo: &Follower) {
    let rows: Vec<&String> = demo.seen().iter().filter(|line| line.trim().starts_with("hello-")).collect();
    assert_eq!(rows.len(), 2, "{}", demo.seen().join("\n"));
    for row in rows {
        assert!(row.contains("Running") && row.contains("10.244.0."), "{row}");
    }
}

/// The folders and the cgroup of a demo below `folder`; all bear its name.
fn flags(folder: &Path) -> [String; 6] {
    let below = |name: &str| folder.join(name).display().to_string();
    let group = format!("/{}", mark(folder));
    ["--data-dir".into(), below("data"), "--run-dir".into(), below("run"), "--cgroup-root".into(), group]
}

fn mark(folder: &Path) -> String {
    folder.file_name().unwrap().to_string_lossy().into_owned()
}

/// Removes what a demo that failed has left, before its folder goes.
struct Cleaner<'a>(&'a Path);

impl Drop for Cleaner<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?}", skiff().args(["down", "--purge"]).args(flags(self.0)).output());
        }
    }
}

#[test]
fn the_demo_shows_a_deployment_and_leaves_nothing_behind() {
    let before = Snapshot::take();
    let folder = tempfile::Builder::new().prefix("skiff-test-").tempdir().unwrap();
    let (data, run) = (folder.path().join("data"), folder.path().join("run"));
    let _cleaner = Cleaner(folder.path());
    let mut command = skiff();
    command.args(["up", "--demo", "--api-listen", "127.0.0.1:0", "--node-name", "node"]).args(flags(folder.path()));
    command.args(NEVER_EVICT);
    let mut demo = Follower::start(command);
    let pid = Pid::from_raw(i32::try_from(demo.child().id()).unwrap());
    demo.line("Ctrl-C", |line| line.starts_with("Ctrl-C stops"));
    both_answer(&demo, &run);
    shows_a_table_of_pods(&demo);
    kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(demo.child().wait().unwrap().code(), Some(0));
    before.assert_nothing_new_of(&mark(folder.path()));
    assert!(!data.exists() && !run.exists(), "the demo's folders are still there");
}
