//! How many seats a level could use, over a time: average, deviation and the most.

use std::time::Duration;

/// Follows a number of seats.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demand {
    since: Duration,
    now: f64,
    most: f64,
    /// Integrals over the time, in seconds: of one, of the number, of its square.
    seconds: f64,
    sum: f64,
    squares: f64,
}

/// What was seen of a demand.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Seen {
    /// Over how many seconds.
    pub seconds: f64,
    /// Time-weighted.
    pub average: f64,
    /// Standard deviation.
    pub deviation: f64,
    /// High watermark.
    pub most: f64,
}

impl Demand {
    /// Begins at a time.
    #[must_use]
    pub fn since(time: Duration) -> Self {
        Self { since: time, ..Self::default() }
    }

    /// So many seats could be used from `time` on.
    pub fn set(&mut self, time: Duration, seats: f64) {
        self.advance(time);
        self.now = seats;
        self.most = self.most.max(seats);
    }

    /// What was seen until `time`; another period begins then.
    pub fn take(&mut self, time: Duration) -> Seen {
        self.advance(time);
        let seen = self.seen();
        *self = Self { since: self.since, now: self.now, most: self.now, ..Self::default() };
        seen
    }

    fn advance(&mut self, time: Duration) {
        let seconds = time.saturating_sub(self.since).as_secs_f64();
        self.since = self.since.max(time);
        self.seconds += seconds;
        self.sum += seconds * self.now;
        self.squares += seconds * self.now * self.now;
    }

    fn seen(&self) -> Seen {
        if self.seconds <= 0.0 {
            return Seen { most: self.most, ..Seen::default() };
        }
        let average = self.sum / self.seconds;
        let variance = self.squares / self.seconds - average * average;
        Seen { seconds: self.seconds, average, deviation: variance.max(0.0).sqrt(), most: self.most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_has_moments() {
        let at = Duration::from_secs;
        let mut demand = Demand::since(at(10));
        demand.set(at(10), 4.0);
        demand.set(at(11), 8.0);
        demand.set(at(12), 2.0);
        let seen = demand.take(at(12));
        assert_eq!(seen, Seen { seconds: 2.0, average: 6.0, deviation: 2.0, most: 8.0 });
        // The new period begins with what there is.
        assert_eq!(demand.take(at(14)), Seen { seconds: 2.0, average: 2.0, deviation: 0.0, most: 2.0 });
        assert_eq!(demand.take(at(14)), Seen { most: 2.0, ..Seen::default() });
    }
}
