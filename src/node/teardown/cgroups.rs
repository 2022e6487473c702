//! Finds and removes our cgroups, in every hierarchy (cgroups(7)).

use anyhow::Context;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often, and how long apart, a busy group is tried: its last process may still be on its way out.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// Our root in every hierarchy that is mounted.
pub(super) fn roots(cgroup_root: &str) -> anyhow::Result<Vec<PathBuf>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let hierarchies = text.lines().filter_map(|line| {
        let (fields, rest) = line.split_once(" - ")?;
        let kind = rest.split(' ').next()?;
        matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(fields.split(' ').nth(4).unwrap_or_default()))
    });
    let ours = hierarchies.map(|hierarchy| hierarchy.join(cgroup_root.trim_start_matches('/')));
    Ok(ours.filter(|path| path.is_dir()).collect())
}

/// The group and all below it, innermost first.
pub(super) fn tree(root: &Path) -> Vec<PathBuf> {
    let children = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut all: Vec<PathBuf> = children.filter(|path| path.is_dir()).flat_map(|child| tree(&child)).collect();
    all.push(root.to_owned());
    all
}

/// Removes our groups; returns how many there were.
pub(super) async fn remove(cgroup_root: &str) -> anyhow::Result<usize> {
    let mut number = 0;
    for root in roots(cgroup_root)? {
        for group in tree(&root) {
            remove_one(&group).await?;
            number += 1;
        }
    }
    Ok(number)
}

async fn remove_one(group: &Path) -> anyhow::Result<()> {
    for attempt in 1.. {
        match std::fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            // rmdir(2) of a group with a dying process in it says EBUSY; it has no event to wait for on v1.
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy && attempt < TRIES => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error).with_context(|| format!("remove cgroup {}", group.display())),
        }
    }
    Ok(())
}
