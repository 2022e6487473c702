//! How much of the processors something uses just now, from how much it has used so far.

/// Asked again sooner, the answer stays: so short a span tells more of the kernel's ticks than of who uses them.
const SPAN_NS_MIN: i64 = 1_000_000_000;

/// Processor time used until a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Since the epoch.
    pub(crate) at_ns: i64,
    pub(crate) used_ns: u64,
}

/// What was seen last, and what it came to.
#[derive(Debug, Default)]
pub(crate) struct Pace(Option<(Sample, u64)>);

impl Pace {
    /// Nanoseconds of processor time in a second: since it was last asked, and the first time since it `began`.
    pub(crate) fn at(&mut self, began_ns: i64, now: Sample) -> u64 {
        let before = match self.0 {
            Some((before, nano_cores)) if now.at_ns.saturating_sub(before.at_ns) < SPAN_NS_MIN => return nano_cores,
            Some((before, _)) => before,
            None => Sample { at_ns: began_ns, used_ns: 0 },
        };
        let span = u128::try_from(now.at_ns.saturating_sub(before.at_ns)).unwrap_or(0).max(1);
        let used = u128::from(now.used_ns.saturating_sub(before.used_ns));
        let nano_cores = u64::try_from(used * 1_000_000_000 / span).unwrap_or(u64::MAX);
        self.0 = Some((now, nano_cores));
        nano_cores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault C6.
    #[test]
    fn the_first_answer_is_since_the_beginning_and_the_next_since_then() {
        const SECOND: i64 = 1_000_000_000;
        let sample = |at_ns, used_ns| Sample { at_ns, used_ns };
        let mut pace = Pace::default();
        assert_eq!(pace.at(10 * SECOND, sample(12 * SECOND, 1_000_000_000)), 500_000_000);
        assert_eq!(pace.at(10 * SECOND, sample(12 * SECOND + 5, 1_500_000_000)), 500_000_000, "too soon");
        assert_eq!(pace.at(10 * SECOND, sample(14 * SECOND, 5_000_000_000)), 2_000_000_000);
        // A clock that was set back, a cgroup that was made anew.
        assert_eq!(pace.at(10 * SECOND, sample(SECOND, 5_000_000_000)), 2_000_000_000);
        assert_eq!(pace.at(10 * SECOND, sample(16 * SECOND, 7)), 0);
    }
}
