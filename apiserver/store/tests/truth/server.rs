//! The store under test: a process of its own that can be killed, or one in this process that is closed and opened again, or
//! whose simulated computer loses power.
//!
//! All are spoken to in etcd's protocol; in process without a socket.

use crate::machine::{Fault, Image, Machine};
use crate::power::Walk;
use hyper_util::rt::TokioIo;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use skiff_store::etcd::{ServeOptions, routes, serve};
use skiff_store::{Options, Store};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

const FOLDER: &str = "SKIFF_TEST_TRUTH_FOLDER";
const SOCKET: &str = "SKIFF_TEST_TRUTH_SOCKET";
/// The test that is the process.
const CHILD: &str = "child_that_serves";
/// What a connection for slow readers lets be under way, in bytes; then the store must wait.
const NARROW_BYTES: u32 = 2 << 10;

/// What the store keeps in memory for watchers: a few dozen revisions.
const RECENT_BYTES: usize = 8 << 10;
/// So little that the log goes around several times in a run.
const LOG_BYTES: u64 = 64 << 10;

/// Where requests go.
pub(crate) type Door = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Status>;

/// The doors of a store that is up.
#[derive(Clone)]
pub(crate) struct Doors {
    /// Counts the times the store was opened.
    pub(crate) opened: usize,
    pub(crate) wide: Door,
    /// Through which a reader who does not read is felt soon.
    pub(crate) narrow: Door,
}

/// Which kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Killed with SIGKILL.
    Process,
    /// Closed properly, in the middle of what it does.
    InProcess,
    /// On a simulated computer (see `tests/crash`), which loses power at some operation of its disks.
    PowerFails,
}

enum Running {
    Process(Child),
    InProcess(Store),
    Simulated(Store, Machine),
    No,
}

/// See the module.
pub(crate) struct Server {
    kind: Kind,
    folder: TempDir,
    running: Running,
    opened: usize,
    doors: watch::Sender<Option<Doors>>,
    chance: StdRng,
    /// What the last power failure left of the simulated disks.
    left: Image,
}

impl Server {
    pub(crate) async fn start(kind: Kind, seed: u64) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("skiff-truth-").tempdir().map_err(|error| error.to_string())?;
        let (doors, _) = watch::channel(None);
        let mut server = Server {
            kind,
            folder,
            running: Running::No,
            opened: 0,
            doors,
            chance: StdRng::seed_from_u64(seed),
            left: Image::new(),
        };
        server.open().await?;
        Ok(server)
    }

    /// Tells when the store is up.
    pub(crate) fn doors(&self) -> watch::Receiver<Option<Doors>> {
        self.doors.subscribe()
    }

    /// Stops it without a warning.
    pub(crate) async fn stop(&mut self) {
        if let Running::Simulated(_, machine) = &self.running {
            self.cut_power(&machine.clone()).await;
        }
        self.doors.send_replace(None);
        match std::mem::replace(&mut self.running, Running::No) {
            Running::Process(mut child) => {
                child.kill().expect("the child is ours and was not waited for");
                child.wait().expect("the child is ours and was not waited for");
            }
            Running::InProcess(store) => store.close().await,
            Running::Simulated(store, machine) => {
                let position = machine.position();
                store.close().await;
                let (base, log) = machine.log();
                let mut walk = Walk::along(base, &log);
                walk.advance(position);
                self.left = walk.power_fails(&mut self.chance);
            }
            Running::No => (),
        }
    }

    /// At one of the next operations of a disk, or now if there is none.
    async fn cut_power(&mut self, machine: &Machine) {
        let fault = if self.chance.random() { Fault::CrashBefore } else { Fault::CrashAfter };
        machine.fail_at(machine.seen().0 + self.chance.random_range(0..6), fault);
        for _ in 0..20 {
            if machine.seen().1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Opens it again.
    pub(crate) async fn open(&mut self) -> Result<(), String> {
        self.opened += 1;
        let (opened, folder) = (self.opened, self.folder.path().to_owned());
        let doors = match self.kind {
            Kind::InProcess => {
                let store = Store::open(&folder.join("data"), options()).map_err(|error| format!("open: {error}"))?;
                self.running = Running::InProcess(store.clone());
                let door = inside(store);
                Doors { opened, wide: door.clone(), narrow: door }
            }
            Kind::PowerFails => {
                let machine = Machine::started_with(std::mem::take(&mut self.left));
                let (database, log) = (machine.file("database"), machine.file("log"));
                let store = Store::open_disks(database, log, options()).map_err(|error| format!("open: {error}"))?;
                self.running = Running::Simulated(store.clone(), machine);
                let door = inside(store);
                Doors { opened, wide: door.clone(), narrow: door }
            }
            Kind::Process => {
                // A socket for each: what was sent to the last one must not reach this one.
                let socket = folder.join(format!("socket{opened}"));
                let child = spawn(&folder, &socket).map_err(|error| error.to_string())?;
                self.running = Running::Process(child);
                self.answers(&socket).await?;
                let narrow = channel(&socket, Some(NARROW_BYTES));
                Doors { opened, wide: door(channel(&socket, None)), narrow: door(narrow) }
            }
        };
        self.doors.send_replace(Some(doors));
        Ok(())
    }

    async fn answers(&mut self, socket: &Path) -> Result<(), String> {
        let Running::Process(child) = &mut self.running else { return Ok(()) };
        for _ in 0..60_000 {
            if UnixStream::connect(socket).await.is_ok() {
                return Ok(());
            }
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("the store does not open: {status}"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err("the store does not answer after a minute".to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Running::Process(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A store that forgets soon, so that watchers must often read history from the disk.
fn options() -> Options {
    Options {
        progress_interval: Duration::from_millis(20),
        recent_bytes: RECENT_BYTES,
        log_bytes: LOG_BYTES,
        ..Options::default()
    }
}

fn spawn(folder: &Path, socket: &Path) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["--exact", CHILD, "--nocapture"])
        .env(FOLDER, folder)
        .env(SOCKET, socket)
        .stdout(Stdio::null())
        .spawn()
}

fn channel(socket: &Path, window: Option<u32>) -> Channel {
    let path = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://store").initial_stream_window_size(window);
    endpoint.connect_with_connector_lazy(connect)
}

fn inside(store: Store) -> Door {
    Door::new(ServiceExt::<http::Request<Body>>::map_err(routes(store), |never| match never {}))
}

fn door(channel: Channel) -> Door {
    Door::new(channel.map_err(|error| Status::unavailable(error.to_string())))
}

/// The process: serves the folder that the environment names, until it is killed. Without the variable it is an empty test.
pub(crate) fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&folder.join("data"), options()).unwrap();
        let socket = std::env::var(SOCKET).unwrap();
        let listen = format!("unix://{socket}").parse().unwrap();
        serve(store, ServeOptions::at([listen]), Default::default()).await.unwrap();
    });
}
