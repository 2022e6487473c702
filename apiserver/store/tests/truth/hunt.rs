//! Does the suite find what is there? Each bug of other stores is put into ours (see `src/seeded.rs`), and must be found.
//!
//! The hunter knows nothing of the bug: it makes one run after the other, of every shape there is, until one is wrong.

use crate::run::{Plan, run};
use crate::server::Kind;
use crate::{Figures, faults, runtime};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const BUG: &str = "SKIFF_STORE_BUG";
/// A bug that hides for longer counts as not found.
const HIDES_MAX: Duration = Duration::from_secs(600);

/// The bugs, and whose they were: numbers are etcd's issues.
const BUGS: [(&str, &str); 19] = [
    ("acknowledged-before-durable", "#14370: an acknowledged write is lost in a crash"),
    ("sync-forgotten", "#14143's kind: an acknowledged write is lost with the power"),
    ("revision-lost-at-restart", "#13766: the revision differs after a restart"),
    ("progress-ahead", "#15220: word of progress is ahead of events"),
    ("watch-goes-back", "#15271: a watch goes back in time"),
    ("duplicate-event", "#17247: an event comes twice"),
    ("slow-watcher-loses", "#17529: a slow stream loses events"),
    ("revision-lost-in-compaction", "#17780: the revision decreases after a crash in a compaction"),
    ("compaction-takes-deletion", "#18089, #19179: a deletion's event is lost in a compaction"),
    ("compacted-read-in-transaction", "#18667: a transaction reads a compacted revision"),
    ("future-watch-sees-past", "#20221: a watch of the future is told of older events"),
    ("stale-read", "#20418: a read shows what was before a pause"),
    ("partial-transaction", "half of a transaction survives a crash"),
    ("silent-expiry", "a lease ends without an event"),
    ("older-previous-value", "prev_kv is of a wrong revision"),
    ("compare-with-stale-state", "a condition is compared with an older state"),
    ("event-lost-after-catching-up", "an event is lost between history and the present: kine #220's kind"),
    ("lease-keeps-key", "a key dies with a lease that it was taken from"),
    ("revision-in-pieces", "the events of one revision come in several messages"),
];

/// One shape after the other.
fn plan(seed: u64) -> Plan {
    let usual = Plan { patience: Duration::from_secs(15), ..Plan::new(seed) };
    match seed % 6 {
        5 => Plan { operations: 600, stops: 4, kind: Kind::PowerFails, ..usual },
        0 => Plan { operations: 600, rest: Duration::from_millis(2500), kind: Kind::InProcess, ..usual },
        1 | 2 => Plan { operations: 800, stops: 2, kind: Kind::InProcess, ..usual },
        _ => Plan { operations: 400, stops: 4, ..usual },
    }
}

/// The hunter, in a process of its own, because a bug is chosen once for each.
#[test]
fn hunter() {
    if std::env::var_os(BUG).is_none() {
        return;
    }
    let (begun, mut figures) = (Instant::now(), Figures::default());
    for seed in 1.. {
        let found = match runtime().block_on(run(&plan(seed))) {
            Ok(run) => faults(&run, &mut figures).into_iter().next(),
            Err(why) => Some(format!("no answer: {why}")),
        };
        if let Some(fault) = found {
            let by = fault.split(':').next().unwrap_or_default();
            println!("FOUND {by}, in history {seed}: {}", fault.lines().next().unwrap_or_default());
            return;
        }
        if begun.elapsed() > HIDES_MAX {
            return;
        }
    }
}

/// Who finds `bug`, and when.
fn hunt(bug: &str) -> Option<(Duration, String)> {
    let begun = Instant::now();
    let hunter = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hunt::hunter", "--nocapture"])
        .env(BUG, bug)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&hunter.stdout).into_owned();
    let found = told.lines().find_map(|line| line.split_once("FOUND ").map(|(_, found)| found.to_owned()));
    // A bug may also kill whoever meets it.
    let found = found.or_else(|| (!hunter.status.success()).then(|| format!("a crash: {}", hunter.status)));
    found.map(|found| (begun.elapsed(), found))
}

#[test]
fn every_seeded_bug_is_found() {
    if std::env::var_os(BUG).is_some() {
        return;
    }
    let only = std::env::var("SKIFF_TRUTH_BUG").ok();
    let (mut took, mut missed) = (Vec::new(), Vec::new());
    for (bug, what) in BUGS.iter().filter(|(bug, _)| only.as_deref().is_none_or(|only| only == *bug)) {
        match hunt(bug) {
            Some((time, found)) => {
                println!("{bug} ({what}): found in {:.1} s by {found}", time.as_secs_f64());
                took.push(time);
            }
            None => {
                println!("{bug} ({what}): NOT FOUND");
                missed.push(bug);
            }
        }
    }
    took.sort();
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    println!(
        "seeded bugs: {} of {} found, median {:.1} s",
        took.len(),
        took.len() + missed.len(),
        median.as_secs_f64()
    );
    assert!(missed.is_empty(), "not found: {missed:?}");
}
