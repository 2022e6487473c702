//! Processors: how much of them, and which.

use super::convert::cpu_weight;
use super::{Group, Knot, Version, only_version_1, or_max, refused, single, version, write};
use crate::error::Result;
use crate::spec::Cpu;

/// What `cpu.max` starts with (kernel admin-guide/cgroup-v2).
const PERIOD_DEFAULT_US: u64 = 100_000;

pub(super) fn plan(cpu: &Cpu, group: &dyn Group) -> Result<Vec<Knot>> {
    let mut knots = time(cpu, group)?;
    knots.extend(realtime(cpu, group)?);
    for (field, file, list) in [("cpu.cpus", "cpuset.cpus", &cpu.cpus), ("cpu.mems", "cpuset.mems", &cpu.mems)] {
        if let Some(list) = list {
            version(group, "cpuset", field)?;
            knots.push(single("cpuset", file, list, field));
        }
    }
    Ok(knots)
}

fn time(cpu: &Cpu, group: &dyn Group) -> Result<Vec<Knot>> {
    let asked = [
        ("cpu.shares", cpu.shares.is_some()),
        ("cpu.quota", cpu.quota.is_some()),
        ("cpu.period", cpu.period.is_some()),
        ("cpu.burst", cpu.burst.is_some()),
        ("cpu.idle", cpu.idle.is_some()),
    ];
    let Some((field, _)) = asked.iter().find(|(_, is_asked)| *is_asked) else { return Ok(Vec::new()) };
    let version = version(group, "cpu", field)?;
    let bandwidth = match version {
        Version::One => bandwidth_1(cpu),
        Version::Two => bandwidth_2(cpu, group),
    };
    let knots = [share(cpu, version), bandwidth];
    Ok(knots.into_iter().filter(|knot| !knot.0.is_empty()).collect())
}

/// An idle group has no weight of its own: while `cpu.idle` is 1, another one is refused.
fn share(cpu: &Cpu, version: Version) -> Knot {
    let shares = cpu.shares.map(|shares| match version {
        Version::One => write("cpu", "cpu.shares", shares, "cpu.shares"),
        Version::Two => write("cpu", "cpu.weight", cpu_weight(shares), "cpu.shares"),
    });
    let idle = cpu.idle.map(|idle| write("cpu", "cpu.idle", idle, "cpu.idle"));
    Knot(shares.into_iter().chain(idle).collect())
}

fn bandwidth_1(cpu: &Cpu) -> Knot {
    let period = cpu.period.map(|period| write("cpu", "cpu.cfs_period_us", period, "cpu.period"));
    let burst = cpu.burst.map(|burst| write("cpu", "cpu.cfs_burst_us", burst, "cpu.burst"));
    let quota = cpu.quota.map(|quota| write("cpu", "cpu.cfs_quota_us", quota, "cpu.quota"));
    Knot([period, burst, quota].into_iter().flatten().collect())
}

/// One file has both numbers; the one that is not given stays what it is.
fn bandwidth_2(cpu: &Cpu, group: &dyn Group) -> Knot {
    let burst = cpu.burst.map(|burst| write("cpu", "cpu.max.burst", burst, "cpu.burst"));
    let now = || group.read("cpu", "cpu.max").unwrap_or_default();
    let quota = || now().split_whitespace().next().map_or_else(|| "max".to_owned(), str::to_owned);
    let period = || now().split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(PERIOD_DEFAULT_US);
    let max = match (cpu.quota, cpu.period) {
        (None, None) => None,
        (Some(new), None) => Some((or_max(new), period(), "cpu.quota")),
        (None, Some(new)) => Some((quota(), new, "cpu.period")),
        (Some(quota), Some(period)) => Some((or_max(quota), period, "cpu.quota")),
    };
    let max = max.map(|(quota, period, field)| write("cpu", "cpu.max", format!("{quota} {period}"), field));
    Knot(burst.into_iter().chain(max).collect())
}

/// Version 2 leaves realtime processes to the root group.
fn realtime(cpu: &Cpu, group: &dyn Group) -> Result<Option<Knot>> {
    let period = cpu.realtime_period.map(|us| write("cpu", "cpu.rt_period_us", us, "cpu.realtimePeriod"));
    let runtime = cpu.realtime_runtime.map(|us| write("cpu", "cpu.rt_runtime_us", us, "cpu.realtimeRuntime"));
    let writes: Vec<_> = period.into_iter().chain(runtime).collect();
    let Some(first) = writes.first() else { return Ok(None) };
    only_version_1(group, "cpu", &first.field)?;
    if group.read("cpu", &first.file).is_none() {
        return Err(refused(&first.field, "this kernel has no realtime groups"));
    }
    Ok(Some(Knot(writes)))
}
