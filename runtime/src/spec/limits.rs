//! What a container's cgroup allows, as meant: the same words for both cgroup versions.
//!
//! Values only. `resources` reads them from config.json, `cgroup::plan` says which files they go to. `None` and empty lists
//! mean: not touched.

/// All limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) memory: Memory,
    pub(crate) cpu: Cpu,
    /// Most processes and threads; -1: no limit.
    pub(crate) pids: Option<i64>,
    pub(crate) io: Io,
    pub(crate) huge_pages: Vec<HugePages>,
    /// Of remote memory devices, in order of their names.
    pub(crate) rdma: Vec<Rdma>,
    pub(crate) network: Network,
    /// Files of version 2 and their values, in order of their names.
    pub(crate) unified: Vec<(String, String)>,
    /// In order: of the rules that fit an access, the last one counts.
    pub(crate) devices: Vec<DeviceRule>,
}

/// Bytes; -1 where nothing limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) limit: Option<i64>,
    pub(crate) reservation: Option<i64>,
    /// Memory plus swap, as version 1 counts.
    pub(crate) with_swap: Option<i64>,
    pub(crate) kernel_tcp: Option<i64>,
    /// 0 to 100.
    pub(crate) swappiness: Option<u64>,
    pub(crate) disable_oom_killer: bool,
    /// Whether a limit below what is in use is refused before it is written.
    pub(crate) check_before_update: bool,
}

/// Times in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub(crate) shares: Option<u64>,
    /// Per period; -1: no limit.
    pub(crate) quota: Option<i64>,
    pub(crate) period: Option<u64>,
    pub(crate) burst: Option<u64>,
    /// 1: runs only when nothing else wants to.
    pub(crate) idle: Option<i64>,
    pub(crate) realtime_runtime: Option<i64>,
    pub(crate) realtime_period: Option<u64>,
    /// As in `0-3,7`.
    pub(crate) cpus: Option<String>,
    pub(crate) mems: Option<String>,
}

/// Block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Io {
    /// 10 to 1000, like all weights here.
    pub(crate) weight: Option<u16>,
    pub(crate) leaf_weight: Option<u16>,
    pub(crate) devices: Vec<DeviceWeight>,
    pub(crate) throttles: Vec<Throttle>,
}

/// The weight of one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceWeight {
    /// Where in its list.
    pub(crate) index: usize,
    pub(crate) device: (u32, u32),
    pub(crate) weight: Option<u16>,
    pub(crate) leaf_weight: Option<u16>,
}

/// A rate limit of one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Throttle {
    pub(crate) what: Throttled,
    /// Where in its list.
    pub(crate) index: usize,
    pub(crate) device: (u32, u32),
    /// Per second; 0: no limit.
    pub(crate) rate: u64,
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Throttled {
    ReadBytes,
    WriteBytes,
    ReadOperations,
    WriteOperations,
}

impl Throttled {
    /// The name of its list in `linux.resources.blockIO`.
    pub(crate) const fn field(self) -> &'static str {
        match self {
            Self::ReadBytes => "throttleReadBpsDevice",
            Self::WriteBytes => "throttleWriteBpsDevice",
            Self::ReadOperations => "throttleReadIOPSDevice",
            Self::WriteOperations => "throttleWriteIOPSDevice",
        }
    }
}

/// Huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HugePages {
    /// As the kernel's files name it: `2MB`.
    pub(crate) size: String,
    pub(crate) bytes: u64,
}

/// Resources of one remote memory device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rdma {
    pub(crate) device: String,
    pub(crate) handles: Option<u32>,
    pub(crate) objects: Option<u32>,
}

/// Marks on packets; version 1 only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) class: Option<u32>,
    /// Interface and priority.
    pub(crate) priorities: Vec<(String, u32)>,
}

/// Kinds of device files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum DeviceKind {
    Block,
    Character,
}

/// Ways to use a device file, as bits: the kernel's `BPF_DEVCG_ACC_…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Access(pub(crate) u8);

impl Access {
    pub(crate) const MAKE: Self = Self(1);
    pub(crate) const ALL: Self = Self(7);
    /// The letters of the bits, in their order.
    const LETTERS: [(char, u8); 3] = [('m', 1), ('r', 2), ('w', 4)];

    /// Reads letters; `None` for others than `rwm`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bit = |letter| Self::LETTERS.iter().find(|(name, _)| *name == letter).map(|(_, bit)| *bit);
        text.chars().try_fold(0, |bits, letter| Some(bits | bit(letter)?)).map(Self)
    }

    /// The letters.
    pub(crate) fn letters(self) -> String {
        // The order in which the kernel prints them.
        [2, 4, 1].iter().filter(|bit| self.0 & **bit != 0).filter_map(|bit| Self::letter(*bit)).collect()
    }

    fn letter(bit: u8) -> Option<char> {
        Self::LETTERS.iter().find(|(_, other)| *other == bit).map(|(letter, _)| *letter)
    }
}

/// Which device files a rule is about; `None`: any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DevicePattern {
    pub(crate) kind: DeviceKind,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
}

impl DevicePattern {
    /// Whether every device of `other` is one of this.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let wide = |mine: Option<u32>, theirs: Option<u32>| mine.is_none() || mine == theirs;
        self.kind == other.kind && wide(self.major, other.major) && wide(self.minor, other.minor)
    }

    /// Whether some device is in both.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let both = |mine: Option<u32>, theirs: Option<u32>| mine.is_none() || theirs.is_none() || mine == theirs;
        self.kind == other.kind && both(self.major, other.major) && both(self.minor, other.minor)
    }
}

/// One rule about device files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceRule {
    /// Where in the list of config.json.
    pub(crate) index: usize,
    pub(crate) allow: bool,
    /// `None`: every device.
    pub(crate) pattern: Option<DevicePattern>,
    /// Everything, where the rule is about every device.
    pub(crate) access: Access,
}
