//! Servers to test against: ours, and real etcds where they are installed.

// Each test program uses a part of this; and helpers of tests may unwrap as tests do.
#![allow(dead_code, clippy::unwrap_used)]

use skiff_harness::free_port;
use skiff_store::etcd::{ServeOptions, serve};
use skiff_store::{Options, Store, StoreError};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Our store served over a port of its own.
pub(crate) struct Ours {
    pub(crate) url: String,
    pub(crate) store: Store,
    pub(crate) folder: TempDir,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<Result<(), StoreError>>,
}

pub(crate) async fn ours(options: Options) -> Ours {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("data"), options).unwrap();
    ours_over(folder, store).await
}

pub(crate) async fn ours_over(folder: TempDir, store: Store) -> Ours {
    let url = format!("http://127.0.0.1:{}", free_port());
    let shutdown = CancellationToken::new();
    let listen = ServeOptions::at([url.parse().unwrap()]);
    let serving = tokio::spawn(serve(store.clone(), listen, shutdown.clone()));
    wait_for(&url).await;
    Ours { url, store, folder, shutdown, serving }
}

pub(crate) async fn wait_for(url: &str) {
    let address = url.trim_start_matches("http://").trim_start_matches("https://");
    for _ in 0..600 {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{url} does not answer");
}

/// A program of the peers, or where to get it.
pub(crate) fn peer(name: &str, fallback: &str) -> Option<PathBuf> {
    let here = PathBuf::from(fallback);
    let found = skiff_harness::peer(name).map(|peer| peer.path().to_owned()).or_else(|| here.exists().then_some(here));
    if found.is_none() {
        skiff_harness::skip(&format!("{name} is not installed; tests/run installs it"));
    }
    found
}

/// A real etcd, killed when dropped.
pub(crate) struct RealEtcd {
    pub(crate) url: String,
    child: Child,
    _folder: TempDir,
}

impl Drop for RealEtcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn real_etcd(program: &Path) -> RealEtcd {
    real_etcd_with(program, &[]).await
}

pub(crate) async fn real_etcd_with(program: &Path, args: &[&str]) -> RealEtcd {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}", free_port());
    let peer_url = format!("http://127.0.0.1:{}", free_port());
    let child = Command::new(program)
        .args(["--data-dir".as_ref(), folder.path().join("data").as_os_str()])
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
        .args(["--initial-cluster", &format!("default={peer_url}")])
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&url).await;
    RealEtcd { url, child, _folder: folder }
}
