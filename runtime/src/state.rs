//! What is remembered of a container between commands: `<root>/<id>/`.
//!
//! ```text
//! state.json    appears last in create, atomically; without it the container is being created or half deleted
//! state.json.new  the same while it is being created, from the moment on that there is a process
//! config.json   a copy of the bundle's, so that later changes there change nothing here; locked while it is being created
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
use nix::fcntl::{FcntlArg, fcntl};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
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
    /// Whether the container has only a root of its own, and no mount namespace.
    #[serde(default)]
    pub(crate) shares_mounts: bool,
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

/// A creation that is under way: others see whose it is.
#[derive(Debug)]
pub(crate) struct Creating {
    _locked: File,
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

    fn record_draft(&self) -> PathBuf {
        self.path.join("state.json.new")
    }

    /// Makes it; it must not exist.
    ///
    /// # Errors
    /// The id is taken.
    pub(crate) fn create(&self) -> Result<()> {
        let make = || DirBuilder::new().mode(0o700).create(&self.path);
        let made = match make() {
            // The first container since the host has started.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let root = self.path.parent().unwrap_or(Path::new("/"));
                DirBuilder::new().recursive(true).mode(0o700).create(root).on("create", root.display())?;
                make()
            }
            made => made,
        };
        match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(Error::Said(format!("container with id exists already: {}", self.id)))
            }
            result => result.on("create", self.path.display()),
        }
    }

    /// Writes `config` there, and a lock that says who is creating the container, for as long as the guard lives.
    ///
    /// # Errors
    /// The disk refuses; the folder is gone.
    pub(crate) fn begin(&self, config: &[u8]) -> Result<Creating> {
        let path = self.config();
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = file.on("create", path.display())?;
        fcntl(&file, FcntlArg::F_SETLK(&whole_file())).on("lock", path.display())?;
        file.write_all(config).on("write", path.display())?;
        Ok(Creating { _locked: file })
    }

    /// The number of the process that is creating the container, if one is.
    ///
    /// # Errors
    /// The lock cannot be read.
    pub(crate) fn creator(&self) -> Result<Option<i32>> {
        let path = self.config();
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            result => result.on("open", path.display())?,
        };
        let mut lock = whole_file();
        fcntl(&file, FcntlArg::F_GETLK(&mut lock)).on("look at lock of", path.display())?;
        Ok((i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid))
    }

    /// Writes the record so that a reader sees all of it or nothing.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn write(&self, acts: &Acts, record: &Record) -> Result<()> {
        self.draft(record)?;
        self.publish(acts)
    }

    /// Writes the record of a container that is not there yet: it says whom to end if that never happens.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn draft(&self, record: &Record) -> Result<()> {
        let path = self.record_draft();
        let text = serde_json::to_vec(record).on("write", path.display())?;
        fs::write(&path, text).on("write", path.display())
    }

    /// From now on the drafted record is the container's.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn publish(&self, acts: &Acts) -> Result<()> {
        let (from, to) = (self.record_draft(), self.record());
        acts.step_io(&steps::STATE_WRITE, to.display(), || fs::rename(&from, &to))
    }

    /// What a creation that never came to its end has left of its record. One that was not finished has no process yet that
    /// does not end with its creator.
    pub(crate) fn drafted(&self) -> Option<Container> {
        let record = serde_json::from_slice(&fs::read(self.record_draft()).ok()?).ok()?;
        Some(Container { folder: self.clone(), record })
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
            // What is no folder is no container either.
            Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => Ok(None),
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
        acts.step_io(&steps::STATE_REMOVE, self.path.display(), || {
            // What there is of a container that has run; for what else there may be, the folder is listed.
            for file in [self.record(), self.config()] {
                match fs::remove_file(file) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => (),
                }
            }
            match fs::remove_dir(&self.path).or_else(|_| fs::remove_dir_all(&self.path)) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                result => result,
            }
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

/// All containers below `root` by id, and what is wrong with those that cannot be read.
///
/// # Errors
/// `root` cannot be read.
pub(crate) fn list(root: &Path) -> Result<(Vec<Container>, Vec<Error>)> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        result => result.on("list", root.display())?,
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut ids: Vec<_> = names.filter_map(|name| ContainerId::check(&name).ok()).collect();
    ids.sort();
    let (mut containers, mut errors) = (Vec::new(), Vec::new());
    for found in ids.iter().filter_map(|id| Folder::new(root, id).find().transpose()) {
        match found {
            Ok(container) => containers.push(container),
            Err(error) => errors.push(error),
        }
    }
    Ok((containers, errors))
}

/// A lock of fcntl(2) on all of a file: it belongs to one process, and goes with it.
const fn whole_file() -> libc::flock {
    #[allow(clippy::cast_possible_truncation, reason = "constants that fit: the C type of the field is short")]
    libc::flock { l_type: libc::F_WRLCK as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}
