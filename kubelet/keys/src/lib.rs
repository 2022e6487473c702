//! How a node gets its certificates from the cluster that it joins: with a bootstrap token it asks for that of a client, as a client for
//! that of its server, and for both again before they end (Kubernetes "TLS bootstrapping", "Certificate rotation").
//!
//! ```text
//!  bootstrap kubeconfig (token) ──► request kube-apiserver-client-kubelet ──► kubeconfig (certificate, key)
//!                                                                                   │ system:node:NAME
//!                       kubelet.pem (certificate, key) ◄── request kubelet-serving ─┘
//! ```
//!
//! A private key is made here and goes nowhere. What was issued stands in files, so a node that starts again asks nobody.
//!
//! What it leaves to others: approving and signing, and showing what was issued.

mod error; // why not
mod files; // what was issued, on disk
mod plan; // when to ask again; no I/O
mod request; // asking, and waiting for the answer

pub use error::KeysError;

use files::Pair;
use jiff::Timestamp;
use request::Wanted;
use serde_json::Value;
use skiff_client::{Presented, Replaceable, from_kubeconfig};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// The certificates of one node.
pub struct Keys {
    node: String,
    kubeconfig: PathBuf,
    serving: PathBuf,
    client: kube::Client,
    replace: Replaceable,
    shown: Option<(Arc<Presented>, Places)>,
}

/// What a node is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Names, such as the node's own.
    pub names: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
}

impl Keys {
    /// The client certificate of `node` that the kubeconfig at `kubeconfig` holds; if there is none or its time is over, one that is
    /// asked for with the token of the kubeconfig at `bootstrap`. `folder` is where a serving certificate is kept.
    ///
    /// # Errors
    /// There is neither, or the cluster does not issue one: it refuses the token or the request, or nobody approves it.
    pub async fn open(
        node: &str,
        kubeconfig: &Path,
        bootstrap: Option<&Path>,
        folder: &Path,
    ) -> Result<Self, KeysError> {
        let now = Timestamp::now().as_second();
        let held = files::read_kubeconfig(kubeconfig)?;
        if held.as_ref().and_then(files::validity).is_none_or(|(_, until)| until <= now) {
            let bootstrap = bootstrap.ok_or_else(|| KeysError::Nothing { path: kubeconfig.to_owned() })?;
            let template = files::template(bootstrap)?;
            let client = from_kubeconfig(bootstrap).await.map_err(KeysError::client)?;
            tracing::info!(node, "asking for a certificate with the token of {}", bootstrap.display());
            let pair = request::ask(&client, Wanted::client(node, "node-csr-")).await?;
            files::write_kubeconfig(kubeconfig, template, node, &pair)?;
        }
        let client = from_kubeconfig(kubeconfig).await.map_err(KeysError::client)?;
        let (client, replace) = Replaceable::of(client);
        let serving = folder.join("kubelet.pem");
        Ok(Self { node: node.to_owned(), kubeconfig: kubeconfig.to_owned(), serving, client, replace, shown: None })
    }

    /// Talks to the API server as the node, with whatever certificate it has by then.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The serving certificate for `places`: the one that is kept, or another if its time is over or it is for other places. The node
    /// object has to name the addresses by now: who approves looks there.
    ///
    /// # Errors
    /// The cluster does not issue one.
    pub async fn serving(&mut self, places: Places) -> Result<Arc<Presented>, KeysError> {
        let now = Timestamp::now().as_second();
        let kept = Pair::read(&self.serving)?.filter(|pair| pair.is_for(&places));
        let pair = match kept.filter(|pair| pair.validity().is_some_and(|(_, until)| until > now)) {
            Some(pair) => pair,
            None => self.renew_serving(&places).await?,
        };
        let shown = Presented::new(&pair.certificate, &pair.key).map_err(KeysError::Unusable)?;
        let shown = Arc::new(shown);
        self.shown = Some((shown.clone(), places));
        Ok(shown)
    }

    async fn renew_serving(&self, places: &Places) -> Result<Pair, KeysError> {
        let pair = request::ask(&self.client, Wanted::serving(&self.node, places)).await?;
        pair.write(&self.serving)?;
        Ok(pair)
    }

    async fn renew_client(&self) -> Result<(), KeysError> {
        let held = files::read_kubeconfig(&self.kubeconfig)?;
        let held = held.ok_or_else(|| KeysError::Nothing { path: self.kubeconfig.clone() })?;
        let pair = request::ask(&self.client, Wanted::client(&self.node, "csr-")).await?;
        files::write_kubeconfig(&self.kubeconfig, held, &self.node, &pair)?;
        self.replace.replace(from_kubeconfig(&self.kubeconfig).await.map_err(KeysError::client)?);
        Ok(())
    }

    /// Asks for others before their time is over, until `shutdown`.
    pub async fn keep(self, shutdown: CancellationToken) {
        let share = rand::random::<f64>();
        loop {
            let held = files::read_kubeconfig(&self.kubeconfig).ok().flatten();
            let client = held.as_ref().and_then(files::validity);
            let serving = Pair::read(&self.serving).ok().flatten().as_ref().and_then(Pair::validity);
            let now = Timestamp::now().as_second();
            let (client, serving) = (plan::wait(client, share, now), plan::wait(serving, share, now));
            let serving = self.shown.as_ref().map(|_| serving);
            let first = serving.map_or(client, |serving| serving.min(client));
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(first) => {}
            }
            if let Err(error) = self.renew(client.is_zero(), serving.is_some_and(|wait| wait.is_zero())).await {
                tracing::warn!(error = skiff_client::sentence(&error), "the node has the certificates that it had");
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }

    async fn renew(&self, client: bool, serving: bool) -> Result<(), KeysError> {
        if client {
            self.renew_client().await?;
        }
        if let Some((shown, places)) = self.shown.as_ref().filter(|_| serving) {
            let pair = self.renew_serving(places).await?;
            shown.replace(&pair.certificate, &pair.key).map_err(KeysError::Unusable)?;
        }
        Ok(())
    }
}

/// The authority (PEM) that signs clients of the cluster that the kubeconfig at `path` leads to.
///
/// # Errors
/// It names none, or it cannot be read.
pub fn authority(path: &Path) -> Result<String, KeysError> {
    let named = skiff_client::authority_of_kubeconfig(path).map_err(KeysError::client)?;
    named.ok_or_else(|| KeysError::Kubeconfig {
        path: path.to_owned(),
        problem: "it names no certificate-authority, by which the node would know the cluster".to_owned(),
    })
}

/// An object's field as text.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
