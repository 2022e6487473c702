//! Option words of mount(8): attributes of a mount, flags of its filesystem, propagation, and what only user space means.

use super::mount::{CopyUp, Datum};
use skiff_sys::mount::{Change, Depth, Propagation, attr};
use std::ffi::{CStr, CString};

/// The words of runtime-spec config, Linux mount options, as `features` lists them.
pub(crate) const ALL: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// What the kernel does anyway, or has given up (mount(2): MS_MANDLOCK, MS_SILENT, MS_I_VERSION).
const INERT: &[&str] = &["defaults", "loud", "silent", "mand", "nomand", "iversion", "noiversion"];
/// What mount(8) keeps to itself.
const USERSPACE: &[&str] = &["auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "owner", "group"];
/// Flags of the whole filesystem, and the words that take them back.
const SUPERBLOCK: &[(&CStr, &str)] = &[(c"sync", "async"), (c"dirsync", ""), (c"lazytime", "nolazytime")];

/// All words of one mount, sorted by whom they are for.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) bind: Option<Depth>,
    pub(super) remount: bool,
    pub(super) idmap: Option<Depth>,
    pub(super) change: Change,
    pub(super) change_tree: Change,
    pub(super) propagation: Vec<(Propagation, Depth)>,
    pub(super) copy_up: CopyUp,
    pub(super) data: Vec<Datum>,
    superblock: Vec<&'static CStr>,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            bind: None,
            remount: false,
            idmap: None,
            change: Change::default(),
            change_tree: Change::default(),
            propagation: Vec::new(),
            copy_up: CopyUp::No,
            data: Vec::new(),
            superblock: Vec::new(),
        }
    }
}

impl Words {
    /// Takes the next word.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn take(&mut self, option: &str) -> Result<(), String> {
        match option {
            "bind" => self.bind = Some(self.bind.unwrap_or(Depth::One)),
            "rbind" => self.bind = Some(Depth::Tree),
            "remount" => self.remount = true,
            "idmap" => self.idmap = Some(self.idmap.unwrap_or(Depth::One)),
            "ridmap" => self.idmap = Some(Depth::Tree),
            "tmpcopyup" => self.copy_up = CopyUp::Yes,
            _ if INERT.contains(&option) || is_for_userspace(option) => (),
            _ => self.take_other(option)?,
        }
        Ok(())
    }

    fn take_other(&mut self, option: &str) -> Result<(), String> {
        if let Some((flag, _)) = SUPERBLOCK.iter().find(|(flag, _)| flag.to_bytes() == option.as_bytes()) {
            self.superblock.push(flag);
        } else if let Some((flag, _)) = SUPERBLOCK.iter().find(|(_, back)| *back == option) {
            self.superblock.retain(|other| other != flag);
        } else if let Some(propagation) = propagation(option) {
            self.propagation.push(propagation);
        } else if let Some((set, clear)) = attribute(option) {
            apply(&mut self.change, set, clear);
        } else if let Some((set, clear)) = option.strip_prefix('r').and_then(attribute) {
            apply(&mut self.change_tree, set, clear);
        } else {
            self.data.push(pair(option)?);
        }
        Ok(())
    }

    /// All that is for the filesystem.
    pub(super) fn take_data(&mut self) -> Vec<Datum> {
        let mut data: Vec<Datum> = self.superblock.drain(..).map(|flag| (flag.to_owned(), None)).collect();
        data.append(&mut self.data);
        data
    }

    /// Takes away every attribute that no word has set.
    pub(super) fn only_what_is_set(&mut self) {
        self.change.clear = attr::ALL & !self.change.set;
    }
}

fn is_for_userspace(option: &str) -> bool {
    let word = option.split('=').next().unwrap_or_default();
    USERSPACE.contains(&word) || word == "comment" || word.starts_with("x-") || word.starts_with("X-")
}

fn apply(change: &mut Change, set: u64, clear: u64) {
    change.set = (change.set & !clear) | set;
    change.clear = (change.clear & !set) | clear;
}

fn pair(option: &str) -> Result<Datum, String> {
    if option.is_empty() || option.starts_with('=') {
        return Err("is empty".to_owned());
    }
    let text = |text: &str| CString::new(text).map_err(|_| "has a NUL character".to_owned());
    match option.split_once('=') {
        Some((key, value)) => Ok((text(key)?, Some(text(value)?))),
        None => Ok((text(option)?, None)),
    }
}

fn propagation(option: &str) -> Option<(Propagation, Depth)> {
    let (word, depth) = match option {
        "rshared" | "rslave" | "rprivate" | "runbindable" => (&option[1..], Depth::Tree),
        other => (other, Depth::One),
    };
    let propagation = match word {
        "shared" => Propagation::Shared,
        "slave" => Propagation::Slave,
        "private" => Propagation::Private,
        "unbindable" => Propagation::Unbindable,
        _ => return None,
    };
    Some((propagation, depth))
}

/// Bits to set and to clear for a word of mount(8).
fn attribute(option: &str) -> Option<(u64, u64)> {
    Some(match option {
        "ro" => (attr::RDONLY, 0),
        "rw" => (0, attr::RDONLY),
        "nosuid" => (attr::NOSUID, 0),
        "suid" => (0, attr::NOSUID),
        "nodev" => (attr::NODEV, 0),
        "dev" => (0, attr::NODEV),
        "noexec" => (attr::NOEXEC, 0),
        "exec" => (0, attr::NOEXEC),
        // The policies of access times are values of one field, not bits.
        "noatime" => (attr::NOATIME, attr::ATIME & !attr::NOATIME),
        "strictatime" => (attr::STRICTATIME, attr::ATIME & !attr::STRICTATIME),
        // Relatime is the absence of the other two, so all of these ask for it.
        "atime" | "relatime" | "norelatime" | "nostrictatime" => (0, attr::ATIME),
        "nodiratime" => (attr::NODIRATIME, 0),
        "diratime" => (0, attr::NODIRATIME),
        "nosymfollow" => (attr::NOSYMFOLLOW, 0),
        "symfollow" => (0, attr::NOSYMFOLLOW),
        _ => return None,
    })
}
