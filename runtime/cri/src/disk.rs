//! What is remembered: one JSON file for each sandbox and container, replaced in one step.
//!
//! ```text
//! <state>/sandboxes/<id>/record.json     and the supervisor's socket, exits, the pod's files
//! <state>/containers/<id>/record.json    and bundle, rootfs
//! ```
//!
//! A record is written before what it records is acknowledged, and with the phase `Creating` before the first thing that
//! could leak is made. It is not flushed to the disk: it must survive this process; a machine that restarts has lost
//! all containers anyway, and the run-dir is usually in memory.

use crate::error::{CriError, During};
use serde::{Deserialize, Serialize};
use skiff_proto::cri::v1::{ContainerConfig, PodSandboxConfig};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const RECORD: &str = "record.json";

/// Writes a file beside `file` and renames it: whoever reads `file` finds the old bytes or the new ones, never a part.
pub(crate) fn replace(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = file.with_extension("new");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, file)
}

/// A sandbox, as remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) id: String,
    pub(crate) phase: SandboxPhase,
    pub(crate) created_at_ns: i64,
    pub(crate) supervisor_pid: Option<i32>,
    /// Where the pod's user namespace is, if it has users of its own.
    #[serde(default)]
    pub(crate) users: Option<PathBuf>,
    pub(crate) ips: Vec<IpAddr>,
    /// Below each hierarchy's root.
    pub(crate) cgroup_parent: String,
    pub(crate) runtime_handler: String,
    #[serde(with = "message")]
    pub(crate) config: PodSandboxConfig,
}

/// How far a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SandboxPhase {
    /// Being made; found after a restart, it is taken away.
    Creating,
    Ready,
    /// Stopped, or its supervisor was lost.
    NotReady,
    /// Being taken away.
    Removing,
}

/// A container, as remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) id: String,
    pub(crate) sandbox_id: String,
    pub(crate) phase: ContainerPhase,
    pub(crate) created_at_ns: i64,
    pub(crate) started_at_ns: i64,
    pub(crate) image_id: String,
    pub(crate) pid: Option<i32>,
    pub(crate) log_path: Option<PathBuf>,
    pub(crate) cgroups_path: String,
    pub(crate) user: Option<crate::bundle::User>,
    /// Signal number.
    pub(crate) stop_signal: i32,
    /// What could not be done as asked; sentences.
    pub(crate) notes: Vec<String>,
    #[serde(with = "message")]
    pub(crate) config: ContainerConfig,
}

/// How far a container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ContainerPhase {
    /// Being made; found after a restart, it is taken away.
    Creating,
    Created,
    Running,
    Exited(Ending),
    /// Being taken away.
    Removing,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ending {
    pub(crate) exit_code: i32,
    pub(crate) finished_at_ns: i64,
    /// One word, as the kubelet shows it.
    pub(crate) reason: String,
    /// A sentence, or nothing.
    pub(crate) message: String,
}

/// The two kinds of things with a record.
pub(crate) trait Record: Serialize + for<'a> Deserialize<'a> {
    /// The folder's name in the state folder.
    const FOLDER: &'static str;
    fn id(&self) -> &str;
}

impl Record for SandboxRecord {
    const FOLDER: &'static str = "sandboxes";
    fn id(&self) -> &str {
        &self.id
    }
}

impl Record for ContainerRecord {
    const FOLDER: &'static str = "containers";
    fn id(&self) -> &str {
        &self.id
    }
}

/// Where the records are.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    state: PathBuf,
}

impl Disk {
    /// Makes the folders.
    pub(crate) fn open(state: &Path) -> Result<Self, CriError> {
        for folder in [SandboxRecord::FOLDER, ContainerRecord::FOLDER] {
            make_folder(&state.join(folder))?;
        }
        Ok(Self { state: state.to_owned() })
    }

    /// The folder of one sandbox or container.
    pub(crate) fn folder<R: Record>(&self, id: &str) -> PathBuf {
        self.state.join(R::FOLDER).join(id)
    }

    /// Makes the folder and writes the first record into it.
    pub(crate) fn create<R: Record>(&self, record: &R) -> Result<PathBuf, CriError> {
        let folder = self.folder::<R>(record.id());
        make_folder(&folder)?;
        self.write(record)?;
        Ok(folder)
    }

    /// Replaces the record.
    pub(crate) fn write<R: Record>(&self, record: &R) -> Result<(), CriError> {
        let file = self.folder::<R>(record.id()).join(RECORD);
        let operation = || format!("write {}", file.display());
        let bytes = serde_json::to_vec(record).map_err(std::io::Error::from).during(operation)?;
        replace(&file, &bytes).during(operation)
    }

    /// Everything of a kind: the ids of all folders, and the records of those that have a readable one.
    pub(crate) fn read_all<R: Record>(&self) -> Result<Vec<(String, Option<R>)>, CriError> {
        let parent = self.state.join(R::FOLDER);
        let operation = || format!("list {}", parent.display());
        let mut all = Vec::new();
        for entry in fs::read_dir(&parent).during(operation)? {
            let entry = entry.during(operation)?;
            let id = entry.file_name().to_string_lossy().into_owned();
            let record = fs::read(entry.path().join(RECORD)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            all.push((id, record));
        }
        Ok(all)
    }

    /// Removes the folder; absent is fine.
    pub(crate) fn remove<R: Record>(&self, id: &str) -> Result<(), CriError> {
        let folder = self.folder::<R>(id);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).during(|| format!("remove {}", folder.display()))
            }
            _ => Ok(()),
        }
    }
}

fn make_folder(path: &Path) -> Result<(), CriError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.during(|| format!("make folder {}", path.display()))
}

/// A protobuf message inside JSON: the request exactly as it was sent, fields that we do not know included or not as the
/// decoder keeps them.
mod message {
    use prost::Message;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<M: Message, S: Serializer>(message: &M, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(message.encode_to_vec()))
    }

    pub(super) fn deserialize<'de, M: Message + Default, D: Deserializer<'de>>(deserializer: D) -> Result<M, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = hex::decode(text).map_err(D::Error::custom)?;
        M::decode(&bytes[..]).map_err(D::Error::custom)
    }
}
