//! When to give a machine up. Pure: the caller tells what was heard and what time it is.
//!
//! ```text
//!  booting ──ready──► working ──done──► (the caller stops asking)
//!     └─ too long        └─ too long, or silent for too long
//! ```

use crate::error::Limit;
use std::time::{Duration, Instant};

/// How long a machine may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From its start until process 1 is ready. A boot that takes longer hangs, and is tried again.
    pub boot: Duration,
    /// How often it is started, if it does not become ready.
    pub boots_max: u32,
    /// From then until the suite has ended.
    pub total: Duration,
    /// Without a byte from the suite or the kernel.
    pub silence: Duration,
}

impl Default for Limits {
    /// A boot takes 5 to 15 s under emulation on an idle machine; the limits leave room for a busy one.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { boot: seconds(120), boots_max: 3, total: seconds(600), silence: seconds(120) }
    }
}

/// What the watchdog says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    HangsInBoot,
    Stop(Limit),
}

/// Watches one boot of a machine.
#[derive(Debug)]
pub(crate) struct Watch {
    limits: Limits,
    started: Instant,
    ready: Option<Instant>,
    heard: Instant,
}

impl Watch {
    pub(crate) fn new(limits: Limits, now: Instant) -> Self {
        Self { limits, started: now, ready: None, heard: now }
    }

    /// Something came from the machine.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Process 1 is ready.
    pub(crate) fn ready(&mut self, now: Instant) {
        self.ready = Some(now);
        self.heard = now;
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.is_some()
    }

    pub(crate) fn verdict(&self, now: Instant) -> Verdict {
        let passed = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        match self.ready {
            None if passed(self.started, self.limits.boot) => Verdict::HangsInBoot,
            Some(ready) if passed(ready, self.limits.total) => Verdict::Stop(Limit::Total(self.limits.total)),
            Some(_) if passed(self.heard, self.limits.silence) => Verdict::Stop(Limit::Silence(self.limits.silence)),
            _ => Verdict::GoOn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn watch() -> (Watch, Instant) {
        let start = Instant::now();
        let limits = Limits { boot: 10 * SECOND, boots_max: 1, total: 30 * SECOND, silence: 5 * SECOND };
        (Watch::new(limits, start), start)
    }

    #[test]
    fn a_boot_may_be_silent_but_not_long() {
        let (watch, start) = watch();
        assert_eq!(watch.verdict(start + 9 * SECOND), Verdict::GoOn);
        assert_eq!(watch.verdict(start + 10 * SECOND), Verdict::HangsInBoot);
    }

    #[test]
    fn a_suite_may_be_neither_silent_nor_long() {
        let (mut watch, start) = watch();
        watch.ready(start + 8 * SECOND);
        assert_eq!(watch.verdict(start + 12 * SECOND), Verdict::GoOn);
        assert_eq!(watch.verdict(start + 13 * SECOND), Verdict::Stop(Limit::Silence(5 * SECOND)));
        for second in 8..38 {
            watch.heard(start + second * SECOND);
            assert_eq!(watch.verdict(start + second * SECOND), Verdict::GoOn);
        }
        assert_eq!(watch.verdict(start + 38 * SECOND), Verdict::Stop(Limit::Total(30 * SECOND)));
    }
}
