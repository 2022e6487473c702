//! Memory and swap.
//!
//! Version 1 limits memory, and memory plus swap; version 2 limits memory, and swap. config.json speaks as version 1 does.

use super::convert::swap_alone;
use super::{Group, Knot, Version, only_version_1, or_max, refused, single, version, write};
use crate::error::Result;
use crate::spec::Memory;

pub(super) fn plan(memory: &Memory, group: &dyn Group) -> Result<Vec<Knot>> {
    let asked = [
        ("memory.limit", memory.limit.is_some()),
        ("memory.swap", memory.with_swap.is_some()),
        ("memory.reservation", memory.reservation.is_some()),
    ];
    let mut knots = Vec::new();
    if let Some((field, _)) = asked.iter().find(|(_, is_asked)| *is_asked) {
        match version(group, "memory", field)? {
            Version::One => knots = version_1(memory, group),
            Version::Two => knots = version_2(memory, group)?,
        }
    }
    knots.extend(special(memory, group)?);
    Ok(knots)
}

fn version_1(memory: &Memory, group: &dyn Group) -> Vec<Knot> {
    let file = "memory.memsw.limit_in_bytes";
    let limit = memory.limit.map(|bytes| write("memory", "memory.limit_in_bytes", bytes, "memory.limit"));
    let with_swap = memory.with_swap.or_else(|| {
        // Who lifts the limit on memory alone means both: memory plus swap would still hold it.
        let lifts_both = memory.limit == Some(-1) && group.read("memory", file).is_some();
        lifts_both.then_some(-1)
    });
    let with_swap = with_swap.map(|bytes| write("memory", file, bytes, "memory.swap"));
    let limits = Knot(limit.into_iter().chain(with_swap).collect());
    let soft = memory.reservation.map(|bytes| reservation("memory.soft_limit_in_bytes", bytes.to_string()));
    [limits].into_iter().filter(|knot| !knot.0.is_empty()).chain(soft).collect()
}

fn reservation(file: &'static str, value: String) -> Knot {
    single("memory", file, value, "memory.reservation")
}

fn version_2(memory: &Memory, group: &dyn Group) -> Result<Vec<Knot>> {
    if memory.check_before_update {
        check_usage(memory, group)?;
    }
    let swap = swap(memory, group)?.map(|bytes| single("memory", "memory.swap.max", or_max(bytes), "memory.swap"));
    let limit = memory.limit.map(|bytes| single("memory", "memory.max", or_max(bytes), "memory.limit"));
    let low = memory.reservation.map(|bytes| reservation("memory.low", or_max(bytes)));
    Ok(swap.into_iter().chain(limit).chain(low).collect())
}

/// What swap alone is limited to. A kernel without swap accounting has no such file, and then only a limit that means
/// something is one too many.
fn swap(memory: &Memory, group: &dyn Group) -> Result<Option<i64>> {
    let alone = match (memory.with_swap, memory.limit) {
        (None, Some(-1)) => -1,
        (None, _) => return Ok(None),
        (Some(with_swap), limit) => {
            let limit = limit.or_else(|| present_limit(group));
            swap_alone(with_swap, limit).map_err(|reason| refused("memory.swap", reason))?
        }
    };
    let is_counted = group.read("memory", "memory.swap.max").is_some();
    Ok((is_counted || alone > 0).then_some(alone))
}

fn present_limit(group: &dyn Group) -> Option<i64> {
    // `max`: memory plus swap could not be told apart.
    group.read("memory", "memory.max")?.trim().parse().ok()
}

/// Version 2 reclaims and then kills for a limit below what is in use; version 1 refuses it by itself.
fn check_usage(memory: &Memory, group: &dyn Group) -> Result<()> {
    let Some(used) = group.read("memory", "memory.current").and_then(|text| text.trim().parse::<i64>().ok()) else {
        return Ok(());
    };
    for (field, limit) in [("memory.swap", memory.with_swap), ("memory.limit", memory.limit)] {
        if let Some(limit) = limit.filter(|limit| (0..=used).contains(limit)) {
            return Err(refused(field, format!("{limit} is not above the {used} bytes in use")));
        }
    }
    Ok(())
}

/// What only version 1 has.
fn special(memory: &Memory, group: &dyn Group) -> Result<Vec<Knot>> {
    let tcp = memory.kernel_tcp.map(|bytes| ("memory.kmem.tcp.limit_in_bytes", bytes.to_string(), "memory.kernelTCP"));
    let swappiness = memory.swappiness.map(|percent| ("memory.swappiness", percent.to_string(), "memory.swappiness"));
    let killer = memory.disable_oom_killer.then(|| ("memory.oom_control", "1".to_owned(), "memory.disableOOMKiller"));
    let all = [tcp, swappiness, killer].into_iter().flatten();
    all.map(|(file, value, field)| {
        only_version_1(group, "memory", field)?;
        Ok(single("memory", file, value, field))
    })
    .collect()
}
