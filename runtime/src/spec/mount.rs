//! Mounts as meant: option words become attributes, propagation, and data for the filesystem.

use super::config;
use crate::error::{Error, Result};
use skiff_sys::mount::{Change, Depth, Propagation, attr};
use std::ffi::CString;
use std::path::PathBuf;

/// One mount of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where, inside the container.
    pub(crate) destination: PathBuf,
    /// What.
    pub(crate) what: What,
    /// Attributes of the mount itself.
    pub(crate) change: Change,
    /// Attributes of the mount and all below it (`rro`, `rnosuid`, …).
    pub(crate) change_tree: Change,
    /// How events travel.
    pub(crate) propagation: Option<(Propagation, Depth)>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A file or directory of the host.
    Bind {
        /// On the host; relative to the bundle when written so.
        source: PathBuf,
        /// Whether mounts below it come along.
        depth: Depth,
    },
    /// A new filesystem.
    Fresh {
        /// Its type.
        kind: CString,
        /// Its source and its own options.
        data: Vec<(CString, Option<CString>)>,
        /// Whether what the image has at the destination is copied into it.
        copy_up: CopyUp,
    },
    /// The container's own cgroups.
    Cgroups,
}

/// Whether a new tmpfs starts with what it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyUp {
    /// Yes (`tmpcopyup`).
    Yes,
    /// No.
    No,
}

impl Mount {
    /// Whether it is a new procfs.
    pub(crate) fn is_procfs(&self) -> bool {
        matches!(&self.what, What::Fresh { kind, .. } if kind.as_c_str() == c"proc")
    }

    /// Reads the mount at `index` of config.json.
    ///
    /// # Errors
    /// Options and types that cannot be honoured, by field path.
    pub(crate) fn check(index: usize, written: &config::Mount) -> Result<Self> {
        let field = |name: &str| format!("mounts[{index}].{name}");
        for (name, maps) in [("uidMappings", &written.uid_mappings), ("gidMappings", &written.gid_mappings)] {
            if maps.as_ref().is_some_and(|maps| !maps.is_empty()) {
                return Err(Error::refused(field(name), "idmapped mounts are not implemented"));
            }
        }
        if written.destination.as_os_str().is_empty() {
            return Err(Error::refused(field("destination"), "is empty"));
        }
        let mut words = Words::default();
        for (at, option) in written.options.iter().flatten().enumerate() {
            words.take(option).map_err(|reason| Error::refused(format!("{}[{at}]", field("options")), reason))?;
        }
        let what = words.what(written, &field)?;
        Ok(Self {
            destination: PathBuf::from("/").join(&written.destination),
            what,
            change: words.change,
            change_tree: words.change_tree,
            propagation: words.propagation,
        })
    }
}

#[derive(Default)]
struct Words {
    bind: Option<Depth>,
    change: Change,
    change_tree: Change,
    propagation: Option<(Propagation, Depth)>,
    copy_up: bool,
    data: Vec<(CString, Option<CString>)>,
}

/// What the kernel does anyway, or has given up (mount(2): MS_MANDLOCK, MS_SILENT, MS_I_VERSION).
const INERT: &[&str] =
    &["defaults", "async", "loud", "silent", "mand", "nomand", "iversion", "noiversion", "nolazytime"];

impl Words {
    fn take(&mut self, option: &str) -> std::result::Result<(), String> {
        match option {
            "bind" => self.bind = Some(Depth::One),
            "rbind" => self.bind = Some(Depth::Tree),
            "tmpcopyup" => self.copy_up = true,
            _ if INERT.contains(&option) => (),
            "remount" | "idmap" | "ridmap" => return Err(format!("`{option}` is not implemented")),
            _ => {
                if let Some(propagation) = propagation(option) {
                    self.propagation = Some(propagation);
                } else if let Some((set, clear)) = attribute(option) {
                    apply(&mut self.change, set, clear);
                } else if let Some((set, clear)) = option.strip_prefix('r').and_then(attribute) {
                    apply(&mut self.change_tree, set, clear);
                } else {
                    self.data.push(pair(option)?);
                }
            }
        }
        Ok(())
    }

    fn what(&mut self, written: &config::Mount, field: &dyn Fn(&str) -> String) -> Result<What> {
        let kind = written.kind.as_deref().unwrap_or("none");
        let is_bind = self.bind.is_some() || kind == "bind" || kind == "rbind";
        if is_bind {
            // MS_SYNCHRONOUS and friends belong to the superblock: a bind mount cannot change them (mount(2)).
            let superblock = |key: &CString| [c"sync", c"dirsync", c"lazytime"].contains(&key.as_c_str());
            if let Some((key, _)) = self.data.iter().find(|(key, _)| !superblock(key)) {
                let reason = format!("`{}` means nothing for a bind mount", key.to_string_lossy());
                return Err(Error::refused(field("options"), reason));
            }
            let depth = self.bind.unwrap_or(if kind == "rbind" { Depth::Tree } else { Depth::One });
            let source = written.source.clone().filter(|source| !source.as_os_str().is_empty());
            let source = source.ok_or_else(|| Error::refused(field("source"), "a bind mount needs one"))?;
            return Ok(What::Bind { source, depth });
        }
        match kind {
            "cgroup" | "cgroup2" => Ok(What::Cgroups),
            "none" | "" => Err(Error::refused(field("type"), "is missing, and no option says bind")),
            _ => self.fresh(kind, written, field),
        }
    }

    fn fresh(&mut self, kind: &str, written: &config::Mount, field: &dyn Fn(&str) -> String) -> Result<What> {
        let text = |value: &str, name: &str| {
            CString::new(value).map_err(|_| Error::refused(field(name), "has a NUL character"))
        };
        let mut data = Vec::new();
        if let Some(source) = &written.source {
            data.push((c"source".to_owned(), Some(text(&source.to_string_lossy(), "source")?)));
        }
        data.append(&mut self.data);
        let copy_up = match (self.copy_up, kind) {
            (false, _) => CopyUp::No,
            (true, "tmpfs") => CopyUp::Yes,
            (true, _) => return Err(Error::refused(field("options"), "`tmpcopyup` is for tmpfs only")),
        };
        Ok(What::Fresh { kind: text(kind, "type")?, data, copy_up })
    }
}

fn apply(change: &mut Change, set: u64, clear: u64) {
    change.set = (change.set & !clear) | set;
    change.clear = (change.clear & !set) | clear;
}

fn pair(option: &str) -> std::result::Result<(CString, Option<CString>), String> {
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
        "noatime" => (attr::NOATIME, 0),
        // Relatime is the absence of the other two policies, so all of these ask for it.
        "atime" | "relatime" | "norelatime" | "nostrictatime" => (0, attr::ATIME),
        "strictatime" => (attr::STRICTATIME, 0),
        "nodiratime" => (attr::NODIRATIME, 0),
        "diratime" => (0, attr::NODIRATIME),
        "nosymfollow" => (attr::NOSYMFOLLOW, 0),
        "symfollow" => (0, attr::NOSYMFOLLOW),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mount(kind: &str, options: &[&str]) -> Result<Mount> {
        let json = serde_json::json!({"destination": "/d", "type": kind, "source": "/s", "options": options});
        Mount::check(0, &serde_json::from_value(json).unwrap())
    }

    #[test]
    fn the_last_word_wins() {
        let read_only = mount("bind", &["rbind", "rw", "ro", "rprivate"]).unwrap();
        assert_eq!(read_only.change, Change { set: attr::RDONLY, clear: 0, propagation: None });
        assert_eq!(read_only.propagation, Some((Propagation::Private, Depth::Tree)));
        assert!(matches!(read_only.what, What::Bind { depth: Depth::Tree, .. }));
        assert_eq!(mount("bind", &["ro", "rw"]).unwrap().change.clear, attr::RDONLY);
    }

    #[test]
    fn a_leading_r_means_the_whole_tree() {
        let mount = mount("bind", &["bind", "rro", "rnosuid"]).unwrap();
        assert_eq!(mount.change_tree.set, attr::RDONLY | attr::NOSUID);
        assert_eq!(mount.change.set, 0);
    }

    #[test]
    fn other_words_are_for_the_filesystem() {
        let What::Fresh { data, .. } = mount("tmpfs", &["nosuid", "size=64k", "mode=755"]).unwrap().what else {
            panic!("a tmpfs is a new filesystem");
        };
        let keys: Vec<_> = data.iter().map(|(key, _)| key.to_str().unwrap()).collect();
        assert_eq!(keys, ["source", "size", "mode"]);
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_field() {
        assert_eq!(
            mount("bind", &["ro", "idmap"]).unwrap_err().to_string(),
            "mounts[0].options[1]: `idmap` is not implemented"
        );
        assert!(mount("bind", &["size=1"]).unwrap_err().to_string().starts_with("mounts[0].options"));
        assert!(mount("proc", &["tmpcopyup"]).is_err());
    }

    proptest! {
        #[test]
        fn options_never_panic_nor_contradict(options in proptest::collection::vec("(ro|rw|rro|nosuid|suid|noatime|relatime|[a-z=]{0,6})", 0..8)) {
            let options: Vec<_> = options.iter().map(String::as_str).collect();
            if let Ok(mount) = mount("tmpfs", &options) {
                prop_assert_eq!(mount.change.set & mount.change.clear, 0);
                prop_assert_eq!(mount.change_tree.set & mount.change_tree.clear, 0);
            }
        }
    }
}
