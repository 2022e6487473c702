//! `linux.resources` as written, turned into limits as meant.

use super::config;
use super::limits::{
    Access, Cpu, DeviceKind, DevicePattern, DeviceRule, DeviceWeight, HugePages, Io, Limits, Memory, Network, Rdma,
    Throttle, Throttled,
};
use crate::error::{Error, Result};
use std::collections::HashMap;

/// What weights of block devices may be (runtime-spec config-linux, Block IO).
const IO_WEIGHTS: std::ops::RangeInclusive<u16> = 10..=1000;
/// What version 1 takes; version 2 has no such file.
const SWAPPINESS_MAX: u64 = 100;

impl Limits {
    /// Reads `linux.resources`.
    ///
    /// # Errors
    /// What cannot be honoured by any kernel, by field path.
    pub(crate) fn check(written: Option<&config::Resources>) -> Result<Self> {
        let Some(written) = written else { return Ok(Self::default()) };
        let mut devices = Vec::new();
        for (index, rule) in written.devices.iter().flatten().enumerate() {
            devices.extend(device_rules(index, rule)?);
        }
        Ok(Self {
            memory: written.memory.as_ref().map_or_else(|| Ok(Memory::default()), memory)?,
            cpu: written.cpu.as_ref().map(cpu).unwrap_or_default(),
            // 0 is how engines of before 1.3 of the specification said "not set".
            pids: written.pids.and_then(|pids| pids.limit).filter(|count| *count != 0),
            io: written.block_io.as_ref().map_or_else(|| Ok(Io::default()), io)?,
            huge_pages: huge_pages(written.hugepage_limits.as_deref().unwrap_or_default())?,
            rdma: rdma(written.rdma.as_ref())?,
            network: written.network.as_ref().map_or_else(|| Ok(Network::default()), network)?,
            unified: unified(written.unified.as_ref())?,
            devices,
        })
    }
}

fn refused(field: &str, reason: impl Into<String>) -> Error {
    Error::refused(format!("linux.resources.{field}"), reason)
}

fn memory(memory: &config::Memory) -> Result<Memory> {
    let set = |value: Option<i64>| value.filter(|value| *value != 0);
    // Go's "not set" for an unsigned number, from the days when it was -1.
    let swappiness = memory.swappiness.filter(|percent| *percent != u64::MAX);
    if let Some(percent) = swappiness.filter(|percent| *percent > SWAPPINESS_MAX) {
        return Err(refused("memory.swappiness", format!("{percent} is more than {SWAPPINESS_MAX}")));
    }
    Ok(Memory {
        limit: set(memory.limit),
        reservation: set(memory.reservation),
        with_swap: set(memory.swap),
        kernel_tcp: set(memory.kernel_tcp),
        swappiness,
        disable_oom_killer: memory.disable_oom_killer.unwrap_or(false),
        check_before_update: memory.check_before_update.unwrap_or(false),
    })
}

fn cpu(cpu: &config::Cpu) -> Cpu {
    let words = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Cpu {
        shares: cpu.shares.filter(|shares| *shares != 0),
        quota: cpu.quota.filter(|quota| *quota != 0),
        period: cpu.period.filter(|period| *period != 0),
        burst: cpu.burst,
        idle: cpu.idle,
        realtime_runtime: cpu.realtime_runtime.filter(|runtime| *runtime != 0),
        realtime_period: cpu.realtime_period.filter(|period| *period != 0),
        cpus: words(&cpu.cpus),
        mems: words(&cpu.mems),
    }
}

fn io(io: &config::BlockIo) -> Result<Io> {
    let mut devices = Vec::new();
    for (index, device) in io.weight_device.iter().flatten().enumerate() {
        let field = format!("blockIO.weightDevice[{index}]");
        devices.push(DeviceWeight {
            index,
            device: numbers(&field, device.major, device.minor)?,
            weight: weight(&format!("{field}.weight"), device.weight)?,
            leaf_weight: weight(&format!("{field}.leafWeight"), device.leaf_weight)?,
        });
    }
    let lists = [
        (Throttled::ReadBytes, &io.throttle_read_bps_device),
        (Throttled::WriteBytes, &io.throttle_write_bps_device),
        (Throttled::ReadOperations, &io.throttle_read_iops_device),
        (Throttled::WriteOperations, &io.throttle_write_iops_device),
    ];
    let mut throttles = Vec::new();
    for (what, list) in lists {
        for (index, device) in list.iter().flatten().enumerate() {
            let field = format!("blockIO.{}[{index}]", what.field());
            let device_numbers = numbers(&field, device.major, device.minor)?;
            throttles.push(Throttle { what, index, device: device_numbers, rate: device.rate });
        }
    }
    let leaf_weight = weight("blockIO.leafWeight", io.leaf_weight)?;
    Ok(Io { weight: weight("blockIO.weight", io.weight)?, leaf_weight, devices, throttles })
}

fn weight(field: &str, written: Option<u16>) -> Result<Option<u16>> {
    match written {
        None | Some(0) => Ok(None),
        Some(weight) if IO_WEIGHTS.contains(&weight) => Ok(Some(weight)),
        Some(weight) => Err(refused(field, format!("{weight} is not from 10 to 1000"))),
    }
}

fn numbers(field: &str, major: i64, minor: i64) -> Result<(u32, u32)> {
    let number = |name: &str, value: i64| {
        u32::try_from(value).map_err(|_| refused(&format!("{field}.{name}"), format!("{value} is no device number")))
    };
    Ok((number("major", major)?, number("minor", minor)?))
}

fn huge_pages(written: &[config::HugepageLimit]) -> Result<Vec<HugePages>> {
    let one = |(index, limit): (usize, &config::HugepageLimit)| {
        let number = ["KB", "MB", "GB"].iter().find_map(|unit| limit.page_size.strip_suffix(unit));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        match number.filter(|number| !number.is_empty() && is_number(number)) {
            Some(_) => Ok(HugePages { size: limit.page_size.clone(), bytes: limit.limit }),
            None => {
                let reason = format!("`{}` is not of the form 2MB", limit.page_size.escape_debug());
                Err(refused(&format!("hugepageLimits[{index}].pageSize"), reason))
            }
        }
    };
    written.iter().enumerate().map(one).collect()
}

fn rdma(written: Option<&HashMap<String, config::Rdma>>) -> Result<Vec<Rdma>> {
    let mut all = Vec::new();
    for (device, limit) in written.into_iter().flatten() {
        let field = format!("rdma.{}", device.escape_debug());
        if device.is_empty() || device.contains(char::is_whitespace) {
            return Err(refused(&field, "is not a device's name"));
        }
        if limit.hca_handles.is_none() && limit.hca_objects.is_none() {
            return Err(refused(&field, "limits neither hcaHandles nor hcaObjects"));
        }
        all.push(Rdma { device: device.clone(), handles: limit.hca_handles, objects: limit.hca_objects });
    }
    all.sort_by(|one, other| one.device.cmp(&other.device));
    Ok(all)
}

fn network(network: &config::Network) -> Result<Network> {
    let mut priorities = Vec::new();
    for (index, priority) in network.priorities.iter().flatten().enumerate() {
        if priority.name.is_empty() || priority.name.contains(char::is_whitespace) {
            return Err(refused(&format!("network.priorities[{index}].name"), "is not an interface's name"));
        }
        priorities.push((priority.name.clone(), priority.priority));
    }
    Ok(Network { class: network.class_id.filter(|class| *class != 0), priorities })
}

fn unified(written: Option<&HashMap<String, String>>) -> Result<Vec<(String, String)>> {
    let mut files: Vec<_> = written.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some((name, _)) = files.iter().find(|(name, _)| name.contains('/') || name.starts_with('.')) {
        return Err(refused(&format!("unified.{name}"), "is not a file's name"));
    }
    files.sort();
    Ok(files)
}

/// `a` with every number and access is about everything at once. With a number or less access it means block and character
/// devices alike, which are two rules: the kernel itself would ignore the numbers.
fn device_rules(index: usize, written: &config::DeviceRule) -> Result<Vec<DeviceRule>> {
    let field = |name: &str| format!("devices[{index}].{name}");
    let kinds: &[DeviceKind] = match written.kind.as_deref().unwrap_or_default() {
        "" | "a" => &[DeviceKind::Block, DeviceKind::Character],
        "b" => &[DeviceKind::Block],
        "c" | "u" => &[DeviceKind::Character],
        other => return Err(refused(&field("type"), format!("`{other}` is not a, b or c"))),
    };
    let letters = written.access.as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm");
    let access = Access::parse(letters);
    let access = access.ok_or_else(|| refused(&field("access"), format!("`{letters}` is not made of r, w and m")))?;
    // Negative numbers are how older engines said "any".
    let number = |name: &str, written: Option<i64>| match written.filter(|number| *number >= 0) {
        None => Ok(None),
        Some(number) => match u32::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(refused(&field(name), format!("{number} is no device number"))),
        },
    };
    let (major, minor) = (number("major", written.major)?, number("minor", written.minor)?);
    let rule = |pattern| DeviceRule { index, allow: written.allow, pattern, access };
    if kinds.len() == 2 && major.is_none() && minor.is_none() && access == Access::ALL {
        return Ok(vec![rule(None)]);
    }
    Ok(kinds.iter().map(|kind| rule(Some(DevicePattern { kind: *kind, major, minor }))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(json: Value) -> Result<Limits> {
        Limits::check(Some(&serde_json::from_value(json).unwrap()))
    }

    #[test]
    fn zero_means_not_set() {
        let written = json!({
            "memory": {"limit": 0, "swap": 0, "swappiness": u64::MAX}, "cpu": {"shares": 0, "quota": 0, "cpus": ""},
            "pids": {"limit": 0}, "blockIO": {"weight": 0}, "network": {"classID": 0}, "devices": [],
        });
        assert_eq!(check(written).unwrap(), Limits::default());
        assert_eq!(check(json!({"cpu": {"burst": 0}})).unwrap().cpu.burst, Some(0), "0 takes a burst away");
    }

    #[test]
    fn a_device_rule_without_numbers_means_any() {
        let all = |json| check(json!({"devices": [json]})).unwrap().devices;
        let everything = DeviceRule { index: 0, allow: false, pattern: None, access: Access::ALL };
        assert_eq!(all(json!({"allow": false, "access": "rwm"})), [everything]);
        assert_eq!(all(json!({"allow": false, "type": "a", "major": -1, "minor": -1})), [everything]);
        let patterns: Vec<_> =
            all(json!({"allow": true, "type": "a", "major": 7})).into_iter().filter_map(|rule| rule.pattern).collect();
        let of = |kind| DevicePattern { kind, major: Some(7), minor: None };
        assert_eq!(patterns, [of(DeviceKind::Block), of(DeviceKind::Character)]);
    }

    #[test]
    fn what_no_kernel_can_honour_is_refused_by_path() {
        for (json, path) in [
            (json!({"devices": [{"allow": true, "access": "rx"}]}), "devices[0].access: "),
            (json!({"devices": [{"allow": true, "type": "p"}]}), "devices[0].type: "),
            (json!({"devices": [{"allow": true, "type": "c", "major": 4_294_967_296_i64}]}), "devices[0].major: "),
            (json!({"unified": {"../x": "1"}}), "unified.../x: "),
            (json!({"hugepageLimits": [{"pageSize": "2M", "limit": 1}]}), "hugepageLimits[0].pageSize: "),
            (json!({"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}), "hugepageLimits[0].pageSize: "),
            (json!({"memory": {"swappiness": 101}}), "memory.swappiness: "),
            (json!({"blockIO": {"weight": 9}}), "blockIO.weight: "),
            (
                json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 1001}]}}),
                "blockIO.weightDevice[0].leafWeight: ",
            ),
            (
                json!({"blockIO": {"throttleReadBpsDevice": [{"major": -1, "minor": 0, "rate": 1}]}}),
                "blockIO.throttleReadBpsDevice[0].major: ",
            ),
            (json!({"network": {"priorities": [{"name": "a b", "priority": 1}]}}), "network.priorities[0].name: "),
            (json!({"rdma": {"mlx": {}}}), "rdma.mlx: "),
        ] {
            let said = check(json.clone()).unwrap_err().to_string();
            assert!(said.starts_with(&format!("linux.resources.{path}")), "{json}: {said}");
        }
    }
}
