//! Waits until something holds, with an end: a broken node fails a test, it does not hang it.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Long enough for a slow machine, short enough for a person who waits.
const USUALLY: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(25);

/// Tries `look` until it answers `Ok`; returns that.
///
/// # Panics
/// The time is over; the message holds the last `Err`.
pub fn eventually<T, E: Debug>(what: &str, look: impl FnMut() -> Result<T, E>) -> T {
    eventually_within(USUALLY, what, look)
}

/// Like [`eventually`] with another end.
///
/// # Panics
/// The time is over; the message holds the last `Err`.
pub fn eventually_within<T, E: Debug>(end: Duration, what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(last) => assert!(started.elapsed() < end, "{what}: not within {} s; last: {last:?}", end.as_secs()),
        }
        std::thread::sleep(PAUSE);
    }
}
