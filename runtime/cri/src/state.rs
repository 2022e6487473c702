//! Everything the service knows: sandboxes, containers, their names, and who must hear of changes.

use crate::bundle::Host;
use crate::disk::{ContainerPhase, ContainerRecord, Disk, SandboxRecord};
use crate::error::CriError;
use crate::pace::Pace;
use crate::seams::{Images, Networks};
use skiff_proto::cri::v1::ContainerEventResponse;
use skiff_step::Engine;
use skiff_streams::StreamServer;
use skiff_supervise::wire::Exit;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, watch};

/// How far a watcher of events may fall behind before its stream ends with an error and it lists again. 1,024 events
/// of a few KiB are a few MiB.
const EVENTS_BACKLOG_MAX: usize = 1024;

/// What the service is told, apart from images and networks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The unix socket of both CRI services.
    pub listen: PathBuf,
    /// Records, sockets, bundles: must survive the service, not the machine.
    pub state_dir: PathBuf,
    /// Localhost seccomp profiles are in its folder `seccomp`.
    pub root_dir: PathBuf,
    /// The OCI runtime.
    pub oci_runtime: PathBuf,
    /// Its state folder.
    pub oci_root: PathBuf,
    /// The program with the `supervise` command.
    pub supervisor: PathBuf,
    /// Where the cgroups of pods without a parent go: `<root>/pods/<sandbox id>`.
    pub cgroup_root: String,
    /// Where exec, attach and port-forward are served.
    pub stream_listen: SocketAddr,
    /// Folders whose files describe devices (CDI).
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Performs the steps.
    pub engine: Engine,
}

/// The service's state.
pub(crate) struct Service {
    // Fixed at the start.
    pub(crate) settings: Settings,
    pub(crate) images: Arc<dyn Images>,
    pub(crate) networks: Arc<dyn Networks>,
    pub(crate) host: Host,
    pub(crate) disk: Disk,
    pub(crate) streams: OnceLock<StreamServer>,

    // Shared; locked for moments only, never across an await.
    sandboxes: Mutex<BTreeMap<String, Arc<Sandbox>>>,
    containers: Mutex<BTreeMap<String, Arc<Container>>>,
    names: Arc<Mutex<HashMap<String, String>>>,
    pub(crate) events: broadcast::Sender<ContainerEventResponse>,
}

/// A sandbox.
pub(crate) struct Sandbox {
    record: Mutex<SandboxRecord>,
    /// Held by whoever stops or removes it.
    pub(crate) lifecycle: tokio::sync::Mutex<()>,
    /// The end of its supervisor is our own doing.
    pub(crate) ending: AtomicBool,
    /// For its statistics.
    pub(crate) pace: Mutex<Pace>,
}

/// A container.
pub(crate) struct Container {
    record: Mutex<ContainerRecord>,
    /// Held by whoever starts or removes it.
    pub(crate) lifecycle: tokio::sync::Mutex<()>,
    /// Rings at every change of phase.
    pub(crate) changed: watch::Sender<()>,
    /// An end that was reported before the start was.
    pub(crate) early_exit: Mutex<Option<Exit>>,
    /// Whether what it held of the kernel was given back after its end.
    pub(crate) cleared: AtomicBool,
    /// For its statistics.
    pub(crate) pace: Mutex<Pace>,
}

/// Nanoseconds since the epoch.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// 32 random bytes in hexadecimal: an id that is also a file name, a cgroup name and an OCI container id.
pub(crate) fn new_id() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// A panic while such a lock is held leaves the data as whole as each single assignment is, so we go on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    pub(crate) fn new(
        settings: Settings,
        images: Arc<dyn Images>,
        networks: Arc<dyn Networks>,
        host: Host,
        disk: Disk,
    ) -> Self {
        Self {
            settings,
            images,
            networks,
            host,
            disk,
            streams: OnceLock::new(),
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
            names: Arc::default(),
            events: broadcast::Sender::new(EVENTS_BACKLOG_MAX),
        }
    }

    /// The sandbox with this id, or the only one whose id begins so.
    pub(crate) fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>, CriError> {
        find(&lock(&self.sandboxes), "sandbox", id)
    }

    /// The container with this id, or the only one whose id begins so.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>, CriError> {
        find(&lock(&self.containers), "container", id)
    }

    pub(crate) fn sandboxes(&self) -> Vec<Arc<Sandbox>> {
        lock(&self.sandboxes).values().cloned().collect()
    }

    pub(crate) fn containers(&self) -> Vec<Arc<Container>> {
        lock(&self.containers).values().cloned().collect()
    }

    pub(crate) fn containers_of(&self, sandbox_id: &str) -> Vec<Arc<Container>> {
        self.containers().into_iter().filter(|container| container.record().sandbox_id == sandbox_id).collect()
    }

    pub(crate) fn add_sandbox(&self, record: SandboxRecord) -> Arc<Sandbox> {
        let id = record.id.clone();
        let sandbox = Arc::new(Sandbox {
            record: Mutex::new(record),
            lifecycle: tokio::sync::Mutex::default(),
            ending: AtomicBool::new(false),
            pace: Mutex::default(),
        });
        lock(&self.sandboxes).insert(id, sandbox.clone());
        sandbox
    }

    pub(crate) fn add_container(&self, record: ContainerRecord) -> Arc<Container> {
        let id = record.id.clone();
        let container = Arc::new(Container {
            record: Mutex::new(record),
            lifecycle: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(()),
            early_exit: Mutex::default(),
            cleared: AtomicBool::new(false),
            pace: Mutex::default(),
        });
        lock(&self.containers).insert(id, container.clone());
        container
    }

    /// Forgets a sandbox and its name.
    pub(crate) fn forget_sandbox(&self, id: &str) {
        lock(&self.sandboxes).remove(id);
        lock(&self.names).retain(|_, owner| owner != id);
    }

    /// Forgets a container and its name.
    pub(crate) fn forget_container(&self, id: &str) {
        lock(&self.containers).remove(id);
        lock(&self.names).retain(|_, owner| owner != id);
    }

    /// Takes a name; it is given back when the reservation is dropped without [`Reservation::keep`].
    pub(crate) fn reserve(&self, name: String, id: &str) -> Result<Reservation, CriError> {
        let mut names = lock(&self.names);
        if let Some(owner) = names.get(&name) {
            return Err(CriError::Taken { id: owner.clone(), name });
        }
        names.insert(name.clone(), id.to_owned());
        Ok(Reservation { names: self.names.clone(), name: Some(name) })
    }
}

/// A name that is ours for now.
#[derive(Debug)]
pub(crate) struct Reservation {
    names: Arc<Mutex<HashMap<String, String>>>,
    name: Option<String>,
}

impl Reservation {
    /// Leaves the name to its owner.
    pub(crate) fn keep(mut self) {
        self.name = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            lock(&self.names).remove(&name);
        }
    }
}

impl Sandbox {
    /// A copy of what is known now.
    pub(crate) fn record(&self) -> SandboxRecord {
        lock(&self.record).clone()
    }

    /// Changes the record: on disk first, then here.
    pub(crate) fn update(&self, disk: &Disk, change: impl FnOnce(&mut SandboxRecord)) -> Result<(), CriError> {
        let mut record = lock(&self.record);
        let mut next = record.clone();
        change(&mut next);
        disk.write(&next)?;
        *record = next;
        Ok(())
    }
}

impl Container {
    /// A copy of what is known now.
    pub(crate) fn record(&self) -> ContainerRecord {
        lock(&self.record).clone()
    }

    /// Changes the record, on disk first, then here, and rings. `change` says whether there is something to change.
    pub(crate) fn update(
        &self,
        disk: &Disk,
        change: impl FnOnce(&mut ContainerRecord) -> Change,
    ) -> Result<Change, CriError> {
        let mut record = lock(&self.record);
        let mut next = record.clone();
        if change(&mut next) == Change::Nothing {
            return Ok(Change::Nothing);
        }
        disk.write(&next)?;
        *record = next;
        drop(record);
        self.changed.send_replace(());
        Ok(Change::Made)
    }

    /// Waits until the container does not run (any more).
    pub(crate) async fn ended(&self) {
        let mut changed = self.changed.subscribe();
        while self.record().phase == ContainerPhase::Running {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Whether a record was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Made,
    Nothing,
}

fn find<T>(table: &BTreeMap<String, Arc<T>>, kind: &'static str, id: &str) -> Result<Arc<T>, CriError> {
    let absent = || CriError::NotFound { kind, id: id.to_owned() };
    if id.is_empty() {
        return Err(CriError::Invalid(format!("{kind} id is empty")));
    }
    let mut matches = table.range(id.to_owned()..).take_while(|(known, _)| known.starts_with(id));
    let (first, object) = matches.next().ok_or_else(absent)?;
    if first != id && matches.next().is_some() {
        return Err(CriError::Invalid(format!("{kind} {id}: several ids begin so")));
    }
    Ok(object.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_by_unambiguous_beginnings() {
        let table: BTreeMap<_, _> = ["aa1", "aa2", "b"].iter().map(|id| ((*id).to_owned(), Arc::new(*id))).collect();
        let look = |id| find(&table, "sandbox", id).map(|found| *found).map_err(|error| error.to_string());
        assert_eq!(look("aa2"), Ok("aa2"));
        assert_eq!(look("b"), Ok("b"));
        assert_eq!(look("aa"), Err("sandbox aa: several ids begin so".to_owned()));
        assert_eq!(look("c"), Err("sandbox c: not found".to_owned()));
        assert_eq!(look(""), Err("sandbox id is empty".to_owned()));
    }

    #[test]
    fn ids_are_64_hexadecimal_digits() {
        let id = new_id();
        assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
}
