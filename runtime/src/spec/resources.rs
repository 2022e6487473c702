//! Resource limits as meant, for both cgroup versions.

use super::config;
use crate::error::{Error, Result};
use std::collections::HashMap;

/// What the cgroup of a container allows. `None`: not touched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: Option<i64>,
    pub(crate) memory_soft_bytes: Option<i64>,
    /// Memory plus swap, as version 1 counts it; -1: no limit.
    pub(crate) memory_and_swap_bytes: Option<i64>,
    pub(crate) memory_kernel_tcp_bytes: Option<i64>,
    pub(crate) swappiness: Option<u64>,
    pub(crate) disable_oom_killer: bool,
    pub(crate) cpu_shares: Option<u64>,
    pub(crate) cpu_quota_us: Option<i64>,
    pub(crate) cpu_period_us: Option<u64>,
    pub(crate) cpu_burst_us: Option<u64>,
    pub(crate) cpu_idle: Option<i64>,
    pub(crate) cpu_rt_runtime_us: Option<i64>,
    pub(crate) cpu_rt_period_us: Option<u64>,
    pub(crate) cpus: Option<String>,
    pub(crate) mems: Option<String>,
    /// -1: no limit.
    pub(crate) pids: Option<i64>,
    pub(crate) io_weight: Option<u16>,
    pub(crate) throttles: Vec<Throttle>,
    /// Files of version 2 and their values, in order of their names.
    pub(crate) unified: Vec<(String, String)>,
    /// In order.
    pub(crate) devices: Vec<DeviceRule>,
}

/// A rate limit of one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Throttle {
    pub(crate) what: Throttled,
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) rate: u64,
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Throttled {
    ReadBytes,
    WriteBytes,
    ReadOperations,
    WriteOperations,
}

/// One rule of the device controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceRule {
    pub(crate) allow: bool,
    /// `a`, `b` or `c`.
    pub(crate) kind: char,
    /// -1: any.
    pub(crate) major: i64,
    /// -1: any.
    pub(crate) minor: i64,
    /// Of `r`, `w`, `m`.
    pub(crate) access: String,
}

impl Limits {
    /// Reads `linux.resources`.
    ///
    /// # Errors
    /// What cannot be honoured, by field path.
    pub(crate) fn check(written: Option<&config::Resources>) -> Result<Self> {
        let Some(written) = written else { return Ok(Self::default()) };
        refuse_unsupported(written)?;
        let mut limits = Self { unified: sorted(written.unified.as_ref())?, ..Self::default() };
        limits.take_memory(written.memory.as_ref());
        limits.take_cpu(written.cpu.as_ref());
        limits.take_io(written.block_io.as_ref())?;
        limits.pids = written.pids.and_then(|pids| pids.limit);
        let rules = written.devices.iter().flatten().enumerate();
        limits.devices = rules.map(|(index, rule)| DeviceRule::check(index, rule)).collect::<Result<_>>()?;
        Ok(limits)
    }

    fn take_memory(&mut self, written: Option<&config::Memory>) {
        let Some(memory) = written else { return };
        // 0 is how engines say "not set".
        let set = |value: Option<i64>| value.filter(|value| *value != 0);
        self.memory_bytes = set(memory.limit);
        self.memory_soft_bytes = set(memory.reservation);
        self.memory_and_swap_bytes = set(memory.swap);
        self.memory_kernel_tcp_bytes = set(memory.kernel_tcp);
        self.swappiness = memory.swappiness;
        self.disable_oom_killer = memory.disable_oom_killer.unwrap_or(false);
    }

    fn take_cpu(&mut self, written: Option<&config::Cpu>) {
        let Some(cpu) = written else { return };
        let words = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        self.cpu_shares = cpu.shares.filter(|shares| *shares != 0);
        self.cpu_quota_us = cpu.quota.filter(|quota| *quota != 0);
        self.cpu_period_us = cpu.period.filter(|period| *period != 0);
        self.cpu_burst_us = cpu.burst.filter(|burst| *burst != 0);
        self.cpu_idle = cpu.idle;
        self.cpu_rt_runtime_us = cpu.realtime_runtime.filter(|runtime| *runtime != 0);
        self.cpu_rt_period_us = cpu.realtime_period.filter(|period| *period != 0);
        self.cpus = words(&cpu.cpus);
        self.mems = words(&cpu.mems);
    }

    fn take_io(&mut self, written: Option<&config::BlockIo>) -> Result<()> {
        let Some(io) = written else { return Ok(()) };
        let field = |name: &str| format!("linux.resources.blockIO.{name}");
        let has_devices = io.weight_device.as_ref().is_some_and(|devices| !devices.is_empty());
        for (name, is_asked) in [("leafWeight", io.leaf_weight.is_some_and(|w| w != 0)), ("weightDevice", has_devices)]
        {
            if is_asked {
                return Err(Error::refused(field(name), "is not implemented"));
            }
        }
        self.io_weight = io.weight.filter(|weight| *weight != 0);
        let lists = [
            ("throttleReadBpsDevice", Throttled::ReadBytes, &io.throttle_read_bps_device),
            ("throttleWriteBpsDevice", Throttled::WriteBytes, &io.throttle_write_bps_device),
            ("throttleReadIOPSDevice", Throttled::ReadOperations, &io.throttle_read_iops_device),
            ("throttleWriteIOPSDevice", Throttled::WriteOperations, &io.throttle_write_iops_device),
        ];
        for (name, what, list) in lists {
            for (index, device) in list.iter().flatten().enumerate() {
                let number = |value: i64| {
                    u64::try_from(value)
                        .map_err(|_| Error::refused(format!("{}[{index}]", field(name)), "negative number"))
                };
                let (major, minor) = (number(device.major)?, number(device.minor)?);
                self.throttles.push(Throttle { what, major, minor, rate: device.rate });
            }
        }
        Ok(())
    }
}

impl DeviceRule {
    fn check(index: usize, written: &config::DeviceRule) -> Result<Self> {
        let field = |name: &str| format!("linux.resources.devices[{index}].{name}");
        let kind = match written.kind.as_deref().unwrap_or_default() {
            "" | "a" => 'a',
            "b" => 'b',
            "c" | "u" => 'c',
            other => return Err(Error::refused(field("type"), format!("`{other}` is not a, b or c"))),
        };
        let access = written.access.clone().filter(|access| !access.is_empty()).unwrap_or_else(|| "rwm".to_owned());
        if !access.chars().all(|letter| "rwm".contains(letter)) {
            return Err(Error::refused(field("access"), format!("`{access}` is not made of r, w and m")));
        }
        let any_or = |number: Option<i64>| number.filter(|number| *number >= 0).unwrap_or(-1);
        Ok(Self { allow: written.allow, kind, major: any_or(written.major), minor: any_or(written.minor), access })
    }
}

fn refuse_unsupported(written: &config::Resources) -> Result<()> {
    let network = written.network.as_ref();
    let has_class = network.is_some_and(|network| network.class_id.is_some_and(|class| class != 0));
    let has_priorities = network.and_then(|network| network.priorities.as_ref()).is_some_and(|list| !list.is_empty());
    let asked = [
        ("network.classID", has_class),
        ("network.priorities", has_priorities),
        ("hugepageLimits", written.hugepage_limits.as_ref().is_some_and(|limits| !limits.is_empty())),
        ("rdma", written.rdma.as_ref().is_some_and(|limits| !limits.is_empty())),
    ];
    match asked.iter().find(|(_, is_asked)| *is_asked) {
        Some((name, _)) => Err(Error::refused(format!("linux.resources.{name}"), "is not implemented")),
        None => Ok(()),
    }
}

fn sorted(written: Option<&HashMap<String, String>>) -> Result<Vec<(String, String)>> {
    let mut files: Vec<_> = written.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some((name, _)) = files.iter().find(|(name, _)| name.contains('/') || name.starts_with('.')) {
        return Err(Error::refused(format!("linux.resources.unified.{name}"), "is not a file's name"));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: serde_json::Value) -> Result<Limits> {
        Limits::check(Some(&serde_json::from_value(json).unwrap()))
    }

    #[test]
    fn zero_means_not_set() {
        let limits = check(serde_json::json!({"memory": {"limit": 0}, "cpu": {"shares": 0, "quota": 0}})).unwrap();
        assert_eq!(limits, Limits::default());
    }

    #[test]
    fn a_device_rule_without_numbers_means_any() {
        let limits = check(serde_json::json!({"devices": [{"allow": false, "access": "rwm"}]})).unwrap();
        let rule = DeviceRule { allow: false, kind: 'a', major: -1, minor: -1, access: "rwm".to_owned() };
        assert_eq!(limits.devices, [rule]);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_path() {
        let text = |json| check(json).unwrap_err().to_string();
        assert!(text(serde_json::json!({"devices": [{"allow": true, "access": "rx"}]})).contains("devices[0].access"));
        assert!(text(serde_json::json!({"unified": {"../x": "1"}})).contains("unified.../x"));
        let huge = serde_json::json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]});
        assert!(text(huge).starts_with("linux.resources.hugepageLimits: "));
    }
}
