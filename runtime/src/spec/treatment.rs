//! How the kernel shall treat a process, as meant: processor and disk time, processors, memory, personality, labels.

use super::config;
use crate::error::{Error, Result};
use skiff_sys::schedule::Attributes;
use std::ffi::CString;

/// The highest processor or node that a list may name: more than any kernel is built for, and a mask of 8 KiB.
const NUMBER_MAX: usize = 64 * 1024;

/// What is not given stays as the process inherits it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Treatment {
    /// `process.scheduler`.
    pub(crate) scheduler: Option<Attributes>,
    /// `process.ioPriority`: class and level.
    pub(crate) io_priority: Option<(u8, u8)>,
    /// `process.execCPUAffinity.initial`: where the runtime runs until the process is in its cgroup.
    pub(crate) cpus_before: Option<Vec<u64>>,
    /// `process.execCPUAffinity.final`: where the process runs.
    pub(crate) cpus: Option<Vec<u64>>,
    /// `linux.memoryPolicy`: mode with flags, and nodes.
    pub(crate) memory_policy: Option<(u32, Vec<u64>)>,
    /// `linux.personality`: the domain.
    pub(crate) personality: Option<u32>,
    /// `process.apparmorProfile`.
    pub(crate) apparmor_profile: Option<CString>,
    /// `process.selinuxLabel`.
    pub(crate) selinux_label: Option<CString>,
}

impl Treatment {
    /// Reads what `process`, which stands at `field`, and `linux` ask for.
    ///
    /// # Errors
    /// Unknown words, numbers out of range, combinations that the kernel does not have; by field path.
    pub(crate) fn check(field: &str, process: &config::Process, linux: Option<&config::Linux>) -> Result<Self> {
        let at = |name: &str| format!("{field}.{name}");
        let affinity = process.exec_cpu_affinity.clone().unwrap_or_default();
        let cpus = |name: &str, list: Option<String>| numbers(&at(&format!("execCPUAffinity.{name}")), list.as_deref());
        let policy = linux.and_then(|linux| linux.memory_policy.as_ref());
        let personality = linux.and_then(|linux| linux.personality.as_ref());
        let profile = process.apparmor_profile.as_deref().filter(|profile| *profile != "unconfined");
        Ok(Self {
            scheduler: process.scheduler.as_ref().map(|written| scheduler(&at("scheduler"), written)).transpose()?,
            io_priority: process.io_priority.as_ref().map(|written| io(&at("ioPriority"), written)).transpose()?,
            cpus_before: cpus("initial", affinity.initial)?,
            cpus: cpus("final", affinity.last)?,
            memory_policy: policy.map(memory_policy).transpose()?,
            personality: personality.map(domain).transpose()?,
            apparmor_profile: label(&at("apparmorProfile"), profile)?,
            selinux_label: label(&at("selinuxLabel"), process.selinux_label.as_deref())?,
        })
    }
}

/// linux/sched.h
const POLICIES: &[(&str, u32)] = &[
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];
const SCHEDULER_FLAGS: &[(&str, u32)] = &[
    ("SCHED_FLAG_RESET_ON_FORK", 1 << 0),
    ("SCHED_FLAG_RECLAIM", 1 << 1),
    ("SCHED_FLAG_DL_OVERRUN", 1 << 2),
    ("SCHED_FLAG_KEEP_POLICY", 1 << 3),
    ("SCHED_FLAG_KEEP_PARAMS", 1 << 4),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 1 << 5),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 1 << 6),
];
/// linux/mempolicy.h
pub(crate) const MEMORY_MODES: &[(&str, u32)] = &[
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];
pub(crate) const MEMORY_FLAGS: &[(&str, u32)] =
    &[("MPOL_F_NUMA_BALANCING", 1 << 13), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_STATIC_NODES", 1 << 15)];
/// linux/ioprio.h
const IO_CLASSES: &[(&str, u32)] = &[("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
/// linux/personality.h
const DOMAINS: &[(&str, u32)] = &[("LINUX", 0), ("LINUX32", 8)];

fn word(field: String, table: &[(&str, u32)], written: &str) -> Result<u32> {
    let known = table.iter().find(|(word, _)| *word == written);
    known.map(|(_, number)| *number).ok_or_else(|| Error::refused(field, format!("`{written}` is unknown")))
}

fn words(field: &str, table: &[(&str, u32)], written: Option<&Vec<String>>) -> Result<u32> {
    let each = written.into_iter().flatten().enumerate();
    each.map(|(index, flag)| word(format!("{field}[{index}]"), table, flag))
        .try_fold(0, |bits, bit| bit.map(|bit| bits | bit))
}

fn scheduler(field: &str, written: &config::Scheduler) -> Result<Attributes> {
    let at = |name: &str| format!("{field}.{name}");
    let policy = word(at("policy"), POLICIES, &written.policy)?;
    let (nice, priority) = (written.nice.unwrap_or(0), written.priority.unwrap_or(0));
    if !(-20..=19).contains(&nice) {
        return Err(Error::refused(at("nice"), format!("{nice} is not -20 to 19")));
    }
    if priority != 0 && !["SCHED_FIFO", "SCHED_RR"].contains(&written.policy.as_str()) {
        return Err(Error::refused(at("priority"), format!("is not for {}", written.policy)));
    }
    for (name, value) in [("runtime", written.runtime), ("deadline", written.deadline), ("period", written.period)] {
        if value.unwrap_or(0) != 0 && written.policy != "SCHED_DEADLINE" {
            return Err(Error::refused(at(name), format!("is not for {}", written.policy)));
        }
    }
    Ok(Attributes {
        policy,
        flags: u64::from(words(&at("flags"), SCHEDULER_FLAGS, written.flags.as_ref())?),
        nice,
        priority: u32::try_from(priority).map_err(|_| Error::refused(at("priority"), "is negative"))?,
        runtime: written.runtime.unwrap_or(0),
        deadline: written.deadline.unwrap_or(0),
        period: written.period.unwrap_or(0),
    })
}

fn io(field: &str, written: &config::IoPriority) -> Result<(u8, u8)> {
    let class = word(format!("{field}.class"), IO_CLASSES, &written.class)?;
    let level = u8::try_from(written.priority).ok().filter(|level| *level < 8);
    let level = level.ok_or_else(|| Error::refused(format!("{field}.priority"), "is not 0 to 7"))?;
    Ok((u8::try_from(class).unwrap_or(u8::MAX), level))
}

fn memory_policy(written: &config::MemoryPolicy) -> Result<(u32, Vec<u64>)> {
    let field = "linux.memoryPolicy";
    let mode = word(format!("{field}.mode"), MEMORY_MODES, &written.mode)?;
    let flags = words(&format!("{field}.flags"), MEMORY_FLAGS, written.flags.as_ref())?;
    let at = format!("{field}.nodes");
    let nodes = numbers(&at, written.nodes.as_deref())?.unwrap_or_default();
    match (written.mode.as_str(), nodes.is_empty()) {
        ("MPOL_DEFAULT" | "MPOL_LOCAL", false) => Err(Error::refused(at, format!("{} takes none", written.mode))),
        ("MPOL_DEFAULT" | "MPOL_LOCAL" | "MPOL_PREFERRED", _) | (_, false) => Ok((mode | flags, nodes)),
        (_, true) => Err(Error::refused(at, format!("{} needs at least one", written.mode))),
    }
}

fn domain(written: &config::Personality) -> Result<u32> {
    if let Some(flag) = written.flags.iter().flatten().next() {
        return Err(Error::refused("linux.personality.flags[0]", format!("`{flag}` is unknown")));
    }
    word("linux.personality.domain".to_owned(), DOMAINS, &written.domain)
}

fn label(field: &str, written: Option<&str>) -> Result<Option<CString>> {
    let text = |text: &str| CString::new(text).map_err(|_| Error::refused(field, "has a NUL character"));
    written.filter(|text| !text.is_empty()).map(text).transpose()
}

/// A list such as `0-3,7` as a mask; an empty list is none.
fn numbers(field: &str, written: Option<&str>) -> Result<Option<Vec<u64>>> {
    let Some(list) = written.filter(|list| !list.is_empty()) else { return Ok(None) };
    let refused = || Error::refused(field, format!("`{}` is not a list such as 0-3,7", list.escape_debug()));
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| *number < NUMBER_MAX);
    let mut mask = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first).ok_or_else(refused)?, number(last).ok_or_else(refused)?);
        if first > last {
            return Err(refused());
        }
        mask.resize(mask.len().max(last / 64 + 1), 0);
        (first..=last).for_each(|number| mask[number / 64] |= 1 << (number % 64));
    }
    Ok(Some(mask))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn check(process: Value, linux: Value) -> Result<Treatment> {
        let mut json = json!({"cwd": "/"});
        for (key, value) in process.as_object().unwrap() {
            json[key] = value.clone();
        }
        let linux: config::Linux = serde_json::from_value(linux).unwrap();
        Treatment::check("process", &serde_json::from_value(json).unwrap(), Some(&linux))
    }

    #[test]
    fn words_become_the_kernels_numbers() {
        let process = json!({
            "scheduler": {"policy": "SCHED_FIFO", "priority": 9, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
            "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 7},
            "execCPUAffinity": {"initial": "0", "final": "1,64-65"}, "apparmorProfile": "unconfined",
        });
        let linux = json!({"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
            "personality": {"domain": "LINUX32"}});
        let treatment = check(process, linux).unwrap();
        assert_eq!(treatment.scheduler, Some(Attributes { policy: 1, flags: 1, priority: 9, ..Attributes::default() }));
        assert_eq!(treatment.io_priority, Some((3, 7)));
        assert_eq!((treatment.cpus_before, treatment.cpus), (Some(vec![1]), Some(vec![2, 3])));
        assert_eq!(treatment.memory_policy, Some((2 | 1 << 15, vec![1])));
        assert_eq!((treatment.personality, treatment.apparmor_profile), (Some(8), None));
    }

    #[test]
    fn mistakes_are_named_by_field() {
        for (process, linux, start) in [
            (json!({"scheduler": {"policy": "x"}}), json!({}), "process.scheduler.policy: `x` is unknown"),
            (json!({"scheduler": {"policy": "SCHED_OTHER", "nice": 20}}), json!({}), "process.scheduler.nice: 20"),
            (json!({"scheduler": {"policy": "SCHED_OTHER", "priority": 1}}), json!({}), "process.scheduler.priority: "),
            (json!({"scheduler": {"policy": "SCHED_RR", "period": 1}}), json!({}), "process.scheduler.period: "),
            (json!({"scheduler": {"policy": "SCHED_RR", "flags": ["x"]}}), json!({}), "process.scheduler.flags[0]: "),
            (json!({"ioPriority": {"class": "x"}}), json!({}), "process.ioPriority.class: "),
            (
                json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}),
                json!({}),
                "process.ioPriority.priority",
            ),
            (json!({"execCPUAffinity": {"final": "3-1"}}), json!({}), "process.execCPUAffinity.final: `3-1`"),
            (json!({"selinuxLabel": "a\u{0}"}), json!({}), "process.selinuxLabel: "),
            (json!({}), json!({"memoryPolicy": {"mode": "MPOL_BIND"}}), "linux.memoryPolicy.nodes: "),
            (json!({}), json!({"memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "0"}}), "linux.memoryPolicy.nodes: "),
            (json!({}), json!({"memoryPolicy": {"mode": "x"}}), "linux.memoryPolicy.mode: "),
            (json!({}), json!({"personality": {"domain": "x"}}), "linux.personality.domain: "),
            (json!({}), json!({"personality": {"domain": "LINUX", "flags": ["x"]}}), "linux.personality.flags[0]: "),
        ] {
            let text = check(process, linux).unwrap_err().to_string();
            assert!(text.starts_with(start), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_list_is_the_numbers_it_names(numbers_written in proptest::collection::vec((0..500_usize, 0..40_usize), 1..6)) {
            let part = |(first, more): &(usize, usize)| match more {
                0 => first.to_string(),
                more => format!("{first}-{}", first + more),
            };
            let list = numbers_written.iter().map(part).collect::<Vec<_>>().join(",");
            let mask = numbers("f", Some(&list)).unwrap().unwrap();
            for number in 0..mask.len() * 64 {
                let is_named = numbers_written.iter().any(|(first, more)| (*first..=first + more).contains(&number));
                prop_assert_eq!(mask[number / 64] >> (number % 64) & 1 == 1, is_named);
            }
        }

        #[test]
        fn any_list_is_survived(list in "[-0-9, a]{0,12}") {
            if let Ok(Some(mask)) = numbers("f", Some(&list)) {
                prop_assert!(mask.iter().any(|word| *word != 0));
            }
        }
    }
}
