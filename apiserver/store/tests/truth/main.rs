//! Does the store tell the truth? Recorded histories with kills are checked for linearizability, and everything that watches
//! delivered is compared with them.
//!
//! ```text
//!  8 clients ──┐                         ┌── every call, its times, its outcome ──► linear: an order that explains all
//!  watchers  ──┼──► store, in a process ─┤                                             │ what happened at each revision
//!  compactor ──┘    that is killed       └── every message of every watch ───────► validate: nine promises
//! ```
//!
//! Ordinarily 50 histories and 100,000 delivered events; with `SKIFF_LONG=1` a thousand histories and ten million. `SKIFF_TRUTH`
//! sets the number of histories, `SKIFF_TRUTH_SEED` the first of their seeds.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../crash/amount.rs"]
mod amount; // what the computer below uses
mod checked; // the checker, checked
mod history; // what was asked and answered
#[cfg(feature = "seeded")]
mod hunt; // for bugs put there on purpose
mod linear; // is there an order
#[allow(dead_code)] // Others use more of it.
#[path = "../crash/machine.rs"]
mod machine; // a computer
mod model; // what the store is
#[allow(dead_code)]
#[path = "../crash/pages.rs"]
mod pages; // its files
#[allow(dead_code)]
#[path = "../crash/power.rs"]
mod power; // its end
mod promised; // the validators, checked
mod run; // everybody at once
mod server; // the store, and its killer
mod traffic; // what clients ask
mod validate; // what watches promise
mod watching; // what watches deliver
mod wire; // in etcd's words

use crate::linear::Verdict;
use crate::run::{Plan, Run, run};
use crate::server::Kind;
use crate::validate::{Truth, validate};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[test]
fn child_that_serves() {
    server::child();
}

/// What is wrong with a run, in words; empty: nothing. The first word says who found it.
pub(crate) fn faults(run: &Run, figures: &mut Figures) -> Vec<String> {
    let begun = Instant::now();
    let alone = linear::check(&run.operations, &HashMap::new());
    figures.took.push(begun.elapsed());
    match alone {
        Verdict::Legal(_) => (),
        Verdict::Illegal(why) => return vec![format!("linearizability: {why}")],
        Verdict::Undecided => return vec!["linearizability: undecided".to_owned()],
    }
    let persisted = match linear::check(&run.operations, &run.observed()) {
        Verdict::Legal(persisted) => persisted,
        Verdict::Illegal(why) => return vec![format!("observed: {why}")],
        Verdict::Undecided => return vec!["observed: undecided".to_owned()],
    };
    let broken = validate(&run.watches, &Truth::new(&persisted, &run.operations));
    broken.into_iter().map(|broken| format!("{}: {}", broken.promise, broken.how)).collect()
}

/// Over many runs.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    runs: usize,
    operations: usize,
    unknown: usize,
    watches: usize,
    delivered: usize,
    stops: usize,
    took: Vec<Duration>,
}

impl Figures {
    fn add(&mut self, plan: &Plan, run: &Run) {
        self.runs += 1;
        self.stops += plan.stops;
        self.operations += run.operations.len();
        self.unknown += run.operations.iter().filter(|operation| operation.end == history::NEVER).count();
        self.watches += run.watches.len();
        self.delivered += run.delivered;
    }

    fn print(&mut self, what: &str) {
        self.took.sort();
        let p99 = self.took.get((self.took.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default();
        println!(
            "{what}: {} histories, {} operations ({} without an answer), {} stops; {} watches, {} events delivered; \
             checker p99 {:.1} ms, worst {:.1} ms",
            self.runs,
            self.operations,
            self.unknown,
            self.stops,
            self.watches,
            self.delivered,
            p99.as_secs_f64() * 1e3,
            self.took.last().copied().unwrap_or_default().as_secs_f64() * 1e3,
        );
    }
}

pub(crate) fn long() -> bool {
    std::env::var_os("SKIFF_LONG").is_some()
}

pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs plans until `enough`, and fails with the first fault.
fn truthful(what: &str, plans: impl Iterator<Item = Plan>, enough: impl Fn(&Figures) -> bool) {
    // One at a time: a process being started holds every open file for a moment, and with it the lock of a store that is closed.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut figures = Figures::default();
    for plan in plans {
        let found = runtime().block_on(run(&plan)).unwrap_or_else(|error| panic!("{plan:?}: {error}"));
        figures.add(&plan, &found);
        let faults = faults(&found, &mut figures);
        assert!(faults.is_empty(), "{plan:?}: {} faults, the first: {}", faults.len(), faults[0]);
        if figures.runs % 50 == 0 && long() {
            figures.print(what);
        }
        if enough(&figures) {
            break;
        }
    }
    figures.print(what);
}

#[test]
fn killed_stores_tell_the_truth() {
    let (histories, operations) = if long() { (1000, 2000) } else { (30, 500) };
    let histories = number("SKIFF_TRUTH", histories);
    let first = number("SKIFF_TRUTH_SEED", 1);
    let plan = |seed: u64| Plan {
        operations,
        stops: 1 + usize::from(seed.is_multiple_of(3)),
        // Some wait for leases to end.
        rest: Duration::from_millis(if seed % 20 == 5 { 2500 } else { 0 }),
        ..Plan::new(seed)
    };
    truthful("killed", (first..).map(plan), |figures| figures.runs as u64 >= histories);
}

#[test]
fn reopened_stores_tell_the_truth() {
    let (histories, events) = if long() { (20, 10_000_000) } else { (20, 100_000) };
    let events = usize::try_from(number("SKIFF_TRUTH_EVENTS", events)).unwrap();
    let first = number("SKIFF_TRUTH_SEED", 1);
    let kind = |seed: u64| if seed.is_multiple_of(2) { Kind::PowerFails } else { Kind::InProcess };
    let plan = |seed| Plan { kind: kind(seed), operations: 1500, watchers: 24, stops: 2, ..Plan::new(seed) };
    let enough = |figures: &Figures| figures.runs >= histories && figures.delivered >= events;
    truthful("reopened", (first..).map(plan), enough);
}
