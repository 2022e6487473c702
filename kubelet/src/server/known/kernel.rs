//! Texts of the kernel, and of resolv.conf(5). Pure.

use crate::volume::clear::unescape;
use std::path::Path;

/// A socket that waits for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) protocol: &'static str,
    pub(super) port: u16,
    pub(super) inode: u64,
}

/// The states of proc_net_tcp(5) in which a socket waits: TCP_LISTEN, and what unconnected UDP sockets have (TCP_CLOSE).
const WAITING: [(&str, &str); 2] = [("TCP", "0A"), ("UDP", "07")];

/// The sockets of `/proc/net/tcp` and its like that wait.
pub(super) fn listeners(table: &str, protocol: &'static str) -> Vec<Listener> {
    let rows = table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        WAITING.contains(&(protocol, state)).then_some(Listener { protocol, port, inode: inode.parse().ok()? })
    });
    rows.collect()
}

/// Where the filesystem of `path` is mounted, and from what (proc_pid_mountinfo(5)).
pub(super) fn mount_of(table: &str, path: &Path) -> Option<(String, String)> {
    let rows = table.lines().filter_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let point = unescape(mount.split(' ').nth(4)?);
        path.starts_with(&point).then(|| (point, source.split(' ').nth(1).unwrap_or_default().to_owned()))
    });
    // Of two on the same place the later one covers the other.
    rows.max_by_key(|(point, _)| point.len())
}

/// The default route of `/proc/net/route`, in words.
pub(super) fn default_route(table: &str) -> Option<String> {
    let row = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.get(1) == Some(&"00000000") && words.get(7) == Some(&"00000000"))?;
    // The kernel writes addresses as numbers of its own byte order.
    let gateway = u32::from_str_radix(row.get(2)?, 16).ok()?.to_ne_bytes();
    Some(format!("via {} dev {}", std::net::Ipv4Addr::from(gateway), row.first()?))
}

/// The words behind `key` in resolv.conf(5); of several lines with `search` the last one holds.
pub(super) fn of_resolver(text: &str, key: &str) -> Vec<String> {
    let lines =
        text.lines().filter_map(|line| line.trim().strip_prefix(key).filter(|rest| rest.starts_with([' ', '\t'])));
    let lines: Vec<Vec<String>> = lines.map(|rest| rest.split_whitespace().map(str::to_owned).collect()).collect();
    if key == "search" { lines.into_iter().next_back().unwrap_or_default() } else { lines.concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_tables_are_read() {
        let tcp = "  sl  local_address rem_address   st\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1\n   1: 0100007F:0050 0100007F:9999 01 0:0 0:0 0 0 0 77 1\n";
        assert_eq!(listeners(tcp, "TCP"), [Listener { protocol: "TCP", port: 8080, inode: 4242 }]);
        let route = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\tFE0200C0\t0003\t0\t0\t0\t00000000\n";
        assert_eq!(default_route(route).as_deref(), Some("via 192.0.2.254 dev eth0"));
        assert_eq!(default_route("Iface\n"), None);
    }

    #[test]
    fn a_path_is_on_the_longest_mount_above_it() {
        let table = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /var rw - xfs /dev/sda2 rw\n3 1 8:3 / /var/lib/my\\040pods rw - xfs /dev/sda3 rw\n";
        let at = |path: &str| mount_of(table, Path::new(path)).unwrap();
        assert_eq!(at("/var/lib/skiff"), ("/var".to_owned(), "/dev/sda2".to_owned()));
        assert_eq!(
            (at("/home").1.as_str(), at("/var/lib/my pods/x").1.as_str(), at("/variety").1.as_str()),
            ("/dev/sda1", "/dev/sda3", "/dev/sda1")
        );
    }

    #[test]
    fn resolvers_are_read() {
        let text = "nameserver 192.0.2.1\n# nameserver x\nnameserver 192.0.2.2\nsearch a b\nsearch c\nsearcher d\n";
        assert_eq!(
            (of_resolver(text, "nameserver"), of_resolver(text, "search")),
            (vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()], vec!["c".to_owned()])
        );
    }
}
