//! Builds layers and archives byte by byte, so that tests can make what no honest tool makes.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

pub mod registry;

use sha2::{Digest, Sha256};
use skiff_image::{Builtin, ImageStore, Pulled, Unwatched};
use skiff_step::Engine;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tar::{EntryType, Header};

/// A tar archive in the making.
#[derive(Default, Clone)]
pub struct Tape(pub Vec<u8>);

impl Tape {
    pub fn new() -> Self {
        Self::default()
    }

    /// An entry with the name, link and data as they are, whatever they are; `tweak` may spoil the header.
    pub fn raw(mut self, kind: u8, name: &[u8], link: &[u8], data: &[u8], tweak: impl Fn(&mut Header)) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        tweak(&mut header);
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// As [`Tape::raw`], whose tweak keeps the checksum right.
    pub fn tweaked(self, kind: u8, name: &str, link: &str, data: &[u8], tweak: impl Fn(&mut Header)) -> Self {
        self.raw(kind, name.as_bytes(), link.as_bytes(), data, |header| {
            tweak(header);
            header.set_cksum();
        })
    }

    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.tweaked(b'0', name, "", data, |_| {})
    }

    pub fn mode(self, kind: u8, name: &str, mode: u32, data: &[u8]) -> Self {
        self.tweaked(kind, name, "", data, |header| header.set_mode(mode))
    }

    pub fn dir(self, name: &str) -> Self {
        self.mode(b'5', name, 0o755, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.long_link(target).tweaked(b'2', name, "", b"", |_| {})
    }

    pub fn hardlink(self, name: &str, target: &str) -> Self {
        self.long_link(target).tweaked(b'1', name, "", b"", |_| {})
    }

    pub fn device(self, kind: u8, name: &str, major: u32, minor: u32) -> Self {
        self.tweaked(kind, name, "", b"", |header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        })
    }

    pub fn long_name(self, name: &str) -> Self {
        self.tweaked(b'L', "././@LongLink", "", format!("{name}\0").as_bytes(), |_| {})
    }

    pub fn long_link(self, target: &str) -> Self {
        self.tweaked(b'K', "././@LongLink", "", format!("{target}\0").as_bytes(), |_| {})
    }

    pub fn pax(self, records: &[(&str, &str)]) -> Self {
        let data: Vec<u8> = records.iter().flat_map(|(key, value)| pax_record(key, value.as_bytes())).collect();
        self.tweaked(b'x', "pax", "", &data, |_| {})
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
pub fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

/// Pulls as nobody, and waits for it.
pub fn pull(store: &ImageStore, reference: &str) -> Pulled {
    wait(store.pull(reference, None, Arc::new(Unwatched)))
}

/// Waits for something asynchronous.
pub fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The configuration document of an image with these layers.
pub fn config(layers: &[Vec<u8>]) -> String {
    let diffs: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    serde_json::json!({
        "architecture": architecture, "os": "linux", "config": { "Cmd": ["/bin/sh"], "Labels": { "a": "b" } },
        "rootfs": { "type": "layers", "diff_ids": diffs },
    })
    .to_string()
}

/// A docker-archive of one image.
pub fn docker_archive(name: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let config = config(layers);
    let mut tape = Tape::new().file("config.json", config.as_bytes());
    let mut files = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        files.push(format!("{index}/layer.tar"));
        tape = tape.file(&files[index], layer);
    }
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": [name], "Layers": files }]).to_string();
    tape.file("manifest.json", manifest.as_bytes()).end()
}

/// A store in its own folder; everything goes with it.
pub struct World {
    pub dir: tempfile::TempDir,
    pub store: ImageStore,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("skiff-image-test-").tempdir().unwrap();
        let store = Self::open(dir.path());
        Self { dir, store }
    }

    pub fn open(dir: &Path) -> ImageStore {
        ImageStore::open(&dir.join("images"), Builtin::default(), Engine::off()).unwrap()
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Imports an image of these layers under this name.
    pub fn import(&self, name: &str, layers: &[Vec<u8>]) -> Result<skiff_image::Image, skiff_image::ImageError> {
        let path = self.file("archive.tar", &docker_archive(name, layers));
        self.store.import(&path, None).map(|mut images| images.remove(0))
    }

    /// Names below a folder of the store.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.dir.path().join("images").join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The unpacked layer.
    pub fn layer(&self, layer: &[u8]) -> PathBuf {
        self.dir.path().join("images/layers").join(sha256(layer)).join("fs")
    }
}
