//! What is left on the node: memory, processes, space and inodes of the filesystems of pods and images.

use nix::sys::statvfs::statvfs;
use std::fs;
use std::path::Path;

/// Something that may run short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Memory,
    NodeFs,
    NodeFsInodes,
    ImageFs,
    ImageFsInodes,
    Pids,
}

impl Signal {
    pub(super) const ALL: [Self; 6] =
        [Self::Memory, Self::NodeFs, Self::NodeFsInodes, Self::ImageFs, Self::ImageFsInodes, Self::Pids];

    /// As flags have it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory.available",
            Self::NodeFs => "nodefs.available",
            Self::NodeFsInodes => "nodefs.inodesFree",
            Self::ImageFs => "imagefs.available",
            Self::ImageFsInodes => "imagefs.inodesFree",
            Self::Pids => "pid.available",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.name() == name)
    }

    /// What it is called where pods are told why they go.
    pub(super) const fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::NodeFs | Self::ImageFs => "ephemeral-storage",
            Self::NodeFsInodes | Self::ImageFsInodes => "inodes",
            Self::Pids => "pids",
        }
    }

    /// Whether it is of a disk.
    pub(super) const fn is_disk(self) -> bool {
        !matches!(self, Self::Memory | Self::Pids)
    }
}

/// How much there is, and how much is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    pub(super) available: i64,
    pub(super) capacity: i64,
}

/// What was measured; what cannot be measured is not in it.
pub(super) type Measured = Vec<(Signal, Level)>;

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn meminfo(key: &str) -> Option<i64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let row = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    Some(row?.split_whitespace().next()?.parse::<i64>().ok()? * 1024)
}

fn memory() -> Option<Level> {
    Some(Level { available: meminfo("MemAvailable")?, capacity: meminfo("MemTotal")? })
}

/// loadavg(5): the fourth field is running/existing scheduling entities.
fn pids() -> Option<Level> {
    let capacity = line("/proc/sys/kernel/pid_max")?.parse::<i64>().ok()?;
    let taken = line("/proc/loadavg")?.split(['/', ' ']).nth(4)?.parse::<i64>().ok()?;
    Some(Level { available: capacity - taken, capacity })
}

/// Space and inodes; a filesystem without a number of inodes (btrfs) has no lack of them.
pub(super) fn filesystem(at: &Path) -> (Option<Level>, Option<Level>) {
    let Ok(stat) = statvfs(at) else { return (None, None) };
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let space = Level {
        available: number(stat.blocks_available().saturating_mul(stat.fragment_size())),
        capacity: number(stat.blocks().saturating_mul(stat.fragment_size())),
    };
    let inodes = Level { available: number(stat.files_available()), capacity: number(stat.files()) };
    (Some(space), Some(inodes).filter(|inodes| inodes.capacity > 0))
}

/// Looks at everything: pods live at `node`, images at `image` if that is known.
pub(super) fn measure(node: &Path, image: Option<&Path>) -> Measured {
    let (node, node_inodes) = filesystem(node);
    let (image, image_inodes) = image.map_or((None, None), filesystem);
    let all = [
        (Signal::Memory, memory()),
        (Signal::NodeFs, node),
        (Signal::NodeFsInodes, node_inodes),
        (Signal::ImageFs, image),
        (Signal::ImageFsInodes, image_inodes),
        (Signal::Pids, pids()),
    ];
    all.into_iter().filter_map(|(signal, level)| Some((signal, level?))).collect()
}
