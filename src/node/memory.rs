//! Gives memory back after the start and after a burst: a start runs code that nothing needs later, and a hundred pods at once need what ten
//! do not, which the C library's allocator keeps.

use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often we look.
const LOOK: Duration = Duration::from_secs(10);
/// Growing by more than this between two looks is work under way, in which memory will be needed again.
const QUIET_KIB: u64 = 1024;
/// Less than this is not worth the milliseconds.
const WORTH_KIB: u64 = 8 * 1024;

/// Resident memory as it was.
#[derive(Debug, Default)]
struct Seen {
    /// At the last look; none at the first.
    last_kib: Option<u64>,
    /// When it was last given back, or less if it has shrunk since; none before the first time.
    low_kib: Option<u64>,
}

impl Seen {
    /// Whether memory is to be given back now.
    fn decide(&mut self, now_kib: u64) -> bool {
        let quiet = self.last_kib.is_some_and(|last| now_kib <= last + QUIET_KIB);
        self.last_kib = Some(now_kib);
        // The first time that it is quiet the start is over.
        let Some(low) = self.low_kib else { return quiet };
        let low = low.min(now_kib);
        self.low_kib = Some(low);
        quiet && now_kib >= low + WORTH_KIB
    }

    /// It was given back, and this is left.
    fn given_back(&mut self, left_kib: u64) {
        self.low_kib = Some(left_kib);
    }
}

/// Looks until `shutdown`.
pub(super) async fn keep(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut seen = Seen::default();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
        let Some(before) = resident_kib() else { continue };
        if seen.decide(before) {
            tokio::task::spawn_blocking(give_back).await?;
            let left = resident_kib().unwrap_or(before);
            tracing::debug!(before, left, "memory given back, KiB");
            seen.given_back(left);
        }
    }
}

fn give_back() {
    skiff_sys::memory::give_back();
    if let Err(error) = skiff_sys::memory::forget_code() {
        tracing::debug!(error = error.to_string(), "code stays mapped");
    }
}

/// Resident memory of this process (VmRSS of proc_pid_status(5)).
fn resident_kib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at these sizes, in MiB; giving back leaves `left`.
    fn given_back_at(sizes: &[u64], left: u64) -> Vec<usize> {
        let mut seen = Seen::default();
        let looks = sizes.iter().enumerate();
        let decided = looks.filter(|(_, mib)| {
            let decided = seen.decide(**mib * 1024);
            if decided {
                seen.given_back(left * 1024);
            }
            decided
        });
        decided.map(|(look, _)| look).collect()
    }

    #[test]
    fn after_a_burst_once_it_is_quiet() {
        assert_eq!(given_back_at(&[40, 41, 80, 110, 110, 78, 78, 78], 78), [1, 4]);
    }

    #[test]
    fn not_while_nothing_grew_and_not_again_for_what_is_in_use() {
        assert_eq!(given_back_at(&[60, 60, 41, 42, 41], 40), [1]);
        assert_eq!(given_back_at(&[40, 90, 90, 89, 89, 89], 89), [2]);
    }

    #[test]
    fn again_after_the_next_burst() {
        assert_eq!(given_back_at(&[40, 90, 90, 50, 95, 95, 50], 50), [2, 5]);
    }

    #[test]
    fn after_the_start_once_it_is_quiet() {
        assert_eq!(given_back_at(&[30, 50, 60, 60, 35, 35], 32), [3]);
    }

    #[test]
    fn the_kernel_tells_our_size() {
        assert!(resident_kib().unwrap() > 100);
    }
}
