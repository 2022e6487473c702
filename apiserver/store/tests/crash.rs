//! A process that is killed under load loses nothing that it acknowledged, and goes on where it was.
//!
//! The child is this same test program: it writes from several tasks and prints each write once it is acknowledged. The parent
//! kills it (SIGKILL) in the middle, opens the folder and looks for everything that was printed.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use skiff_store::backend::{ListRange, Swapped};
use skiff_store::{Options, Store};

/// Kills in the ordinary run.
const ROUNDS: usize = 30;
/// Tasks that write at the same time, each to keys of its own.
const WRITERS: usize = 8;
const FOLDER: &str = "SKIFF_TEST_CRASH_FOLDER";

#[test]
fn acknowledged_writes_survive_a_kill() {
    if std::env::var_os(FOLDER).is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: HashMap<String, i64> = HashMap::new();
    let mut total = 0;
    for round in 0..ROUNDS {
        // Killed early in some rounds, so that recovery from a recovery is met too.
        let count = [3, 40, 150, 1, 300][round % 5];
        let printed = write_and_kill(folder.path(), count);
        total += printed.len();
        acknowledged.extend(printed);
        check(folder.path(), &acknowledged);
    }
    assert!(total >= ROUNDS, "the child wrote hardly anything: {total}");
}

/// What the child acknowledged until it was killed, about `count` writes.
fn write_and_kill(folder: &Path, count: usize) -> Vec<(String, i64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_writes", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut printed = Vec::new();
    while printed.len() < count {
        let line = lines.next().expect("the child writes until it is killed").unwrap();
        printed.extend(parse(&line));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What was in the pipe was acknowledged as well; the last line may be cut.
    printed.extend(lines.map_while(Result::ok).filter_map(|line| parse(&line)));
    printed
}

fn parse(line: &str) -> Option<(String, i64)> {
    let mut words = line.strip_prefix("acknowledged ")?.strip_suffix(" .")?.split(' ');
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn check(folder: &Path, acknowledged: &HashMap<String, i64>) {
    runtime().block_on(async {
        let store = Store::open(folder, Options::default()).unwrap();
        let all = ListRange { prefix: Bytes::new(), from: None, limit: 0, revision: 0 };
        let listed = store.backend().list(all).await.unwrap();
        let newest = acknowledged.values().max().copied().unwrap_or(1);
        assert!(listed.revision >= newest, "the revision went back from {newest} to {}", listed.revision);
        let there: HashMap<_, _> = listed.entries.iter().map(|entry| (entry.key.clone(), entry)).collect();
        for (key, revision) in acknowledged {
            let entry = there
                .get(key.as_bytes())
                .unwrap_or_else(|| panic!("{key} was acknowledged at {revision}, and is gone"));
            assert!(entry.mod_revision >= *revision, "{key} went back from {revision} to {}", entry.mod_revision);
            let (name, _) = std::str::from_utf8(&entry.value).unwrap().split_once('#').unwrap();
            assert_eq!(name, key, "a value of another key");
        }
        store.close().await;
    });
}

#[test]
fn child_that_writes() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    runtime().block_on(async {
        let store = Store::open(Path::new(&folder), Options::default()).unwrap();
        let tasks = (0..WRITERS).map(|writer| tokio::spawn(write_for_ever(store.clone(), writer)));
        futures::future::join_all(tasks).await;
    });
}

async fn write_for_ever(store: Store, writer: usize) {
    let backend = store.backend();
    for count in 0_usize.. {
        let key = format!("/{writer}/{}", count % 50);
        let there = backend.get(key.clone().into()).await.unwrap().entry;
        let expected = there.map_or(0, |entry| entry.mod_revision);
        let value = format!("{key}#{}", "x".repeat(count * 37 % 5000));
        match backend.put(key.clone().into(), value.into(), expected, 0).await.unwrap() {
            Swapped::Done(revision) => println!("acknowledged {key} {revision} ."),
            Swapped::Conflict(other) => panic!("{key} is written by one task only: {other:?}"),
        }
    }
}
