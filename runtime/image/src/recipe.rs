//! Images of programs, files and folders of this host: one layer, and a configuration.
//!
//! Programs bring the shared libraries that they need, as the demo image's do. The same files give the same image: owners are
//! root, times are 0. Only what is put at `/`, a whole root as debootstrap makes it, keeps its owners and brings nothing.
//! Devices, sockets, pipes and extended attributes are left out.

use crate::demo::{FOLDERS, GROUP, PASSWD, inner, needs};
use crate::documents::host_platform;
use crate::error::On;
use crate::{Digest, ImageError, Reference};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// What an image is made of.
#[derive(Debug, Clone, Default)]
pub struct Recipe {
    /// Its name, as `skiff.local/app:1`.
    pub name: String,
    /// Files and folders of this host, and their absolute paths in the image; later ones replace earlier ones.
    pub add: Vec<(PathBuf, PathBuf)>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// The working folder.
    pub workdir: String,
    /// The user, if not root.
    pub user: Option<String>,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// What stands at one path of the image.
#[derive(Debug)]
enum Entry {
    Folder(Owner),
    File(Owner, PathBuf),
    Text(&'static str),
    Link(Owner, PathBuf),
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u64,
    gid: u64,
    mode: u32,
}

const ROOT: Owner = Owner { uid: 0, gid: 0, mode: 0o755 };

impl Recipe {
    /// Writes the image, as a docker-archive, to the new file `archive`; the layer goes through the folder `scratch`.
    ///
    /// # Errors
    /// The recipe makes no sense, or a file of it cannot be read or written.
    pub(crate) fn write(&self, scratch: &Path, archive: &Path) -> Result<(), ImageError> {
        let name: Reference = self.name.parse()?;
        if let Some(wrong) = self.env.iter().find(|pair| !pair.contains('=') || pair.starts_with('=')) {
            return Err(ImageError::malformed(format!("variable {wrong}"), "it is not NAME=VALUE"));
        }
        let layer = scratch.join("layer.tar");
        let entries = self.entries()?;
        write_layer(&entries, &layer)?;
        let digest = digest(&layer).on("read", &layer)?;
        let config = self.config(&digest).to_string();
        let tags: Vec<String> = name.tagged().into_iter().collect();
        let manifest = json!([{"Config": "config.json", "RepoTags": tags, "Layers": ["layer.tar"]}]).to_string();
        let write = || -> io::Result<()> {
            let mut tape = Builder::new(File::options().write(true).create_new(true).open(archive)?);
            put(&mut tape, "config.json", config.as_bytes())?;
            put(&mut tape, "manifest.json", manifest.as_bytes())?;
            tape.append_file("layer.tar", &mut File::open(&layer)?)?;
            tape.into_inner()?.sync_data()
        };
        write().on("write", archive)
    }

    fn entries(&self) -> Result<BTreeMap<String, Entry>, ImageError> {
        let mut entries = BTreeMap::new();
        let is_whole = |to: &Path| to == Path::new("/");
        if !self.add.iter().any(|(_, to)| is_whole(to)) {
            for (folder, mode) in FOLDERS {
                entries.insert(folder.to_owned(), Entry::Folder(Owner { mode, ..ROOT }));
            }
            entries.insert("etc/passwd".to_owned(), Entry::Text(PASSWD));
            entries.insert("etc/group".to_owned(), Entry::Text(GROUP));
        }
        for (from, to) in &self.add {
            if !to.is_absolute() {
                return Err(ImageError::malformed(to.to_string_lossy(), "a path in the image begins with /"));
            }
            // What the user names is followed if it is a link; links below it stay links.
            let real = fs::canonicalize(from).on("find", from)?;
            let found = fs::metadata(&real).on("look at", from)?;
            add(&real, &found, &inner(to), is_whole(to), &mut entries)?;
        }
        Ok(entries)
    }

    fn config(&self, layer: &Digest) -> serde_json::Value {
        let platform = host_platform();
        let (os, architecture) = platform.split_once('/').unwrap_or(("linux", "amd64"));
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let has_path = self.env.iter().any(|pair| pair.starts_with("PATH="));
        let env: Vec<&str> =
            (!has_path).then_some(path).into_iter().chain(self.env.iter().map(String::as_str)).collect();
        let (entrypoint, arguments) = self.command.split_at(self.command.len().min(1));
        json!({
            "architecture": architecture,
            "os": os,
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Entrypoint": entrypoint,
                "Cmd": arguments,
                "Env": env,
                "WorkingDir": self.workdir,
                "User": self.user.as_deref().unwrap_or_default(),
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.to_string()]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "skiff image from-host"}],
        })
    }
}

/// Adds what is at `from` as `to`, and what it needs.
fn add(
    from: &Path,
    found: &Metadata,
    to: &str,
    whole: bool,
    entries: &mut BTreeMap<String, Entry>,
) -> Result<(), ImageError> {
    let (uid, gid) = if whole { (found.uid(), found.gid()) } else { (0, 0) };
    let owner = Owner { uid: uid.into(), gid: gid.into(), mode: found.mode() & 0o7777 };
    if found.is_dir() {
        if !to.is_empty() {
            entries.insert(to.to_owned(), Entry::Folder(owner));
        }
        for entry in fs::read_dir(from).on("list", from)? {
            let entry = entry.on("list", from)?;
            let name = entry.file_name();
            let name =
                name.to_str().ok_or_else(|| ImageError::malformed(from.to_string_lossy(), "a name is not UTF-8"))?;
            let below = if to.is_empty() { name.to_owned() } else { format!("{to}/{name}") };
            add(&entry.path(), &entry.metadata().on("look at", entry.path())?, &below, whole, entries)?;
        }
    } else if found.is_symlink() {
        entries.insert(to.to_owned(), Entry::Link(owner, fs::read_link(from).on("read link", from)?));
    } else if found.is_file() {
        if to.is_empty() {
            return Err(ImageError::malformed(from.to_string_lossy(), "a file cannot stand at /"));
        }
        if !whole && found.mode() & 0o111 != 0 {
            add_needs(from, entries)?;
        }
        entries.insert(to.to_owned(), Entry::File(owner, from.to_owned()));
    }
    Ok(())
}

/// The loader and the libraries of the program at `from`, unless the image has something there already.
fn add_needs(from: &Path, entries: &mut BTreeMap<String, Entry>) -> Result<(), ImageError> {
    let program = fs::read(from).on("read", from)?;
    let missing = || ImageError::malformed(from.to_string_lossy(), "a library that it needs is not on this host");
    let Some(needs) = needs(from, &program) else {
        return if program.starts_with(b"\x7fELF\x02\x01") { Err(missing()) } else { Ok(()) };
    };
    for need in needs {
        entries.entry(inner(&need)).or_insert(Entry::File(ROOT, need));
    }
    Ok(())
}

fn write_layer(entries: &BTreeMap<String, Entry>, layer: &Path) -> Result<(), ImageError> {
    let file = File::options().write(true).create_new(true).open(layer).on("create", layer)?;
    let mut tape = Builder::new(io::BufWriter::new(file));
    for (path, entry) in entries {
        append(&mut tape, path, entry).on("put into the image", Path::new(path))?;
    }
    tape.into_inner()
        .and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error))
        .on("write", layer)
        .map(drop)
}

fn append<W: io::Write>(tape: &mut Builder<W>, path: &str, entry: &Entry) -> io::Result<()> {
    match entry {
        Entry::Folder(owner) => tape.append_data(&mut header(EntryType::Directory, *owner, 0), path, io::empty()),
        Entry::Text(text) => {
            let owner = Owner { mode: 0o644, ..ROOT };
            tape.append_data(&mut header(EntryType::Regular, owner, text.len() as u64), path, text.as_bytes())
        }
        Entry::File(owner, from) => {
            let file = File::open(from)?;
            let size = file.metadata()?.len();
            tape.append_data(&mut header(EntryType::Regular, *owner, size), path, file)
        }
        Entry::Link(owner, target) => {
            let owner = Owner { mode: 0o777, ..*owner };
            tape.append_link(&mut header(EntryType::Symlink, owner, 0), path, target)
        }
    }
}

fn header(kind: EntryType, owner: Owner, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(owner.mode);
    header.set_uid(owner.uid);
    header.set_gid(owner.gid);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn put<W: io::Write>(tape: &mut Builder<W>, path: &str, data: &[u8]) -> io::Result<()> {
    let owner = Owner { mode: 0o644, ..ROOT };
    tape.append_data(&mut header(EntryType::Regular, owner, data.len() as u64), path, data)
}

fn digest(file: &Path) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(file)?, &mut hash)?;
    Digest::from_hex(&hex::encode(hash.finalize())).map_err(io::Error::other)
}
