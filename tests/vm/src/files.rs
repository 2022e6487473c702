//! The guest's files: collected by path, then written as the archive that the kernel unpacks (`archive.rs`).

use crate::error::{Error, On, Result};
use crate::{archive, elf};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// What stands at a path of the guest.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Folder { mode: u32 },
    File { content: Content, mode: u32 },
    Link { target: PathBuf },
    Device { mode: u32, major: u32, minor: u32 },
}

/// Where a file's bytes come from.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    /// A file of the host, read when the archive is written.
    Host(PathBuf),
}

/// The files of a guest, by absolute path. Folders on the way to a file are made, with mode 755.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    // Sorted, so a folder comes before what is in it: the kernel makes no folders on the way.
    nodes: BTreeMap<PathBuf, Node>,
}

impl Files {
    /// Puts `node` at `path`, in place of what was there.
    pub(crate) fn put(&mut self, path: impl AsRef<Path>, node: Node) -> Result<()> {
        let path = path.as_ref();
        let is_plain = path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
        if !path.is_absolute() || !is_plain {
            return Err(Error::Refused(format!(
                "{}: a path in the guest is absolute, without . and ..",
                path.display()
            )));
        }
        for parent in path.ancestors().skip(1).filter(|parent| parent.parent().is_some()) {
            self.nodes.entry(parent.to_owned()).or_insert(Node::Folder { mode: 0o755 });
        }
        self.nodes.insert(path.components().collect(), node);
        Ok(())
    }

    /// Whether something is at `path` already.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.nodes.contains_key(path)
    }

    /// Puts `text` at `path`.
    pub(crate) fn text(&mut self, path: &str, text: &str) -> Result<()> {
        self.put(path, Node::File { content: Content::Bytes(text.as_bytes().to_vec()), mode: 0o644 })
    }

    /// Copies the file, link or folder `source` of the host to `path`, with all below it and with its modes. The owner is
    /// the guest's root.
    pub(crate) fn copy(&mut self, source: &Path, path: &Path) -> Result<()> {
        let about = fs::symlink_metadata(source).on("stat", source.display())?;
        let mode = about.permissions().mode() & 0o7777;
        if about.is_symlink() {
            return self.put(path, Node::Link { target: fs::read_link(source).on("readlink", source.display())? });
        }
        if about.is_file() {
            return self.put(path, Node::File { content: Content::Host(source.to_owned()), mode });
        }
        if !about.is_dir() {
            return Err(Error::Refused(format!("{}: neither file, link nor folder", source.display())));
        }
        self.put(path, Node::Folder { mode })?;
        for entry in fs::read_dir(source).on("read", source.display())? {
            let entry = entry.on("read", source.display())?;
            self.copy(&entry.path(), &path.join(entry.file_name()))?;
        }
        Ok(())
    }

    /// Copies the program `source` to `path`, links followed, and beside it, at their own paths, the loader and the libraries
    /// that it needs here.
    pub(crate) fn program(&mut self, source: &Path, path: &Path) -> Result<()> {
        let real = fs::canonicalize(source).on("resolve", source.display())?;
        let mode = 0o111 | fs::metadata(&real).on("stat", real.display())?.permissions().mode() & 0o7777;
        for library in libraries(&real)? {
            if !self.has(&library) {
                let file = fs::canonicalize(&library).on("resolve", library.display())?;
                self.put(&library, Node::File { content: Content::Host(file), mode: 0o755 })?;
            }
        }
        self.put(path, Node::File { content: Content::Host(real), mode })
    }

    /// Writes everything as an initramfs to `out`.
    pub(crate) fn write(&self, out: impl Write) -> Result<()> {
        archive::write(&self.nodes, out)
    }
}

/// The loader of `program` and the libraries that it finds here; nothing for a static program or a script.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let bytes = fs::read(program).on("read", program.display())?;
    let Some(loader) = elf::interpreter(&bytes) else { return Ok(Vec::new()) };
    // What ldd(1) does, without running the program: the loader itself tells what it would load.
    let listed = Command::new(&loader).arg("--list").arg(program).output().on("run", &loader)?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    if !listed.status.success() || text.contains("not found") {
        let reason = text + &String::from_utf8_lossy(&listed.stderr);
        return Err(Error::Refused(format!("{}: its libraries are not all here: {reason}", program.display())));
    }
    Ok(listed_paths(&text).chain([PathBuf::from(loader)]).collect())
}

/// The paths in lines like `libc.so.6 => /lib/libc.so.6 (0x…)`; the kernel's own page (`linux-vdso`) has none.
fn listed_paths(text: &str) -> impl Iterator<Item = PathBuf> {
    let found = text.lines().map(|line| line.split_once("=>").map_or(line, |(_, path)| path).trim());
    found.filter(|path| path.starts_with('/')).filter_map(|path| path.split(" (").next()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_made_and_paths_checked() {
        let mut files = Files::default();
        files.text("/a/b/c", "x").unwrap();
        assert!(files.has(Path::new("/a/b")) && !files.has(Path::new("/")));
        for path in ["a", "/a/../b", ""] {
            assert!(files.text(path, "").is_err(), "{path}");
        }
    }

    #[test]
    fn a_program_brings_its_libraries() {
        let mut files = Files::default();
        files.program(Path::new("/proc/self/exe"), Path::new("/bin/suite")).unwrap();
        let names: Vec<_> = files.nodes.keys().filter_map(|path| path.file_name()?.to_str()).collect();
        assert!(names.contains(&"suite") && names.iter().any(|name| name.starts_with("libc.so")), "{names:?}");
    }

    #[test]
    fn the_loaders_list_is_understood() {
        let text = "\tlinux-vdso.so.1 (0x7ffe)\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\t/lib64/ld-linux.so.2 (0x7f)\n";
        let paths: Vec<_> = listed_paths(text).collect();
        assert_eq!(paths, [Path::new("/lib/libc.so.6"), Path::new("/lib64/ld-linux.so.2")]);
    }
}
