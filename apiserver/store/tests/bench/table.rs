//! The table that is printed, in Markdown.

use crate::load::Sample;
use std::fmt;
use std::time::Duration;

/// Rate, median and tail of one server.
#[derive(Debug, Clone, Copy)]
struct Figures {
    rate: f64,
    p50: Duration,
    p99: Duration,
    /// Of the server, for one answer.
    processor: Duration,
}

impl Figures {
    fn of(mut sample: Sample) -> Self {
        sample.took.sort_unstable();
        let at = |percent: usize| sample.took[(sample.took.len() * percent).div_ceil(100).max(1) - 1];
        let count = sample.took.len() as f64;
        Figures {
            rate: count / sample.elapsed.as_secs_f64(),
            p50: at(50),
            p99: at(99),
            processor: sample.processor.div_f64(count),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let micros = self.processor.as_secs_f64() * 1e6;
        write!(out, "{:.0}/s · {:.2} · {:.2} ms · {micros:.0} µs", self.rate, ms(self.p50), ms(self.p99))
    }
}

/// One line.
#[derive(Debug)]
pub(crate) struct Row {
    what: String,
    ours: Figures,
    etcd: Figures,
    /// Ours may take this part of etcd's p99.
    p99_goal: f64,
}

impl Row {
    /// Requests: at least 1.5 times as many, and a p99 below etcd's.
    pub(crate) fn new(what: String, ours: Sample, etcd: Sample) -> Self {
        Row { what, ours: Figures::of(ours), etcd: Figures::of(etcd), p99_goal: 1.0 }
    }

    /// Events: a p99 of at most half of etcd's.
    pub(crate) fn events(what: String, ours: Sample, etcd: Sample) -> Self {
        Row { p99_goal: 0.5, ..Row::new(what, ours, etcd) }
    }
}

/// A figure of which less is better.
#[derive(Debug)]
struct Amount {
    what: String,
    ours: String,
    etcd: String,
    ratio: f64,
    goal: Option<f64>,
}

/// Everything measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    amounts: Vec<Amount>,
}

impl Table {
    /// Adds a row, and shows it at once.
    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("{}", line(&row));
        self.rows.push(row);
    }

    /// Adds bytes that may be `goal` of etcd's.
    pub(crate) fn bytes(&mut self, what: &str, [ours, etcd]: [u64; 2], goal: Option<f64>) {
        let text = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        self.amount(what, [text(ours), text(etcd)], ours as f64 / etcd as f64, goal);
    }

    /// Adds times that may be `goal` of etcd's.
    pub(crate) fn times(&mut self, what: &str, [ours, etcd]: [Duration; 2], goal: Option<f64>) {
        let text = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
        self.amount(what, [text(ours), text(etcd)], ours.as_secs_f64() / etcd.as_secs_f64(), goal);
    }

    fn amount(&mut self, what: &str, [ours, etcd]: [String; 2], ratio: f64, goal: Option<f64>) {
        let amount = Amount { what: what.to_owned(), ours, etcd, ratio, goal };
        eprintln!("{}", amount_line(&amount));
        self.amounts.push(amount);
    }
}

/// `ratio`, and whether it was to be less than `goal`.
fn below(ratio: f64, goal: f64) -> String {
    if ratio <= goal { format!("{ratio:.2}") } else { format!("**{ratio:.2}**, missed") }
}

fn line(row: &Row) -> String {
    let rate = row.ours.rate / row.etcd.rate;
    let rate = if rate >= 1.5 { format!("{rate:.2}") } else { format!("**{rate:.2}**, missed") };
    let part = |ours: Duration, etcd: Duration| ours.as_secs_f64() / etcd.as_secs_f64();
    let p50 = part(row.ours.p50, row.etcd.p50);
    let p99 = below(part(row.ours.p99, row.etcd.p99), row.p99_goal);
    let processor = part(row.ours.processor, row.etcd.processor);
    format!("| {} | {rate} | {p50:.2} | {p99} | {processor:.2} | {} | {} |", row.what, row.ours, row.etcd)
}

fn amount_line(amount: &Amount) -> String {
    let ratio = amount.goal.map_or_else(|| format!("{:.2}", amount.ratio), |goal| below(amount.ratio, goal));
    let goal = amount.goal.map_or_else(String::new, |goal| format!("≤ {goal:.2}"));
    format!("| {} | {goal} | {ratio} | {} | {} |", amount.what, amount.ours, amount.etcd)
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.rows.is_empty() {
            writeln!(
                out,
                "\n| what | rate ÷ etcd's | p50 ÷ | p99 ÷ | processor ÷ | ours | etcd 3.5 |\n|---|---|---|---|---|---|---|"
            )?;
            self.rows.iter().try_for_each(|row| writeln!(out, "{}", line(row)))?;
        }
        if !self.amounts.is_empty() {
            writeln!(out, "\n| what | goal | ours ÷ etcd's | ours | etcd 3.5 |\n|---|---|---|---|---|")?;
            self.amounts.iter().try_for_each(|amount| writeln!(out, "{}", amount_line(amount)))?;
        }
        Ok(())
    }
}
