//! The folder, and writes that a crash cannot halve.
//!
//! ```text
//! registry/              0700
//!   oci-layout           blobs lie as in an OCI image layout, and its tools find them
//!   lock                 flock: one registry a folder
//!   journal              which repository holds what, and what its tags name; see `journal`
//!   blobs/sha256/<hex>   blobs and manifests, each once
//!   uploads/<uuid>/      what is arriving: `about` and `data`
//!   scans/<digest>.json  what an image has installed; it can be made again
//! ```

use crate::digest::{Algorithm, Digest};
use crate::error::{On, StorageError};
use nix::fcntl::{Flock, FlockArg};
use skiff_step::{Engine, Step};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use uuid::Uuid;

const LAYOUT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}\n";

/// What arrives is written.
pub(crate) const UPLOAD_WRITE: Step = Step::new("registry.upload.write", "distribution-spec, Pushing blobs");
/// What has arrived is made durable.
pub(crate) const UPLOAD_SYNC: Step = Step::new("registry.upload.sync", "fdatasync(2)");
/// It gets its name among the blobs.
const BLOB_PLACE: Step = Step::new("registry.blob.place", "rename(2)");
/// The name is made durable.
const BLOB_SETTLE: Step = Step::new("registry.blob.settle", "fsync(2), of a directory");
/// What nobody holds is removed.
const BLOB_REMOVE: Step = Step::new("registry.blob.remove", "unlink(2)");
/// A change is written.
pub(crate) const JOURNAL_WRITE: Step = Step::new("registry.journal.write", "write(2)");
/// A change is made durable.
pub(crate) const JOURNAL_SYNC: Step = Step::new("registry.journal.sync", "fdatasync(2)");
/// The journal is written anew, without what is past.
pub(crate) const JOURNAL_RENEW: Step = Step::new("registry.journal.renew", "rename(2)");

/// The folder of a registry, which is this process's alone.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    pub(crate) engine: Engine,
    _lock: Flock<File>,
}

impl Disk {
    /// Makes the folders and takes them.
    pub(crate) fn open(root: &Path, engine: Engine) -> Result<Self, StorageError> {
        let blobs = Algorithm::ALL.map(|algorithm| root.join("blobs").join(algorithm.name()));
        for folder in blobs.iter().chain([&root.join("uploads")]) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).on("make folder", folder)?;
        }
        let path = root.join("lock");
        let file = private().create(true).truncate(false).open(&path).on("open", &path)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        let lock = lock
            .map_err(|(_, errno)| std::io::Error::from(errno))
            .on("lock, which another registry may hold,", &path)?;
        let disk = Self { root: root.to_owned(), engine, _lock: lock };
        let layout = root.join("oci-layout");
        if !layout.exists() {
            disk.write(&layout, LAYOUT)?;
        }
        sync_folder(root)?;
        Ok(disk)
    }

    /// Where the journal is.
    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob lies. A digest's text has no slash and no dot.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        blob_below(&self.root, digest)
    }

    fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("blobs").join(algorithm.name())
    }

    /// The folder of an upload.
    pub(crate) fn upload(&self, id: Uuid) -> PathBuf {
        self.uploads().join(id.hyphenated().to_string())
    }

    /// The folder of all uploads.
    pub(crate) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// Replaces a small file as a whole; durable once its folder is.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let made = path.with_extension("new");
        let mut file = private().create(true).truncate(true).open(&made).on("create", &made)?;
        file.write_all(bytes).on("write", &made)?;
        file.sync_all().on("sync", &made)?;
        fs::rename(&made, path).on("rename", &made)
    }

    /// Gives content, which is durable, its name among the blobs, durably. Whatever had that name had the same content, or was damaged.
    pub(crate) fn place(&self, from: &Path, digest: &Digest) -> Result<(), StorageError> {
        let to = self.blob(digest);
        self.engine.run(&BLOB_PLACE, || digest.to_string(), || fs::rename(from, &to)).on("rename", from)?;
        let folder = self.blobs(digest.algorithm());
        let sync = || File::open(&folder).and_then(|folder| folder.sync_all());
        self.engine.run(&BLOB_SETTLE, || digest.to_string(), sync).on("sync", &folder)
    }

    /// Removes a blob; absent is fine.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<(), StorageError> {
        let path = self.blob(digest);
        match self.engine.run(&BLOB_REMOVE, || digest.to_string(), || fs::remove_file(&path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.on("remove", &path),
        }
    }

    /// The blobs that lie there, with their sizes; what has another name is not ours and stays.
    pub(crate) fn blobs_there(&self) -> Result<Vec<(Digest, u64)>, StorageError> {
        let mut found = Vec::new();
        for algorithm in Algorithm::ALL {
            let folder = self.blobs(algorithm);
            for entry in fs::read_dir(&folder).on("list", &folder)? {
                let entry = entry.on("list", &folder)?;
                let text = format!("{}:{}", algorithm.name(), entry.file_name().to_string_lossy());
                let Ok(digest) = text.parse::<Digest>() else { continue };
                let about = entry.metadata().on("look at", entry.path())?;
                found.push((digest, about.len()));
            }
        }
        Ok(found)
    }
}

/// Where a blob of the registry in `root` lies.
pub(crate) fn blob_below(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
}

/// Opens for writing; what is made nobody else may read.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Makes renames in this folder survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> Result<(), StorageError> {
    File::open(path).and_then(|folder| folder.sync_all()).on("sync", path)
}
