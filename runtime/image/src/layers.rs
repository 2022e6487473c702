//! Layers, each unpacked once under its diff id: `layers/<64 digits>/{fs/, layer.json}`.
//!
//! A layer that is there is complete: it is unpacked aside, synced, and renamed into place.

use crate::codec::{AtMost, decompress};
use crate::digest::Digesting;
use crate::documents::Layer;
use crate::error::On;
use crate::inside::Root;
use crate::unpack::{Limits, Size, Unpacked, unpack};
use crate::{Digest, ImageError};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufReader, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

const FS: &str = "fs";
const SIZE: &str = "layer.json";
/// Header, PAX records and padding of an entry, on top of its data.
const OVERHEAD_BYTES_PER_ENTRY: u64 = 8 << 10;

/// The folder of layers.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    dir: PathBuf,
}

impl Layers {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where the layer's files are.
    pub(crate) fn fs(&self, diff: &Digest) -> PathBuf {
        self.dir.join(diff.hex()).join(FS)
    }

    pub(crate) fn has(&self, diff: &Digest) -> bool {
        self.dir.join(diff.hex()).is_dir()
    }

    /// What the layer occupies.
    pub(crate) fn size(&self, diff: &Digest) -> Result<Size, ImageError> {
        let path = self.dir.join(diff.hex()).join(SIZE);
        let text = fs::read(&path).on("read", &path)?;
        serde_json::from_slice(&text).map_err(|error| ImageError::malformed(path.to_string_lossy(), error.to_string()))
    }

    /// All layers there are.
    pub(crate) fn all(&self) -> Result<BTreeSet<Digest>, ImageError> {
        let entries = fs::read_dir(&self.dir).on("list", &self.dir)?;
        let digest = |entry: std::io::Result<fs::DirEntry>| {
            let name = entry.on("list", &self.dir)?.file_name();
            Digest::from_hex(&name.to_string_lossy())
        };
        entries.map(digest).collect()
    }

    /// Moves a finished layer from `made` to its place; one that is already there is as good.
    pub(crate) fn commit(&self, made: &Path, diff: &Digest) -> Result<(), ImageError> {
        match nix::fcntl::renameat(nix::fcntl::AT_FDCWD, made, nix::fcntl::AT_FDCWD, &self.dir.join(diff.hex())) {
            Ok(()) | Err(Errno::EEXIST | Errno::ENOTEMPTY) => Ok(()),
            Err(errno) => Err(errno).on("rename", made),
        }
    }

    /// Moves a layer to `away`, where a crash cannot make it half a layer.
    pub(crate) fn retire(&self, diff: &Digest, away: &Path) -> Result<(), ImageError> {
        let path = self.dir.join(diff.hex());
        fs::rename(&path, away).on("rename", &path)
    }
}

/// Unpacks one layer into the new folder `at`, and checks its bytes on the way; sentences about what was left out of it.
pub(crate) fn make(layer: &Layer, blob: impl Read, at: &Path, limits: Limits) -> Result<Vec<String>, ImageError> {
    fs::DirBuilder::new().mode(0o700).create(at).on("make folder", at)?;
    let root = at.join(FS);
    fs::create_dir(&root).on("make folder", &root)?;
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).on("set the mode of", &root)?;
    let unpacked = unpack_checked(layer, blob, &Root::open(&root).on("open", &root)?, limits)?;
    let text = serde_json::to_vec(&unpacked.size).map_err(|error| ImageError::malformed(SIZE, error.to_string()))?;
    fs::write(at.join(SIZE), text).on("write", at.join(SIZE))?;
    let sentences = unpacked.left_out.sentences();
    Ok(sentences.into_iter().map(|sentence| format!("layer {}: {sentence}", layer.diff)).collect())
}

fn unpack_checked(layer: &Layer, blob: impl Read, root: &Root, limits: Limits) -> Result<Unpacked, ImageError> {
    let what = || format!("layer {}", layer.diff);
    let stream_bytes_max = limits.bytes_max + limits.entries_max * OVERHEAD_BYTES_PER_ENTRY;
    let mut blob = Digesting::new(AtMost::new(blob, stream_bytes_max));
    let unpacked = {
        let plain = decompress(BufReader::with_capacity(1 << 16, &mut blob), what)?;
        let mut plain = Digesting::new(AtMost::new(plain, stream_bytes_max));
        let unpacked = unpack(BufReader::with_capacity(1 << 16, &mut plain), root, limits)?;
        let (diff, _) = plain.finish().on("read", what())?;
        expect(what(), &layer.diff.to_string(), &diff.to_string())?;
        unpacked
    };
    let (digest, bytes) = blob.finish().on("read", what())?;
    if let Some((expected, expected_bytes)) = layer.blob {
        expect(what(), &expected.to_string(), &digest.to_string())?;
        expect(what(), &format!("{expected_bytes} bytes"), &format!("{bytes} bytes"))?;
    }
    Ok(unpacked)
}

fn expect(what: String, expected: &str, actual: &str) -> Result<(), ImageError> {
    if expected == actual {
        return Ok(());
    }
    Err(ImageError::Mismatch { what, expected: expected.to_owned(), actual: actual.to_owned() })
}
