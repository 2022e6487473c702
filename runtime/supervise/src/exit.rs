//! What is kept of a process that ended: in memory, in the reply, and in a file that outlives us.

use crate::wire::{Exit, exit_file_name};
use nix::sys::wait::WaitStatus;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the epoch.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The exit that a wait status reports; none if the process goes on (stopped, continued).
pub(crate) fn exit_of(container: &str, status: WaitStatus) -> Option<Exit> {
    let (exit_code, signal) = match status {
        WaitStatus::Exited(_, code) => (code, None),
        WaitStatus::Signaled(_, signal, _) => (128 + signal as i32, Some(signal as i32)),
        _ => return None,
    };
    Some(Exit { container: container.to_owned(), exit_code, signal, oom_killed: false, finished_at_ns: now_ns() })
}

/// Writes the exit file into `dir`: whole or not at all, since a rename replaces in one step (rename(2)).
///
/// It is not flushed to the disk: it must survive processes, and a machine that loses power loses the containers too.
pub(crate) fn record(dir: &Path, exit: &Exit) -> io::Result<()> {
    let name = exit_file_name(&exit.container);
    let temporary = dir.join(format!(".{name}"));
    fs::write(&temporary, serde_json::to_vec(exit)?)?;
    fs::rename(&temporary, dir.join(name))
}

/// Whether the kernel killed a process of this cgroup (a path below each hierarchy's root) for want of memory.
///
/// cgroup v1 counts in `memory.oom_control`, v2 in `memory.events`, both in a line `oom_kill N`.
pub(crate) fn oom_killed(cgroup: &str) -> bool {
    let cgroup = cgroup.trim_start_matches('/');
    let files = [
        format!("/sys/fs/cgroup/memory/{cgroup}/memory.oom_control"),
        format!("/sys/fs/cgroup/{cgroup}/memory.events"),
    ];
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).any(|text| oom_kills(&text) > 0)
}

fn oom_kills(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;
    use nix::unistd::Pid;

    #[test]
    fn a_signal_becomes_128_and_its_number() {
        let exit = exit_of("c", WaitStatus::Signaled(Pid::from_raw(1), Signal::SIGKILL, false)).unwrap();
        assert_eq!((exit.exit_code, exit.signal), (137, Some(9)));
    }

    #[test]
    fn the_file_says_what_the_reply_says() {
        let dir = tempfile::tempdir().unwrap();
        let exit = exit_of("c", WaitStatus::Exited(Pid::from_raw(1), 3)).unwrap();
        record(dir.path(), &exit).unwrap();
        let read: Exit = serde_json::from_slice(&fs::read(dir.path().join("c.exit")).unwrap()).unwrap();
        assert_eq!(read, exit);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn both_cgroup_versions_count_their_kills() {
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 2);
        assert_eq!(oom_kills("low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(oom_kills("oom_kill_disable 0\n"), 0);
    }
}
