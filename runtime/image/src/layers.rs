//! Layers, each unpacked once under its diff id: `layers/<64 digits>/{fs/, layer.json, checked}`.
//!
//! A layer that is there is complete: it is unpacked aside, synced, and renamed into place. `checked` names the run of the machine in which
//! its files were last compared with the seal that `layer.json` has of them.

use crate::codec::{AtMost, decompress};
use crate::digest::Digesting;
use crate::disk::remove_tree;
use crate::documents::Layer;
use crate::error::{On, expect};
use crate::inside::Root;
use crate::unpack::{Limits, Size, unpack};
use crate::{Digest, ImageError, seal};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

const FS: &str = "fs";
const ABOUT: &str = "layer.json";
const CHECKED: &str = "checked";
/// Header, PAX records and padding of an entry, on top of its data.
const OVERHEAD_BYTES_PER_ENTRY: u64 = 8 << 10;

/// What `layer.json` says.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct About {
    /// Of the files' contents.
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
    /// On the disk, as `du` counts them; zero in layers of earlier versions.
    #[serde(default)]
    pub(crate) disk_bytes: u64,
    #[serde(default)]
    pub(crate) seal: Option<String>,
    /// The packed layer that it was made of; hexadecimal.
    #[serde(default)]
    pub(crate) blob: Option<String>,
}

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

    /// What is known of the layer.
    pub(crate) fn about(&self, diff: &Digest) -> Result<About, ImageError> {
        about(&self.dir.join(diff.hex()))
    }

    /// Lets the layer be compared again before it is next used.
    pub(crate) fn doubt(&self, diff: &Digest) -> Result<(), ImageError> {
        remove_tree(&self.dir.join(diff.hex()).join(CHECKED))
    }

    /// Whether the layer was compared since the machine started.
    pub(crate) fn is_checked(&self, diff: &Digest, boot: &str) -> bool {
        fs::read(self.dir.join(diff.hex()).join(CHECKED)).is_ok_and(|text| text == boot.as_bytes())
    }

    /// Whether the layer's files are those that were unpacked. One of an earlier version, which kept no seal, is taken as it is.
    pub(crate) fn is_sound(&self, diff: &Digest, boot: &str) -> Result<bool, ImageError> {
        let Ok(about) = self.about(diff) else { return Ok(false) };
        let sound = match about.seal {
            Some(seal) => seal::of(&self.fs(diff)).is_ok_and(|found| found.digest.hex() == seal),
            None => self.fs(diff).is_dir(),
        };
        if sound {
            let path = self.dir.join(diff.hex()).join(CHECKED);
            fs::write(&path, boot).on("write", &path)?;
        }
        Ok(sound)
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

/// What is known of the layer in the folder `at`.
pub(crate) fn about(at: &Path) -> Result<About, ImageError> {
    let path = at.join(ABOUT);
    let text = fs::read(&path).on("read", &path)?;
    serde_json::from_slice(&text).map_err(|error| ImageError::malformed(path.to_string_lossy(), error.to_string()))
}

/// A layer that was made.
pub(crate) struct Made {
    /// Sentences about what was left out of it.
    pub(crate) left_out: Vec<String>,
    /// The packed layer, as it was read.
    pub(crate) blob: Digest,
}

/// Unpacks one layer into the new folder `at`, and checks its bytes on the way; `keep` gets a copy of the packed ones.
pub(crate) fn make(
    layer: &Layer,
    blob: impl Read,
    at: &Path,
    keep: Option<&Path>,
    limits: Limits,
) -> Result<Made, ImageError> {
    fs::DirBuilder::new().mode(0o700).create(at).on("make folder", at)?;
    let root = at.join(FS);
    fs::create_dir(&root).on("make folder", &root)?;
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).on("set the mode of", &root)?;
    let inside = Root::open(&root).on("open", &root)?;
    let into = |plain: &mut dyn Read| unpack(BufReader::with_capacity(1 << 16, plain), &inside, limits);
    let (unpacked, digest) = read_checked(layer, Tee::new(blob, keep)?, limits, into)?;
    let seal = seal::of(&root)?;
    let Size { bytes, inodes } = unpacked.size;
    let about =
        About { bytes, inodes, disk_bytes: seal.disk_bytes, seal: Some(seal.digest.hex()), blob: Some(digest.hex()) };
    let text = serde_json::to_vec(&about).map_err(|error| ImageError::malformed(ABOUT, error.to_string()))?;
    fs::write(at.join(ABOUT), text).on("write", at.join(ABOUT))?;
    fs::write(at.join(CHECKED), seal::boot()).on("write", at.join(CHECKED))?;
    let sentences = unpacked.left_out.sentences();
    let left_out = sentences.into_iter().map(|sentence| format!("layer {}: {sentence}", layer.diff)).collect();
    Ok(Made { left_out, blob: digest })
}

/// Copies the packed layer to `to`, checked as if it were unpacked.
pub(crate) fn copy(layer: &Layer, blob: impl Read, to: &Path, limits: Limits) -> Result<Digest, ImageError> {
    let into = |plain: &mut dyn Read| std::io::copy(plain, &mut std::io::sink()).on("read", layer.diff.to_string());
    read_checked(layer, Tee::new(blob, Some(to))?, limits, into).map(|(_, digest)| digest)
}

/// Reads a packed layer to its end, gives what is in it to `into`, and compares both with what they were announced as.
fn read_checked<T>(
    layer: &Layer,
    blob: impl Read,
    limits: Limits,
    into: impl FnOnce(&mut dyn Read) -> Result<T, ImageError>,
) -> Result<(T, Digest), ImageError> {
    let what = || format!("layer {}", layer.diff);
    let stream_bytes_max = limits.bytes_max + limits.entries_max * OVERHEAD_BYTES_PER_ENTRY;
    let mut blob = Digesting::new(AtMost::new(blob, stream_bytes_max));
    let read = {
        let plain = decompress(BufReader::with_capacity(1 << 16, &mut blob), what)?;
        let mut plain = Digesting::new(AtMost::new(plain, stream_bytes_max));
        let read = into(&mut plain)?;
        let (diff, _) = plain.finish().on("read", what())?;
        expect(what(), &layer.diff, &diff)?;
        read
    };
    let (digest, bytes) = blob.finish().on("read", what())?;
    if let Some((expected, expected_bytes)) = layer.blob {
        expect(what(), &expected, &digest)?;
        expect(what(), &format!("{expected_bytes} bytes"), &format!("{bytes} bytes"))?;
    }
    Ok((read, digest))
}

/// A reader that writes what passes into a file.
struct Tee<R> {
    inner: R,
    copy: Option<File>,
}

impl<R: Read> Tee<R> {
    fn new(inner: R, copy: Option<&Path>) -> Result<Self, ImageError> {
        let create = |path: &Path| File::options().write(true).create_new(true).open(path).on("create", path);
        Ok(Self { inner, copy: copy.map(create).transpose()? })
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(copy) = &mut self.copy {
            copy.write_all(&buffer[..count])?;
        }
        Ok(count)
    }
}
