//! The pod range that was named after the start, in a file: pods that are still there after a restart have its addresses.

use crate::{NetConfig, NetError};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file.
pub(crate) struct Chosen(PathBuf);

impl Chosen {
    /// The one in the state folder.
    pub(crate) fn of(state_dir: &Path) -> Self {
        Self(state_dir.join("pod-cidr"))
    }

    /// `config` with the range that was chosen, if there is one and sandboxes hold addresses; without any the
    /// configuration counts.
    pub(crate) fn apply(&self, config: NetConfig) -> Result<NetConfig, NetError> {
        let text = match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(config),
            read => read.map_err(NetError::file("read", &self.0))?,
        };
        let held = fs::read_dir(config.state_dir.join("addresses")).is_ok_and(|mut entries| entries.next().is_some());
        Ok(if held { NetConfig { pod_cidr: text.trim().to_owned(), ..config } } else { config })
    }

    /// Writes it.
    pub(crate) fn write(&self, pod_cidr: &str) -> Result<(), NetError> {
        fs::write(&self.0, pod_cidr).map_err(NetError::file("write", &self.0))
    }

    /// Removes it.
    pub(crate) fn forget(&self) -> Result<(), NetError> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(NetError::file("remove", &self.0)(error)),
            _ => Ok(()),
        }
    }
}
