//! How far long work has come: one line on stderr that is written over, if somebody looks.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Often enough for an eye.
const PAUSE: Duration = Duration::from_millis(100);

/// Seconds are shown.
const PAUSE_OF_WAITING: Duration = Duration::from_secs(1);

/// See the module. Dropped: the line is gone.
pub(super) struct Progress {
    shown: Option<Instant>,
    on: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { shown: None, on: stderr().is_terminal() }
    }

    /// Shows `text`, unless it did so just now.
    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.on && self.shown.is_none_or(|at| at.elapsed() > PAUSE) {
            self.shown = Some(Instant::now());
            self.write(&text());
        }
    }

    fn write(&self, text: &str) {
        // Whoever cannot be shown anything is not told why.
        let _nobody_can_be_told = write!(stderr(), "\r\x1b[K{text}").and_then(|()| stderr().flush());
    }
}

/// The result of `work`, which cannot say how far it is: only for how long it has been at it.
pub(super) async fn watched<T>(what: &str, work: impl Future<Output = T>) -> T {
    let (started, mut progress) = (Instant::now(), Progress::new());
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(PAUSE_OF_WAITING, &mut work).await {
            Ok(result) => return result,
            Err(_) => progress.show(|| format!("{what}, {} s", started.elapsed().as_secs())),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            self.write("");
        }
    }
}
