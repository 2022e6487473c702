//! Measures what `docs/promises.md` states; see `README.md` beside this file.
//!
//! Does nothing unless `SKIFF_BENCH=1`: a figure depends on the machine, and is no test.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

mod pods; // how long pods take
mod resources; // what a node takes while nothing happens

use skiff_harness::TestNode;
use std::time::{Duration, Instant};

/// Runs of `up`.
const STARTS: usize = 10;

/// One line of the table.
struct Figure {
    what: String,
    value: String,
}

impl Figure {
    fn new(what: impl Into<String>, value: impl Into<String>) -> Self {
        Self { what: what.into(), value: value.into() }
    }
}

/// Milliseconds with one decimal.
fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// The value below which `percent` of the sorted `values` lie (nearest rank).
fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values[rank - 1]
}

fn time_to_ready() -> Vec<Figure> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let started = Instant::now();
        let node = TestNode::up(&[]);
        times.push(started.elapsed());
        node.down();
    }
    let (p50, worst) = (percentile(&mut times, 50), percentile(&mut times, 100));
    vec![
        Figure::new(format!("`up` to Ready, cold store, p50 of {STARTS}"), ms(p50)),
        Figure::new(format!("`up` to Ready, cold store, worst of {STARTS}"), ms(worst)),
    ]
}

#[test]
fn figures() {
    if std::env::var_os("SKIFF_BENCH").is_none() {
        return;
    }
    let mut figures = time_to_ready();
    let node = TestNode::up(&[]);
    figures.extend(resources::idle(&node));
    figures.extend(resources::with_pods(&node));
    node.down();
    // The pods' figures come from another node: what these leave behind in its memory is a figure of its own.
    let node = TestNode::up(&[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    figures.extend(runtime.block_on(pods::measure(&node)));
    figures.extend(resources::after_burst(&node));
    figures.extend(resources::sizes(&node));
    node.down();
    println!("| figure | value |\n|---|---|");
    for figure in figures {
        println!("| {} | {} |", figure.what, figure.value);
    }
}
