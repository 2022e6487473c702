//! Watches services and endpoint slices, and applies what they say whenever they change.

use crate::apply::Applier;
use crate::service::{self, Port, Warning};
use crate::{ProxyConfig, ProxyError};
use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event as Watched};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use skiff_client::{EventKind, event_about, record};
use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often we look whether the table is still there. A foreign `nft flush ruleset` is repaired within this time.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// How long we wait after a refusal of the kernel.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Who events are from.
const REPORTER: &str = "skiff-proxy";

type Changes<K> = Pin<Box<dyn Stream<Item = Result<Watched<K>, watcher::Error>> + Send>>;

/// What is watched, and who applies it.
pub(crate) struct Proxy {
    services: Watch<Service>,
    slices: Watch<EndpointSlice>,
    applier: Option<Applier>,
    client: Client,
    warned: BTreeSet<Warning>,
}

/// One kind of object: its changes, and the present.
struct Watch<K: kube::Resource<DynamicType = ()> + Clone + 'static> {
    changes: Changes<K>,
    store: Store<K>,
    complete: bool,
}

impl Proxy {
    pub(crate) fn new(config: &ProxyConfig, applier: Applier) -> Self {
        Self {
            services: Watch::new(Api::all(config.client.clone())),
            slices: Watch::new(Api::all(config.client.clone())),
            applier: Some(applier),
            client: config.client.clone(),
            warned: BTreeSet::new(),
        }
    }

    /// Until `shutdown`. The first refusal of the kernel ends it, if nothing was applied before.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), ProxyError> {
        let mut applied = false;
        loop {
            if self.services.complete && self.slices.complete {
                match self.apply().await {
                    Ok(()) => applied = true,
                    Err(error) if !applied => return Err(error),
                    Err(error) => {
                        tracing::warn!(
                            error = skiff_client::sentence(&error),
                            "cannot bring the rules up to date; trying again"
                        );
                        tokio::time::sleep(RETRY_DELAY).await;
                    }
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.services.changed() => {}
                () = self.slices.changed() => {}
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
            self.services.take_ready();
            self.slices.take_ready();
        }
    }

    async fn apply(&mut self) -> Result<(), ProxyError> {
        let (ports, warnings) = self.read();
        let Some(mut applier) = self.applier.take() else {
            return Err(ProxyError::CutOff("an earlier change panicked".to_owned()));
        };
        let work = move || {
            let result = applier.check(&ports);
            (applier, result)
        };
        let done = tokio::task::spawn_blocking(work).await;
        let (applier, result) = done.map_err(|error| ProxyError::CutOff(error.to_string()))?;
        self.applier = Some(applier);
        result?;
        self.publish(warnings);
        Ok(())
    }

    fn read(&self) -> (Vec<Port>, BTreeSet<Warning>) {
        let (services, slices) = (self.services.store.state(), self.slices.store.state());
        service::read(services.iter().map(AsRef::as_ref), slices.iter().map(AsRef::as_ref))
    }

    /// Says each warning once, as an event of the service (core/v1: the API server has no `events.k8s.io`).
    fn publish(&mut self, warnings: BTreeSet<Warning>) {
        for warning in warnings.difference(&self.warned) {
            let Warning { namespace, service, message } = warning;
            tracing::warn!(service = %format!("{namespace}/{service}"), "{message}");
            let about = ObjectRef::<Service>::new(service).within(namespace);
            if let Some(service) = self.services.store.get(&about) {
                let (kind, reason) = (EventKind::Warning, "ServiceNotFullyProxied");
                record(&self.client, event_about(&*service, REPORTER, kind, reason, message.clone()));
            }
        }
        self.warned = warnings;
    }
}

impl<K> Watch<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    fn new(api: Api<K>) -> Self {
        let (store, writer) = reflector::store();
        let changes = watch(api, watcher::Config::default()).default_backoff();
        let changes = kube::runtime::reflector(writer, changes).boxed();
        Self { changes, store, complete: false }
    }

    /// Waits for the next change; the store has it then.
    async fn changed(&mut self) {
        match self.changes.next().await {
            Some(change) => self.note(change),
            // The stream of a watcher has no end.
            None => std::future::pending().await,
        }
    }

    /// Takes all changes that are there already, so that a burst becomes one transaction.
    fn take_ready(&mut self) {
        while let Some(Some(change)) = self.changes.next().now_or_never() {
            self.note(change);
        }
    }

    fn note(&mut self, change: Result<Watched<K>, watcher::Error>) {
        match change {
            Ok(Watched::InitDone) => self.complete = true,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(error = skiff_client::sentence(&error), kind = %K::kind(&()), "cannot watch; trying again")
            }
        }
    }
}
