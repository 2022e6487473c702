//! How much was done since the store was opened. Counting costs an addition; who asks puts it into words (see `etcd::probes`).

use crate::record::Record;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// So many more.
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// How many.
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// etcd's classes of disk latency: from a millisecond on, each twice the one before. What is longer is counted in none.
const CLASSES: usize = 14;

/// Durations by class.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    classes: [Counter; CLASSES],
    count: Counter,
    nanoseconds: Counter,
}

impl Durations {
    /// One more.
    pub(crate) fn add(&self, duration: Duration) {
        let fits = |class: &usize| duration <= bound(*class);
        if let Some(class) = (0..CLASSES).find(fits) {
            self.classes[class].add(1);
        }
        self.count.add(1);
        self.nanoseconds.add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many took at most so long, for each class.
    pub(crate) fn classes(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut sum = 0;
        self.classes.iter().enumerate().map(move |(class, counter)| {
            sum += counter.value();
            (bound(class), sum)
        })
    }

    /// How many there were, and how long they took together.
    pub(crate) fn total(&self) -> (u64, Duration) {
        (self.count.value(), Duration::from_nanos(self.nanoseconds.value()))
    }
}

fn bound(class: usize) -> Duration {
    Duration::from_millis(1 << class)
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Transactions, plain puts and deletions included.
    pub txns: Counter,
    /// Keys written.
    pub puts: Counter,
    /// Keys deleted.
    pub deletes: Counter,
    /// Ranges read, those of transactions not included.
    pub ranges: Counter,
    /// Leases granted.
    pub granted: Counter,
    /// Leases revoked, those whose time was over included.
    pub revoked: Counter,
    /// Leases whose time was over.
    pub expired: Counter,
    /// Leases kept alive.
    pub renewed: Counter,
    /// Watch streams opened.
    pub streams: Counter,
    /// Watch streams closed.
    pub streams_closed: Counter,
    /// Calls over gRPC.
    pub calls: crate::etcd::Calls,
    keys: AtomicI64,
}

impl Metrics {
    /// Of a store with so many keys.
    pub(crate) fn of(keys: usize) -> Self {
        Metrics { keys: AtomicI64::new(i64::try_from(keys).unwrap_or(i64::MAX)), ..Metrics::default() }
    }

    /// A write happened.
    pub(crate) fn wrote(&self, record: &Record) {
        if record.is_tombstone() {
            self.deletes.add(1);
            self.keys.fetch_sub(1, Relaxed);
            return;
        }
        self.puts.add(1);
        if record.version == 1 {
            self.keys.fetch_add(1, Relaxed);
        }
    }

    /// A write was taken back. That it was tried stays counted.
    pub(crate) fn took_back(&self, record: &Record) {
        if record.is_tombstone() {
            self.keys.fetch_add(1, Relaxed);
        } else if record.version == 1 {
            self.keys.fetch_sub(1, Relaxed);
        }
    }

    /// Keys that exist.
    pub(crate) fn keys(&self) -> i64 {
        self.keys.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_include_the_smaller_ones() {
        let durations = Durations::default();
        for milliseconds in [0, 1, 2, 3, 100_000] {
            durations.add(Duration::from_millis(milliseconds));
        }
        let classes: Vec<_> = durations.classes().map(|(_, count)| count).take(4).collect();
        assert_eq!(classes, [2, 3, 4, 4]);
        assert_eq!(durations.total().0, 5, "the last is longer than every class");
    }
}
