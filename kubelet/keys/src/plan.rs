//! When to ask for another certificate. No I/O.

use std::time::Duration;

/// The first moment, as a share of the certificate's life: what fails then can be tried again for long.
const FROM: f64 = 0.7;
/// Nodes that got theirs at once ask over this share of it, so that they do not ask at once again.
const SPREAD: f64 = 0.2;
/// A timer that is longer than this is set again: clocks may be changed meanwhile.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How long to wait at `now` for a certificate that holds from when until when; `share` (0 to 1) is this node's place in the spread. One that
/// cannot be read is asked for at once.
pub(crate) fn wait(validity: Option<(i64, i64)>, share: f64, now: i64) -> Duration {
    let Some((from, until)) = validity else { return Duration::ZERO };
    #[expect(clippy::cast_precision_loss, reason = "seconds of a certificate's life are far below 2^52")]
    let (life, age) = (until.saturating_sub(from) as f64, now.saturating_sub(from) as f64);
    let left = life * (FROM + SPREAD * share.clamp(0.0, 1.0)) - age;
    if left <= 0.0 { Duration::ZERO } else { Duration::try_from_secs_f64(left).unwrap_or(LONGEST).min(LONGEST) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn another_is_asked_for_when_most_of_the_life_is_over() {
        assert_eq!(wait(Some((0, 1000)), 0.0, 0), Duration::from_secs(700));
        assert_eq!(wait(Some((0, 1000)), 1.0, 100), Duration::from_secs(800));
        assert_eq!(wait(Some((0, 1000)), 0.0, 700), Duration::ZERO);
        assert_eq!(wait(Some((0, i64::from(i32::MAX))), 0.5, 0), LONGEST);
        assert_eq!(wait(None, 0.5, 0), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn it_is_never_after_the_end(from in 0i64..1 << 40, life in 1i64..1 << 32, share: f64, late in 0i64..1 << 33) {
            let now = from + late;
            let waited = wait(Some((from, from + life)), share, now);
            prop_assert!(waited.is_zero() || now + i64::try_from(waited.as_secs()).expect("a day at most") < from + life);
        }
    }
}
