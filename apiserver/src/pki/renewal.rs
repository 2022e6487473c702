//! When certificates are issued again: before they end, while the program runs.
//!
//! The plan is pure ([`due`], [`rest`]); [`Pki::keep`] acts on it.

use super::{Pki, PkiError};
use jiff::Timestamp;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// From when until when a certificate holds, seconds since 1970.
pub(super) type Validity = (i64, i64);

/// Of a certificate's life, in hundredths, after which it may be issued again, and after which it is. Kubelets do it as late, and not all
/// at once.
const DUE_FROM: i64 = 70;
const DUE_UNTIL: i64 = 90;
/// The shortest rest behind a certificate that was issued: a clock that jumps about must not keep us busy.
const REST_MIN: Duration = Duration::from_secs(60);
/// The longest. A clock may be set meanwhile, and nobody tells.
const REST_MAX: Duration = Duration::from_secs(3600);

/// Whether a certificate may be issued again at `now`: its time comes to its end, or has not begun because a clock was set back.
pub(super) fn may_be_renewed((from, until): Validity, now: i64) -> bool {
    now < from || now >= due((from, until), 0.0)
}

/// When a certificate is issued again; `chance`, from 0 to 1, says how late in the time that there is for it.
fn due((from, until): Validity, chance: f64) -> i64 {
    let hundredths = |share: i64| from.saturating_add(until.saturating_sub(from) / 100 * share);
    let (first, last) = (hundredths(DUE_FROM), hundredths(DUE_UNTIL));
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "seconds of a life of years fit")]
    let later = ((last - first) as f64 * chance.clamp(0.0, 1.0)) as i64;
    first + later
}

/// How long to rest before it is looked again, and whether the first of `all` is due at `now` already.
fn rest(all: &[Validity], chance: f64, now: i64) -> (Duration, bool) {
    let left = |one: &Validity| if now < one.0 { 0 } else { due(*one, chance).saturating_sub(now).max(0) };
    let left = all.iter().map(left).min().unwrap_or(i64::MAX);
    (Duration::from_secs(u64::try_from(left).unwrap_or(0)).min(REST_MAX), left == 0)
}

impl Pki {
    /// Issues certificates again before they end, until `until`, and hands over the keys each time; what fails is tried again in an hour.
    pub async fn keep(self, until: CancellationToken, hand_over: impl Fn(&Self) + Send + Sync) {
        self.keep_by(|| Timestamp::now().as_second(), until, hand_over).await;
    }

    async fn keep_by(
        mut self,
        clock: impl Fn() -> i64 + Send + Sync,
        until: CancellationToken,
        hand_over: impl Fn(&Self) + Send + Sync,
    ) {
        let chance = rand::random::<f64>();
        let kept = async {
            loop {
                let (wait, is_due) = rest(&self.validities(), chance, clock());
                if !is_due {
                    tokio::time::sleep(wait).await;
                    continue;
                }
                match self.again().await {
                    Ok(next) => {
                        tracing::info!(folder = %next.directory.display(), "certificates were issued again");
                        hand_over(&next);
                        self = next;
                        tokio::time::sleep(REST_MIN).await;
                    }
                    Err(error) => {
                        tracing::warn!(error = skiff_client::sentence(&error), "certificates are not issued again");
                        tokio::time::sleep(REST_MAX).await;
                    }
                }
            }
        };
        until.run_until_cancelled(kept).await;
    }

    /// The same keys, with new certificates where that is due.
    async fn again(&self) -> Result<Self, PkiError> {
        let (directory, sans) = (self.directory.clone(), self.sans.clone());
        let made = tokio::task::spawn_blocking(move || Self::open_or_create(&directory, &sans)).await;
        made.unwrap_or_else(|error| {
            let source = std::io::Error::other(error);
            Err(PkiError::File { operation: "renew", path: self.directory.clone(), source })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn certificates_are_issued_again_late_in_their_life() {
        let year = (0, 1000);
        for (now, chance, expected) in [
            (0, 0.0, (700, false)),
            (0, 1.0, (900, false)),
            (0, 0.5, (800, false)),
            (799, 0.5, (1, false)),
            (800, 0.5, (0, true)),
            (2000, 0.5, (0, true)),
            // The clock was set back to before it began.
            (-1, 0.5, (0, true)),
        ] {
            let (seconds, is_due) = expected;
            assert_eq!(rest(&[year], chance, now), (Duration::from_secs(seconds), is_due), "{now} {chance}");
        }
        assert_eq!(rest(&[year, (0, 100)], 0.0, 0), (Duration::from_secs(70), false), "the first counts");
        assert_eq!(rest(&[(0, i64::MAX)], 0.0, 0), (REST_MAX, false), "a clock may be set");
        assert_eq!(rest(&[], 0.0, 0), (REST_MAX, false));
    }

    #[tokio::test]
    async fn what_was_issued_again_is_handed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let pki = Pki::open_or_create(folder.path(), &[]).expect("keys");
        let (fresh, first) = (pki.validities()[0], pki.server().private_key.clone());
        for (at, is_due) in [(fresh.1, true), (fresh.0, false)] {
            let (send, mut handed) = tokio::sync::mpsc::unbounded_channel();
            let until = CancellationToken::new();
            let hand_over = move |next: &Pki| drop(send.send(next.server().private_key.clone()));
            let kept = tokio::spawn(pki.clone().keep_by(move || at, until.clone(), hand_over));
            if is_due {
                assert_eq!(handed.recv().await.as_ref(), Some(&first), "the key stays");
            }
            until.cancel();
            kept.await.expect("it ends when it is told to");
            assert!(handed.recv().await.is_none(), "once is enough");
        }
    }

    proptest! {
        /// Whatever is due may be renewed: nothing is looked at again and again without being issued.
        #[test]
        fn what_is_due_is_issued(from in -1_000_000i64..1_000_000, life in 1i64..1_000_000_000, chance in 0.0f64..1.0, at in -2_000_000i64..2_000_000_000) {
            let one = (from, from + life);
            let (wait, is_due) = rest(&[one], chance, at);
            prop_assert!(wait <= REST_MAX);
            if is_due {
                prop_assert!(may_be_renewed(one, at));
            }
            let due = due(one, chance);
            prop_assert!(due <= one.1 && due >= from + life / 100 * DUE_FROM);
        }
    }
}
