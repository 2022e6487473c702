//! A tree of the host that no container may touch.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// Files, folders and links with known content.
pub(crate) struct Canary {
    directory: tempfile::TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Canary {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("canary").tempdir().unwrap();
        let path = directory.path();
        fs::create_dir_all(path.join("folder/deep")).unwrap();
        for name in ["file", "folder/file", "folder/deep/file", "ptmx", "console", "fd"] {
            fs::write(path.join(name), format!("{name} of the host\n")).unwrap();
        }
        symlink("file", path.join("link")).unwrap();
        let before = list(path);
        Self { directory, before }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What is not as it was.
    pub(crate) fn changes(&self) -> Vec<PathBuf> {
        let now = list(self.path());
        let all = self.before.keys().chain(now.keys());
        let mut changed: Vec<_> = all.filter(|path| self.before.get(*path) != now.get(*path)).cloned().collect();
        changed.dedup();
        changed
    }

    pub(crate) fn is_touched(&self) -> bool {
        !self.changes().is_empty()
    }
}

/// Everything below `path`, with kind, rights, owner and content.
fn list(path: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else if meta.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let line = format!("{:o} {} {} {}", meta.mode(), meta.uid(), meta.rdev(), String::from_utf8_lossy(&content));
        found.insert(path.clone(), line);
        if meta.is_dir() {
            found.extend(list(&path));
        }
    }
    found
}
