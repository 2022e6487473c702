//! The ways into the kernel that one host has: its own and those of older programs.
//!
//! An x86-64 kernel also takes the calls of 32-bit programs, by other numbers, and those of the x32 interface, by the
//! same numbers with a bit set. A filter must know them all: what it does not know it cannot judge.

use super::syscalls::{NONE, Numbers};
use crate::error::{Error, Result};

/// An interface that profiles name, as far as this host's kernel can have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    X86_64,
    X86,
    X32,
    Arm64,
}

/// Bit of x32's numbers (asm/unistd.h, `__X32_SYSCALL_BIT`).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Those of this host, its own first.
const HERE: &[Architecture] = if cfg!(target_arch = "x86_64") {
    &[Architecture::X86_64, Architecture::X86, Architecture::X32]
} else {
    &[Architecture::Arm64]
};

/// runtime-spec config-linux, Seccomp: `architectures`, without the prefix.
const KNOWN: &[&str] = &[
    "AARCH64",
    "ARM",
    "LOONGARCH64",
    "M68K",
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "MIPSEL",
    "MIPSEL64",
    "MIPSEL64N32",
    "NATIVE",
    "PARISC",
    "PARISC64",
    "PPC",
    "PPC64",
    "PPC64LE",
    "RISCV64",
    "S390",
    "S390X",
    "SH",
    "SHEB",
    "X32",
    "X86",
    "X86_64",
];

/// The interfaces that a profile opens: always the host's own first, and of those named the ones that it has.
///
/// # Errors
/// A name that is none, by field path.
pub(super) fn named(written: &[String]) -> Result<Vec<Architecture>> {
    for (index, text) in written.iter().enumerate() {
        if text.strip_prefix("SCMP_ARCH_").is_none_or(|name| !KNOWN.contains(&name)) {
            let reason = format!("`{text}` is no architecture");
            return Err(Error::refused(format!("linux.seccomp.architectures[{index}]"), reason));
        }
    }
    let is_named =
        |here: &Architecture| written.iter().any(|text| text.strip_prefix("SCMP_ARCH_") == Some(here.name()));
    let others = HERE.iter().skip(1).copied().filter(is_named);
    Ok(HERE.iter().take(1).copied().chain(others).collect())
}

/// Those of this host, as profiles name them.
pub(super) fn here() -> impl Iterator<Item = String> {
    HERE.iter().map(|here| format!("SCMP_ARCH_{}", here.name()))
}

impl Architecture {
    const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "X86_64",
            Self::X86 => "X86",
            Self::X32 => "X32",
            Self::Arm64 => "AARCH64",
        }
    }

    /// How the kernel announces it to a filter (linux/audit.h).
    pub(super) const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Arm64 => 0xc000_00b7,
        }
    }

    /// The number of `call`.
    pub(super) fn number(self, call: &Numbers) -> Option<u32> {
        let plain = |number: u16| (number != NONE).then_some(u32::from(number));
        match self {
            Self::X86_64 => plain(call.x86_64),
            Self::X86 => plain(call.x86),
            Self::Arm64 => plain(call.arm64),
            Self::X32 => plain(call.x32).map(|number| number | X32_BIT),
        }
    }

    /// 32-bit x86 has two old calls that stand for many: the call's number, and its first argument that means `name`
    /// (linux/net.h, linux/ipc.h). The others' arguments are in memory then, where no filter can see them.
    pub(super) fn multiplexed(self, name: &str) -> Option<(u32, u64)> {
        if self != Self::X86 {
            return None;
        }
        let found = MULTIPLEXED.binary_search_by_key(&name, |(own, _, _)| own).ok()?;
        let (_, number, which) = MULTIPLEXED[found];
        Some((number, which))
    }
}

/// Their numbers.
const SOCKETCALL: u32 = 102;
const IPC: u32 = 117;
/// In the order of the alphabet.
const MULTIPLEXED: &[(&str, u32, u64)] = &[
    ("accept", SOCKETCALL, 5),
    ("accept4", SOCKETCALL, 18),
    ("bind", SOCKETCALL, 2),
    ("connect", SOCKETCALL, 3),
    ("getpeername", SOCKETCALL, 7),
    ("getsockname", SOCKETCALL, 6),
    ("getsockopt", SOCKETCALL, 15),
    ("listen", SOCKETCALL, 4),
    ("msgctl", IPC, 14),
    ("msgget", IPC, 13),
    ("msgrcv", IPC, 12),
    ("msgsnd", IPC, 11),
    ("recv", SOCKETCALL, 10),
    ("recvfrom", SOCKETCALL, 12),
    ("recvmmsg", SOCKETCALL, 19),
    ("recvmsg", SOCKETCALL, 17),
    ("semctl", IPC, 3),
    ("semget", IPC, 2),
    ("semop", IPC, 1),
    ("semtimedop", IPC, 4),
    ("send", SOCKETCALL, 9),
    ("sendmmsg", SOCKETCALL, 20),
    ("sendmsg", SOCKETCALL, 16),
    ("sendto", SOCKETCALL, 11),
    ("setsockopt", SOCKETCALL, 14),
    ("shmat", IPC, 21),
    ("shmctl", IPC, 24),
    ("shmdt", IPC, 22),
    ("shmget", IPC, 23),
    ("shutdown", SOCKETCALL, 13),
    ("socket", SOCKETCALL, 1),
    ("socketpair", SOCKETCALL, 8),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::syscalls::find;

    #[test]
    fn the_hosts_own_comes_first_and_strangers_change_nothing() {
        let words = ["SCMP_ARCH_ARM", "SCMP_ARCH_X32", "SCMP_ARCH_X86"].map(str::to_owned);
        let here = named(&words).unwrap();
        assert_eq!(here.first(), HERE.first());
        assert_eq!(here.len(), HERE.len());
        assert_eq!(named(&[]).unwrap(), HERE[..1]);
        let error = named(&["SCMP_ARCH_Z80".to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("linux.seccomp.architectures[0]: `SCMP_ARCH_Z80`"), "{error}");
    }

    #[test]
    fn x32_has_numbers_of_its_own() {
        let number = |architecture: Architecture, name: &str| architecture.number(find(name).unwrap());
        assert_eq!(number(Architecture::X32, "read"), Some(X32_BIT));
        assert_eq!(number(Architecture::X32, "ioctl"), Some(X32_BIT | 514));
        assert_eq!(number(Architecture::X32, "pwritev2"), Some(X32_BIT | 547));
        assert_eq!(number(Architecture::X32, "uselib"), None);
        assert_eq!(number(Architecture::X86, "socketcall"), Some(102));
        assert_eq!(Architecture::X86.multiplexed("accept4"), Some((102, 18)));
        assert_eq!(Architecture::X86_64.multiplexed("accept4"), None);
        assert!(MULTIPLEXED.is_sorted());
    }
}
