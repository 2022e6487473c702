//! How single answers add up to a verdict.
//!
//! Pure. A verdict changes after `successThreshold` good answers or `failureThreshold` bad ones in a row (Kubernetes,
//! "Configure Probes"); it is announced when it changes, and a bad one again with every further bad answer, because the
//! worker may have lost interest in an instance and gained it again.

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Bad,
}

/// The answers since the last change.
#[derive(Debug)]
pub(super) struct Streak {
    successes_needed: u32,
    failures_needed: u32,
    last: Option<bool>,
    length: u32,
    verdict: Option<Verdict>,
}

fn threshold(value: Option<i32>, default: u32) -> u32 {
    value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
}

impl Streak {
    /// With the probe's thresholds; Kubernetes' defaults are 1 and 3.
    pub(super) fn new(successes: Option<i32>, failures: Option<i32>) -> Self {
        let (successes_needed, failures_needed) = (threshold(successes, 1), threshold(failures, 3));
        Self { successes_needed, failures_needed, last: None, length: 0, verdict: None }
    }

    /// Counts an answer; the verdict to announce, if there is one.
    pub(super) fn count(&mut self, good: bool) -> Option<Verdict> {
        self.length = if self.last == Some(good) { self.length.saturating_add(1) } else { 1 };
        self.last = Some(good);
        let (needed, verdict) =
            if good { (self.successes_needed, Verdict::Good) } else { (self.failures_needed, Verdict::Bad) };
        if self.length < needed || self.verdict == Some(verdict) && verdict == Verdict::Good {
            return None;
        }
        self.verdict = Some(verdict);
        self.verdict
    }

    /// Whether the last verdict was good.
    pub(super) fn is_good(&self) -> bool {
        self.verdict == Some(Verdict::Good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(successes: i32, failures: i32, answers: &str, expected: &str) {
        let mut streak = Streak::new(Some(successes), Some(failures));
        let said: String = answers
            .chars()
            .map(|answer| match streak.count(answer == '+') {
                None => '.',
                Some(Verdict::Good) => 'G',
                Some(Verdict::Bad) => 'B',
            })
            .collect();
        assert_eq!(said, expected, "{answers}");
    }

    #[test]
    fn verdicts() {
        check(1, 3, "+++--+---", "G.......B");
        check(2, 1, "+-++", ".B.G");
        check(1, 2, "----", ".BBB");
    }
}
