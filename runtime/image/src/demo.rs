//! The demo image `skiff.local/demo`, made of what this machine has: skiff-web, and the host's shell and common tools.
//!
//! It lets a machine without registries run a pod that answers HTTP and that one can look around in. The same host files
//! give the same image, byte for byte.
//!
//! What it leaves to others: storing it. The result is a docker-archive that goes the way of every import.

mod elf;
mod host;

use crate::documents::host_platform;
use crate::error::On;
use crate::{Digest, ImageError};
use host::Collected;
pub(crate) use host::{inner, needs};
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use tar::{EntryType, Header};

/// Its only name.
pub const NAME: &str = "skiff.local/demo:latest";
/// The port that skiff-web serves unless `PORT` says otherwise.
pub const PORT: u16 = 8080;

pub(crate) const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
pub(crate) const GROUP: &str = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";
pub(crate) const FOLDERS: [(&str, u32); 9] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
];

/// Writes the image, as a docker-archive, to the new file `archive`. `web` is the static skiff-web binary.
///
/// # Errors
/// There is no such binary or it is not static, or a file cannot be read or written.
pub fn build(web: Option<&Path>, archive: &Path) -> Result<(), ImageError> {
    let web = web.ok_or_else(|| {
        ImageError::Unimplemented(format!("{NAME} cannot be built: this build of skiff has no static skiff-web in it"))
    })?;
    let server = std::fs::read(web).on("read", web)?;
    if elf::Elf::parse(&server).is_none_or(|program| program.interpreter.is_some()) {
        return Err(ImageError::malformed(web.to_string_lossy(), "it is not a static ELF program"));
    }
    let tools = host::collect()?;
    let layer = layer(&server, &tools).on("assemble the layer of", NAME)?;
    let config = config(&Digest::of(&layer), &tools).to_string();
    let file = File::options().write(true).create_new(true).open(archive).on("create", archive)?;
    save(file, config.as_bytes(), &layer).on("write", archive)
}

fn layer(server: &[u8], tools: &Collected) -> std::io::Result<Vec<u8>> {
    let mut tape = Writer(tar::Builder::new(Vec::new()));
    for (folder, mode) in FOLDERS {
        tape.put(folder, EntryType::Directory, mode, &[])?;
    }
    for (name, text) in [("etc/passwd", PASSWD), ("etc/group", GROUP), ("etc/nsswitch.conf", NSSWITCH)] {
        tape.put(name, EntryType::Regular, 0o644, text.as_bytes())?;
    }
    tape.put("skiff-web", EntryType::Regular, 0o755, server)?;
    for (path, bytes) in &tools.files {
        tape.put(path, EntryType::Regular, 0o755, bytes)?;
    }
    for (path, target) in &tools.links {
        tape.link(path, target)?;
    }
    tape.0.into_inner()
}

fn config(layer: &Digest, tools: &Collected) -> serde_json::Value {
    let platform = host_platform();
    let (os, architecture) = platform.split_once('/').unwrap_or(("linux", "amd64"));
    json!({
        "architecture": architecture,
        "os": os,
        // Fixed, so that the image's id depends on its content alone.
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": ["/skiff-web"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "ExposedPorts": { format!("{PORT}/tcp"): {} },
            "Labels": { "dev.skiff.tools": tools.names.join(" ") },
            "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": [layer.to_string()] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "skiff" }],
    })
}

fn save(file: File, config: &[u8], layer: &[u8]) -> std::io::Result<()> {
    let manifest = json!([{ "Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"] }]).to_string();
    let mut tape = Writer(tar::Builder::new(file));
    tape.put("config.json", EntryType::Regular, 0o644, config)?;
    tape.put("layer.tar", EntryType::Regular, 0o644, layer)?;
    tape.put("manifest.json", EntryType::Regular, 0o644, manifest.as_bytes())?;
    tape.0.into_inner().map(drop)
}

/// Writes entries that depend on nothing but their content: owner root, time 0.
struct Writer<W: Write>(tar::Builder<W>);

impl<W: Write> Writer<W> {
    fn put(&mut self, path: &str, kind: EntryType, mode: u32, data: &[u8]) -> std::io::Result<()> {
        let mut header = plain_header(kind, mode);
        header.set_size(data.len() as u64);
        self.0.append_data(&mut header, path, data)
    }

    fn link(&mut self, path: &str, target: &str) -> std::io::Result<()> {
        self.0.append_link(&mut plain_header(EntryType::Symlink, 0o777), path, target)
    }
}

fn plain_header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}
