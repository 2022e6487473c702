//! The store's folders, its lock, and writes that a crash cannot halve.
//!
//! ```text
//! images/            0700
//!   lock             flock: exclusive for everything that reads and then writes the index
//!   index.json       which images there are, by id
//!   content/         what was delivered, as an OCI layout: blobs/sha256/<hex>, index.json (names, for other programs)
//!   configs/<hex>    configuration documents of images that came before content was kept
//!   layers/<hex>/    unpacked layers
//!   snapshots/<id>/  writable overlays
//!   ingest/<hex>     blobs that are being fetched; what an interrupted pull leaves is gone on with
//!   tmp/             unfinished work; nothing in it counts, and a folder that is locked is being worked in
//! ```

use crate::ImageError;
use crate::error::On;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long what an interrupted pull left is kept for the next one.
const INGEST_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The folder of a store.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    dir: PathBuf,
}

/// Held as long as nobody else may change the index.
pub(crate) struct Locked(#[expect(dead_code, reason = "held for its Drop")] Flock<File>);

impl Disk {
    /// Names the folder, and makes nothing.
    pub(crate) fn at(dir: &Path) -> Result<Self, ImageError> {
        let text = dir.to_string_lossy();
        if !dir.is_absolute() || text.contains([':', ',', '\\']) {
            // Overlayfs separates and escapes folders with these.
            return Err(ImageError::malformed(
                text,
                "the store's folder must be absolute, without colon, comma and backslash",
            ));
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// Makes the folders, and removes unfinished work unless somebody is at it.
    pub(crate) fn open(dir: &Path) -> Result<Self, ImageError> {
        let disk = Self::at(dir)?;
        let folders = [disk.blobs(), disk.configs(), disk.layers(), disk.snapshots(), disk.ingest(), disk.tmp()];
        for folder in [dir.to_owned()].iter().chain(&folders) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).on("make folder", folder)?;
        }
        disk.clean()?;
        Ok(disk)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.dir.join("index.json")
    }

    /// The OCI layout.
    pub(crate) fn content(&self) -> PathBuf {
        self.dir.join("content")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.content().join("blobs/sha256")
    }

    pub(crate) fn ingest(&self) -> PathBuf {
        self.dir.join("ingest")
    }

    pub(crate) fn configs(&self) -> PathBuf {
        self.dir.join("configs")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.dir.join("layers")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.dir.join("snapshots")
    }

    fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// Waits for the index.
    pub(crate) fn lock(&self) -> Result<Locked, ImageError> {
        self.flock("lock", FlockArg::LockExclusive).map(Locked)
    }

    /// Lets nobody write the index while it is read; `None`: nobody has written anything here yet.
    pub(crate) fn lock_to_read(&self) -> Result<Option<Locked>, ImageError> {
        let path = self.dir.join("lock");
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.on("open", &path)?,
        };
        let lock = Flock::lock(file, FlockArg::LockShared).map_err(|(_, errno)| errno).on("lock", &path)?;
        Ok(Some(Locked(lock)))
    }

    fn flock(&self, name: &str, how: FlockArg) -> Result<Flock<File>, ImageError> {
        let path = self.dir.join(name);
        // Each lock has its own open file, so it also keeps threads of this process apart.
        let file = File::options().create(true).truncate(false).write(true).open(&path).on("open", &path)?;
        Flock::lock(file, how).map_err(|(_, errno)| errno).on("lock", &path)
    }

    /// A new folder for unfinished work. It is locked, so that nobody who opens the store cleans it away.
    pub(crate) fn scratch(&self) -> Result<Scratch, ImageError> {
        loop {
            let path = self.tmp_name();
            fs::DirBuilder::new().mode(0o700).create(&path).on("make folder", &path)?;
            // Between its making and its locking somebody who opens the store may take it away: then another one.
            let Some(held) = hold(&path)? else { continue };
            if path.exists() {
                return Ok(Scratch { path, _held: held });
            }
        }
    }

    /// A name in tmp that nobody uses.
    pub(crate) fn tmp_name(&self) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        self.tmp().join(format!("{}-{now:x}-{count}", std::process::id()))
    }

    /// Replaces a file as a whole: whoever reads it, even after a power cut, finds the old or the new one.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
        let made = self.tmp_name();
        let mut file = File::options().write(true).create_new(true).open(&made).on("create", &made)?;
        file.write_all(bytes).on("write", &made)?;
        file.sync_all().on("sync", &made)?;
        fs::rename(&made, path).on("rename", &made)?;
        sync_folder(path.parent().unwrap_or(&self.dir))
    }

    fn clean(&self) -> Result<(), ImageError> {
        let _nobody_writes = self.lock()?;
        for entry in fs::read_dir(self.tmp()).on("list", self.tmp())? {
            let path = entry.on("list", self.tmp())?.path();
            // Files in it are made under the lock that we have.
            if !path.is_dir() || hold(&path)?.is_some() {
                remove_tree(&path)?;
            }
        }
        self.clean_ingest()
    }

    /// Removes what a pull began and nobody went on with for a day.
    fn clean_ingest(&self) -> Result<(), ImageError> {
        for entry in fs::read_dir(self.ingest()).on("list", self.ingest())? {
            let path = entry.on("list", self.ingest())?.path();
            let changed = fs::symlink_metadata(&path).and_then(|about| about.modified());
            let old = changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > INGEST_AGE_MAX));
            if old && hold(&path)?.is_some() {
                remove_tree(&path)?;
            }
        }
        Ok(())
    }
}

/// Locks a file or folder that nobody else has locked; none if somebody has, or if it is gone.
fn hold(path: &Path) -> Result<Option<Flock<File>>, ImageError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.on("open", path)?,
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno).on("lock", path),
    }
}

/// A folder that goes when this is dropped.
pub(crate) struct Scratch {
    path: PathBuf,
    _held: Flock<File>,
}

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays goes when the store is next opened.
        let _next_open_cleans = fs::remove_dir_all(&self.path);
    }
}

/// Makes renames in this folder survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> Result<(), ImageError> {
    File::open(path).and_then(|folder| folder.sync_all()).on("sync", path)
}

/// Makes everything written to the file system of `path` survive a power cut: a layer is many files.
pub(crate) fn sync_filesystem(path: &Path) -> Result<(), ImageError> {
    let folder = File::open(path).on("open", path)?;
    nix::unistd::syncfs(&folder).on("sync the file system of", path)
}

/// Removes a file or a folder with everything in it; absent is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), ImageError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.on("remove", path),
    }
}
