//! Limits as properties of a unit (systemd.resource-control(5)). What has no property is only written to the files: systemd
//! leaves alone what it was not told of.

use super::message::Value;
use crate::cgroup::hierarchy::Version;
use crate::cgroup::plan::{cpu_weight, swap_alone};
use crate::spec::{Cpu, DeviceKind, DevicePattern, Limits, Memory};

/// A property, whose name is ours.
type Property = (&'static str, Value);

/// What `cpu.max` and `cpu.cfs_period_us` start with, microseconds.
const PERIOD_DEFAULT_US: u64 = 100_000;
/// systemd keeps whole percents, and rounds down what is none.
const PERCENT_US: u64 = 10_000;

/// The properties for `limits` on a host whose memory controller has `version`.
pub(super) fn of(limits: &Limits, version: Version) -> Vec<Property> {
    let mut properties = memory(&limits.memory, version);
    properties.extend(cpu(&limits.cpu, version));
    properties.extend(limits.pids.map(|count| ("TasksMax", number(count))));
    for (name, list) in [("AllowedCPUs", &limits.cpu.cpus), ("AllowedMemoryNodes", &limits.cpu.mems)] {
        properties.extend(list.as_deref().and_then(bits).map(|bits| (name, Value::Bits(bits))));
    }
    properties
}

/// Negative: no limit, which is the largest number.
fn number(value: i64) -> Value {
    Value::Number(u64::try_from(value).unwrap_or(u64::MAX))
}

fn memory(memory: &Memory, version: Version) -> Vec<Property> {
    let limit = memory.limit.map(number);
    if version == Version::One {
        return limit.map(|bytes| ("MemoryLimit", bytes)).into_iter().collect();
    }
    let swap = match (memory.with_swap, memory.limit) {
        (None, Some(-1)) => Some(-1),
        // What cannot be told is refused when the files are written.
        (with_swap, limit) => with_swap.and_then(|with_swap| swap_alone(with_swap, limit).ok()),
    };
    let low = memory.reservation.map(|bytes| ("MemoryLow", number(bytes)));
    let limits = [limit.map(|bytes| ("MemoryMax", bytes)), low, swap.map(|bytes| ("MemorySwapMax", number(bytes)))];
    limits.into_iter().flatten().collect()
}

fn cpu(cpu: &Cpu, version: Version) -> Vec<Property> {
    let share = match (version, cpu.idle, cpu.shares) {
        (Version::One, _, shares) => shares.map(|shares| ("CPUShares", shares)),
        // systemd's word for idle.
        (Version::Two, Some(1), _) => Some(("CPUWeight", 0)),
        (Version::Two, _, shares) => shares.map(|shares| ("CPUWeight", cpu_weight(shares))),
    };
    let mut properties: Vec<_> = share.map(|(name, share)| (name, Value::Number(share))).into_iter().collect();
    properties.extend(cpu.period.map(|period| ("CPUQuotaPeriodUSec", Value::Number(period))));
    if let Some(quota) = cpu.quota {
        let period = cpu.period.unwrap_or(PERIOD_DEFAULT_US);
        let per_second = u64::try_from(quota).map_or(u64::MAX, |quota| {
            (quota.saturating_mul(1_000_000) / period).checked_next_multiple_of(PERCENT_US).unwrap_or(u64::MAX)
        });
        properties.push(("CPUQuotaPerSecUSec", Value::Number(per_second)));
    }
    properties
}

/// `0-2,8` as bits, the lowest first; `None` if it is no such list, which the kernel will say.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for word in list.trim().split(',').filter(|word| !word.is_empty()) {
        let (from, to) = word.split_once('-').unwrap_or((word, word));
        // Linux has at most 8,192 processors (CONFIG_NR_CPUS).
        for bit in from.trim().parse::<usize>().ok()?..=to.trim().parse::<usize>().ok().filter(|to| *to < 8192)? {
            if bits.len() <= bit / 8 {
                bits.resize(bit / 8 + 1, 0_u8);
            }
            bits[bit / 8] |= 1 << (bit % 8);
        }
    }
    Some(bits)
}

/// The allowed devices, for a unit that allows nothing else; `None` where systemd has no words for them, and only our own
/// rules hold.
pub(super) fn devices(allowed: Option<Vec<(DevicePattern, String)>>) -> Vec<Property> {
    let Some(pairs) = allowed.and_then(|all| all.into_iter().map(device).collect::<Option<Vec<_>>>()) else {
        return vec![("DevicePolicy", Value::Text("auto".to_owned())), ("DeviceAllow", Value::Pairs(Vec::new()))];
    };
    vec![("DevicePolicy", Value::Text("strict".to_owned())), ("DeviceAllow", Value::Pairs(pairs))]
}

fn device((pattern, access): (DevicePattern, String)) -> Option<(String, String)> {
    let (short, long) = match pattern.kind {
        DeviceKind::Block => ("block", "/dev/block"),
        DeviceKind::Character => ("char", "/dev/char"),
    };
    let name = match (pattern.major, pattern.minor) {
        (None, None) => format!("{short}-*"),
        (Some(major), None) => format!("{short}-{major}"),
        (Some(major), Some(minor)) => format!("{long}/{major}:{minor}"),
        (None, Some(_)) => return None,
    };
    Some((name, access))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::config;
    use serde_json::json;

    fn properties(json: serde_json::Value, version: Version) -> Vec<Property> {
        let written: config::Resources = serde_json::from_value(json).unwrap();
        of(&Limits::check(Some(&written)).unwrap(), version)
    }

    #[test]
    fn limits_have_the_names_of_their_version() {
        let full = json!({"memory": {"limit": 100, "swap": 300, "reservation": 50}, "pids": {"limit": -1},
            "cpu": {"shares": 1024, "quota": 15_001, "period": 10_000, "cpus": "0-2,8"}});
        let n = Value::Number;
        let quota = [
            ("CPUQuotaPeriodUSec", n(10_000)),
            ("CPUQuotaPerSecUSec", n(1_510_000)),
            ("TasksMax", n(u64::MAX)),
            ("AllowedCPUs", Value::Bits(vec![7, 1])),
        ];
        let two = [("MemoryMax", n(100)), ("MemoryLow", n(50)), ("MemorySwapMax", n(200)), ("CPUWeight", n(100))];
        assert_eq!(properties(full.clone(), Version::Two), [two.as_slice(), &quota].concat());
        let one = [("MemoryLimit", n(100)), ("CPUShares", n(1024))];
        assert_eq!(properties(full, Version::One), [one.as_slice(), &quota].concat());
        assert_eq!(properties(json!({"cpu": {"idle": 1, "shares": 5}}), Version::Two), [("CPUWeight", n(0))]);
        let lifted = [("MemoryMax", n(u64::MAX)), ("MemorySwapMax", n(u64::MAX))];
        assert_eq!(properties(json!({"memory": {"limit": -1}}), Version::Two), lifted);
    }

    #[test]
    fn devices_have_names_or_are_left_to_our_own_rules() {
        let pattern = |major, minor| DevicePattern { kind: DeviceKind::Character, major, minor };
        let one = |major, minor| Some(vec![(pattern(major, minor), "rw".to_owned())]);
        let named = |name: &str| Value::Pairs(vec![(name.to_owned(), "rw".to_owned())]);
        assert_eq!(devices(one(Some(1), Some(3)))[1].1, named("/dev/char/1:3"));
        assert_eq!(devices(one(Some(136), None))[1].1, named("char-136"));
        assert_eq!(devices(one(None, None))[1].1, named("char-*"));
        assert_eq!(devices(one(None, Some(3)))[0].1, Value::Text("auto".to_owned()));
        assert_eq!(devices(None)[0].1, Value::Text("auto".to_owned()));
    }

    #[test]
    fn lists_become_bits() {
        assert_eq!(bits("0"), Some(vec![1]));
        assert_eq!(bits("7-8"), Some(vec![0x80, 1]));
        assert_eq!((bits("x"), bits("0-99999999999")), (None, None));
    }
}
