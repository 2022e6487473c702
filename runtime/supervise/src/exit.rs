//! What is kept of a process that ended: in memory, in the reply, and in a file that outlives us.

use crate::wire::{Exit, exit_file_name};
use skiff_sys::reap::Ending;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the epoch.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The exit of a process that just ended like this.
pub(crate) fn exit_of(container: &str, ending: Ending) -> Exit {
    let (exit_code, signal) = match ending {
        Ending::Exited(code) => (code, None),
        Ending::Signalled(signal) => (128 + signal, Some(signal)),
    };
    Exit { container: container.to_owned(), exit_code, signal, oom_killed: false, finished_at_ns: now_ns() }
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

/// Where cgroups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Whether the kernel killed a process of this cgroup (a path below each hierarchy's root), or of one below it, for want
/// of memory: be it the first process or another, and whosever limit was reached.
///
/// Both versions count in a line `oom_kill N`: v2 in `memory.events`, which includes the cgroups below, and v1 in
/// `memory.oom_control`, which counts the victims of this very cgroup (cgroup-v2.rst; cgroup-v1/memory.rst, 10).
pub(crate) fn oom_killed(cgroup: &str) -> bool {
    let cgroup = cgroup.trim_start_matches('/');
    counts_kill(&Path::new(CGROUPS).join(cgroup).join("memory.events"))
        || victim_below(&Path::new(CGROUPS).join("memory").join(cgroup), 0)
}

/// How far below a container's cgroup we look: an init system in it makes slices, services and scopes.
const DEPTH_MAX: usize = 8;

fn victim_below(folder: &Path, depth: usize) -> bool {
    if counts_kill(&folder.join("memory.oom_control")) {
        return true;
    }
    let Ok(entries) = fs::read_dir(folder) else { return false };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    depth < DEPTH_MAX && folders.into_iter().any(|entry| victim_below(&entry.path(), depth + 1))
}

fn counts_kill(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| oom_kills(&text) > 0)
}

fn oom_kills(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_signal_becomes_128_and_its_number() {
        let exit = exit_of("c", Ending::Signalled(9));
        assert_eq!((exit.exit_code, exit.signal), (137, Some(9)));
    }

    #[test]
    fn the_file_says_what_the_reply_says() {
        let dir = tempfile::tempdir().unwrap();
        let exit = exit_of("c", Ending::Exited(3));
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
