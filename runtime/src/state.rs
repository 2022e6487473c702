//! What is remembered of a container between commands: `<root>/<id>/`.
//!
//! ```text
//! state.json    written last by create, atomically; without it the container is being created or half deleted
//! config.json   a copy of the bundle's, so that later changes there change nothing here
//! start.sock    the created container listens here for its start; gone when it was started
//! ```
//!
//! The status is never stored: it follows from the process, the socket and the freezer.

use crate::cgroup::Cgroup;
use crate::error::{Acts, Error, On, Result};
use crate::id::{ContainerId, ProcessId};
use crate::init::Keyring;
use crate::rdt::Membership;
use crate::spec::config::Config;
use crate::steps;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Content of `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) oci_version: String,
    pub(crate) id: String,
    /// The first process.
    pub(crate) process: ProcessId,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// RFC 3339.
    pub(crate) created: String,
    pub(crate) annotations: HashMap<String, String>,
    pub(crate) cgroup: Cgroup,
    /// Its class of cache and memory bandwidth.
    #[serde(default)]
    pub(crate) rdt: Option<Membership>,
    /// Whose session keyring processes that join have.
    #[serde(default)]
    pub(crate) keyring: Keyring,
    /// Whether the container's processes end with the first one.
    pub(crate) own_pid_namespace: bool,
}

/// How far a container is (runtime-spec runtime, State).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    /// The specification's word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// The folder of one container.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
    id: ContainerId,
}

/// A container that exists.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) folder: Folder,
    pub(crate) record: Record,
}

impl Folder {
    /// Names the folder of `id` below `root`.
    pub(crate) fn new(root: &Path, id: &ContainerId) -> Self {
        Self { path: root.join(id.as_str()), id: id.clone() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn start_socket(&self) -> PathBuf {
        self.path.join("start.sock")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path.join("config.json")
    }

    fn record(&self) -> PathBuf {
        self.path.join("state.json")
    }

    /// Makes it; it must not exist.
    ///
    /// # Errors
    /// The id is taken.
    pub(crate) fn create(&self) -> Result<()> {
        let root = self.path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(root).on("create", root.display())?;
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::Said(format!("container with id exists already: {}", self.id)))
            }
            result => result.on("create", self.path.display()),
        }
    }

    /// Writes the record so that a reader sees all of it or nothing.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn write(&self, acts: &Acts, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record).on("write", self.record().display())?;
        acts.step_io(&steps::STATE_WRITE, self.record().display(), || {
            let new = self.path.join("state.json.new");
            File::create(&new)?.write_all(&text)?;
            fs::rename(&new, self.record())
        })
    }

    /// Reads the container, if it exists.
    ///
    /// # Errors
    /// The record cannot be read.
    pub(crate) fn find(&self) -> Result<Option<Container>> {
        match fs::read(self.record()) {
            Ok(bytes) => {
                let record = serde_json::from_slice(&bytes).on("read", self.record().display())?;
                Ok(Some(Container { folder: self.clone(), record }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).on("read", self.record().display()),
        }
    }

    /// Reads the container, which must exist.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn load(&self) -> Result<Container> {
        self.find()?.ok_or_else(|| Error::Said(format!("container does not exist: {}", self.id)))
    }

    /// Removes it with all it holds.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn remove(&self, acts: &Acts) -> Result<()> {
        acts.step_io(&steps::STATE_REMOVE, self.path.display(), || match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => result,
        })
    }
}

impl Container {
    /// How far it is now.
    ///
    /// # Errors
    /// The freezer cannot be read.
    pub(crate) fn status(&self) -> Result<Status> {
        if !self.record.process.is_alive() {
            return Ok(Status::Stopped);
        }
        if self.record.cgroup.is_frozen()? {
            return Ok(Status::Paused);
        }
        Ok(if self.folder.start_socket().exists() { Status::Created } else { Status::Running })
    }

    /// The specification's State, as `state` prints it and hooks get it.
    ///
    /// # Errors
    /// The freezer cannot be read.
    pub(crate) fn state(&self) -> Result<serde_json::Value> {
        Ok(self.state_as(self.status()?.word()))
    }

    /// The same with a given status word.
    pub(crate) fn state_as(&self, status: &str) -> serde_json::Value {
        let record = &self.record;
        let pid = if status == Status::Stopped.word() { 0 } else { record.process.pid };
        serde_json::json!({
            "ociVersion": record.oci_version, "id": record.id, "status": status, "pid": pid,
            "bundle": record.bundle, "rootfs": record.rootfs, "created": record.created,
            "annotations": record.annotations,
        })
    }

    /// The configuration as it was at creation.
    ///
    /// # Errors
    /// The copy cannot be read.
    pub(crate) fn config(&self) -> Result<Config> {
        crate::spec::read(&self.folder.config())
    }
}

/// All containers below `root`, by id.
///
/// # Errors
/// A record cannot be read.
pub(crate) fn list(root: &Path) -> Result<Vec<Container>> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.on("list", root.display())?,
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut ids: Vec<_> = names.filter_map(|name| ContainerId::check(&name).ok()).collect();
    ids.sort();
    ids.iter().filter_map(|id| Folder::new(root, id).find().transpose()).collect()
}
