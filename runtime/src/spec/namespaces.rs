//! Namespaces as meant: which are made, which are entered, which stay the caller's; and who is who inside.

use super::config;
use crate::error::{Error, Result};
use std::path::PathBuf;

/// All kinds, with the name of their file under `/proc/PID/ns`.
pub(crate) const KINDS: &[(libc::c_int, &str)] = &[
    (libc::CLONE_NEWUSER, "user"),
    (libc::CLONE_NEWNS, "mnt"),
    (libc::CLONE_NEWPID, "pid"),
    (libc::CLONE_NEWNET, "net"),
    (libc::CLONE_NEWIPC, "ipc"),
    (libc::CLONE_NEWUTS, "uts"),
    (libc::CLONE_NEWCGROUP, "cgroup"),
    (skiff_sys::namespace::NEWTIME, "time"),
];

/// Which namespaces the container has of its own, and which it enters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Namespaces {
    /// `CLONE_NEW…` bits of those to make.
    pub(crate) new: libc::c_int,
    /// Those to enter.
    pub(crate) enter: Vec<(libc::c_int, PathBuf)>,
}

/// One line of uid_map or gid_map (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdMap {
    /// First id inside.
    pub(crate) inside: u32,
    /// First id outside.
    pub(crate) outside: u32,
    /// How many.
    pub(crate) count: u32,
}

impl Namespaces {
    /// Reads `linux.namespaces`.
    ///
    /// # Errors
    /// One kind twice, a relative path, no mount namespace.
    pub(crate) fn check(written: &[config::Namespace]) -> Result<Self> {
        let mut checked = Self::default();
        for (index, namespace) in written.iter().enumerate() {
            let field = format!("linux.namespaces[{index}]");
            let kind = kind(&namespace.kind)
                .ok_or_else(|| Error::refused(format!("{field}.type"), format!("`{}` is unknown", namespace.kind)))?;
            if checked.has(kind) {
                return Err(Error::refused(field, "this type appears twice"));
            }
            match namespace.path.clone().filter(|path| !path.as_os_str().is_empty()) {
                None => checked.new |= kind,
                Some(path) if path.is_absolute() => checked.enter.push((kind, path)),
                Some(_) => return Err(Error::refused(format!("{field}.path"), "is not an absolute path")),
            }
        }
        if !checked.has(libc::CLONE_NEWNS) {
            return Err(Error::refused("linux.namespaces", "without a mount namespace the host's mounts would change"));
        }
        Ok(checked)
    }

    /// Whether it is made or entered.
    pub(crate) fn has(&self, kind: libc::c_int) -> bool {
        self.makes(kind) || self.enters(kind)
    }

    /// Whether it is made.
    pub(crate) const fn makes(&self, kind: libc::c_int) -> bool {
        self.new & kind != 0
    }

    /// Whether it is entered.
    pub(crate) fn enters(&self, kind: libc::c_int) -> bool {
        self.enter.iter().any(|(entered, _)| *entered == kind)
    }
}

impl IdMap {
    /// Reads `linux.uidMappings` or `linux.gidMappings`.
    pub(crate) fn read(written: Option<&Vec<config::IdMapping>>) -> Vec<Self> {
        let one = |map: &config::IdMapping| Self { inside: map.container_id, outside: map.host_id, count: map.size };
        written.into_iter().flatten().map(one).collect()
    }

    /// The content of the map file.
    pub(crate) fn render(maps: &[Self]) -> String {
        maps.iter().map(|map| format!("{} {} {}\n", map.inside, map.outside, map.count)).collect()
    }
}

fn kind(written: &str) -> Option<libc::c_int> {
    Some(match written {
        "mount" => libc::CLONE_NEWNS,
        "cgroup" => libc::CLONE_NEWCGROUP,
        "uts" => libc::CLONE_NEWUTS,
        "ipc" => libc::CLONE_NEWIPC,
        "user" => libc::CLONE_NEWUSER,
        "pid" => libc::CLONE_NEWPID,
        "network" => libc::CLONE_NEWNET,
        "time" => skiff_sys::namespace::NEWTIME,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: serde_json::Value) -> Result<Namespaces> {
        Namespaces::check(&serde_json::from_value::<Vec<_>>(json).unwrap())
    }

    #[test]
    fn with_a_path_it_is_entered_without_it_is_made() {
        let checked = check(
            serde_json::json!([{"type": "mount"}, {"type": "network", "path": "/n"}, {"type": "pid", "path": ""}]),
        )
        .unwrap();
        assert_eq!(checked.new, libc::CLONE_NEWNS | libc::CLONE_NEWPID);
        assert!(checked.enters(libc::CLONE_NEWNET) && !checked.has(libc::CLONE_NEWUTS));
    }

    #[test]
    fn twice_relative_or_mountless_is_refused() {
        assert!(check(serde_json::json!([{"type": "mount"}, {"type": "mount"}])).is_err());
        assert!(check(serde_json::json!([{"type": "mount", "path": "ns"}])).is_err());
        assert!(check(serde_json::json!([{"type": "pid"}])).is_err());
    }

    #[test]
    fn maps_are_rendered_as_the_kernel_reads_them() {
        let maps = [IdMap { inside: 0, outside: 1000, count: 10 }, IdMap { inside: 10, outside: 5000, count: 1 }];
        assert_eq!(IdMap::render(&maps), "0 1000 10\n10 5000 1\n");
    }
}
