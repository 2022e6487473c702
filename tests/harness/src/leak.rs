//! What a host looks like, and what was left on it.
//!
//! A snapshot before and one after: mounts, network namespaces, interfaces, cgroups, nftables, processes, files in run
//! folders. What is there afterwards and was not before is a leak.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The kernel takes namespaces and cgroups apart in the background.
const SETTLE_MAX: Duration = Duration::from_secs(10);

/// What there is on the host, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    kinds: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Snapshot {
    /// Looks at the host now.
    #[must_use]
    pub fn take() -> Self {
        Self {
            kinds: BTreeMap::from([
                ("mount", mounts()),
                ("network namespace", network_namespaces()),
                ("interface", names("/sys/class/net")),
                ("cgroup", cgroups()),
                ("nftables rule", nftables()),
                ("process", processes()),
                ("run file", run_files()),
            ]),
        }
    }

    /// What is there now and was not then.
    #[must_use]
    pub fn leaks(&self) -> Vec<String> {
        let now = Self::take();
        let new = now.kinds.iter().flat_map(|(kind, things)| {
            let before = &self.kinds[kind];
            things.difference(before).map(move |thing| format!("{kind}: {thing}"))
        });
        new.collect()
    }

    /// Waits for the kernel to finish.
    ///
    /// # Panics
    /// Something stays; the message lists it.
    pub fn assert_nothing_new(&self) {
        self.assert_nothing_new_of("");
    }

    /// Waits for the kernel to finish, and looks only at what bears `mark`: another node on this host is not our affair.
    /// Interfaces and rules bear no mark; none may appear.
    ///
    /// # Panics
    /// Something stays; the message lists it.
    pub fn assert_nothing_new_of(&self, mark: &str) {
        let started = Instant::now();
        loop {
            let unmarked = |leak: &String| leak.starts_with("interface: ") || leak.starts_with("nftables rule: ");
            let leaks: Vec<_> = self.leaks().into_iter().filter(|leak| leak.contains(mark) || unmarked(leak)).collect();
            if leaks.is_empty() {
                return;
            }
            assert!(started.elapsed() < SETTLE_MAX, "left behind:\n{}", leaks.join("\n"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn lines(path: &str) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn names(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Mount points with their kind; ids change when unrelated mounts come and go.
fn mounts() -> BTreeSet<String> {
    let shown = |line: &String| {
        let (fields, rest) = line.split_once(" - ")?;
        Some(format!("{} {}", fields.split(' ').nth(4)?, rest.split(' ').next()?))
    };
    lines("/proc/self/mountinfo").iter().filter_map(shown).collect()
}

fn pids() -> Vec<i32> {
    names("/proc").iter().filter_map(|name| name.parse().ok()).collect()
}

/// Namespaces that a process of ours lives in, and those that are mounted by name.
fn network_namespaces() -> BTreeSet<String> {
    let of_process =
        |pid: i32| mentions_skiff(pid).then(|| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok()).flatten();
    let lived_in = pids().into_iter().filter_map(of_process).map(|link| link.display().to_string());
    lived_in.chain(names("/run/netns").into_iter().filter(|name| name.contains("skiff"))).collect()
}

fn command_line(pid: i32) -> String {
    let raw = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&raw).replace('\0', " ").trim().to_owned()
}

/// Number, words and memory cgroup of a process: by one of the last two its node can be told.
fn shown(pid: i32) -> String {
    let groups = lines(&format!("/proc/{pid}/cgroup"));
    let ours = groups.iter().filter_map(|line| line.rsplit(':').next()).find(|path| path.starts_with("/skiff"));
    format!("{pid} {} {}", command_line(pid), ours.unwrap_or_default())
}

fn mentions_skiff(pid: i32) -> bool {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.starts_with("skiff") || in_our_cgroup(pid)
}

fn in_our_cgroup(pid: i32) -> bool {
    lines(&format!("/proc/{pid}/cgroup"))
        .iter()
        .any(|line| line.rsplit(':').next().is_some_and(|path| path.starts_with("/skiff")))
}

fn processes() -> BTreeSet<String> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let ours = pids().into_iter().filter(|&pid| pid != own && mentions_skiff(pid));
    ours.map(shown).collect()
}

/// Our groups in every hierarchy.
fn cgroups() -> BTreeSet<String> {
    let hierarchies = mounts().into_iter().filter_map(|mount| {
        let (path, kind) = mount.rsplit_once(' ')?;
        kind.starts_with("cgroup").then(|| PathBuf::from(path))
    });
    let top = hierarchies.flat_map(|hierarchy| {
        let names = names(&hierarchy.to_string_lossy());
        names.into_iter().filter(|name| name.starts_with("skiff")).map(move |name| hierarchy.join(name))
    });
    top.flat_map(|group| folders_below(&group)).collect()
}

fn folders_below(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let below = entries.filter(|path| path.is_dir()).flat_map(|path| folders_below(&path));
    std::iter::once(folder.display().to_string()).chain(below).collect()
}

/// The host's rules. Without `nft` there is nobody to ask; `tests/run` installs it.
fn nftables() -> BTreeSet<String> {
    let listed = Command::new("nft").args(["list", "tables"]).output();
    let text = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().filter(|line| line.contains("skiff")).map(str::to_owned).collect()
}

fn run_files() -> BTreeSet<String> {
    let ours = names("/run").into_iter().filter(|name| name.starts_with("skiff"));
    ours.flat_map(|name| files_below(&Path::new("/run").join(name))).collect()
}

fn files_below(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let below = entries.flat_map(|entry| {
        if entry.is_dir() && !entry.is_symlink() { files_below(&entry) } else { vec![entry.display().to_string()] }
    });
    std::iter::once(path.display().to_string()).chain(below).collect()
}
