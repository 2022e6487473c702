//! Warnings that come again: one cause is told once a minute, whoever tries again every second.
//!
//! A cause is a place in the program with what it says, values included: another pod or another error is another cause.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// How often one cause is told.
const PERIOD: Duration = Duration::from_secs(60);
/// How many causes are remembered: some 100 KiB. With more of them in a minute, some are told again.
const REMEMBERED_MAX: usize = 4096;

/// Lets each warning and error through once a minute, and all else always.
#[derive(Default)]
pub(crate) struct OnceAMinute(Mutex<HashMap<u64, Instant>>);

impl OnceAMinute {
    /// Whether `cause` is told, at `now`.
    fn is_told(&self, cause: u64, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(&cause).is_some_and(|at| now.duration_since(*at) < PERIOD) {
            return false;
        }
        if told.len() >= REMEMBERED_MAX {
            told.retain(|_, at| now.duration_since(*at) < PERIOD);
        }
        if told.len() >= REMEMBERED_MAX {
            told.clear();
        }
        told.insert(cause, now);
        true
    }
}

impl<S: Subscriber> Filter<S> for OnceAMinute {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN {
            return true;
        }
        let mut cause = Cause(DefaultHasher::new());
        metadata.callsite().hash(&mut cause.0);
        event.record(&mut cause);
        self.is_told(cause.0.finish(), Instant::now())
    }
}

struct Cause(DefaultHasher);

impl std::fmt::Write for Cause {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        text.hash(&mut self.0);
        Ok(())
    }
}

impl Visit for Cause {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        field.name().hash(&mut self.0);
        // Nothing here can fail but the value's own form, which the line itself would show.
        let _written = std::fmt::Write::write_fmt(self, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn a_cause_is_told_again_after_a_minute() {
        let (filter, start) = (OnceAMinute::default(), Instant::now());
        let told = |cause, seconds| filter.is_told(cause, start + Duration::from_secs(seconds));
        assert_eq!([told(1, 0), told(1, 59), told(2, 59), told(1, 60), told(1, 61)], [true, false, true, true, false]);
        let all: Vec<_> = (10..20_000).map(|cause| told(cause, 61)).collect();
        assert!(all.iter().all(|told| *told) && filter.0.lock().unwrap().len() <= REMEMBERED_MAX);
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn another_value_is_another_cause_and_news_is_always_told() {
        let lines = Lines::default();
        let into = lines.clone();
        let log = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || into.clone());
        let all = tracing_subscriber::registry().with(log.with_filter(OnceAMinute::default()));
        tracing::subscriber::with_default(all, || {
            for number in 0..6 {
                tracing::warn!(pod = number / 3, "it does not start");
                tracing::info!("news");
            }
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
        assert_eq!((count("pod=0"), count("pod=1"), count("news")), (1, 1, 6), "{text}");
    }
}
