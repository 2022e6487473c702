//! Collects the host's common tools with the libraries they need, at the paths at which their loader will look.

use super::elf::Elf;
use crate::ImageError;
use crate::error::On;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What one wants in a container that one looks around in. Those that the host lacks are left out.
const TOOLS: &[&str] = &[
    "sh",
    "awk",
    "base64",
    "basename",
    "busybox",
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "dirname",
    "du",
    "echo",
    "env",
    "false",
    "find",
    "free",
    "grep",
    "head",
    "hostname",
    "id",
    "ip",
    "kill",
    "ln",
    "ls",
    "mkdir",
    "mktemp",
    "mount",
    "mv",
    "nc",
    "nproc",
    "od",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "stty",
    "sync",
    "tail",
    "tar",
    "tee",
    "test",
    "touch",
    "tr",
    "true",
    "tty",
    "umount",
    "uname",
    "uniq",
    "uptime",
    "wc",
    "wget",
    "whoami",
    "xargs",
    "yes",
];
const TOOL_FOLDERS: &[&str] = &["/bin", "/usr/bin", "/sbin", "/usr/sbin"];
/// Where loaders look without being told (ld.so(8)); the second half is Debian's, after the machine's triplet.
const LIBRARY_FOLDERS: &[&str] = &["/lib64", "/usr/lib64", "/lib", "/usr/lib"];
/// Libraries of all tools together; a guard against a host that loops.
const LIBRARIES_MAX: usize = 300;

/// Files for the image, by path without the leading slash.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// Symbolic links, path and target.
    pub(super) links: BTreeMap<String, String>,
    /// Tools that made it.
    pub(super) names: Vec<String>,
}

/// Collects all tools whose program and libraries are here.
pub(super) fn collect() -> Result<Collected, ImageError> {
    let mut collected = Collected::default();
    for tool in TOOLS {
        let Some(path) = find(TOOL_FOLDERS.iter().map(Path::new), tool) else { continue };
        let program = fs::read(&path).on("read", &path)?;
        let Some(needs) = needs(&path, &program) else { continue };
        for need in needs {
            let bytes = fs::read(&need).on("read", &need)?;
            collected.files.insert(inner(&need), bytes);
        }
        collected.files.insert(format!("bin/{tool}"), program);
        collected.names.push((*tool).to_owned());
    }
    collected.fill_with_busybox();
    Ok(collected)
}

impl Collected {
    /// Busybox is many tools in one, and stands in for those that the host lacks.
    fn fill_with_busybox(&mut self) {
        if !self.files.contains_key("bin/busybox") {
            return;
        }
        for tool in TOOLS.iter().filter(|tool| !self.names.iter().any(|name| name == *tool)).collect::<Vec<_>>() {
            self.links.insert(format!("bin/{tool}"), "busybox".to_owned());
            self.names.push((*tool).to_owned());
        }
    }
}

/// The loader and the libraries that the program needs, or none if it is no program or one of them is missing.
pub(crate) fn needs(path: &Path, program: &[u8]) -> Option<BTreeSet<PathBuf>> {
    let elf = Elf::parse(program)?;
    let mut needs: BTreeSet<PathBuf> = elf.interpreter.iter().map(PathBuf::from).collect();
    let mut open = vec![(path.to_owned(), elf)];
    while let Some((user, elf)) = open.pop() {
        for name in &elf.needed {
            let library = library(&user, &elf, name)?;
            if needs.len() >= LIBRARIES_MAX {
                return None;
            }
            if needs.insert(library.clone()) {
                let parsed = Elf::parse(&fs::read(&library).ok()?)?;
                open.push((library, parsed));
            }
        }
    }
    Some(needs)
}

fn library(user: &Path, elf: &Elf, name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return None;
    }
    // The loader takes $ORIGIN from the file's real place.
    let origin = fs::canonicalize(user).ok()?.parent()?.to_string_lossy().into_owned();
    let own = elf.search.iter().map(|folder| folder.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin));
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    let debian = ["/lib", "/usr/lib"].map(|folder| format!("{folder}/{triplet}"));
    let usual = LIBRARY_FOLDERS.iter().map(|folder| (*folder).to_owned());
    let folders: Vec<String> = own.chain(debian).chain(usual).collect();
    find(folders.iter().map(Path::new), name)
}

fn find<'a>(mut folders: impl Iterator<Item = &'a Path>, name: &str) -> Option<PathBuf> {
    folders.find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()))
}

/// The path inside the image: plain components, so that `lib/../lib64` is one folder.
pub(crate) fn inner(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(parts.pop()),
            std::path::Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    parts.join("/")
}
