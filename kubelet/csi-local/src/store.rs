//! What volumes there are, on disk. A volume is there once its description is, and its description is the first to go.

use crate::error::{Done, During, Refusal};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a volume is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A folder on the machine's disk.
    Folder,
    /// A filesystem in a file.
    Image,
    /// A device in a file.
    Block,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Volume {
    /// The name that it was asked for by.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Its size in bytes; a folder is not held to it.
    pub(crate) bytes: i64,
    /// The volume that it was copied from.
    #[serde(default)]
    pub(crate) source: String,
    /// Whether it goes with its pod.
    #[serde(default)]
    pub(crate) inline: bool,
    /// How large the filesystem in an image is; 0: there is none yet.
    #[serde(default)]
    pub(crate) filesystem: i64,
}

/// The volumes below a folder.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    folder: PathBuf,
}

/// What a volume of this name is called: the name itself where it can be a folder's.
pub(crate) fn id_of(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if name.len() <= 128 && name.chars().all(plain) { name.to_owned() } else { hex::encode(Sha256::digest(name)) }
}

impl Store {
    /// The store below `folder`, which is made if it is missing.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let folder = folder.join("volumes");
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&folder)?;
        Ok(Self { folder })
    }

    /// The folder of a volume. An id that is none of ours leads nowhere.
    fn at(&self, id: &str) -> Done<PathBuf> {
        if id_of(id) == id && !id.is_empty() { Ok(self.folder.join(id)) } else { Err(Refusal::Absent(id.to_owned())) }
    }

    /// Where the files of a folder are.
    pub(crate) fn data(&self, id: &str) -> Done<PathBuf> {
        Ok(self.at(id)?.join("data"))
    }

    /// Where the bytes of an image are.
    pub(crate) fn image(&self, id: &str) -> Done<PathBuf> {
        Ok(self.at(id)?.join("image"))
    }

    /// The volume of that id.
    pub(crate) fn get(&self, id: &str) -> Done<Volume> {
        let at = self.at(id)?.join("volume.json");
        match fs::read(&at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Refusal::Absent(id.to_owned())),
            text => {
                let text = text.during(|| format!("read {}", at.display()))?;
                serde_json::from_slice(&text).during(|| format!("read {}", at.display()))
            }
        }
    }

    /// All volumes, by id.
    pub(crate) fn all(&self) -> Done<Vec<(String, Volume)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).during(|| format!("list {}", self.folder.display()))? {
            let id = entry.during(|| format!("list {}", self.folder.display()))?.file_name();
            let id = id.to_string_lossy().into_owned();
            match self.get(&id) {
                Ok(volume) => found.push((id, volume)),
                // One that is being made or removed.
                Err(Refusal::Absent(_)) => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }

    /// Makes a volume; what an earlier try left of it is taken away first.
    pub(crate) fn create(&self, id: &str, volume: &Volume) -> Done<()> {
        let at = self.at(id)?;
        remove_below(&at)?;
        let make = |path: &Path, mode: u32| {
            let made = fs::DirBuilder::new().mode(mode).create(path);
            made.during(|| format!("create {}", path.display()))
        };
        make(&at, 0o711)?;
        match (volume.kind, volume.source.as_str()) {
            (Kind::Folder, "") => {
                let data = at.join("data");
                make(&data, 0o777)?;
                // Any user of a pod may write to a new volume, whatever our umask is.
                fs::set_permissions(&data, fs::Permissions::from_mode(0o777))
                    .during(|| format!("open {} to all", data.display()))?;
            }
            (Kind::Folder, source) => copy(&self.data(source)?, &at.join("data"))?,
            (Kind::Image | Kind::Block, "") => {
                let image = at.join("image");
                let file = fs::File::create_new(&image).during(|| format!("create {}", image.display()))?;
                file.set_len(volume.bytes.unsigned_abs()).during(|| format!("size {}", image.display()))?;
            }
            (Kind::Image | Kind::Block, source) => {
                copy(&self.image(source)?, &at.join("image"))?;
                self.resize(id, volume.bytes)?;
            }
        }
        self.describe(id, volume)
    }

    /// Writes a volume's description, the old one or the new one after a power cut.
    pub(crate) fn describe(&self, id: &str, volume: &Volume) -> Done<()> {
        let at = self.at(id)?;
        let (file, next) = (at.join("volume.json"), at.join(".volume.json"));
        let text = serde_json::to_vec(volume).during(|| format!("describe {id}"))?;
        let mut written = fs::File::create(&next).during(|| format!("create {}", next.display()))?;
        io::Write::write_all(&mut written, &text).during(|| format!("write {}", next.display()))?;
        written.sync_all().during(|| format!("write {}", next.display()))?;
        fs::rename(&next, &file).during(|| format!("rename {}", next.display()))
    }

    /// Makes an image longer.
    pub(crate) fn resize(&self, id: &str, bytes: i64) -> Done<()> {
        let image = self.image(id)?;
        let file = fs::File::options().write(true).open(&image).during(|| format!("open {}", image.display()))?;
        file.set_len(bytes.unsigned_abs()).during(|| format!("size {}", image.display()))
    }

    /// Removes a volume; one that is not there is fine.
    pub(crate) fn remove(&self, id: &str) -> Done<()> {
        // An id that cannot be one of ours is not there.
        let Ok(at) = self.at(id) else { return Ok(()) };
        match fs::remove_file(at.join("volume.json")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).during(|| format!("remove volume {id}"));
            }
            _ => {}
        }
        remove_below(&at)
    }

    fn note_of(&self, id: &str, target: &Path) -> Done<PathBuf> {
        let digest = hex::encode(Sha256::digest(target.as_os_str().as_encoded_bytes()));
        Ok(self.at(id)?.join("published").join(digest))
    }

    /// Notes that a volume is put at `target`.
    pub(crate) fn note_published(&self, id: &str, target: &Path) -> Done<()> {
        let note = self.note_of(id, target)?;
        let folder = note.parent().unwrap_or(&note);
        fs::create_dir_all(folder).during(|| format!("create {}", folder.display()))?;
        fs::write(&note, target.as_os_str().as_encoded_bytes()).during(|| format!("write {}", note.display()))
    }

    /// A volume is no longer at `target`; where there is no such volume there is no note.
    pub(crate) fn forget_published(&self, id: &str, target: &Path) -> Done<()> {
        let Ok(note) = self.note_of(id, target) else { return Ok(()) };
        match fs::remove_file(&note) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).during(|| format!("remove {}", note.display()))
            }
            _ => Ok(()),
        }
    }

    /// Where a volume is. What was noted and is not mounted any more, after a restart of the machine, does not count.
    pub(crate) fn published(&self, id: &str) -> Done<Vec<PathBuf>> {
        let Ok(folder) = self.at(id).map(|at| at.join("published")) else { return Ok(Vec::new()) };
        let Ok(entries) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for entry in entries {
            let note = entry.during(|| format!("list {}", folder.display()))?.path();
            let target = fs::read(&note).during(|| format!("read {}", note.display()))?;
            let target = PathBuf::from(std::ffi::OsString::from_vec(target));
            if crate::mounts::is_mounted(&target)? {
                found.push(target);
            }
        }
        Ok(found)
    }

    /// How many bytes the disk has left.
    pub(crate) fn free(&self) -> Done<i64> {
        let stat = nix::sys::statvfs::statvfs(&self.folder).during(|| format!("look at {}", self.folder.display()))?;
        Ok(i64::try_from(stat.blocks_available() * stat.fragment_size()).unwrap_or(i64::MAX))
    }
}

/// Removes a folder and all in it, unless something is mounted there: what is mounted is somebody's data.
fn remove_below(at: &Path) -> Done<()> {
    let Ok(meta) = fs::symlink_metadata(at) else { return Ok(()) };
    if let Some(point) = crate::mounts::below(at)?.first() {
        return Err(Refusal::NotNow(format!(
            "{} is in use: something is mounted at {}",
            at.display(),
            point.display()
        )));
    }
    remove(at, meta.dev())
}

fn remove(at: &Path, device: u64) -> Done<()> {
    let about = || format!("remove {}", at.display());
    let meta = fs::symlink_metadata(at).during(about)?;
    if !meta.is_dir() {
        return fs::remove_file(at).during(about);
    }
    if meta.dev() != device {
        return Err(Refusal::NotNow(format!("{} is on another device than its volume", at.display())));
    }
    for entry in fs::read_dir(at).during(about)? {
        remove(&entry.during(about)?.path(), device)?;
    }
    fs::remove_dir(at).during(about)
}

/// Copies with owners, modes, times and holes; shares blocks where the filesystem can.
fn copy(from: &Path, to: &Path) -> Done<()> {
    let mut command = std::process::Command::new("cp");
    command.args(["-a", "--reflink=auto", "--sparse=auto", "--"]).arg(from).arg(to);
    crate::device::run(&mut command).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(kind: Kind) -> Volume {
        Volume { name: "a".to_owned(), kind, bytes: 1 << 20, source: String::new(), inline: false, filesystem: 0 }
    }

    #[test]
    fn volumes_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(matches!(store.get("a"), Err(Refusal::Absent(_))));
        store.create("a", &volume(Kind::Folder)).unwrap();
        store.create("b", &volume(Kind::Block)).unwrap();
        assert_eq!(store.get("a").unwrap(), volume(Kind::Folder));
        assert_eq!(store.all().unwrap().len(), 2);
        assert_eq!(fs::metadata(store.image("b").unwrap()).unwrap().len(), 1 << 20);
        fs::write(store.data("a").unwrap().join("file"), "x").unwrap();
        store.create("c", &Volume { source: "a".to_owned(), ..volume(Kind::Folder) }).unwrap();
        assert_eq!(fs::read_to_string(store.data("c").unwrap().join("file")).unwrap(), "x");
        for id in ["a", "a", "b", "c"] {
            store.remove(id).unwrap();
        }
        assert_eq!(store.all().unwrap(), []);
    }

    #[test]
    fn an_id_leads_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for id in ["..", "", "../volumes", "/etc"] {
            assert!(matches!(store.get(id), Err(Refusal::Absent(_))), "{id}");
            store.remove(id).unwrap();
        }
        assert!(folder.path().is_dir());
        assert_eq!(id_of("pvc-1"), "pvc-1");
        assert_eq!(id_of("a/b").len(), 64);
    }
}
