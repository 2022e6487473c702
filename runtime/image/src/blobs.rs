//! What was delivered, by its digest: `content/blobs/sha256/<64 digits>`, an OCI layout (image-spec, image-layout.md).
//!
//! A blob that is there is complete and was checked: it is written elsewhere, synced, and renamed into place.

use crate::digest::Digesting;
use crate::disk::Disk;
use crate::error::{On, expect};
use crate::{Digest, ImageError};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of one document; registries allow manifests of 4 MiB.
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// The file that says that the folder is a layout.
pub(crate) const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// The folder of blobs.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    dir: PathBuf,
}

impl Blobs {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where the blob is or would be.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Opens it for reading.
    pub(crate) fn open(&self, digest: &Digest) -> Result<File, ImageError> {
        let path = self.path(digest);
        File::open(&path).on("open", &path)
    }

    /// A document, checked against its digest.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let path = self.path(digest);
        let mut bytes = Vec::new();
        self.open(digest)?.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes).on("read", &path)?;
        expect(path.display(), digest, &Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// Reads the whole blob and compares it with its digest.
    pub(crate) fn verify(&self, digest: &Digest) -> Result<(), ImageError> {
        let path = self.path(digest);
        let (actual, _) = Digesting::new(self.open(digest)?).finish().on("read", &path)?;
        expect(path.display(), digest, &actual)
    }

    /// Moves a finished, synced blob to its place; one that is already there is as good.
    pub(crate) fn commit(&self, made: &Path, digest: &Digest) -> Result<(), ImageError> {
        fs::rename(made, self.path(digest)).on("rename", made)
    }

    /// Moves a blob to `away`; absent is fine.
    pub(crate) fn retire(&self, digest: &Digest, away: &Path) -> Result<(), ImageError> {
        match fs::rename(self.path(digest), away) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.on("rename", self.path(digest)),
        }
    }

    /// All blobs there are.
    pub(crate) fn all(&self) -> Result<BTreeSet<Digest>, ImageError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries.on("list", &self.dir)?,
        };
        let digest = |entry: std::io::Result<fs::DirEntry>| {
            Digest::from_hex(&entry.on("list", &self.dir)?.file_name().to_string_lossy())
        };
        entries.map(digest).collect()
    }
}

/// Writes what other programs read of the layout. It says nothing that the index of images does not say, so it is not synced: whoever
/// opens the store writes it anew if it differs.
pub(crate) fn write_layout(disk: &Disk, index: &serde_json::Value) -> Result<(), ImageError> {
    let content = disk.content();
    for (name, text) in [("oci-layout", LAYOUT.to_owned()), ("index.json", index.to_string())] {
        let path = content.join(name);
        if fs::read(&path).is_ok_and(|present| present == text.as_bytes()) {
            continue;
        }
        let made = disk.tmp_name();
        fs::write(&made, &text).on("write", &made)?;
        fs::rename(&made, &path).on("rename", &made)?;
    }
    Ok(())
}
