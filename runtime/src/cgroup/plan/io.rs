//! Block devices: `blkio` on version 1, `io` on version 2.
//!
//! Weights are the business of an I/O scheduler. Of those left in the kernel that is BFQ, whose files have its name; version 2
//! has `io.weight` too, with another range.

use super::convert::io_weight;
use super::{Group, Knot, Version, refused, single, write};
use crate::error::Result;
use crate::spec::{DeviceWeight, Io, Throttle, Throttled};

pub(super) fn plan(io: &Io, group: &dyn Group) -> Result<Vec<Knot>> {
    let Some(field) = first_field(io) else { return Ok(Vec::new()) };
    match (group.version("blkio"), group.version("io")) {
        (Some(Version::One), _) => Ok(version_1(io, group)),
        (_, Some(Version::Two)) => version_2(io, group),
        _ => Err(refused(&field, "there is no blkio or io controller for this container")),
    }
}

fn first_field(io: &Io) -> Option<String> {
    let weight = io.weight.map(|_| "blockIO.weight".to_owned());
    let leaf = io.leaf_weight.map(|_| "blockIO.leafWeight".to_owned());
    let device = io.devices.first().map(|device| device_field(device.index));
    weight.or(leaf).or(device).or_else(|| io.throttles.first().map(throttle_field))
}

fn device_field(index: usize) -> String {
    format!("blockIO.weightDevice[{index}]")
}

fn throttle_field(throttle: &Throttle) -> String {
    format!("blockIO.{}[{}]", throttle.what.field(), throttle.index)
}

fn version_1(io: &Io, group: &dyn Group) -> Vec<Knot> {
    let bfq = group.read("blkio", "blkio.bfq.weight").is_some();
    let (all, each) = match bfq {
        true => ("blkio.bfq.weight", "blkio.bfq.weight_device"),
        false => ("blkio.weight", "blkio.weight_device"),
    };
    let weight = io.weight.map(|weight| single("blkio", all, weight, "blockIO.weight"));
    let leaf = io.leaf_weight.map(|weight| single("blkio", "blkio.leaf_weight", weight, "blockIO.leafWeight"));
    let devices = io.devices.iter().flat_map(|device| {
        let DeviceWeight { index, device: (major, minor), weight, leaf_weight } = *device;
        let line = |file, weight| single("blkio", file, format!("{major}:{minor} {weight}"), device_field(index));
        let leaf = leaf_weight.map(|weight| line("blkio.leaf_weight_device", weight));
        weight.map(|weight| line(each, weight)).into_iter().chain(leaf)
    });
    let throttles = io.throttles.iter().map(|throttle| {
        let (major, minor) = throttle.device;
        let file = match throttle.what {
            Throttled::ReadBytes => "blkio.throttle.read_bps_device",
            Throttled::WriteBytes => "blkio.throttle.write_bps_device",
            Throttled::ReadOperations => "blkio.throttle.read_iops_device",
            Throttled::WriteOperations => "blkio.throttle.write_iops_device",
        };
        single("blkio", file, format!("{major}:{minor} {}", throttle.rate), throttle_field(throttle))
    });
    weight.into_iter().chain(leaf).chain(devices).chain(throttles).collect()
}

fn version_2(io: &Io, group: &dyn Group) -> Result<Vec<Knot>> {
    if io.leaf_weight.is_some() {
        return Err(refused("blockIO.leafWeight", "means nothing on cgroup version 2"));
    }
    let mut knots = Vec::new();
    let has_weights = io.weight.is_some() || !io.devices.is_empty();
    let bfq = has_weights.then(|| group.read("io", "io.bfq.weight")).flatten();
    knots.extend(io.weight.map(|weight| match bfq {
        Some(_) => single("io", "io.bfq.weight", weight, "blockIO.weight"),
        None => single("io", "io.weight", io_weight(weight), "blockIO.weight"),
    }));
    // BFQ takes weights of single devices since Linux 5.4, and shows that by naming the default.
    let is_per_device = bfq.is_some_and(|text| text.contains("default"));
    for device in &io.devices {
        let field = device_field(device.index);
        let (major, minor) = device.device;
        match (device.leaf_weight, device.weight, is_per_device) {
            (Some(_), _, _) => {
                return Err(refused(&format!("{field}.leafWeight"), "means nothing on cgroup version 2"));
            }
            (None, Some(weight), true) => {
                knots.push(single("io", "io.bfq.weight", format!("{major}:{minor} {weight}"), field));
            }
            (None, Some(weight), false) => {
                knots.push(single("io", "io.weight", format!("{major}:{minor} {}", io_weight(weight)), field));
            }
            (None, None, _) => (),
        }
    }
    knots.extend(io.throttles.iter().map(max_line));
    Ok(knots)
}

/// Version 1 lifts a limit with 0, version 2 with a word.
fn max_line(throttle: &Throttle) -> Knot {
    let (major, minor) = throttle.device;
    let key = match throttle.what {
        Throttled::ReadBytes => "rbps",
        Throttled::WriteBytes => "wbps",
        Throttled::ReadOperations => "riops",
        Throttled::WriteOperations => "wiops",
    };
    let rate = if throttle.rate == 0 { "max".to_owned() } else { throttle.rate.to_string() };
    Knot(vec![write("io", "io.max", format!("{major}:{minor} {key}={rate}"), throttle_field(throttle))])
}
