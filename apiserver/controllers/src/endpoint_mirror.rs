//! Mirrors Endpoints that a user wrote for a service without selector into endpoint slices, which is what proxies read; and
//! removes the Endpoints of services that are gone.

mod plan;

use crate::context::{Context, ControllerError, EventKind, On, absent_is_none, drive};
use crate::endpoint_slice::{CONTROLLER, MANAGED_BY, MANAGER_LABEL, SERVICE_LABEL, write};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use plan::{MIRROR, Mirror};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let endpoints: Api<Endpoints> = Api::all(context.client.clone());
    let services: Api<Service> = Api::all(context.client.clone());
    let slices: Api<EndpointSlice> = Api::all(context.client.clone());
    let mirrored = watcher::Config::default().labels(&format!("{MANAGER_LABEL}={MIRROR}"));
    let controller = Controller::new(endpoints, watcher::Config::default()).owns(slices, mirrored).watches(
        services,
        watcher::Config::default(),
        |service| Some(ObjectRef::new(&service.name_any()).within(&service.namespace().unwrap_or_default())),
    );
    drive(controller, context, shutdown, reconcile).await;
}

async fn reconcile(endpoints: Arc<Endpoints>, context: Arc<Context>) -> Result<Action, ControllerError> {
    let (name, namespace) = (endpoints.name_any(), endpoints.namespace().unwrap_or_default());
    if endpoints.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let services: Api<Service> = context.api(&namespace);
    let service = services.get_opt(&name).await.on(|| format!("get service {namespace}/{name}"))?;
    let slices: Api<EndpointSlice> = context.api(&namespace);
    let ours = ListParams::default().labels(&format!("{SERVICE_LABEL}={name},{MANAGER_LABEL}={MIRROR}"));
    let present = slices.list(&ours).await.on(|| format!("list mirrored endpoint slices of {namespace}/{name}"))?;
    // Slices show that there was a service once: Endpoints that came before their service are left alone.
    let orphaned = service.is_none() && (is_managed(&endpoints) || !present.items.is_empty());
    let Mirror { slices: wanted, skipped } = match service {
        Some(service) if plan::is_mirrored(&endpoints, &service) => plan::mirror(&endpoints),
        _ => Mirror::default(),
    };
    let changed = write(&slices, wanted, &present.items).await?;
    if changed && skipped > 0 {
        let message =
            format!("{skipped} addresses were not mirrored: an Endpoints subset may have {}", plan::ADDRESSES_MAX);
        context.tell(&*endpoints, EventKind::Warning, "TooManyAddressesToMirror", message);
    }
    if orphaned && !plan::is_election(&endpoints) {
        let api: Api<Endpoints> = context.api(&namespace);
        let gone = api.delete(&name, &DeleteParams::default()).await.map(drop);
        absent_is_none(gone).on(|| format!("delete endpoints {name}, whose service is gone"))?;
    }
    Ok(Action::await_change())
}

fn is_managed(endpoints: &Endpoints) -> bool {
    endpoints.labels().get(MANAGED_BY).is_some_and(|manager| manager == CONTROLLER)
}
