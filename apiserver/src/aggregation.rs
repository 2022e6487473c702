//! API servers behind this one: an APIService that names a service says who answers for a version of a group (kube-aggregator).
//!
//! ```text
//!  /apis/{group}/{version}/… ──► may who asks do it? ──► does the server answer? ──► the request goes on, as X-Remote-User of who asks
//!  /apis, /apis/{group}, /openapi ──► what is served here, with what was last learned of them
//! ```
//!
//! One of them may be this server itself: it answers for `metrics.k8s.io` as long as the APIService of that group names nobody else.
//!
//! They believe the headers because of the certificate with which we come: it is of an authority of its own, which is published in the
//! config map `kube-system/extension-apiserver-authentication`.

mod availability; // whether it answers, and what it says that it serves
mod discovery; // that, among what is served here; no I/O
mod forward; // a request goes on
mod openapi; // documents of both
mod path; // what a path asks for; no I/O
mod published; // by what they know us
mod remote; // one of them

pub(crate) use availability::{follow, say};
pub(crate) use discovery::{with_aggregated, with_group, with_groups};
pub(crate) use forward::{forward, may};
pub(crate) use openapi::{answer_v3, with_v3};

use crate::caller::Authentication;
use crate::pki::{CertKey, Pki};
use crate::server::ApiError;
use crate::tls::presented;
use remote::Remote;
use serde_json::Value;
use skiff_client::Presented;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Notify;

/// All of them.
pub(crate) struct Aggregation {
    /// How we show that we are the front proxy.
    front: Arc<Presented>,
    /// What they are told about whom to believe.
    published: Value,
    remotes: RwLock<Arc<Vec<Arc<Remote>>>>,
    /// Something about them has changed.
    changed: Notify,
}

impl Aggregation {
    /// Comes to them with the certificate of the cluster's front proxy.
    pub(crate) fn new(pki: &Pki, believed: &Authentication) -> Result<Self, ApiError> {
        let own = pki.authority_certificate();
        let clients = believed.client_authority.as_deref();
        let clients = clients.map_or_else(|| own.to_owned(), |other| published::bundle(&[own, other]));
        let published = published::data(&clients, pki.front_proxy_authority(), &believed.front_proxy);
        let front = presented(pki.front_proxy())?;
        Ok(Self { front, published, remotes: RwLock::default(), changed: Notify::new() })
    }

    /// Comes with another certificate from now on.
    pub(crate) fn present(&self, pair: &CertKey) -> Result<(), String> {
        self.front.replace(&pair.certificate, &pair.private_key)
    }

    /// Those that there are now, by name.
    pub(crate) fn remotes(&self) -> Arc<Vec<Arc<Remote>>> {
        Arc::clone(&self.remotes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what all APIServices say; those that say the same are kept, with their connections.
    pub(crate) fn publish<'a>(&self, services: impl Iterator<Item = &'a Value>) {
        let before = self.remotes();
        let of_others =
            services.filter(|service| !service["spec"]["service"].is_null() || Remote::is_of_metrics(service));
        let next = of_others.map(|service| {
            let same = before.iter().find(|remote| remote.is(service));
            same.map_or_else(|| Arc::new(Remote::read(service, &self.front)), Arc::clone)
        });
        let mut next: Vec<Arc<Remote>> = next.collect();
        next.sort_by(|one, other| one.name.cmp(&other.name));
        *self.remotes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        self.changed.notify_one();
    }

    /// Who answers for a path, if that is another server.
    pub(crate) fn of_path(&self, path: &str) -> Option<Arc<Remote>> {
        let mut segments = path.strip_prefix("/apis/")?.split('/');
        let (group, version) = (segments.next()?, segments.next()?);
        self.find(group, version)
    }

    fn find(&self, group: &str, version: &str) -> Option<Arc<Remote>> {
        let remotes = self.remotes.read().unwrap_or_else(PoisonError::into_inner);
        remotes.iter().find(|remote| remote.group == group && remote.version == version).map(Arc::clone)
    }
}
