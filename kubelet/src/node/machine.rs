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

/// How short of something the node is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    pub(crate) memory: bool,
    pub(crate) disk: bool,
    pub(crate) pids: bool,
}

/// Eviction thresholds of Kubernetes: memory.available < 100Mi, nodefs.available < 10 %, inodesFree < 5 %; for pids there
/// is none by default, ours is 10 % of the kernel's.
const MEMORY_BYTES_MIN: i64 = 100 << 20;

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

    /// Looks how short the node is now.
    pub(crate) fn pressure(root: &Path) -> Pressure {
        let disk = statvfs(root).is_ok_and(|stat| {
            stat.blocks_available() * 10 < stat.blocks()
                || stat.files() > 0 && stat.files_available() * 20 < stat.files()
        });
        // loadavg(5): the fourth field is running/existing scheduling entities.
        let tasks =
            line("/proc/loadavg").split(['/', ' ']).nth(4).and_then(|count| count.parse::<i64>().ok()).unwrap_or(0);
        let most = line("/proc/sys/kernel/pid_max").parse::<i64>().unwrap_or(i64::MAX);
        Pressure { memory: meminfo("MemAvailable") < MEMORY_BYTES_MIN, disk, pids: tasks > most / 10 * 9 }
    }
}
