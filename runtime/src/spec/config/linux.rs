//! `linux` as written (runtime-spec config-linux).

use super::{Resources, Seccomp};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::PathBuf;

/// What only Linux has.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Linux {
    pub(crate) namespaces: Option<Vec<Namespace>>,
    pub(crate) uid_mappings: Option<Vec<IdMapping>>,
    pub(crate) gid_mappings: Option<Vec<IdMapping>>,
    /// By clock: `monotonic` or `boottime`.
    pub(crate) time_offsets: Option<HashMap<String, TimeOffset>>,
    pub(crate) devices: Option<Vec<Device>>,
    /// By name in the runtime's network namespace.
    pub(crate) net_devices: Option<HashMap<String, NetDevice>>,
    pub(crate) cgroups_path: Option<PathBuf>,
    pub(crate) resources: Option<Resources>,
    pub(crate) intel_rdt: Option<IntelRdt>,
    pub(crate) memory_policy: Option<MemoryPolicy>,
    pub(crate) sysctl: Option<HashMap<String, String>>,
    pub(crate) seccomp: Option<Seccomp>,
    pub(crate) rootfs_propagation: Option<String>,
    pub(crate) masked_paths: Option<Vec<String>>,
    pub(crate) readonly_paths: Option<Vec<String>>,
    pub(crate) mount_label: Option<String>,
    pub(crate) personality: Option<Personality>,
}

/// Without a path a new one is made.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct Namespace {
    /// `pid`, `network`, `mount`, `ipc`, `uts`, `user`, `cgroup` or `time`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) path: Option<PathBuf>,
}

/// One line of uid_map or gid_map (user_namespaces(7)).
#[derive(Debug, Clone, Copy, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct IdMapping {
    #[serde(rename = "containerID")]
    pub(crate) container_id: u32,
    #[serde(rename = "hostID")]
    pub(crate) host_id: u32,
    pub(crate) size: u32,
}

/// One line of timens_offsets (time_namespaces(7)).
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default)]
pub(crate) struct TimeOffset {
    pub(crate) secs: i64,
    pub(crate) nanosecs: u32,
}

/// A device file to be made.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Device {
    /// `c`, `b`, `u` or `p`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) path: PathBuf,
    #[serde(default)]
    pub(crate) major: i64,
    #[serde(default)]
    pub(crate) minor: i64,
    pub(crate) file_mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

/// A network interface to be moved into the container.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct NetDevice {
    /// Its name there; the same when not given.
    pub(crate) name: Option<String>,
}

/// Cache and memory bandwidth classes (kernel, resctrl).
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase")]
pub(crate) struct IntelRdt {
    #[serde(rename = "closID")]
    pub(crate) clos_id: Option<String>,
    pub(crate) schemata: Option<Vec<String>>,
    pub(crate) l3_cache_schema: Option<String>,
    pub(crate) mem_bw_schema: Option<String>,
    pub(crate) enable_monitoring: Option<bool>,
    /// Until 1.2, what version 1.3 calls `enableMonitoring`: of caches and of memory bandwidth, which the kernel counts together.
    #[serde(rename = "enableCMT")]
    pub(crate) enable_cmt: Option<bool>,
    #[serde(rename = "enableMBM")]
    pub(crate) enable_mbm: Option<bool>,
}

/// Arguments of set_mempolicy(2).
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct MemoryPolicy {
    /// `MPOL_…`
    pub(crate) mode: String,
    /// A list such as `0-3,7`.
    pub(crate) nodes: Option<String>,
    /// `MPOL_F_…`
    pub(crate) flags: Option<Vec<String>>,
}

/// Argument of personality(2).
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct Personality {
    /// `LINUX` or `LINUX32`.
    pub(crate) domain: String,
    /// The specification names none yet.
    pub(crate) flags: Option<Vec<String>>,
}
