//! Do these tests find what is there? Each mistake about durability is put into the store (see `src/seeded.rs`), and must be found.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const BUG: &str = "SKIFF_STORE_BUG";

/// The mistakes, and who made them or would.
const BUGS: [(&str, &str); 10] = [
    ("sync-forgotten", "a write is acknowledged without a sync"),
    ("acknowledged-before-durable", "etcd #14370: a write is acknowledged before its sync"),
    ("failed-sync-forgiven", "PostgreSQL's fsyncgate: after a failed sync the next one is believed"),
    ("unsynced-believed", "what a killed process had written is believed without a sync"),
    ("log-thrown-away", "KubeSolo #145: the log is thrown away to start after a crash"),
    ("torn-frame-believed", "half a write in the log is taken for a whole one"),
    ("checkpoint-not-durable", "the log is overwritten before the database has it for good"),
    ("partial-transaction", "half of a transaction survives a crash"),
    ("gap-in-log-accepted", "damage in the middle of the log ends it quietly"),
    ("checksum-ignored", "a flipped bit is served"),
];

/// The suites, with amounts that are tried in a few minutes.
const SUITES: [(&str, &[(&str, &str)]); 3] = [
    ("every::every_durable_operation_may_fail", &[("SKIFF_FAULT_SEEDS", "3")]),
    ("damage::damage_is_found_or_harmless", &[("SKIFF_DAMAGES", "1000")]),
    ("images::a_power_failure_loses_nothing_that_was_acknowledged", &[("SKIFF_IMAGES", "20000")]),
];

/// Which suite fails, and after how long.
fn hunt(bug: &str) -> Option<(&'static str, Duration)> {
    let begun = Instant::now();
    SUITES.iter().find_map(|(suite, amounts)| {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", suite])
            .env(BUG, bug)
            .envs(amounts.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        (!status.success()).then(|| (*suite, begun.elapsed()))
    })
}

#[test]
fn every_seeded_bug_is_found() {
    if std::env::var_os(BUG).is_some() {
        return;
    }
    let only = std::env::var("SKIFF_CRASH_BUG").ok();
    let mut missed = Vec::new();
    for (bug, what) in BUGS.iter().filter(|(bug, _)| only.as_deref().is_none_or(|only| only == *bug)) {
        match hunt(bug) {
            Some((suite, time)) => println!("{bug} ({what}): found in {:.1} s by {suite}", time.as_secs_f64()),
            None => {
                println!("{bug} ({what}): NOT FOUND");
                missed.push(bug);
            }
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
