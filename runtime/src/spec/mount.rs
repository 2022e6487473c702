//! Mounts as meant: what is mounted where, with which attributes, owners and propagation.

use super::config;
use super::ids;
use super::namespaces::IdMap;
use super::options::Words;
use crate::error::{Error, Result};
use skiff_sys::mount::{Change, Depth, Propagation};
use std::ffi::CString;
use std::path::PathBuf;

/// An option for a filesystem: a word, or a word and its value.
pub(crate) type Datum = (CString, Option<CString>);

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
    /// How events travel, in order of the words.
    pub(crate) propagation: Vec<(Propagation, Depth)>,
    /// Whose files they are there (idmapped mounts).
    pub(crate) owners: Option<Owners>,
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
        data: Vec<Datum>,
        /// Whether what the image has at the destination is copied into it.
        copy_up: CopyUp,
    },
    /// What is mounted there already gets other attributes, propagation, or options of its filesystem (`remount`).
    Existing {
        /// Options of the filesystem.
        data: Vec<Datum>,
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

/// How the owners of files are shown through a mount (`idmap`, `ridmap`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owners {
    /// By these users and groups, or by those of the container.
    pub(crate) maps: Option<(Vec<IdMap>, Vec<IdMap>)>,
    /// Whether the mounts below show them so too.
    pub(crate) depth: Depth,
}

impl Mount {
    /// Whether it is a new filesystem of the type `kind`.
    pub(crate) fn is_fresh(&self, kind: &std::ffi::CStr) -> bool {
        matches!(&self.what, What::Fresh { kind: own, .. } if own.as_c_str() == kind)
    }

    /// Reads the mount at `index` of config.json.
    ///
    /// # Errors
    /// Options and types that cannot be honoured, by field path.
    pub(crate) fn check(index: usize, written: &config::Mount, warnings: &mut Vec<String>) -> Result<Self> {
        let field = |name: &str| format!("mounts[{index}].{name}");
        if written.destination.as_os_str().is_empty() {
            return Err(Error::refused(field("destination"), "is empty"));
        }
        let mut words = Words::default();
        for (at, option) in written.options.iter().flatten().enumerate() {
            let refused = |reason| Error::refused(format!("{}[{at}]", field("options")), reason);
            words.take(option).map_err(refused)?;
            if option.split_once('=').is_some_and(|(key, value)| ids::is_nobodys(key, value)) {
                return Err(refused(format!("`{option}` is nobody's id: to the kernel it means no change")));
            }
        }
        let uids = IdMap::read(&field("uidMappings"), written.uid_mappings.as_ref())?;
        let gids = IdMap::read(&field("gidMappings"), written.gid_mappings.as_ref())?;
        let owners = owners(words.idmap, uids, gids, &field)?;
        let what = what(&mut words, written, &field, warnings)?;
        if owners.is_some() && !matches!(what, What::Bind { .. }) {
            return Err(Error::refused(field("options"), "owners can be mapped for a bind mount only"));
        }
        Ok(Self {
            destination: PathBuf::from("/").join(&written.destination),
            what,
            change: words.change,
            change_tree: words.change_tree,
            propagation: words.propagation,
            owners,
        })
    }
}

type Field<'a> = &'a dyn Fn(&str) -> String;

fn owners(idmap: Option<Depth>, uids: Vec<IdMap>, gids: Vec<IdMap>, field: Field<'_>) -> Result<Option<Owners>> {
    if uids.is_empty() != gids.is_empty() {
        let missing = if uids.is_empty() { "uidMappings" } else { "gidMappings" };
        return Err(Error::refused(field(missing), "is missing: uidMappings and gidMappings come together"));
    }
    let maps = (!uids.is_empty()).then_some((uids, gids));
    Ok(match (idmap, maps) {
        (None, None) => None,
        // Mappings without the word are meant all the same (runtime-spec config: only SHOULD contain).
        (None, maps) => Some(Owners { maps, depth: Depth::One }),
        (Some(depth), maps) => Some(Owners { maps, depth }),
    })
}

fn what(words: &mut Words, written: &config::Mount, field: Field<'_>, warnings: &mut Vec<String>) -> Result<What> {
    let kind = written.kind.as_deref().unwrap_or("none");
    if words.remount || (words.bind.is_none() && matches!(kind, "none" | "") && !words.propagation.is_empty()) {
        return Ok(existing(words));
    }
    if words.bind.is_some() || kind == "bind" || kind == "rbind" {
        return bind(words, kind, written, field, warnings);
    }
    match kind {
        "cgroup" | "cgroup2" => Ok(What::Cgroups),
        "none" | "" => Err(Error::refused(field("type"), "is missing, and no option says bind")),
        _ => fresh(words, kind, written, field),
    }
}

/// A remount gives a mount exactly the attributes that it names (mount(2), MS_REMOUNT); with `bind` it leaves the filesystem
/// alone.
fn existing(words: &mut Words) -> What {
    let data = if words.bind.is_some() { Vec::new() } else { words.take_data() };
    if words.remount {
        words.only_what_is_set();
    }
    What::Existing { data }
}

/// Flags of the superblock mean nothing for a bind mount (mount(2)), and words for its filesystem neither. All runtimes take
/// them all the same, and there are bundles that have them.
fn bind(
    words: &Words,
    kind: &str,
    written: &config::Mount,
    field: Field<'_>,
    warnings: &mut Vec<String>,
) -> Result<What> {
    let copy_up = (words.copy_up == CopyUp::Yes).then_some("tmpcopyup".into());
    for word in words.data.iter().map(|(key, _)| key.to_string_lossy()).chain(copy_up) {
        warnings.push(format!("{}: `{word}` means nothing for a bind mount", field("options")));
    }
    let depth = words.bind.unwrap_or(if kind == "rbind" { Depth::Tree } else { Depth::One });
    let source = written.source.clone().filter(|source| !source.as_os_str().is_empty());
    let source = source.ok_or_else(|| Error::refused(field("source"), "a bind mount needs one"))?;
    Ok(What::Bind { source, depth })
}

fn fresh(words: &mut Words, kind: &str, written: &config::Mount, field: Field<'_>) -> Result<What> {
    let text =
        |value: &str, name: &str| CString::new(value).map_err(|_| Error::refused(field(name), "has a NUL character"));
    let mut data = Vec::new();
    if let Some(source) = &written.source {
        data.push((c"source".to_owned(), Some(text(&source.to_string_lossy(), "source")?)));
    }
    data.append(&mut words.take_data());
    if words.copy_up == CopyUp::Yes && kind != "tmpfs" {
        return Err(Error::refused(field("options"), "`tmpcopyup` is for tmpfs only"));
    }
    Ok(What::Fresh { kind: text(kind, "type")?, data, copy_up: words.copy_up })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skiff_sys::mount::attr;

    fn written(kind: &str, options: &[&str]) -> serde_json::Value {
        serde_json::json!({"destination": "/d", "type": kind, "source": "/s", "options": options})
    }

    fn mount(kind: &str, options: &[&str]) -> Result<Mount> {
        Mount::check(0, &serde_json::from_value(written(kind, options)).unwrap(), &mut Vec::new())
    }

    fn keys(mount: &Mount) -> Vec<&str> {
        let (What::Fresh { data, .. } | What::Existing { data }) = &mount.what else { return Vec::new() };
        data.iter().map(|(key, _)| key.to_str().unwrap()).collect()
    }

    #[test]
    fn the_last_word_wins() {
        let read_only = mount("bind", &["rbind", "rw", "ro", "rprivate"]).unwrap();
        assert_eq!(read_only.change, Change { set: attr::RDONLY, clear: 0, propagation: None });
        assert_eq!(read_only.propagation, [(Propagation::Private, Depth::Tree)]);
        assert!(matches!(read_only.what, What::Bind { depth: Depth::Tree, .. }));
        assert_eq!(mount("bind", &["ro", "rw"]).unwrap().change.clear, attr::RDONLY);
        let times = mount("bind", &["noatime", "strictatime"]).unwrap().change;
        assert_eq!(times.set, attr::STRICTATIME, "policies of access times exclude each other");
    }

    #[test]
    fn a_leading_r_means_the_whole_tree() {
        let mount = mount("bind", &["bind", "rro", "rnosuid"]).unwrap();
        assert_eq!(mount.change_tree.set, attr::RDONLY | attr::NOSUID);
        assert_eq!(mount.change.set, 0);
    }

    #[test]
    fn every_word_of_the_specification_is_known() {
        for word in crate::spec::options::ALL {
            let mount = mount("none", &["bind", word]);
            assert!(mount.is_ok(), "{word}: {mount:?}");
        }
    }

    #[test]
    fn other_words_are_for_the_filesystem() {
        let mount = mount("tmpfs", &["nosuid", "size=64k", "mode=755", "sync", "lazytime", "async", "nofail", "x-foo"]);
        assert_eq!(keys(&mount.unwrap()), ["source", "lazytime", "size", "mode"]);
    }

    #[test]
    fn several_kinds_of_propagation_come_in_order() {
        let mount = mount("none", &["rbind", "rslave", "shared"]).unwrap();
        assert_eq!(mount.propagation, [(Propagation::Slave, Depth::Tree), (Propagation::Shared, Depth::One)]);
    }

    #[test]
    fn a_remount_is_all_that_it_says() {
        let again = mount("none", &["bind", "remount", "nosuid"]).unwrap();
        assert_eq!((again.change.set, again.change.clear), (attr::NOSUID, attr::ALL & !attr::NOSUID));
        assert_eq!(keys(&mount("tmpfs", &["remount", "size=1k"]).unwrap()), ["size"]);
        let only_events = mount("none", &["rprivate"]).unwrap();
        assert!(matches!(only_events.what, What::Existing { .. }) && only_events.change == Change::default());
    }

    #[test]
    fn owners_are_the_mounts_own_or_the_containers() {
        let map = serde_json::json!([{"containerID": 0, "hostID": 7, "size": 2}]);
        let mut json = written("none", &["rbind", "ridmap"]);
        let parse =
            |json: &serde_json::Value| Mount::check(0, &serde_json::from_value(json.clone()).unwrap(), &mut Vec::new());
        assert_eq!(parse(&json).unwrap().owners, Some(Owners { maps: None, depth: Depth::Tree }));
        json["uidMappings"] = map.clone();
        assert!(parse(&json).unwrap_err().to_string().starts_with("mounts[0].gidMappings"));
        json["gidMappings"] = map;
        let ids = vec![IdMap { inside: 0, outside: 7, count: 2 }];
        assert_eq!(parse(&json).unwrap().owners.unwrap().maps, Some((ids.clone(), ids)));
        assert!(mount("tmpfs", &["idmap"]).is_err());
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_field() {
        for word in ["uid=4294967295", "gid=-1"] {
            let text = mount("tmpfs", &["nosuid", word]).unwrap_err().to_string();
            assert!(text.starts_with(&format!("mounts[0].options[1]: `{word}` is nobody's")), "{text}");
        }
        assert!(mount("none", &["ro"]).unwrap_err().to_string().starts_with("mounts[0].type"));
        assert!(mount("proc", &["tmpcopyup"]).is_err());
    }

    /// Fault O15.
    #[test]
    fn what_means_nothing_for_a_bind_mount_is_a_warning() {
        let mut warnings = Vec::new();
        let written = serde_json::from_value(written("bind", &["size=1", "tmpcopyup", "ro"])).unwrap();
        let mount = Mount::check(3, &written, &mut warnings).unwrap();
        assert_eq!(mount.change.set, attr::RDONLY);
        let sentence = |word: &str| format!("mounts[3].options: `{word}` means nothing for a bind mount");
        assert_eq!(warnings, [sentence("size"), sentence("tmpcopyup")]);
    }

    proptest! {
        #[test]
        fn options_never_panic_nor_contradict(options in proptest::collection::vec(
            "(ro|rw|rro|rrw|nosuid|suid|noatime|relatime|strictatime|rnoatime|remount|bind|[a-z=]{0,6})", 0..8)) {
            let options: Vec<_> = options.iter().map(String::as_str).collect();
            if let Ok(mount) = mount("tmpfs", &options) {
                prop_assert_eq!(mount.change.set & mount.change.clear, 0);
                prop_assert_eq!(mount.change_tree.set & mount.change_tree.clear, 0);
            }
        }
    }
}
