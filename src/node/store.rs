//! The store of an API server: the embedded one, or any etcd.

use crate::cli::EtcdArgs;
use crate::folders::Folders;
use anyhow::Context;
use skiff_store::backend::Backend;
use skiff_store::etcd::{ClientTls, Compactor, Remote, RemoteOptions};
use skiff_store::{History, Options, Store, StoreError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How much history an API server leaves in its store: kube-apiserver compacts its etcd every five minutes
/// (`--etcd-compaction-interval`), so that a watcher may lose its place that long.
const HISTORY_KEPT: Duration = Duration::from_secs(300);

/// An open store, as an API server sees it, and what belongs to it.
pub(crate) struct OpenStore {
    pub(crate) backend: Arc<dyn Backend>,
    /// The embedded one, if it is that, which must be closed.
    pub(crate) embedded: Option<Store>,
    /// Our part in compacting the etcd, if it is one, and how often.
    pub(crate) compaction: Option<(Compactor, Duration)>,
}

/// The embedded store, or the etcd that `etcd` names.
///
/// # Errors
/// The folder cannot be opened, or no member of the etcd answers.
pub(crate) async fn open_backend(folders: &Folders, etcd: &EtcdArgs) -> anyhow::Result<OpenStore> {
    if etcd.etcd_servers.is_empty() {
        let options = Options { history: History::Within(HISTORY_KEPT), ..Options::default() };
        let store = open_store(&folders.store(), options).await?;
        return Ok(OpenStore { backend: store.backend(), embedded: Some(store), compaction: None });
    }
    let tls = client_tls(etcd.etcd_cafile.as_deref(), etcd.etcd_certfile.as_deref(), etcd.etcd_keyfile.as_deref())?;
    let endpoints = etcd.etcd_servers.clone();
    let remote = Remote::open(&RemoteOptions { endpoints, tls, request_timeout: etcd.etcd_request_timeout }).await;
    let remote = remote.with_context(|| format!("connect to etcd at {}", etcd.etcd_servers.join(",")))?;
    let every = etcd.etcd_compaction_interval;
    let compaction = (!every.is_zero()).then(|| (remote.compactor(), every));
    Ok(OpenStore { backend: Arc::new(remote), embedded: None, compaction })
}

/// A client's keys, read from the files that were named.
///
/// # Errors
/// A file cannot be read; its name is in the error.
pub(crate) fn client_tls(
    ca: Option<&Path>,
    certificate: Option<&Path>,
    key: Option<&Path>,
) -> anyhow::Result<Option<ClientTls>> {
    let Some(ca) = ca else { return Ok(None) };
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    Ok(Some(ClientTls { ca: read(ca)?, identity }))
}

/// A file named on the command line.
///
/// # Errors
/// It cannot be read; its name is in the error.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// The same of a text.
///
/// # Errors
/// It cannot be read or is no text; its name is in the error.
pub(super) fn read_text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// The embedded store in `folder`.
///
/// # Errors
/// The folder cannot be opened, or somebody else has it.
pub(crate) async fn open_store(folder: &Path, options: Options) -> anyhow::Result<Store> {
    opened(folder, move |folder| Store::open(folder, options)).await
}

/// The embedded store in `folder`, to be looked at: nothing in the folder changes.
///
/// # Errors
/// There is none, or somebody else has it.
pub(crate) async fn look_at_store(folder: &Path, options: Options) -> anyhow::Result<Store> {
    opened(folder, move |folder| Store::look(folder, options)).await
}

async fn opened(
    folder: &Path,
    open: impl FnOnce(&Path) -> Result<Store, StoreError> + Send + 'static,
) -> anyhow::Result<Store> {
    let folder = folder.to_owned();
    let opened = tokio::task::spawn_blocking(move || open(&folder)).await;
    opened.context("open the store")?.context("open the store")
}
