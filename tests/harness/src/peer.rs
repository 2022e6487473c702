//! kubectl, etcdctl, crun … of both Debian releases.
//!
//! `tests/run` puts them into the folder that `SKIFF_PEERS` names, as `kubectl-1.32`, `etcdctl-3.4` and so on. Without the
//! variable they are looked for where `tests/run` puts them by default.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A program of somebody else's.
#[derive(Debug, Clone)]
pub struct Peer(PathBuf);

/// The folder of the peers, there or not.
#[must_use]
pub fn peers_folder() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    variable("SKIFF_PEERS").unwrap_or_else(|| cache().unwrap_or_default().join("skiff-tests/peers"))
}

/// A program without which a test makes no sense: named by `variable`, or the first of `names` on the `PATH` or among the
/// peers.
///
/// # Panics
/// There is none.
#[must_use]
pub fn needed(variable: &str, names: &[&str]) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain([peers_folder()]).collect();
    let mut found = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    found
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("none of {names:?} found; tests/run installs them, or name one in {variable}"))
}

/// The peer of that name and version; without it the test is skipped, loudly.
#[must_use]
pub fn peer(name: &str) -> Option<Peer> {
    let path = peers_folder().join(name);
    path.is_file().then_some(Peer(path))
}

impl Peer {
    /// The program's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A command of it.
    #[must_use]
    pub fn command(&self) -> Command {
        Command::new(&self.0)
    }

    /// Runs it with these words.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Output {
        self.command().args(words).output().unwrap_or_else(|error| panic!("run {}: {error}", self.0.display()))
    }
}
