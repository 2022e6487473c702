//! What a container may leave behind, and the host's own things that it must not touch.

use super::scenario::Scenario;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// What was there at a moment.
pub(crate) struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Looks at everything.
    pub(crate) fn take(scenario: &Scenario) -> Self {
        let mut seen = BTreeSet::new();
        mounts(&mut seen);
        processes(&mut seen, &scenario.bundle.id);
        cgroups(&mut seen, &scenario.bundle.id);
        folders(&mut seen, scenario);
        host(&mut seen, scenario);
        Self(seen)
    }

    /// What differs for good: a process whose runtime was killed sees that only after it, and then ends by itself.
    pub(crate) fn settle(&self, scenario: &Scenario, patience: Duration) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let left = self.compare(scenario);
            if left.is_empty() || begun.elapsed() > patience {
                return left;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What is there now and was not, and what was there and is not.
    fn compare(&self, scenario: &Scenario) -> Vec<String> {
        let now = Self::take(scenario);
        let new = now.0.difference(&self.0).map(|what| format!("left: {what}"));
        let lost = self.0.difference(&now.0).map(|what| format!("lost: {what}"));
        new.chain(lost).collect()
    }
}

/// This thread has a mount namespace of its own, so every line is ours.
fn mounts(seen: &mut BTreeSet<String>) {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    // Without the numbers, which the kernel gives anew.
    let lines = table.lines().map(|line| line.split(' ').skip(3).collect::<Vec<_>>().join(" "));
    seen.extend(lines.map(|line| format!("mount {line}")));
}

/// Whoever has the container's id in its words or its environment: the runtime, and the programs of the container.
fn processes(seen: &mut BTreeSet<String>, id: &str) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let has_id = |file: &str| {
            let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
            bytes.windows(id.len()).any(|window| window == id.as_bytes())
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.parse::<u32>().is_ok_and(|pid| pid != std::process::id()) && (has_id("cmdline") || has_id("environ")) {
            let words = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default().replace('\0', " ");
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let state = status.lines().find(|line| line.starts_with("State:")).unwrap_or_default();
            seen.insert(format!("process {name} {words} {state}"));
        }
    }
}

fn cgroups(seen: &mut BTreeSet<String>, id: &str) {
    let walk = |root: &Path| fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in walk(Path::new("/sys/fs/cgroup")).filter(|path| path.is_dir()) {
        let below = walk(&hierarchy).filter(|path| path.to_string_lossy().contains(id));
        seen.extend(below.map(|path| format!("cgroup {}", path.display())));
    }
}

fn folders(seen: &mut BTreeSet<String>, scenario: &Scenario) {
    let (bundle, state) = (scenario.bundle.path().to_owned(), scenario.bundle.root());
    for folder in [bundle, state, scenario.outside.path().to_owned()] {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        seen.extend(entries.map(|entry| format!("file {}", entry.path().display())));
    }
    let temporary = fs::read_dir(std::env::temp_dir()).unwrap().flatten().map(|entry| entry.path());
    let ours = temporary.filter(|path| path.to_string_lossy().contains(&scenario.bundle.id));
    seen.extend(ours.map(|path| format!("file {}", path.display())));
}

fn host(seen: &mut BTreeSet<String>, scenario: &Scenario) {
    for file in ["kernel/hostname", "kernel/domainname", "kernel/msgmax", "net/ipv4/ip_unprivileged_port_start"] {
        let value = fs::read_to_string(Path::new("/proc/sys").join(file)).unwrap();
        seen.insert(format!("host {file} {}", value.trim()));
    }
    let canary = fs::read_to_string(scenario.canary()).unwrap_or_default();
    seen.insert(format!("canary {canary}"));
    let null = fs::metadata("/dev/null").unwrap();
    seen.insert(format!("/dev/null {:?} {:?}", null.file_type(), null.permissions()));
}
