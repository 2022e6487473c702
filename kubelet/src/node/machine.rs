//! What the machine is: CPUs, memory, kernel, ids (proc(5), os-release(5), machine-id(5)).

use nix::sys::statvfs::statvfs;
use std::fs;
use std::path::Path;

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// CPUs that we may use.
    pub(crate) cpus: i64,
    /// Memory, bytes.
    pub(crate) memory_bytes: i64,
    /// Size of the filesystem that pods live on, bytes.
    pub(crate) disk_bytes: i64,
    pub(crate) kernel: String,
    pub(crate) os_image: String,
    pub(crate) machine_id: String,
    pub(crate) boot_id: String,
    pub(crate) system_uuid: String,
    pub(crate) hostname: String,
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn meminfo(key: &str) -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let row = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    row.and_then(|rest| rest.split_whitespace().next()?.parse::<i64>().ok()).unwrap_or(0) * 1024
}

impl Machine {
    /// Reads it; `root` is where pods live.
    pub(crate) fn read(root: &Path) -> Self {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let disk = statvfs(root).map(|stat| stat.blocks() as i64 * stat.fragment_size() as i64);
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |count| i64::try_from(count.get()).unwrap_or(1)),
            memory_bytes: meminfo("MemTotal"),
            disk_bytes: disk.unwrap_or(0),
            kernel: line("/proc/sys/kernel/osrelease"),
            os_image: pretty.unwrap_or("Linux").trim_matches('"').to_owned(),
            machine_id: line("/etc/machine-id"),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            system_uuid: line("/sys/class/dmi/id/product_uuid"),
            hostname: line("/proc/sys/kernel/hostname"),
        }
    }
}
