//! kubectl, etcdctl, crun … of both Debian releases.
//!
//! `tests/run` puts them into the folder that `SKIFF_PEERS` names, as `kubectl-1.32`, `etcdctl-3.4` and so on.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A program of somebody else's.
#[derive(Debug, Clone)]
pub struct Peer(PathBuf);

/// The peer of that name and version; without it the test is skipped, loudly.
#[must_use]
pub fn peer(name: &str) -> Option<Peer> {
    let folder = std::env::var_os("SKIFF_PEERS").map(PathBuf::from)?;
    let path = folder.join(name);
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
