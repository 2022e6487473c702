//! Mirrors Endpoints that a user wrote for a service without selector into endpoint slices, which is what proxies read; and
//! removes the Endpoints of services that are gone.

mod plan;

use crate::context::{Context, EventKind, On, absent_is_none};
use crate::endpoint_slice::{CONTROLLER, MANAGED_BY, MANAGER_LABEL, Slices};
use crate::looking::{Again, Loop, Outcome};
use crate::owned::key_of_controller;
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use plan::{MIRROR, Mirror};
use skiff_client::{Cache, Key};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

struct Keeper {
    context: Context,
    endpoints: Cache<Endpoints>,
    services: Cache<Service>,
    slices: Slices,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let endpoints = looking.over::<Endpoints>();
    let caches = looking.context.caches.clone();
    let (services, slices) = (caches.all::<Service>(), caches.all::<EndpointSlice>());
    looking.when(&services, |change| vec![Key::of(change.meta())]);
    looking.when(&slices, |change| {
        let ours =
            change.meta().labels.as_ref().and_then(|labels| labels.get(MANAGER_LABEL)).is_some_and(|by| by == MIRROR);
        key_of_controller(change.meta(), "Endpoints").filter(|_| ours).into_iter().collect()
    });
    let slices = Slices { context: looking.context.clone(), own: looking.own.clone(), cache: slices };
    let keeper = Arc::new(Keeper { context: looking.context.clone(), endpoints, services, slices });
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let endpoints = self.endpoints.get(&key.namespace, &key.name);
        let Some(endpoints) = endpoints.filter(|one| one.metadata.deletion_timestamp.is_none()) else {
            return Ok(Again::OnChange);
        };
        let service = self.services.get(&key.namespace, &key.name);
        // Slices show that there was a service once: Endpoints that came before their service are left alone.
        let mirrored = !self.slices.of(&key, MIRROR).is_empty();
        let orphaned = service.is_none() && (is_managed(&endpoints) || mirrored);
        let Mirror { slices: wanted, skipped } = match service {
            Some(service) if plan::is_mirrored(&endpoints, &service) => plan::mirror(&endpoints),
            _ => Mirror::default(),
        };
        let changed = self.slices.write(&key, MIRROR, wanted).await?;
        if changed && skipped > 0 {
            let message =
                format!("{skipped} addresses were not mirrored: an Endpoints subset may have {}", plan::ADDRESSES_MAX);
            self.context.tell(&*endpoints, EventKind::Warning, "TooManyAddressesToMirror", message);
        }
        if orphaned && !plan::is_election(&endpoints) {
            let api: Api<Endpoints> = self.context.api(&key.namespace);
            let gone = api.delete(&key.name, &DeleteParams::default()).await.map(drop);
            absent_is_none(gone).on(|| format!("delete endpoints {key}, whose service is gone"))?;
            self.slices.own.deleted(&key, &self.endpoints, &*endpoints);
        }
        Ok(Again::OnChange)
    }
}

fn is_managed(endpoints: &Endpoints) -> bool {
    endpoints.labels().get(MANAGED_BY).is_some_and(|manager| manager == CONTROLLER)
}
