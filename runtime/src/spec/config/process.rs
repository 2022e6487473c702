//! `process` as written (runtime-spec config, Process).

use serde::Deserialize;
use std::path::PathBuf;

/// The container's program, or one that `exec --process` gives.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Process {
    pub(crate) terminal: Option<bool>,
    pub(crate) console_size: Option<ConsoleSize>,
    pub(crate) cwd: PathBuf,
    pub(crate) env: Option<Vec<String>>,
    pub(crate) args: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) user: User,
    pub(crate) rlimits: Option<Vec<Rlimit>>,
    pub(crate) capabilities: Option<Capabilities>,
    pub(crate) no_new_privileges: Option<bool>,
    pub(crate) apparmor_profile: Option<String>,
    pub(crate) selinux_label: Option<String>,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) scheduler: Option<Scheduler>,
    pub(crate) io_priority: Option<IoPriority>,
    #[serde(rename = "execCPUAffinity")]
    pub(crate) exec_cpu_affinity: Option<CpuAffinity>,
}

/// In characters.
#[derive(Debug, Clone, Copy, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct ConsoleSize {
    pub(crate) height: u64,
    pub(crate) width: u64,
}

/// Ids inside the container.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) umask: Option<u32>,
    pub(crate) additional_gids: Option<Vec<u32>>,
}

/// One limit of getrlimit(2).
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct Rlimit {
    /// `RLIMIT_…`
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// Names such as `CAP_CHOWN`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct Capabilities {
    pub(crate) bounding: Option<Vec<String>>,
    pub(crate) effective: Option<Vec<String>>,
    pub(crate) inheritable: Option<Vec<String>>,
    pub(crate) permitted: Option<Vec<String>>,
    pub(crate) ambient: Option<Vec<String>>,
}

/// Arguments of sched_setattr(2).
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct Scheduler {
    /// `SCHED_…`
    pub(crate) policy: String,
    pub(crate) nice: Option<i32>,
    pub(crate) priority: Option<i32>,
    /// `SCHED_FLAG_…`
    pub(crate) flags: Option<Vec<String>>,
    /// Nanoseconds, like the two that follow.
    pub(crate) runtime: Option<u64>,
    pub(crate) deadline: Option<u64>,
    pub(crate) period: Option<u64>,
}

/// Arguments of ioprio_set(2).
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct IoPriority {
    /// `IOPRIO_CLASS_…`
    pub(crate) class: String,
    #[serde(default)]
    pub(crate) priority: i32,
}

/// Lists such as `0-3,7`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct CpuAffinity {
    pub(crate) initial: Option<String>,
    #[serde(rename = "final")]
    pub(crate) last: Option<String>,
}
