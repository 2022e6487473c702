//! Do the states of a disk find what is there? Mistakes about durability are put into the store (see `src/seeded.rs`), in the guest
//! and where it is judged, and each must be found.

use super::BUG;
use std::process::Command;
use std::time::Instant;

/// Those that a power failure shows; `tests/crash` finds the others.
const BUGS: [(&str, &str); 5] = [
    ("sync-forgotten", "a write is acknowledged without a sync"),
    ("acknowledged-before-durable", "etcd #14370: a write is acknowledged before its sync"),
    ("checkpoint-not-durable", "the log is overwritten before the database has it for good"),
    ("partial-transaction", "half of a transaction survives a crash"),
    ("log-thrown-away", "KubeSolo #145: the log is thrown away to start after a crash"),
];

/// What the judges say about the store that makes this mistake; `None`: nothing.
fn hunt(bug: &str) -> Option<String> {
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "every_state_of_a_disk_has_what_was_acknowledged", "--nocapture"])
        .env(BUG, bug)
        .env("SKIFF_MARKS", "500")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    let found = said.lines().find(|line| line.starts_with("the disk "));
    assert!(ran.status.success() == found.is_none(), "{bug}: {said}");
    found.map(str::to_owned)
}

#[test]
fn every_seeded_bug_is_found() {
    if std::env::var_os(BUG).is_some() || super::is_missing_something() {
        return;
    }
    let only = std::env::var("SKIFF_CRASH_BUG").ok();
    let mut missed = Vec::new();
    for (bug, what) in BUGS.iter().filter(|(bug, _)| only.as_deref().is_none_or(|only| only == *bug)) {
        let begun = Instant::now();
        match hunt(bug) {
            Some(found) => println!("{bug} ({what}): found in {:.1} s: {found}", begun.elapsed().as_secs_f64()),
            None => {
                println!("{bug} ({what}): NOT FOUND");
                missed.push(bug);
            }
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
