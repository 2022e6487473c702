//! The store of an API server: the embedded one, or any etcd.

use crate::folders::Folders;
use anyhow::Context;
use skiff_store::backend::Backend;
use skiff_store::etcd::{ClientTls, Remote};
use skiff_store::{History, Options, Store};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How much history an API server leaves in its store: kube-apiserver compacts its etcd every five minutes
/// (`--etcd-compaction-interval`), so that a watcher may lose its place that long.
const HISTORY_KEPT: Duration = Duration::from_secs(300);

/// An open store, as an API server sees it; the second part is the embedded one, if it is that, which must be closed.
///
/// # Errors
/// The folder cannot be opened, or none of `etcd_servers` answers.
pub(crate) async fn open_backend(
    folders: &Folders,
    etcd_servers: &[String],
    tls: Option<ClientTls>,
) -> anyhow::Result<(Arc<dyn Backend>, Option<Store>)> {
    if etcd_servers.is_empty() {
        let options = Options { history: History::Within(HISTORY_KEPT), ..Options::default() };
        let store = open_store(&folders.store(), options).await?;
        return Ok((store.backend(), Some(store)));
    }
    let backend = Remote::connect(etcd_servers, tls).await;
    Ok((backend.with_context(|| format!("connect to etcd at {}", etcd_servers.join(",")))?, None))
}

/// The embedded store in `folder`.
///
/// # Errors
/// The folder cannot be opened, or somebody else has it.
pub(crate) async fn open_store(folder: &Path, options: Options) -> anyhow::Result<Store> {
    let folder = folder.to_owned();
    let opened = tokio::task::spawn_blocking(move || Store::open(&folder, options)).await;
    opened.context("open the store")?.context("open the store")
}
