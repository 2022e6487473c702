//! How much is tried: little on every change, much when `SKIFF_LONG` is set, as much as somebody asks for.

use rand::SeedableRng;
use rand::rngs::StdRng;
use std::time::{Duration, Instant};

/// The number in `variable`, or what is usual: `ordinary`, `long` under `SKIFF_LONG`.
pub(crate) fn amount(variable: &str, ordinary: u64, long: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.replace('_', "").parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) if std::env::var_os("SKIFF_LONG").is_some() => long,
        Err(_) => ordinary,
    }
}

/// Where chance begins: `SKIFF_SEED`, or always the same.
pub(crate) fn first_seed() -> u64 {
    amount("SKIFF_SEED", 1, 1)
}

/// Chance, from a seed.
pub(crate) fn chance(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// Tells now and then how far a long test is.
pub(crate) struct Progress {
    what: &'static str,
    begun: Instant,
    told: Instant,
}

impl Progress {
    pub(crate) fn of(what: &'static str) -> Self {
        Progress { what, begun: Instant::now(), told: Instant::now() }
    }

    /// At most every ten seconds.
    pub(crate) fn tell(&mut self, done: u64, of: u64, more: &dyn std::fmt::Display) {
        if self.told.elapsed() > Duration::from_secs(10) {
            self.told = Instant::now();
            self.print(done, of, more);
        }
    }

    pub(crate) fn print(&self, done: u64, of: u64, more: &dyn std::fmt::Display) {
        let seconds = self.begun.elapsed().as_secs_f64();
        eprintln!("{}: {done} of {of} in {seconds:.1} s ({:.0}/s){more}", self.what, done as f64 / seconds);
    }
}
