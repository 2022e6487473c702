//! Where this host has which cgroup controller: version 1, version 2, or some here and some there.

use crate::error::{On, Result};
use std::path::{Path, PathBuf};

/// The controllers that a container is put under, where the host has them.
const WANTED: &[&str] =
    &["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "io", "pids", "net_cls", "net_prio"];

/// Which interface a cgroup directory has (cgroups(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Controllers in hierarchies of their own.
    One,
    /// One hierarchy for all.
    Two,
}

/// A mounted hierarchy with at least one controller that we want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) version: Version,
    pub(crate) controllers: Vec<String>,
    pub(crate) root: PathBuf,
}

/// Looks at the host's mounts.
///
/// # Errors
/// `/proc/self/mountinfo` cannot be read.
pub(crate) fn detect() -> Result<Vec<Hierarchy>> {
    let path = "/proc/self/mountinfo";
    let mountinfo = std::fs::read_to_string(path).on("read", path)?;
    Ok(parse(&mountinfo, |root| std::fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default()))
}

/// The hierarchies in `mountinfo` (proc(5)); `controllers_of` tells what version 2 offers at a root.
fn parse(mountinfo: &str, controllers_of: impl Fn(&Path) -> String) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, superblock)) = line.split_once(" - ") else { continue };
        let (mut mount, mut superblock) = (mount.split(' ').skip(3), superblock.split(' '));
        // A cgroup bound somewhere shows a subtree only; its root is not the hierarchy's.
        let (Some("/"), Some(root)) = (mount.next(), mount.next()) else { continue };
        let root = PathBuf::from(root);
        let (version, words) = match (superblock.next(), superblock.nth(1)) {
            (Some("cgroup"), Some(options)) => (Version::One, options.replace(',', " ")),
            (Some("cgroup2"), _) => (Version::Two, controllers_of(&root)),
            _ => continue,
        };
        let controllers: Vec<_> =
            words.split_whitespace().filter(|word| WANTED.contains(word)).map(str::to_owned).collect();
        let is_new = found.iter().all(|other| other.controllers != controllers);
        if is_new && !controllers.is_empty() {
            found.push(Hierarchy { version, controllers, root });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
35 30 0:28 /a /mnt/bound rw - cgroup cgroup rw,memory
36 30 0:28 / /mnt/again rw - cgroup cgroup rw,memory
";

    #[test]
    fn each_controller_is_found_once_where_it_lives() {
        let found = parse(HYBRID, |_| "hugetlb\n".to_owned());
        let roots: Vec<_> = found.iter().map(|hierarchy| hierarchy.root.to_str().unwrap()).collect();
        assert_eq!(roots, ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory"]);
    }

    #[test]
    fn version_two_counts_when_it_has_controllers() {
        let found = parse(HYBRID, |_| "io pids\n".to_owned());
        assert_eq!(found.last().unwrap().version, Version::Two);
        assert_eq!(found.last().unwrap().controllers, ["io", "pids"]);
    }
}
