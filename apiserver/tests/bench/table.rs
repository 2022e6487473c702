//! The table that is printed, in Markdown.

use crate::load::Sample;
use std::fmt;
use std::time::Duration;

/// Everything measured, a line each.
#[derive(Debug)]
pub(crate) struct Table {
    /// Rates that are wanted, as multiples of kube-apiserver's.
    rate_goal: f64,
    rates: Vec<String>,
    amounts: Vec<String>,
    tails: Vec<String>,
}

/// A victim's p99 under a flood that is wanted, as a multiple of its p99 alone.
const TAIL_GOAL: f64 = 2.0;

/// Rate, median, tail and processor time for one answer.
fn figures(sample: &mut Sample) -> (f64, String) {
    let (p50, p99) = (percentile(sample, 50), percentile(sample, 99));
    let count = sample.took.len() as f64;
    let rate = count / sample.elapsed.as_secs_f64();
    let micros = sample.processor.as_secs_f64() * 1e6 / count;
    (rate, format!("{rate:.0}/s · {p50:.2} · {p99:.2} ms · {micros:.0} µs"))
}

/// How many milliseconds so many percent of the answers took at most.
fn percentile(sample: &mut Sample, percent: usize) -> f64 {
    sample.took.sort_unstable();
    sample.took[(sample.took.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1e3
}

impl Table {
    /// An empty one.
    pub(crate) fn wanting(rate_goal: f64) -> Self {
        Self { rate_goal, rates: Vec::new(), amounts: Vec::new(), tails: Vec::new() }
    }

    /// Adds requests in a closed loop, and shows them at once.
    pub(crate) fn rate(&mut self, what: String, mut ours: Sample, mut theirs: Sample) {
        let ((ours, our_words), (theirs, their_words)) = (figures(&mut ours), figures(&mut theirs));
        let ratio = ours / theirs;
        let shown = if ratio >= self.rate_goal { format!("{ratio:.2}") } else { format!("**{ratio:.2}**, missed") };
        let line = format!("| {what} | {shown} | {our_words} | {their_words} |");
        eprintln!("{line}");
        self.rates.push(line);
    }

    /// Says that a server does not do what a row asks.
    pub(crate) fn refused(&mut self, what: &str, code: http::StatusCode, answer: &str) {
        let line = format!("| {what} | not served: {code} | | |");
        eprintln!("{line} {answer}");
        self.rates.push(line);
    }

    /// Adds bytes that may be `goal` of the other's.
    pub(crate) fn bytes(&mut self, what: &str, [ours, theirs]: [u64; 2], goal: f64) {
        let text = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        self.amount(what, [text(ours), text(theirs)], ours as f64 / theirs as f64, goal);
    }

    /// Adds times that may be `goal` of the other's.
    pub(crate) fn times(&mut self, what: &str, [ours, theirs]: [Duration; 2], goal: f64) {
        let text = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
        self.amount(what, [text(ours), text(theirs)], ours.as_secs_f64() / theirs.as_secs_f64(), goal);
    }

    /// Adds a client's answers when it is alone and when another floods the server, of both servers.
    pub(crate) fn tails(&mut self, what: &str, [ours, theirs]: [[Sample; 2]; 2]) {
        let told = |[mut alone, mut flooded]: [Sample; 2]| {
            let (alone, flooded) = (percentile(&mut alone, 99), percentile(&mut flooded, 99));
            let ratio = flooded / alone;
            (ratio, format!("{ratio:.2}: {alone:.2} → {flooded:.2} ms"))
        };
        let ((ratio, ours), (_, theirs)) = (told(ours), told(theirs));
        let ours = if ratio <= TAIL_GOAL { ours } else { format!("**{ours}**, missed") };
        let line = format!("| {what} | ≤ {TAIL_GOAL} | {ours} | {theirs} |");
        eprintln!("{line}");
        self.tails.push(line);
    }

    fn amount(&mut self, what: &str, [ours, theirs]: [String; 2], ratio: f64, goal: f64) {
        let shown = if ratio <= goal { format!("{ratio:.2}") } else { format!("**{ratio:.2}**, missed") };
        let line = format!("| {what} | ≤ {goal} | {shown} | {ours} | {theirs} |");
        eprintln!("{line}");
        self.amounts.push(line);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "\n| what | rate ÷ kube-apiserver's | ours: rate · p50 · p99 · processor | kube-apiserver with etcd |\n|---|---|---|---|"
        )?;
        self.rates.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        let amounts =
            "| what | goal | ours ÷ kube-apiserver's | ours | kube-apiserver with etcd |\n|---|---|---|---|---|";
        let tails = "| p99 under a flood ÷ alone | goal | ours | kube-apiserver with etcd |\n|---|---|---|---|";
        for (head, lines) in [(amounts, &self.amounts), (tails, &self.tails)] {
            if !lines.is_empty() {
                writeln!(out, "\n{head}")?;
                lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
            }
        }
        Ok(())
    }
}
