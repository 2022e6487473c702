//! How many connections there may be at a time. Each takes a descriptor, of which a process has so many (getrlimit(2), `RLIMIT_NOFILE`), and
//! the store, kubelets and webhooks need some too: so three in four are for connections, and who comes beyond is told so and sent away.
//!
//! Without this accept(2) would fail when all are taken, and whoever comes would wait in the kernel's queue without a word.

use crate::rest;
use crate::status::Status;
use axum::Router;
use axum::extract::Request;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How many are being told at a time; those beyond are hung up on.
const TOLD_MAX: usize = 32;
/// How long somebody is told for: a handshake, one request and its answer.
const TELLING: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Crowd {
    max: usize,
    /// Whether it was said that it is full.
    said: bool,
    told: JoinSet<()>,
}

impl Crowd {
    /// As many as this process may have.
    pub(super) fn new() -> Self {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let max = descriptors_max(&limits).map_or(usize::MAX, |descriptors| descriptors - descriptors / 4);
        Self { max, said: false, told: JoinSet::new() }
    }

    /// Whether one more has a place beside `open` others.
    pub(super) fn admits(&mut self, open: usize) -> bool {
        let admits = open < self.max;
        if !admits && !std::mem::replace(&mut self.said, true) {
            tracing::warn!(
                open,
                "no more connections are taken: three in four descriptors of this process are in use (ulimit -n)"
            );
        }
        if self.said && open < self.max - self.max / 16 {
            self.said = false;
            tracing::info!(open, "connections are taken again");
        }
        admits
    }

    /// Lets `telling` tell somebody that there is no place, for a while.
    pub(super) fn send_away(&mut self, telling: impl Future<Output = ()> + Send + 'static) {
        while self.told.try_join_next().is_some() {}
        if self.told.len() < TOLD_MAX {
            self.told.spawn(async move {
                let _told_or_too_slow = timeout(TELLING, telling).await;
            });
        }
    }

    /// What is told, whatever is asked.
    pub(super) fn router(&self) -> Router {
        let why =
            format!("the server has {} connections open and takes no more (ulimit -n): come again later", self.max);
        Router::new().fallback(async move |request: Request| rest::refusal(&request, &Status::unavailable(why)))
    }
}

/// The soft limit of open files that `/proc/self/limits` tells (proc_pid_limits(5)); `None`: there is none.
fn descriptors_max(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let told = |soft: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units\n\
                Max processes             7                    7                    processes\n\
                Max open files            {soft}               524288               files\n"
            )
        };
        assert_eq!(descriptors_max(&told("1024")), Some(1024));
        assert_eq!(descriptors_max(&told("unlimited")), None);
        assert_eq!(descriptors_max(""), None);
    }

    #[test]
    fn who_comes_beyond_is_sent_away() {
        let mut crowd = Crowd { max: 32, said: false, told: JoinSet::new() };
        let admitted = [31, 32, 33, 31, 30, 29].map(|open| (crowd.admits(open), crowd.said));
        let expected = [(true, false), (false, true), (false, true), (true, true), (true, true), (true, false)];
        assert_eq!(admitted, expected, "it is said once, not at every one");
    }
}
