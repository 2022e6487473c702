//! Who holds sockets and inotify instances, by the open files of all processes that may be looked at.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Sockets by inode: one process that has it open.
    pub(super) sockets: HashMap<u64, u32>,
    /// Instances by process: its user, how many, and how many watches they have.
    inotify: BTreeMap<u32, (u32, u64, u64)>,
}

impl Open {
    /// Who has how many inotify instances, the most first.
    pub(super) fn watchers(&self) -> Vec<(u32, u64)> {
        let mut all: Vec<_> = self.inotify.iter().map(|(pid, (_, instances, _))| (*pid, *instances)).collect();
        all.sort_by_key(|(pid, instances)| (Reverse(*instances), *pid));
        all
    }

    /// Instances and watches of the user who has most: limits are for each user (inotify(7)).
    pub(super) fn of_hungriest_user(&self) -> (u64, u64) {
        let mut users: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for (user, instances, watches) in self.inotify.values() {
            let sum = users.entry(*user).or_default();
            *sum = (sum.0 + instances, sum.1 + watches);
        }
        users.into_values().max().unwrap_or_default()
    }
}

/// Looks at all processes; one that ends meanwhile, or that is not ours to see, holds nothing.
pub(super) fn look() -> Open {
    let mut open = Open::default();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries {
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            of_process(&entry.path(), pid, &mut open);
        }
    }
    open
}

fn of_process(folder: &Path, pid: u32, open: &mut Open) {
    let user = std::fs::metadata(folder).map_or(0, |meta| meta.uid());
    for file in std::fs::read_dir(folder.join("fd")).into_iter().flatten().flatten() {
        let Ok(to) = std::fs::read_link(file.path()) else { continue };
        let to = to.to_string_lossy();
        if let Some(inode) = to.strip_prefix("socket:[").and_then(|rest| rest.trim_end_matches(']').parse().ok()) {
            open.sockets.entry(inode).or_insert(pid);
        } else if to == "anon_inode:inotify" {
            let info = std::fs::read_to_string(folder.join("fdinfo").join(file.file_name())).unwrap_or_default();
            let watches = info.lines().filter(|line| line.starts_with("inotify ")).count();
            let of = open.inotify.entry(pid).or_insert((user, 0, 0));
            (of.1, of.2) = (of.1 + 1, of.2 + u64::try_from(watches).unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_told_apart() {
        let inotify = BTreeMap::from([(1, (0, 2, 10)), (2, (1000, 3, 4)), (3, (0, 2, 1))]);
        let open = Open { inotify, ..Open::default() };
        assert_eq!((open.of_hungriest_user(), open.watchers()), ((4, 11), vec![(2, 3), (1, 2), (3, 2)]));
    }

    #[test]
    fn a_socket_of_ours_is_found() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let link = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&socket))).unwrap();
        let inode = link.to_string_lossy().trim_start_matches("socket:[").trim_end_matches(']').parse().unwrap();
        assert_eq!(look().sockets.get(&inode), Some(&std::process::id()));
    }
}
