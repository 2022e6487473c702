//! Two answers of one kubelet, and when it is asked again. Pure: the caller passes the time.

use super::scrape::Scrape;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an answer is as good as a new one; autoscalers ask every 15 s and always get new figures.
const FRESH: Duration = Duration::from_secs(10);
/// How far two answers are apart at least.
const APART: Duration = Duration::from_secs(1);
/// How old an answer may be that a new one is compared with: a rate over a longer time says little of now.
const OLD: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Samples {
    before: Option<Arc<Scrape>>,
    last: Option<(Instant, Arc<Scrape>)>,
    /// When it last did not answer.
    failed: Option<Instant>,
}

/// What is counted, and what was counted before.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    pub(super) before: Arc<Scrape>,
    pub(super) last: Arc<Scrape>,
}

/// What is to be done to know.
#[derive(Debug)]
pub(super) enum Next {
    Known(Counted),
    Ask,
    Wait(Duration),
    /// It has not answered a moment ago.
    Silent,
}

impl Samples {
    pub(super) fn next(&self, now: Instant) -> Next {
        let age = |at: Instant| now.saturating_duration_since(at);
        if self.failed.is_some_and(|at| age(at) < FRESH) {
            return Next::Silent;
        }
        match (&self.before, &self.last) {
            (Some(before), Some((at, last))) if age(*at) < FRESH => {
                Next::Known(Counted { before: Arc::clone(before), last: Arc::clone(last) })
            }
            (_, Some((at, _))) if age(*at) < APART => Next::Wait(APART - age(*at)),
            _ => Next::Ask,
        }
    }

    pub(super) fn take(&mut self, now: Instant, scrape: Scrape) {
        let last = self.last.take().filter(|(at, _)| now.saturating_duration_since(*at) <= OLD);
        self.before = last.map(|(_, scrape)| scrape);
        self.last = Some((now, Arc::new(scrape)));
        self.failed = None;
    }

    pub(super) fn fail(&mut self, now: Instant) {
        self.failed = Some(now);
    }

    /// Whether nothing of it is worth keeping.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let old = |at: Instant| now.saturating_duration_since(at) > OLD;
        self.last.as_ref().is_none_or(|(at, _)| old(*at)) && self.failed.is_none_or(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_is_asked_twice_then_seldom_and_anew_after_a_long_time() {
        let (mut samples, start) = (Samples::default(), Instant::now());
        let after = |ms: u64| start + Duration::from_millis(ms);
        let step = |samples: &Samples, ms| {
            format!("{:?}", samples.next(after(ms))).split(['(', ' ']).next().map(str::to_owned).unwrap()
        };
        assert_eq!(step(&samples, 0), "Ask");
        samples.take(start, Scrape::default());
        assert_eq!([step(&samples, 0), step(&samples, 1000)], ["Wait", "Ask"]);
        samples.take(after(1000), Scrape::default());
        assert_eq!([step(&samples, 1000), step(&samples, 10_999), step(&samples, 11_000)], ["Known", "Known", "Ask"]);
        samples.take(after(16_000), Scrape::default());
        assert_eq!(step(&samples, 16_000), "Known");
        assert!(samples.is_over(after(100_000)) && !samples.is_over(after(70_000)));
        samples.take(after(100_000), Scrape::default());
        assert_eq!(step(&samples, 100_000), "Wait", "what was counted long ago is no measure");
        samples.fail(after(101_000));
        assert_eq!([step(&samples, 102_000), step(&samples, 111_000)], ["Silent", "Ask"]);
    }
}
