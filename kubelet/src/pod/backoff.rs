//! When something that failed may be tried again: doubling delays with a ceiling, forgotten after a quiet time.
//!
//! Pure: the caller passes the time.

use jiff::{SignedDuration, Timestamp};

/// How delays grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// The first delay, seconds.
    pub(crate) first_seconds: i64,
    /// The ceiling, seconds.
    pub(crate) max_seconds: i64,
    /// After this many quiet seconds the next delay is the first one again.
    pub(crate) reset_seconds: i64,
}

/// Restarts of containers and pulls of images (Kubernetes, Pod Lifecycle: "10s, 20s, 40s, … capped at 300 seconds",
/// reset after ten minutes without problems).
pub(crate) const RESTARTS: Pace = Pace { first_seconds: 10, max_seconds: 300, reset_seconds: 600 };
/// Everything else that may heal by itself soon: a missing config map, a sandbox that did not come up.
pub(crate) const RETRIES: Pace = Pace { first_seconds: 1, max_seconds: 30, reset_seconds: 120 };

/// The memory of one thing that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Backoff {
    delay_seconds: i64,
    noted_at: Option<Timestamp>,
}

impl Backoff {
    /// Notes one more try at `now`: the next has to wait longer.
    pub(crate) fn note(&mut self, pace: Pace, now: Timestamp) {
        let quiet = self.noted_at.is_some_and(|at| now.duration_since(at).as_secs() >= pace.reset_seconds);
        self.delay_seconds = match self.delay_seconds {
            0 => pace.first_seconds,
            _ if quiet => pace.first_seconds,
            delay => (delay * 2).min(pace.max_seconds),
        };
        self.noted_at = Some(now);
    }

    /// How long to wait now, seconds; 0 before the first failure and after a quiet time.
    pub(crate) fn delay_seconds(&self, pace: Pace, since: Timestamp) -> i64 {
        match self.noted_at {
            Some(at) if since.duration_since(at).as_secs() < pace.reset_seconds => self.delay_seconds,
            _ => 0,
        }
    }

    /// The moment after which something that ended at `since` may be tried again. A delay does not outlast its memory: what the last
    /// start was noted for is forgotten while it waits.
    pub(crate) fn due(&self, pace: Pace, since: Timestamp) -> Timestamp {
        let after = |at: Timestamp, seconds| at.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(at);
        let due = after(since, self.delay_seconds(pace, since));
        self.noted_at.map_or(due, |at| due.min(after(at, pace.reset_seconds)).max(since))
    }

    /// The moment after which the last noted failure may be tried again; the past when there was none.
    pub(crate) fn retry_at(&self, pace: Pace) -> Timestamp {
        self.noted_at.map_or(Timestamp::UNIX_EPOCH, |at| self.due(pace, at))
    }

    /// Forgets every failure.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn delays_double_up_to_the_ceiling() {
        let (mut backoff, mut seen) = (Backoff::default(), vec![]);
        for n in 0..7 {
            seen.push(backoff.delay_seconds(RESTARTS, at(n)));
            backoff.note(RESTARTS, at(n));
        }
        assert_eq!(seen, [0, 10, 20, 40, 80, 160, 300]);
    }

    #[test]
    fn a_quiet_time_resets() {
        let mut backoff = Backoff::default();
        backoff.note(RESTARTS, at(0));
        backoff.note(RESTARTS, at(1));
        assert_eq!(backoff.due(RESTARTS, at(580)), at(600));
        // Forgotten at 601, while it would wait.
        assert_eq!(backoff.due(RESTARTS, at(590)), at(601));
        assert_eq!(backoff.due(RESTARTS, at(601)), at(601));
        backoff.note(RESTARTS, at(700));
        assert_eq!(backoff.delay_seconds(RESTARTS, at(701)), 10);
    }

    proptest! {
        #[test]
        fn a_delay_never_leaves_its_bounds(steps in proptest::collection::vec(0i64..1000, 1..40)) {
            let (mut backoff, mut now) = (Backoff::default(), 0);
            for step in steps {
                now += step;
                backoff.note(RESTARTS, at(now));
                let delay = backoff.delay_seconds(RESTARTS, at(now));
                prop_assert!((10..=300).contains(&delay));
            }
        }
    }
}
