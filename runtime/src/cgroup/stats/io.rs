//! Block devices: bytes and operations by device and direction.

use super::{Group, Version, parse, pressure, without_zeros};
use serde_json::{Map, Value};

pub(super) fn stats(group: &dyn Group) -> Map<String, Value> {
    let tables = match group.version("blkio") {
        Some(Version::One) => version_1(group),
        _ => version_2(group),
    };
    let shown = tables.into_iter().filter(|(_, entries)| !entries.is_empty());
    let mut io: Map<String, Value> = shown.map(|(name, entries)| (name.to_owned(), entries.into())).collect();
    io.extend(pressure(group, "io.pressure").map(|pressure| ("psi".to_owned(), pressure)));
    io
}

type Tables = [(&'static str, Vec<Value>); 2];

/// The throttling layer counts whatever the scheduler is. Lines are `8:0 Read 512`, and a total without a device.
fn version_1(group: &dyn Group) -> Tables {
    let table = |file| {
        let text = group.read("blkio", file).unwrap_or_default();
        let line = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
            [device, operation, count] => Some(entry(device, operation, parse(count))),
            _ => None,
        };
        text.lines().filter_map(line).collect()
    };
    [
        ("ioServiceBytesRecursive", table("blkio.throttle.io_service_bytes_recursive")),
        ("ioServicedRecursive", table("blkio.throttle.io_serviced_recursive")),
    ]
}

/// Lines are `8:0 rbytes=512 wbytes=0 rios=1 wios=0 …`.
fn version_2(group: &dyn Group) -> Tables {
    let text = group.read("io", "io.stat").unwrap_or_default();
    let table = |reads: &str, writes: &str| {
        let mut entries = Vec::new();
        for line in text.lines() {
            let mut words = line.split(' ');
            let device = words.next().unwrap_or_default();
            for (key, count) in words.filter_map(|word| word.split_once('=')) {
                let operation = [(reads, "Read"), (writes, "Write")].into_iter().find(|(name, _)| *name == key);
                entries.extend(operation.map(|(_, operation)| entry(device, operation, parse(count))));
            }
        }
        entries
    };
    [("ioServiceBytesRecursive", table("rbytes", "wbytes")), ("ioServicedRecursive", table("rios", "wios"))]
}

fn entry(device: &str, operation: &str, count: u64) -> Value {
    let (major, minor) = device.split_once(':').unwrap_or_default();
    let mut entry = without_zeros([("major", parse(major)), ("minor", parse(minor)), ("value", count)]);
    entry.insert("op".to_owned(), operation.into());
    entry.into()
}
