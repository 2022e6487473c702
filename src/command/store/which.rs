//! The store that a command works on: one that is served, or a data folder at rest.

use crate::cli::{ClientTlsArgs, WhichArgs};
use crate::node::{client_tls, look_at_store, open_store};
use anyhow::{Context, anyhow, bail};
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::kv_client::KvClient;
use skiff_proto::etcd::etcdserverpb::lease_client::LeaseClient;
use skiff_proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use skiff_store::etcd::{ClientTls, channel, channel_to};
use skiff_store::{Options, Store};
use std::error::Error;
use std::path::Path;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Response, Status};

/// What is left in a folder in which a store was to be made.
const LOCK: &str = "lock";

/// Whether a data folder may be a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Folder {
    /// There must be a store in it, which is only read.
    Read,
    /// There must be a store in it, which may be written to.
    Existing,
    /// A store is made in it if there is none.
    New,
}

/// A store that answers.
pub(super) struct Opened {
    /// Its address or folder.
    pub(super) name: String,
    pub(super) channel: Channel,
    /// It is a folder that we opened, and must close.
    at_rest: Option<Store>,
    timeout: Duration,
}

impl Opened {
    async fn served(url: &str, tls: Option<&ClientTls>, timeout: Duration) -> anyhow::Result<Self> {
        let url = with_scheme(url, tls.is_some());
        let channel = channel(&url, tls)?;
        let opened = Self { name: url, channel, at_rest: None, timeout };
        opened.status().await?;
        Ok(opened)
    }

    /// Opens a folder that nobody else has open.
    pub(super) async fn folder(path: &Path, folder: Folder, timeout: Duration) -> anyhow::Result<Self> {
        refuse_foreign(path)?;
        if folder != Folder::New && !Store::is_in(path) {
            bail!("there is no store in {}", path.display());
        }
        let options = Options { quota_bytes: u64::MAX, ..Options::default() };
        let store = match folder {
            Folder::Read => look_at_store(path, options).await?,
            Folder::Existing | Folder::New => open_store(path, options).await?,
        };
        let channel = channel_to(store.clone());
        Ok(Self { name: path.display().to_string(), channel, at_rest: Some(store), timeout })
    }

    /// Ends our use of it; a folder can then be opened by others.
    pub(super) async fn close(self) {
        if let Some(store) = self.at_rest {
            store.close().await;
        }
    }

    pub(super) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    pub(super) fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    pub(super) fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    pub(super) async fn status(&self) -> anyhow::Result<pb::StatusResponse> {
        self.ask("status", self.maintenance().status(pb::StatusRequest {})).await
    }

    /// Whether it is served by somebody else.
    pub(super) fn is_served(&self) -> bool {
        self.at_rest.is_none()
    }

    /// The answer to a request, in time; `operation` names it in errors.
    pub(super) async fn ask<T>(
        &self,
        operation: &str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> anyhow::Result<T> {
        self.in_time(operation, call).await.map(Response::into_inner)
    }

    /// The same for a part of an answer.
    pub(super) async fn in_time<T>(
        &self,
        operation: &str,
        call: impl Future<Output = Result<T, Status>>,
    ) -> anyhow::Result<T> {
        let place = || format!("{operation} of {}", self.name);
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer.map_err(|status| told(&status)).with_context(place),
            Err(_) => Err(anyhow!("no answer within {} ms", self.timeout.as_millis())).with_context(place),
        }
    }
}

/// Refuses a folder that is somebody else's: an etcd's, or any with files in it and no store.
pub(super) fn refuse_foreign(folder: &Path) -> anyhow::Result<()> {
    if Store::is_in(folder) {
        return Ok(());
    }
    if folder.join("member/snap").is_dir() {
        bail!("{} holds an etcd's data: start that etcd, and copy from it with `skiff store copy`", folder.display());
    }
    // It may not be there yet; opening it will say what else is wrong with it.
    let mut entries = std::fs::read_dir(folder).into_iter().flatten();
    if entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != LOCK)) {
        bail!("{} has files in it and no store; name another folder", folder.display());
    }
    Ok(())
}

/// etcdctl takes addresses without a scheme.
fn with_scheme(url: &str, with_tls: bool) -> String {
    match (url.contains("://"), with_tls) {
        (true, _) => url.to_owned(),
        (false, true) => format!("https://{url}"),
        (false, false) => format!("http://{url}"),
    }
}

/// What the server said, or at the bottom of it, why there was none.
fn told(status: &Status) -> anyhow::Error {
    let first: &dyn Error = status;
    match std::iter::successors(first.source(), |error| (*error).source()).last() {
        Some(cause) => anyhow!("{cause}"),
        None if status.message().is_empty() => anyhow!("{}", status.code().description()),
        None => anyhow!("{}", status.message()),
    }
}

/// Keys towards a server, if any were named.
pub(super) fn keys(tls: &ClientTlsArgs) -> anyhow::Result<Option<ClientTls>> {
    client_tls(tls.cacert.as_deref(), tls.cert.as_deref(), tls.key.as_deref())
}

/// The one that `which` names, to be read: of several servers, the first that answers.
pub(super) async fn first(which: &WhichArgs) -> anyhow::Result<Opened> {
    if let Some(folder) = &which.data_dir {
        return Opened::folder(folder, Folder::Read, which.command_timeout).await;
    }
    first_of(&which.endpoints, keys(&which.tls)?.as_ref(), which.command_timeout).await
}

/// The first of `urls` that answers.
pub(super) async fn first_of(urls: &[String], tls: Option<&ClientTls>, timeout: Duration) -> anyhow::Result<Opened> {
    let mut last = anyhow!("no endpoint was given");
    for url in urls {
        match Opened::served(url, tls, timeout).await {
            Ok(opened) => return Ok(opened),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// All that `which` names, to be worked on: every server by itself.
pub(super) async fn each(which: &WhichArgs) -> anyhow::Result<Vec<Opened>> {
    if let Some(folder) = &which.data_dir {
        return Ok(vec![Opened::folder(folder, Folder::Existing, which.command_timeout).await?]);
    }
    let tls = keys(&which.tls)?;
    let mut all = Vec::new();
    for url in &which.endpoints {
        all.push(Opened::served(url, tls.as_ref(), which.command_timeout).await?);
    }
    Ok(all)
}
