//! The two servers, each a process with a folder of its own.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_store::etcd::{ServeOptions, serve};
use skiff_store::{Options, Store};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

const FOLDER: &str = "SKIFF_BENCH_SERVES_FOLDER";
const URL: &str = "SKIFF_BENCH_SERVES_URL";
/// Both are told the same; etcd's default would be reached.
const QUOTA_BYTES: u64 = 8 << 30;

/// Stops where writing costs nothing.
pub(crate) fn refuse_memory(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let text = "is in memory; set SKIFF_BENCH_FOLDER to a folder on a disk";
    assert!(!skiff_harness::is_in_memory(folder), "{} {text}", folder.display());
}

/// Which server.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Ours, in a child of this program.
    Ours,
    /// The program at this path.
    Etcd(PathBuf),
}

/// A server; killed when dropped.
pub(crate) struct Server {
    kind: Kind,
    folder: PathBuf,
    pub(crate) url: String,
    peer_url: String,
    child: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_url() -> String {
    format!("http://127.0.0.1:{}", skiff_harness::free_port())
}

impl Server {
    /// Starts one whose data is below `folder`.
    pub(crate) fn start(kind: Kind, folder: &Path) -> Self {
        let name = if matches!(kind, Kind::Ours) { "ours" } else { "etcd" };
        let folder = folder.join(name);
        let mut server = Server { kind, folder, url: free_url(), peer_url: free_url(), child: None };
        server.spawn();
        server
    }

    /// Starts the process; returns how long it took until it answered a read.
    pub(crate) fn spawn(&mut self) -> Duration {
        let mut command = match &self.kind {
            Kind::Ours => self.our_command(),
            Kind::Etcd(program) => self.etcd_command(program),
        };
        let begun = Instant::now();
        self.child = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            while !self.answers().await {
                assert!(begun.elapsed() < Duration::from_secs(120), "{} does not answer", self.url);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        begun.elapsed()
    }

    fn our_command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child_that_serves", "--nocapture"]).env(FOLDER, &self.folder).env(URL, &self.url);
        command
    }

    fn etcd_command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .args(["--data-dir".as_ref(), self.folder.as_os_str()])
            .args(["--listen-client-urls", &self.url, "--advertise-client-urls", &self.url])
            .args(["--listen-peer-urls", &self.peer_url, "--initial-advertise-peer-urls", &self.peer_url])
            .args(["--initial-cluster", &format!("default={}", self.peer_url), "--log-level", "error"])
            .args(["--quota-backend-bytes", &QUOTA_BYTES.to_string()]);
        command
    }

    async fn answers(&self) -> bool {
        let Ok(channel) = Endpoint::from_shared(self.url.clone()).unwrap().connect().await else { return false };
        let get = pb::RangeRequest { key: "health".into(), ..Default::default() };
        pb::kv_client::KvClient::new(channel).range(get).await.is_ok()
    }

    /// `count` connections.
    pub(crate) async fn connect(&self, count: usize) -> Vec<Channel> {
        let mut channels = Vec::new();
        for _ in 0..count {
            channels.push(Endpoint::from_shared(self.url.clone()).unwrap().connect().await.unwrap());
        }
        channels
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().unwrap().id()).unwrap()
    }

    /// Ends the process as an operator would.
    pub(crate) fn stop(&mut self) {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).unwrap();
        self.child.take().unwrap().wait().unwrap();
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Memory of the process.
    pub(crate) fn resident_bytes(&self) -> u64 {
        skiff_harness::resident_bytes(self.pid().unsigned_abs())
    }

    /// Processor time of the process since it was started.
    pub(crate) fn processor(&self) -> Duration {
        skiff_harness::processor_time(self.pid().unsigned_abs())
    }

    /// Bytes of disk that the folder takes.
    pub(crate) fn disk_bytes(&self) -> u64 {
        fn below(path: &Path) -> u64 {
            let metadata = std::fs::symlink_metadata(path).unwrap();
            let inside = if metadata.is_dir() {
                std::fs::read_dir(path).unwrap().map(|entry| below(&entry.unwrap().path())).sum()
            } else {
                0
            };
            metadata.blocks() * 512 + inside
        }
        below(&self.folder)
    }
}

/// In the child: serves until SIGTERM.
pub(crate) fn serve_if_asked() {
    let (Some(folder), Ok(url)) = (std::env::var_os(FOLDER), std::env::var(URL)) else { return };
    // As the program does: without anybody who listens, tracing hands every span of HTTP/2 on to another library.
    tracing_subscriber::fmt().with_env_filter("warn").with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options { quota_bytes: QUOTA_BYTES, ..Options::default() };
        let store = Store::open(Path::new(&folder), options).unwrap();
        let shutdown = CancellationToken::new();
        let listen = ServeOptions::at([url.parse().unwrap()]);
        let serving = tokio::spawn(serve(store.clone(), listen, shutdown.clone()));
        let mut ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        ended.recv().await;
        shutdown.cancel();
        serving.await.unwrap().unwrap();
        store.close().await;
    });
}
