//! Where this host has which cgroup controller: version 1, version 2, or some here and some there; and which of these
//! places a container needs.

use crate::error::{On, Result};
use crate::kernfs::get;
use crate::spec::Limits;
use std::path::{Path, PathBuf};

/// The controllers that every container is put under, where the host has them: engines read what they count.
const ALWAYS: &[&str] = &["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "io", "pids"];
/// Those that only a container with such limits is put under: each hierarchy of version 1 costs every container 0.1 ms.
const ON_REQUEST: &[&str] = &["hugetlb", "rdma", "net_cls", "net_prio", "misc"];

/// The hierarchy of version 1 in which systemd keeps its units apart; it limits nothing.
const OF_SYSTEMD: &str = "systemd";

/// Which interface a cgroup directory has (cgroups(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Controllers in hierarchies of their own.
    One,
    /// One hierarchy for all.
    Two,
}

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) version: Version,
    pub(crate) controllers: Vec<String>,
    pub(crate) root: PathBuf,
}

impl Hierarchy {
    /// Whether only those containers are put under it that ask for one of its limits.
    pub(super) fn is_on_request(&self) -> bool {
        self.version == Version::One && !self.has_any(ALWAYS) && !self.has_any(&[OF_SYSTEMD])
    }

    fn has_any(&self, wanted: &[&str]) -> bool {
        self.controllers.iter().any(|name| wanted.contains(&name.as_str()))
    }
}

/// Looks at the host's mounts.
///
/// # Errors
/// `/proc/self/mountinfo` cannot be read.
pub(crate) fn detect() -> Result<Vec<Hierarchy>> {
    let path = "/proc/self/mountinfo";
    let mountinfo = get(Path::new(path)).on("read", path)?;
    Ok(parse(&mountinfo, |root| get(&root.join("cgroup.controllers")).unwrap_or_default()))
}

/// The hierarchies in `mountinfo` (proc(5)); `controllers_of` tells what version 2 offers at a root.
///
/// A cgroup bound somewhere shows a subtree only; its root is not the hierarchy's. Where this process is in a cgroup namespace
/// and a mount is of the host's, the hierarchy's root is above that of the namespace (cgroup_namespaces(7)); a mount of the
/// namespace's own is what was meant for us, if there is one.
fn parse(mountinfo: &str, controllers_of: impl Fn(&Path) -> String) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for is_meant in [|root: &str| root == "/", |root: &str| root.split('/').skip(1).all(|part| part == "..")] {
        for (_, place, superblock) in mountinfo.lines().filter_map(parts).filter(|(root, ..)| is_meant(root)) {
            let (root, mut superblock) = (PathBuf::from(place), superblock.split(' '));
            let (version, controllers) = match (superblock.next(), superblock.nth(1)) {
                (Some("cgroup"), Some(options)) => (Version::One, of_version_1(options)),
                (Some("cgroup2"), _) => {
                    (Version::Two, controllers_of(&root).split_whitespace().map(str::to_owned).collect())
                }
                _ => continue,
            };
            let is_same = |other: &Hierarchy| {
                other.version == version && (version == Version::Two || other.controllers == controllers)
            };
            let is_useful = version == Version::Two || !controllers.is_empty();
            if is_useful && !found.iter().any(is_same) {
                found.push(Hierarchy { version, controllers, root });
            }
        }
    }
    found
}

/// Of a line: the root of the mount, where it is, and what is mounted.
fn parts(line: &str) -> Option<(&str, &str, &str)> {
    let (mount, superblock) = line.split_once(" - ")?;
    let mut words = mount.split(' ').skip(3);
    Some((words.next()?, words.next()?, superblock))
}

/// The controllers among the mount options of a hierarchy of version 1.
fn of_version_1(options: &str) -> Vec<String> {
    let is_known = |word: &&str| ALWAYS.contains(word) || ON_REQUEST.contains(word) || *word == OF_SYSTEMD;
    options
        .split(',')
        .map(|word| word.strip_prefix("name=").unwrap_or(word))
        .filter(is_known)
        .map(str::to_owned)
        .collect()
}

/// Those of `found` that a container with `limits` is put under. Version 2 also has what no controller has: freezing, and
/// programs for devices.
pub(crate) fn needed(found: Vec<Hierarchy>, limits: &Limits) -> Vec<Hierarchy> {
    let asked = on_request(limits);
    let has = |name: &str| found.iter().any(|here| here.version == Version::One && here.has_any(&[name]));
    let two_stands_in =
        !has("freezer") || (!has("devices") && !limits.devices.is_empty()) || !limits.unified.is_empty();
    let is_needed = |here: &Hierarchy| {
        here.has_any(ALWAYS) || here.has_any(&asked) || (here.version == Version::Two && two_stands_in)
    };
    found.into_iter().filter(is_needed).collect()
}

/// The same for a unit of systemd: it must also be where systemd looks whether it still lives.
pub(crate) fn needed_in_unit(found: Vec<Hierarchy>, limits: &Limits) -> Vec<Hierarchy> {
    let needed = needed(found.clone(), limits);
    let is_needed =
        |here: &Hierarchy| needed.contains(here) || here.version == Version::Two || here.has_any(&[OF_SYSTEMD]);
    found.into_iter().filter(is_needed).collect()
}

fn on_request(limits: &Limits) -> Vec<&str> {
    let fields = [
        ("hugetlb", limits.huge_pages.is_empty()),
        ("rdma", limits.rdma.is_empty()),
        ("net_cls", limits.network.class.is_none()),
        ("net_prio", limits.network.priorities.is_empty()),
    ];
    fields.iter().filter(|(_, is_empty)| !is_empty).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::HugePages;

    const HYBRID: &str = "\
30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
37 30 0:33 / /sys/fs/cgroup/net_cls rw - cgroup cgroup rw,net_cls
38 30 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
39 30 0:35 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
35 30 0:28 /a /mnt/bound rw - cgroup cgroup rw,memory
36 30 0:28 / /mnt/again rw - cgroup cgroup rw,memory
";
    const PURE: &str = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

    fn names(mountinfo: &str, of_two: &str, limits: &Limits) -> Vec<String> {
        let found = needed(parse(mountinfo, |_| of_two.to_owned()), limits);
        found.iter().map(|here| here.root.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn each_controller_is_found_once_where_it_lives() {
        let v1 = ["cpu,cpuacct", "memory", "freezer", "devices"];
        assert_eq!(names(HYBRID, "hugetlb\n", &Limits::default()), v1);
        let with_io = names(HYBRID, "io pids hugetlb\n", &Limits::default());
        assert_eq!(with_io, [v1.as_slice(), &["unified"]].concat());
    }

    /// Fault O9.
    #[test]
    fn from_a_cgroup_namespace_the_hosts_mounts_are_seen_above() {
        let outside = HYBRID.replace(" / /sys", " /../.. /sys");
        let alone = outside.replace(" / /mnt/again", " /x /mnt/again");
        assert_eq!(parse(&alone, |_| String::new()), parse(HYBRID, |_| String::new()));
        let places = parse(&outside, |_| String::new());
        assert_eq!(places[0].root, Path::new("/mnt/again"), "a mount of the namespace's own");
        assert_eq!(places.iter().filter(|here| here.has_any(&["memory"])).count(), 1);
    }

    #[test]
    fn rare_controllers_are_joined_by_those_who_ask() {
        let huge_pages = vec![HugePages { size: "2MB".to_owned(), bytes: 0 }];
        let limits = Limits { huge_pages, ..Limits::default() };
        assert!(names(HYBRID, "hugetlb\n", &limits).contains(&"unified".to_owned()));
        let mut limits = Limits::default();
        limits.network.class = Some(7);
        assert!(names(HYBRID, "", &limits).contains(&"net_cls".to_owned()));
    }

    #[test]
    fn a_unit_is_also_where_systemd_looks() {
        let found = needed_in_unit(parse(HYBRID, |_| String::new()), &Limits::default());
        let names: Vec<_> = found.iter().map(|here| here.root.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["cpu,cpuacct", "memory", "systemd", "freezer", "devices", "unified"]);
    }

    #[test]
    fn version_two_alone_counts_even_without_controllers() {
        for controllers in ["", "cpu memory"] {
            assert_eq!(names(PURE, controllers, &Limits::default()), ["cgroup"]);
        }
    }
}
