//! Ends what the orderly way left: processes in our cgroups, and supervisors of our run folder.

use super::cgroups;
use anyhow::Context;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Rounds of killing: a process may have forked between the look and the signal.
const ROUNDS: usize = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// Kills until none is left; returns how many there were.
pub(super) async fn kill_all(cgroup_root: &str, run: &Path) -> anyhow::Result<usize> {
    let mut seen = BTreeSet::new();
    for _ in 0..ROUNDS {
        let mut present = in_cgroups(cgroup_root)?;
        present.extend(supervisors(run));
        if present.is_empty() {
            return Ok(seen.len());
        }
        for &pid in &present {
            match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => drop(seen.insert(pid)),
                Err(error) => return Err(error).with_context(|| format!("kill process {pid}")),
            }
        }
        thaw(cgroup_root)?;
        tokio::time::sleep(PAUSE).await;
    }
    anyhow::bail!("processes in cgroup {cgroup_root} do not end")
}

fn in_cgroups(cgroup_root: &str) -> anyhow::Result<BTreeSet<i32>> {
    let groups = cgroups::roots(cgroup_root)?.into_iter().flat_map(|root| cgroups::tree(&root));
    let lists = groups.filter_map(|group| std::fs::read_to_string(group.join("cgroup.procs")).ok());
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    // 0 stands for a process in another pid namespace than the reader's.
    let pids = lists.flat_map(|list| list.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>());
    Ok(pids.filter(|&pid| pid > 0 && pid != own).collect())
}

/// A frozen process takes its SIGKILL only when it is thawed (cgroup v1 freezer).
fn thaw(cgroup_root: &str) -> anyhow::Result<()> {
    for root in cgroups::roots(cgroup_root)? {
        for group in cgroups::tree(&root) {
            let state = group.join("freezer.state");
            if std::fs::read_to_string(&state).is_ok_and(|text| text.trim() != "THAWED") {
                std::fs::write(&state, "THAWED").with_context(|| format!("thaw {}", group.display()))?;
            }
        }
    }
    Ok(())
}

/// Processes `… supervise … <something below our run folder> …`.
fn supervisors(run: &Path) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| is_supervisor(*pid, run)).collect()
}

fn is_supervisor(pid: i32, run: &Path) -> bool {
    let Ok(command) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
    words.contains(&b"supervise".as_slice())
        && words.iter().any(|word| Path::new(std::ffi::OsStr::from_bytes(word)).starts_with(run))
        && sees_the_same(pid, run)
}

/// In another mount namespace the same path may be the run folder of another node, whose pods are not ours to end.
fn sees_the_same(pid: i32, run: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let theirs = Path::new("/proc").join(pid.to_string()).join("root").join(run.strip_prefix("/").unwrap_or(run));
    identity(run) == identity(&theirs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    /// A process with a supervisor's words that ends when its input does, once it has done `first`.
    fn supervisor(run: &Path, first: &str) -> Child {
        let script = format!("{first} echo ready; read line");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "supervise"]);
        command.arg(run).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        child
    }

    #[test]
    fn another_nodes_supervisor_is_left_alone() {
        let run = tempfile::tempdir().unwrap();
        let mut ours = supervisor(run.path(), "");
        let mut anothers = supervisor(run.path(), "mount -t tmpfs none \"$1\" &&");
        let pid = |child: &Child| i32::try_from(child.id()).unwrap();
        let found = supervisors(run.path());
        assert!(found.contains(&pid(&ours)) && !found.contains(&pid(&anothers)), "{found:?}");
        for child in [&mut ours, &mut anothers] {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }
}
