//! The process that serves, and dies.

use crate::FORKS;
use skiff_store::etcd::{Listen, ServeOptions, serve};
use skiff_store::{Options, Store};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

const FOLDER: &str = "SKIFF_TEST_KILLS_FOLDER";
/// A process that does not answer by then hangs.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn is_child() -> bool {
    std::env::var_os(FOLDER).is_some()
}

/// A kill leaves the page cache alone, but only a real disk takes part in what can go wrong.
pub(super) fn folder_on_a_real_disk() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    if skiff_harness::is_in_memory(folder.path()) {
        skiff_harness::skip("the target folder is in memory; a test of a disk needs one");
        return None;
    }
    Some(folder)
}

/// Opens the store and serves it until it is killed.
pub(super) fn child() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&folder.join("store"), Options::default()).unwrap_or_else(|error| panic!("{error}"));
        let options = ServeOptions::at([Listen::Unix(folder.join("socket"))]);
        serve(store, options, tokio_util::sync::CancellationToken::new()).await.unwrap();
    });
}

/// One process.
pub(super) struct Served {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Served {
    pub(super) fn begin(folder: &Path) -> Self {
        let socket = folder.join("socket");
        let log = folder.join("log");
        let stderr = std::fs::File::create(&log).unwrap();
        let _alone = FORKS.lock().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kills::child_that_serves", "--nocapture"])
            .env(FOLDER, OsString::from(folder))
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        Served { child, socket, log }
    }

    /// A connection, once it serves.
    pub(super) async fn connect(&mut self) -> Channel {
        let begun = Instant::now();
        loop {
            // The socket of the process before may still be there; nobody answers on it.
            if std::os::unix::net::UnixStream::connect(&self.socket).is_ok() {
                return self.channel().await;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the store is not served again ({status}): {}", self.told());
            }
            assert!(begun.elapsed() < PATIENCE, "the store is not served within a minute: {}", self.told());
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    }

    fn told(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// One more connection.
    pub(super) async fn channel(&self) -> Channel {
        let url = format!("unix://{}", self.socket.display());
        Endpoint::from_shared(url).unwrap().connect().await.unwrap()
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A test that failed; the process may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
