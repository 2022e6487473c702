//! How much a request is expected to do.

use std::time::Duration;

/// Work: seats times nanoseconds. Wide enough that a server's progress never comes to its end.
pub type SeatNanos = i128;

/// How long a request is expected to run before it has run (KEP-1040: the guess of the service time).
pub(crate) const EXPECTED: Duration = Duration::from_millis(3);

/// What a request needs: seats while it runs, and seats for a while after it has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Seats while it runs.
    pub initial_seats: u32,
    /// Seats after it has answered, while watchers are told.
    pub final_seats: u32,
    /// How long these are taken.
    pub latency: Duration,
}

impl Work {
    /// A request that runs in one seat, and is done when it has answered.
    pub const ONE: Self = Self::of(1);

    /// A request that runs in so many seats.
    #[must_use]
    pub const fn of(seats: u32) -> Self {
        Self { initial_seats: seats, final_seats: 0, latency: Duration::ZERO }
    }

    /// The seats that it is given: as many as it ever needs at once.
    #[must_use]
    pub fn seats(&self) -> u32 {
        self.initial_seats.max(self.final_seats)
    }

    /// Work after it has answered.
    #[must_use]
    pub fn final_work(&self) -> SeatNanos {
        product(self.final_seats, self.latency)
    }

    /// All work, with the expected time for what runs.
    #[must_use]
    pub fn total(&self) -> SeatNanos {
        product(self.initial_seats, EXPECTED) + self.final_work()
    }

    /// The same work in at most `limit` seats, for longer.
    #[must_use]
    pub(crate) fn narrowed(self, limit: u32) -> Self {
        if limit == 0 || self.final_seats <= limit {
            return self;
        }
        let nanos = self.final_work() / i128::from(limit);
        let latency = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Self { final_seats: limit, latency, ..self }
    }
}

/// Seats for a time.
#[must_use]
pub(crate) fn product(seats: u32, time: Duration) -> SeatNanos {
    SeatNanos::from(seats) * nanos(time)
}

/// A time in nanoseconds.
#[must_use]
pub(crate) fn nanos(time: Duration) -> SeatNanos {
    // Twenty-nine digits hold any duration.
    SeatNanos::try_from(time.as_nanos()).unwrap_or(SeatNanos::MAX)
}

/// Work as upstream writes it: seconds with eight digits, `0.00300000ss`.
#[must_use]
pub(crate) fn shown(work: SeatNanos) -> String {
    let hundred_millionths = work / 10;
    format!("{}.{:08}ss", hundred_millionths / 100_000_000, (hundred_millionths % 100_000_000).abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_work_takes_longer() {
        let work = Work { initial_seats: 1, final_seats: 10, latency: Duration::from_millis(5) };
        let narrow = work.narrowed(4);
        assert_eq!((narrow.final_seats, narrow.latency), (4, Duration::from_micros(12_500)));
        assert_eq!(narrow.final_work(), work.final_work());
        assert_eq!(work.narrowed(0), work);
        assert_eq!(work.seats(), 10);
    }

    #[test]
    fn work_is_shown_in_seat_seconds() {
        assert_eq!(shown(Work::ONE.total()), "0.00300000ss");
        assert_eq!(shown(product(3, Duration::from_secs(2))), "6.00000000ss");
    }
}
