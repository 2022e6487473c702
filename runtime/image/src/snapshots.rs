//! Writable overlays: `snapshots/<container id>/{snapshot.json, upper/, work/, lower/}`.
//!
//! `lower` is an empty folder for images without layers, because overlayfs wants one.

use crate::disk::{Disk, remove_tree};
use crate::error::On;
use crate::layers::Layers;
use crate::users::{IdRange, Users, outside};
use crate::{Digest, ImageError, Snapshot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes of a container id as a file name.
const ID_BYTES_MAX: usize = 253;
const RECORD: &str = "snapshot.json";

/// What a snapshot stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) image_id: String,
    /// Hexadecimal diff ids, lowest first.
    pub(crate) layers: Vec<String>,
}

/// Refuses ids that are no plain file name: they come from callers and become paths.
pub(crate) fn check_id(id: &str) -> Result<(), ImageError> {
    let start = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let rest = |byte: u8| start(byte) || matches!(byte, b'.' | b'_' | b'-');
    let good = id.len() <= ID_BYTES_MAX && id.bytes().next().is_some_and(start) && id.bytes().all(rest);
    if good { Ok(()) } else { Err(ImageError::ContainerId(id.to_owned())) }
}

/// Whether a container's name is that of a build (`build-PID-…`), and if so whether its process is there.
#[must_use]
pub fn is_being_built(id: &str) -> Option<bool> {
    let pid: u32 = id.strip_prefix("build-")?.split('-').next()?.parse().ok()?;
    Some(Path::new("/proc").join(pid.to_string()).exists())
}

/// The containers with a snapshot.
pub(crate) fn ids(disk: &Disk) -> Result<Vec<String>, ImageError> {
    let dir = disk.snapshots();
    let entries = fs::read_dir(&dir).on("list", &dir)?;
    let mut ids = entries
        .map(|entry| Ok(entry.on("list", &dir)?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>, ImageError>>()?;
    ids.sort_unstable();
    Ok(ids)
}

/// What the container's snapshot stands on; none without a snapshot.
pub(crate) fn read(disk: &Disk, id: &str) -> Result<Option<Record>, ImageError> {
    let path = disk.snapshots().join(id).join(RECORD);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.on("read", &path)?,
    };
    let record = serde_json::from_slice(&text);
    record.map(Some).map_err(|error| ImageError::malformed(path.to_string_lossy(), error.to_string()))
}

/// Makes the snapshot, aside first: a snapshot that is there is whole.
pub(crate) fn make(disk: &Disk, layers: &Layers, id: &str, record: &Record) -> Result<(), ImageError> {
    let made = disk.scratch()?;
    let at = made.path();
    for folder in ["upper", "work", "lower"] {
        fs::create_dir(at.join(folder)).on("make folder", at.join(folder))?;
    }
    match lower(layers, record)?.first() {
        Some(top) => copy_root(top, &at.join("upper"))?,
        None => set_mode(&at.join("upper"), 0o755)?,
    }
    let text = serde_json::to_vec(record).map_err(|error| ImageError::malformed(RECORD, error.to_string()))?;
    fs::write(at.join(RECORD), text).on("write", at.join(RECORD))?;
    let place = disk.snapshots().join(id);
    fs::rename(at, &place).on("rename", at)
}

/// Overlayfs shows the upper folder's owner and mode as the root's.
fn copy_root(from: &Path, to: &Path) -> Result<(), ImageError> {
    let about = fs::metadata(from).on("stat", from)?;
    std::os::unix::fs::chown(to, Some(about.uid()), Some(about.gid())).on("chown", to)?;
    set_mode(to, about.mode() & 0o7777)
}

/// Gives the root to whom its owner in the topmost layer is among `users`; root of these where that is nobody.
pub(crate) fn give_root(snapshot: &Snapshot, users: &Users) -> Result<(), ImageError> {
    let top = snapshot.lower_dirs.first().unwrap_or(&snapshot.upper_dir);
    let about = fs::metadata(top).on("stat", top)?;
    let id = |ranges: &[IdRange], inside: u32| outside(ranges, inside).or_else(|| outside(ranges, 0));
    let (uid, gid) = (id(&users.uids, about.uid()), id(&users.gids, about.gid()));
    std::os::unix::fs::chown(&snapshot.upper_dir, uid, gid).on("chown", &snapshot.upper_dir)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), ImageError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).on("chmod", path)
}

/// The layers' folders, uppermost first, each once: overlayfs refuses a folder twice, and a lower copy of a layer shows nothing
/// that its upper copy does not.
fn lower(layers: &Layers, record: &Record) -> Result<Vec<PathBuf>, ImageError> {
    let mut seen = BTreeSet::new();
    let fresh = record.layers.iter().rev().filter(|hex| seen.insert(*hex));
    fresh.map(|hex| Ok(layers.fs(&Digest::from_hex(hex)?))).collect()
}

/// The snapshot as its user sees it.
pub(crate) fn describe(disk: &Disk, layers: &Layers, id: &str, record: &Record) -> Result<Snapshot, ImageError> {
    let at = disk.snapshots().join(id);
    let mut lower_dirs = lower(layers, record)?;
    if lower_dirs.is_empty() {
        lower_dirs.push(at.join("lower"));
    }
    Ok(Snapshot {
        container_id: id.to_owned(),
        image_id: record.image_id.clone(),
        lower_dirs,
        upper_dir: at.join("upper"),
        work_dir: at.join("work"),
    })
}

/// Files of a snapshot that is none any more.
#[derive(Debug)]
#[must_use = "they take room until they are removed"]
pub struct Retired(Option<PathBuf>);

impl Retired {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Removes them; whoever opens the store meanwhile may do the same.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn remove(self) -> Result<(), ImageError> {
        self.0.map_or(Ok(()), |path| remove_tree(&path))
    }
}

/// Takes the snapshot out of the store; the caller removes what is left of it.
pub(crate) fn retire(disk: &Disk, id: &str) -> Result<Retired, ImageError> {
    let (place, away) = (disk.snapshots().join(id), disk.tmp_name());
    match fs::rename(&place, &away) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Retired(None)),
        renamed => renamed.on("rename", &place).map(|()| Retired(Some(away))),
    }
}

/// Bytes and inodes of what a container wrote.
pub(crate) fn written(disk: &Disk, id: &str) -> Result<(u64, u64), ImageError> {
    count(&disk.snapshots().join(id).join("upper"), &mut BTreeSet::new())
}

/// A file with several names, in `seen`, is one.
fn count(folder: &Path, seen: &mut BTreeSet<u64>) -> Result<(u64, u64), ImageError> {
    let mut sum = (0, 0);
    let entries = match fs::read_dir(folder) {
        // Taken away while we count.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(sum),
        entries => entries.on("list", folder)?,
    };
    for entry in entries {
        let entry = entry.on("list", folder)?;
        // The container may be running: files come and go while we count.
        let Ok(about) = entry.metadata() else { continue };
        if about.nlink() > 1 && !about.is_dir() && !seen.insert(about.ino()) {
            continue;
        }
        sum = (sum.0 + about.blocks() * 512, sum.1 + 1);
        if about.is_dir()
            && let Ok(inner) = count(&entry.path(), seen)
        {
            sum = (sum.0 + inner.0, sum.1 + inner.1);
        }
    }
    Ok(sum)
}
