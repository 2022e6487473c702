//! The store's folders, its lock, and writes that a crash cannot halve.
//!
//! ```text
//! images/            0700
//!   lock             flock: exclusive for everything that reads and then writes the index
//!   importing        flock: shared by imports, so that sweeping and cleaning know to wait
//!   index.json       which images there are
//!   configs/<hex>    configuration documents
//!   layers/<hex>/    unpacked layers
//!   snapshots/<id>/  writable overlays
//!   tmp/             unfinished work; nothing in it counts
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

/// The folder of a store.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    dir: PathBuf,
}

/// Held as long as nobody else may change the index.
pub(crate) struct Locked(#[expect(dead_code, reason = "held for its Drop")] Flock<File>);

/// Whether an import is under way is the kernel's knowledge: it forgets the lock when the process ends.
pub(crate) struct Importing(#[expect(dead_code, reason = "held for its Drop")] Flock<File>);

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
        for folder in [dir.to_owned(), disk.configs(), disk.layers(), disk.snapshots(), disk.tmp()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).on("make folder", &folder)?;
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

    /// Announces an import.
    pub(crate) fn importing(&self) -> Result<Importing, ImageError> {
        self.flock("importing", FlockArg::LockShared).map(Importing)
    }

    /// Proves that no import is under way, and lets none begin; none if one is.
    pub(crate) fn no_import(&self) -> Result<Option<Importing>, ImageError> {
        match self.flock("importing", FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Importing(lock))),
            Err(ImageError::Io { source, .. }) if source.raw_os_error() == Some(Errno::EWOULDBLOCK as i32) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn flock(&self, name: &str, how: FlockArg) -> Result<Flock<File>, ImageError> {
        let path = self.dir.join(name);
        // Each lock has its own open file, so it also keeps threads of this process apart.
        let file = File::options().create(true).truncate(false).write(true).open(&path).on("open", &path)?;
        Flock::lock(file, how).map_err(|(_, errno)| errno).on("lock", &path)
    }

    /// A new folder for unfinished work.
    pub(crate) fn scratch(&self) -> Result<Scratch, ImageError> {
        let path = self.tmp_name();
        fs::DirBuilder::new().mode(0o700).create(&path).on("make folder", &path)?;
        Ok(Scratch(path))
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
        let Some(_nobody_imports) = self.no_import()? else { return Ok(()) };
        let _nobody_writes = self.lock()?;
        for entry in fs::read_dir(self.tmp()).on("list", self.tmp())? {
            remove_tree(&entry.on("list", self.tmp())?.path())?;
        }
        Ok(())
    }
}

/// A folder that goes when this is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays goes when the store is next opened.
        let _next_open_cleans = fs::remove_dir_all(&self.0);
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
