//! Processors: time, throttling, and which ones.

use super::{Group, Version, keyed, number, parse, pressure, without_zeros};
use serde_json::{Map, Value, json};

/// What `cpuacct.stat` counts in: USER_HZ, 100 on every architecture that we run on (time(7)).
const TICK_NANOSECONDS: u64 = 10_000_000;
/// The flags of version 1's cpusets, in runc's order.
const SET_FLAGS: &[&str] = &[
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
];

pub(super) fn time(group: &dyn Group) -> Value {
    match group.version("cpuacct") {
        Some(Version::One) => version_1(group),
        _ => version_2(group),
    }
}

fn version_1(group: &dyn Group) -> Value {
    let ticks = group.read("cpuacct", "cpuacct.stat").unwrap_or_default();
    let nanoseconds = |key| keyed(&ticks, key) * TICK_NANOSECONDS;
    let mut usage = without_zeros([("total", number(group, "cpuacct", "cpuacct.usage"))]);
    let each = group.read("cpuacct", "cpuacct.usage_percpu").unwrap_or_default();
    usage.insert("percpu".to_owned(), each.split_whitespace().map(parse).collect());
    // `cpu user system`, and a line for each processor.
    let modes = group.read("cpuacct", "cpuacct.usage_all").unwrap_or_default();
    let column = |at: usize| -> Value {
        modes.lines().skip(1).filter_map(|line| Some(parse(line.split(' ').nth(at)?))).collect()
    };
    usage.insert("percpu_kernel".to_owned(), column(2));
    usage.insert("percpu_user".to_owned(), column(1));
    usage.insert("kernel".to_owned(), nanoseconds("system").into());
    usage.insert("user".to_owned(), nanoseconds("user").into());
    let stat = group.read("cpu", "cpu.stat").unwrap_or_default();
    json!({"usage": usage, "throttling": throttling(&stat, keyed(&stat, "throttled_time"))})
}

/// `cpu.stat` is there with and without the controller.
fn version_2(group: &dyn Group) -> Value {
    let stat = group.read("cgroup", "cpu.stat").unwrap_or_default();
    let nanoseconds = |key| keyed(&stat, key) * 1000;
    let mut usage = without_zeros([("total", nanoseconds("usage_usec"))]);
    usage.insert("kernel".to_owned(), nanoseconds("system_usec").into());
    usage.insert("user".to_owned(), nanoseconds("user_usec").into());
    let mut cpu = json!({"usage": usage, "throttling": throttling(&stat, nanoseconds("throttled_usec"))});
    if let Some(pressure) = pressure(group, "cpu.pressure") {
        cpu["psi"] = pressure;
    }
    cpu
}

fn throttling(stat: &str, throttled_ns: u64) -> Map<String, Value> {
    let (periods, throttled) = (keyed(stat, "nr_periods"), keyed(stat, "nr_throttled"));
    without_zeros([("periods", periods), ("throttledPeriods", throttled), ("throttledTime", throttled_ns)])
}

/// runc fills these from version 1 alone.
pub(super) fn sets(group: &dyn Group) -> Map<String, Value> {
    let mut sets = Map::new();
    let is_one = group.version("cpuset") == Some(Version::One);
    let read = |file: &str| if is_one { group.read("cpuset", file) } else { None }.unwrap_or_default();
    for name in ["cpus", "mems"] {
        let list = expand(&read(&format!("cpuset.{name}")));
        if !list.is_empty() {
            sets.insert(name.to_owned(), list.into());
        }
    }
    for flag in SET_FLAGS {
        sets.insert((*flag).to_owned(), parse(&read(&format!("cpuset.{flag}"))).into());
    }
    // -1: the system's own.
    let level = read("cpuset.sched_relax_domain_level").trim().parse::<i64>().unwrap_or(0);
    sets.insert("sched_relax_domain_level".to_owned(), level.into());
    sets
}

/// `0-2,5` as numbers (cpuset(7), List format).
fn expand(list: &str) -> Vec<u16> {
    let range = |word: &str| {
        let (from, to) = word.split_once('-').unwrap_or((word, word));
        Some(from.parse::<u16>().ok()?..=to.parse::<u16>().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_expanded() {
        assert_eq!(expand("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(expand("\n"), [0_u16; 0]);
    }
}
