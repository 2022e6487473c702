//! The watch cache to the zone: each change of an object is in the zone when the cache has told it.

use crate::zone::Zone;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use skiff_client::{Caches, Subscription};
use std::sync::{Arc, PoisonError, RwLock};

/// Keeps the zone up to date, for as long as it is held.
#[must_use = "the zone stands still once this is dropped"]
pub(crate) struct Following {
    _services: Subscription,
    _slices: Subscription,
}

/// Waits until all services and slices are known, and puts them into the zone.
pub(crate) async fn follow(caches: &Caches, zone: &Arc<RwLock<Zone>>) -> Following {
    let (services, slices) = (caches.all::<Service>(), caches.all::<EndpointSlice>());
    services.synced().await;
    slices.synced().await;
    let change = |zone: &Arc<RwLock<Zone>>, change: &dyn Fn(&mut Zone)| {
        change(&mut zone.write().unwrap_or_else(PoisonError::into_inner));
    };
    let of_services = Arc::clone(zone);
    let services = services.subscribe(move |turn| {
        let (before, now) = (turn.before.map(AsRef::as_ref), turn.now.map(AsRef::as_ref));
        change(&of_services, &|zone| zone.change_service(before, now));
    });
    let of_slices = Arc::clone(zone);
    let slices = slices.subscribe(move |turn| {
        let (before, now) = (turn.before.map(AsRef::as_ref), turn.now.map(AsRef::as_ref));
        change(&of_slices, &|zone| zone.change_slice(before, now));
    });
    // A subscription tells of all that there is before it is there itself.
    change(zone, &Zone::complete);
    Following { _services: services, _slices: slices }
}
