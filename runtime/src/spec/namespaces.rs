//! Namespaces as meant: which are made, which are entered, which stay the caller's; and who is who inside.

use super::config;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::path::PathBuf;

const NANOSECONDS_OF_SECOND: u32 = 1_000_000_000;

/// `IFNAMSIZ`, with the terminating zero.
const INTERFACE_NAME_BYTES: usize = 16;

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

/// How far a clock of a time namespace is from the host's (time_namespaces(7)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offset {
    /// `monotonic` or `boottime`.
    pub(crate) clock: String,
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// An interface of the host that the container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetDevice {
    /// On the host.
    pub(crate) host: String,
    /// In the container; `%d` at its end lets the kernel number it.
    pub(crate) name: String,
}

impl NetDevice {
    /// Reads `linux.netDevices`, in order of the host's names.
    ///
    /// # Errors
    /// A name that no interface can have, two of one name, no network namespace.
    pub(crate) fn read(
        written: Option<&HashMap<String, config::NetDevice>>,
        namespaces: &Namespaces,
    ) -> Result<Vec<Self>> {
        let mut devices: Vec<Self> = Vec::new();
        for (host, device) in written.into_iter().flatten() {
            let field = format!("linux.netDevices.{host}");
            let name = device.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| host.clone());
            if !is_interface_name(host) || host.contains('%') || !is_interface_name(&name) {
                return Err(Error::refused(field, "is not a name of an interface"));
            }
            if !namespaces.has(libc::CLONE_NEWNET) {
                return Err(Error::refused(field, "needs a network namespace of the container's"));
            }
            if devices.iter().any(|other| other.name == name && !name.contains('%')) {
                return Err(Error::refused(format!("{field}.name"), "appears twice"));
            }
            devices.push(Self { host: host.clone(), name });
        }
        devices.sort_by(|one, other| one.host.cmp(&other.host));
        Ok(devices)
    }
}

/// As the kernel checks it (net/core/dev.c, dev_valid_name; `%d` once as a template).
fn is_interface_name(name: &str) -> bool {
    let plain = name.replacen("%d", "", 1);
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':' && byte != b'%';
    (1..INTERFACE_NAME_BYTES).contains(&name.len()) && name != "." && name != ".." && plain.bytes().all(is_plain)
}

impl Offset {
    /// Reads `linux.timeOffsets`, in order of the clocks' names.
    ///
    /// # Errors
    /// Another clock, or nanoseconds of a whole second; no time namespace to be made.
    pub(crate) fn read(
        written: Option<&HashMap<String, config::TimeOffset>>,
        namespaces: &Namespaces,
    ) -> Result<Vec<Self>> {
        let mut offsets = Vec::new();
        for (clock, offset) in written.into_iter().flatten() {
            let field = format!("linux.timeOffsets.{clock}");
            if clock != "monotonic" && clock != "boottime" {
                return Err(Error::refused(field, "is not a clock that has an offset"));
            }
            if !namespaces.makes(skiff_sys::namespace::NEWTIME) {
                return Err(Error::refused(field, "needs a time namespace of the container's own"));
            }
            let nanoseconds = offset.nanosecs;
            if nanoseconds >= NANOSECONDS_OF_SECOND {
                return Err(Error::refused(format!("{field}.nanosecs"), "is a second or more"));
            }
            offsets.push(Self { clock: clock.clone(), seconds: offset.secs, nanoseconds });
        }
        offsets.sort_by(|one, other| one.clock.cmp(&other.clock));
        Ok(offsets)
    }

    /// A line of `/proc/PID/timens_offsets`.
    pub(crate) fn render(&self) -> String {
        format!("{} {} {}\n", self.clock, self.seconds, self.nanoseconds)
    }
}

impl Namespaces {
    /// Reads `linux.namespaces`.
    ///
    /// # Errors
    /// One kind twice, a relative path.
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
        Ok(checked)
    }

    /// Whether the container's mounts are the runtime's own, none of which may change for it.
    pub(crate) fn shares_mounts(&self) -> bool {
        !self.has(libc::CLONE_NEWNS)
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
    /// Reads `linux.uidMappings`, `linux.gidMappings`, or those of a mount, which stand at `field`.
    ///
    /// # Errors
    /// A line that maps nothing, or ids that do not exist.
    pub(crate) fn read(field: &str, written: Option<&Vec<config::IdMapping>>) -> Result<Vec<Self>> {
        let one = |(index, map): (usize, &config::IdMapping)| {
            let map = Self { inside: map.container_id, outside: map.host_id, count: map.size };
            // The kernel answers such a line with EINVAL for the whole file.
            let ends = [map.inside, map.outside].map(|first| first.checked_add(map.count));
            let is_fine = map.count > 0 && ends.iter().all(Option::is_some);
            if is_fine {
                Ok(map)
            } else {
                Err(Error::refused(format!("{field}[{index}].size"), "is not a range of ids"))
            }
        };
        written.into_iter().flatten().enumerate().map(one).collect()
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
    fn twice_or_relative_is_refused() {
        assert!(check(serde_json::json!([{"type": "mount"}, {"type": "mount"}])).is_err());
        assert!(check(serde_json::json!([{"type": "mount", "path": "ns"}])).is_err());
        assert!(check(serde_json::json!([{"type": "pid"}])).unwrap().shares_mounts());
    }

    #[test]
    fn a_map_is_a_range_of_ids() {
        let read = |size: u32, first: u32| {
            let json = serde_json::json!([{"containerID": first, "hostID": 0, "size": size}]);
            IdMap::read("linux.uidMappings", Some(&serde_json::from_value(json).unwrap()))
        };
        assert!(read(u32::MAX, 0).is_ok());
        for (size, first) in [(0, 0), (2, u32::MAX)] {
            let text = read(size, first).unwrap_err().to_string();
            assert_eq!(text, "linux.uidMappings[0].size: is not a range of ids");
        }
    }

    #[test]
    fn offsets_belong_to_two_clocks_of_a_time_of_ones_own() {
        let read = |clock: &str, nanos: u32, namespaces: i32| {
            let json = serde_json::json!({clock: {"secs": -5, "nanosecs": nanos}});
            let namespaces = Namespaces { new: namespaces, enter: Vec::new() };
            Offset::read(Some(&serde_json::from_value(json).unwrap()), &namespaces)
        };
        let time = skiff_sys::namespace::NEWTIME;
        assert_eq!(read("monotonic", 3, time).unwrap()[0].render(), "monotonic -5 3\n");
        for (clock, nanos, kinds) in [("realtime", 0, time), ("boottime", 1_000_000_000, time), ("boottime", 0, 0)] {
            assert!(read(clock, nanos, kinds).is_err(), "{clock} {nanos} {kinds}");
        }
    }

    #[test]
    fn interfaces_are_named_as_the_kernel_names_them() {
        for good in ["eth0", "a.b-c_d", "123456789012345", "veth%d"] {
            assert!(is_interface_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a:b", "1234567890123456", "%d%d", "%s", "\u{e9}"] {
            assert!(!is_interface_name(bad), "{bad}");
        }
    }

    #[test]
    fn maps_are_rendered_as_the_kernel_reads_them() {
        let maps = [IdMap { inside: 0, outside: 1000, count: 10 }, IdMap { inside: 10, outside: 5000, count: 1 }];
        assert_eq!(IdMap::render(&maps), "0 1000 10\n10 5000 1\n");
    }
}
