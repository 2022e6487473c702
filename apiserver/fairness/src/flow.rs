//! What is counted of the requests that one schema sends to one level.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Bounds of times, in seconds.
const TIMES: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
/// Bounds of numbers of seats.
const SEATS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];
/// Bounds of lengths of queues.
const LENGTHS: [f64; 8] = [0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
/// Bounds of numbers of watchers.
const WATCHERS: [f64; 6] = [0.0, 1.0, 10.0, 100.0, 1000.0, 10_000.0];

/// A histogram as Prometheus has it.
#[derive(Debug)]
pub(crate) struct Histogram {
    pub(crate) bounds: &'static [f64],
    /// How many were in each, those above the last bound at the end.
    counts: Box<[AtomicU64]>,
    /// In thousandths of millionths.
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a number.
    pub(crate) fn note(&self, number: u32) {
        self.add(f64::from(number), u64::from(number) * 1_000_000_000);
    }

    /// Counts a time, in seconds.
    pub(crate) fn note_time(&self, time: Duration) {
        self.add(time.as_secs_f64(), u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    fn add(&self, value: f64, billionths: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(billionths, Ordering::Relaxed);
    }

    /// How many there are up to each bound and altogether, and their sum.
    pub(crate) fn read(&self) -> (Vec<u64>, f64) {
        let mut total = 0;
        let mut sum_up = |count: &AtomicU64| {
            total += count.load(Ordering::Relaxed);
            total
        };
        let counts = self.counts.iter().map(&mut sum_up).collect();
        (counts, self.sum.load(Ordering::Relaxed) as f64 / 1e9)
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// Its queue is full.
    QueueFull,
    /// There is no free seat, and its level has no queues.
    ConcurrencyLimit,
    /// It has waited for too long, or its client is gone.
    TimeOut,
}

impl Rejection {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::QueueFull, Self::ConcurrencyLimit, Self::TimeOut];

    /// The reason, as metrics have it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::ConcurrencyLimit => "concurrency-limit",
            Self::TimeOut => "time-out",
        }
    }
}

/// The requests that one schema sends to one level.
#[derive(Debug)]
pub struct Flow {
    /// The schema's name.
    pub schema: Box<str>,
    pub(crate) waiting: Gauge,
    pub(crate) executing: Gauge,
    pub(crate) rejected: [AtomicU64; 3],
    pub(crate) dispatched: AtomicU64,
    pub(crate) unaccommodated: AtomicU64,
    pub(crate) queue_length: Histogram,
    pub(crate) seats: Histogram,
    pub(crate) waited: [Histogram; 2],
    pub(crate) executed: [Histogram; 2],
    pub(crate) watchers: Histogram,
}

/// Requests and their seats.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    pub(crate) requests: AtomicI64,
    pub(crate) seats: AtomicI64,
}

impl Gauge {
    pub(crate) fn enter(&self, seats: u32) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.seats.fetch_add(i64::from(seats), Ordering::Relaxed);
    }

    pub(crate) fn leave(&self, seats: u32) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.seats.fetch_sub(i64::from(seats), Ordering::Relaxed);
    }
}

impl Flow {
    /// Of the schema of this name.
    #[must_use]
    pub fn new(schema: &str) -> Arc<Self> {
        let times = || Histogram::new(&TIMES);
        Arc::new(Self {
            schema: schema.into(),
            waiting: Gauge::default(),
            executing: Gauge::default(),
            rejected: Default::default(),
            dispatched: AtomicU64::new(0),
            unaccommodated: AtomicU64::new(0),
            queue_length: Histogram::new(&LENGTHS),
            seats: Histogram::new(&SEATS),
            waited: [times(), times()],
            executed: [times(), times()],
            watchers: Histogram::new(&WATCHERS),
        })
    }

    /// So many seats were thought to be needed by one request.
    pub fn note_seats(&self, seats: u32) {
        self.seats.note(seats);
    }

    /// So many watchers were told of one write.
    pub fn note_watchers(&self, watchers: u32) {
        self.watchers.note(watchers);
    }

    /// A request waited for so long, and then was executed or not.
    pub fn note_wait(&self, time: Duration, executed: bool) {
        self.waited[usize::from(executed)].note_time(time);
    }

    /// A request, or the beginning of a watch, took so long.
    pub fn note_execution(&self, time: Duration, watch: bool) {
        self.executed[usize::from(watch)].note_time(time);
    }

    /// Requests that were executed, and those that were refused for a reason.
    #[must_use]
    pub fn outcomes(&self) -> (u64, [u64; 3]) {
        let rejected = self.rejected.each_ref().map(|count| count.load(Ordering::Relaxed));
        (self.dispatched.load(Ordering::Relaxed), rejected)
    }

    pub(crate) fn reject(&self, why: Rejection) {
        self.rejected[why as usize].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_count_up_to_their_bounds() {
        let histogram = Histogram::new(&SEATS);
        for seats in [1, 2, 3, 8, 101] {
            histogram.note(seats);
        }
        assert_eq!(histogram.read(), (vec![1, 2, 3, 4, 4, 4, 4, 4, 5], 115.0));
    }
}
