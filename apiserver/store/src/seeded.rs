//! Mistakes that stores have made, to be made again on purpose: the positive controls of the tests in `tests/truth`.
//!
//! A suite that finds nothing proves something only if it finds what is there. Built with the feature `seeded`, the store makes
//! the mistake that `SKIFF_STORE_BUG` names, each at the place where it would be made; `tests/truth/hunt.rs` lists them.
//! Without the feature nothing is left of this, and a release build with it does not compile.

use crate::Revision;

#[cfg(all(feature = "seeded", not(debug_assertions)))]
compile_error!("the feature `seeded` makes a store that loses data: it is for tests of debug builds only");

/// Whether to make the mistake of this name.
#[cfg(feature = "seeded")]
pub(crate) fn is(name: &str) -> bool {
    use std::sync::LazyLock;
    static ASKED: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("SKIFF_STORE_BUG").ok());
    ASKED.as_deref() == Some(name)
}

/// Whether to make the mistake of this name: never.
#[cfg(not(feature = "seeded"))]
pub(crate) const fn is(_name: &str) -> bool {
    false
}

/// The revision to read at: with the mistake `stale-read`, one of up to five milliseconds ago.
#[cfg(feature = "seeded")]
pub(crate) fn stale(newest: Revision) -> Revision {
    use std::sync::{Mutex, PoisonError};
    use std::time::{Duration, Instant};
    static SEEN: Mutex<Option<(Instant, Revision)>> = Mutex::new(None);
    if !is("stale-read") {
        return newest;
    }
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    match *seen {
        Some((when, revision)) if when.elapsed() < Duration::from_millis(5) && revision <= newest => revision,
        _ => {
            *seen = Some((Instant::now(), newest));
            newest
        }
    }
}

/// The revision to read at: the newest.
#[cfg(not(feature = "seeded"))]
pub(crate) const fn stale(newest: Revision) -> Revision {
    newest
}

/// How far a watcher that has read history goes back: with `watch-goes-back` if it is still behind, with `duplicate-event`,
/// now and then, when it is not.
#[cfg(feature = "seeded")]
pub(crate) fn steps_back(behind: Revision) -> Revision {
    use std::sync::atomic::{AtomicU64, Ordering};
    static CAUGHT_UP: AtomicU64 = AtomicU64::new(0);
    let now_and_then = || CAUGHT_UP.fetch_add(1, Ordering::Relaxed).is_multiple_of(5);
    match behind {
        1.. if is("watch-goes-back") => 3,
        0 if is("duplicate-event") && now_and_then() => 1,
        _ => 0,
    }
}

/// How far a watcher that has read history goes back: not at all.
#[cfg(not(feature = "seeded"))]
pub(crate) const fn steps_back(_behind: Revision) -> Revision {
    0
}
