//! Memory and swap.

use super::{Group, Version, keyed, number, parse, pressure, without_zeros};
use serde_json::{Map, Value, json};

pub(super) fn stats(group: &dyn Group) -> Value {
    let stat = group.read("memory", "memory.stat").unwrap_or_default();
    let raw: Map<String, Value> = stat
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, count)| (name.to_owned(), parse(count).into()))
        .collect();
    let version = group.version("memory");
    let (usage, swap, kernel, tcp) = match version {
        Some(Version::Two) => version_2(group),
        _ => (one(group, ""), one(group, ".memsw"), one(group, ".kmem"), one(group, ".kmem.tcp")),
    };
    let cache = keyed(&stat, if version == Some(Version::Two) { "file" } else { "cache" });
    let mut memory = json!({"usage": usage, "swap": swap, "kernel": kernel, "kernelTCP": tcp});
    for (name, value) in without_zeros([("cache", cache)]) {
        memory[name] = value;
    }
    if !raw.is_empty() {
        memory["raw"] = raw.into();
    }
    if let Some(pressure) = pressure(group, "memory.pressure") {
        memory["psi"] = pressure;
    }
    memory
}

fn entry(limit: u64, usage: u64, most: u64, failed: u64) -> Map<String, Value> {
    let mut entry = without_zeros([("usage", usage), ("max", most)]);
    entry.insert("limit".to_owned(), limit.into());
    entry.insert("failcnt".to_owned(), failed.into());
    entry
}

fn one(group: &dyn Group, what: &str) -> Map<String, Value> {
    let read = |end: &str| number(group, "memory", &format!("memory{what}.{end}"));
    entry(read("limit_in_bytes"), read("usage_in_bytes"), read("max_usage_in_bytes"), read("failcnt"))
}

type Entries = (Map<String, Value>, Map<String, Value>, Map<String, Value>, Map<String, Value>);

/// Version 2 counts swap alone; here it is with memory. Its most is not the sum of both mosts, so it is left out.
fn version_2(group: &dyn Group) -> Entries {
    let read = |file: &str| number(group, "memory", file);
    let (used, limit) = (read("memory.current"), read("memory.max"));
    let swap_limit = match (read("memory.swap.max"), limit) {
        (u64::MAX, _) | (_, u64::MAX) => u64::MAX,
        (swap, memory) => swap.saturating_add(memory),
    };
    let usage = entry(limit, used, read("memory.peak"), 0);
    let swap = entry(swap_limit, used.saturating_add(read("memory.swap.current")), 0, 0);
    (usage, swap, entry(0, 0, 0, 0), entry(0, 0, 0, 0))
}
