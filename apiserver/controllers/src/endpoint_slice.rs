//! Keeps the endpoint slices of every service that has a selector, and its Endpoints object, which older clients read.
//!
//! Both are made of one list of pods; who keeps what a user wrote for a service without selector is `endpoint_mirror`.

mod endpoints; // the one object that holds all
mod plan; // the slices

use crate::context::{Context, ControllerError, On, absent_is_none, drive};
pub(crate) use endpoints::{CONTROLLER, MANAGED_BY};
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use plan::MANAGER;
pub(crate) use plan::{MANAGER_LABEL, SERVICE_LABEL};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let services: Api<Service> = Api::all(context.client.clone());
    let slices: Api<EndpointSlice> = Api::all(context.client.clone());
    let pods: Api<Pod> = Api::all(context.client.clone());
    let all_endpoints: Api<Endpoints> = Api::all(context.client.clone());
    let controller = Controller::new(services, watcher::Config::default()).owns(slices, watcher::Config::default());
    let known = controller.store();
    let controller = controller.watches(all_endpoints, watcher::Config::default(), |endpoints| {
        // Whoever changes or deletes the object of a service finds it mended.
        Some(ObjectRef::new(&endpoints.name_any()).within(&endpoints.namespace().unwrap_or_default()))
    });
    let controller = controller.watches(pods, watcher::Config::default(), move |pod| {
        let selecting = known.state().into_iter().filter(|service| selects(service, &pod));
        selecting.map(|service| ObjectRef::from_obj(&*service)).collect::<Vec<_>>()
    });
    drive(controller, context, shutdown, reconcile).await;
}

/// Whether the service's selector (never empty) matches the pod's labels.
fn selects(service: &Service, pod: &Pod) -> bool {
    let selector =
        service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).filter(|selector| !selector.is_empty());
    service.namespace() == pod.namespace()
        && selector.is_some_and(|selector| selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value)))
}

async fn reconcile(service: Arc<Service>, context: Arc<Context>) -> Result<Action, ControllerError> {
    let spec = service.spec.as_ref();
    let selector = spec.and_then(|spec| spec.selector.as_ref()).filter(|selector| !selector.is_empty());
    let external = spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName");
    // Without a selector the endpoints are the user's own affair.
    let (Some(selector), false) = (selector, external) else { return Ok(Action::await_change()) };
    if service.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = service.namespace().unwrap_or_default();
    let labels = selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
    let pods: Api<Pod> = context.api(&namespace);
    let pods = pods.list(&ListParams::default().labels(&labels)).await.on(|| format!("list pods {labels}"))?;
    let api: Api<EndpointSlice> = context.api(&namespace);
    let name = service.name_any();
    let ours = ListParams::default().labels(&format!("{SERVICE_LABEL}={name},{MANAGER_LABEL}={MANAGER}"));
    let present = api.list(&ours).await.on(|| format!("list endpoint slices of {namespace}/{name}"))?;
    write(&api, plan::slices(&service, &pods.items), &present.items).await?;
    write_endpoints(&context, &service, &pods.items).await?;
    Ok(Action::await_change())
}

async fn write_endpoints(context: &Context, service: &Service, pods: &[Pod]) -> Result<(), ControllerError> {
    let name = service.name_any();
    let api: Api<Endpoints> = context.api(&service.namespace().unwrap_or_default());
    let present = api.get_opt(&name).await.on(|| format!("get endpoints {name}"))?;
    let mut wanted = endpoints::endpoints(service, pods, present.as_ref());
    match present {
        None => api.create(&PostParams::default(), &wanted).await.map(drop).on(|| format!("create endpoints {name}")),
        Some(present) if endpoints::same(&present, &wanted) => Ok(()),
        Some(present) => {
            wanted.metadata.resource_version = present.resource_version();
            let replaced = api.replace(&name, &PostParams::default(), &wanted).await;
            replaced.map(drop).on(|| format!("update endpoints {name}"))
        }
    }
}

/// Makes `present` what is `wanted`, by name; answers whether there was anything to do.
pub(crate) async fn write(
    api: &Api<EndpointSlice>,
    wanted: Vec<EndpointSlice>,
    present: &[EndpointSlice],
) -> Result<bool, ControllerError> {
    let mut changed = false;
    for slice in present.iter().filter(|slice| wanted.iter().all(|wanted| wanted.name_any() != slice.name_any())) {
        let name = slice.name_any();
        let gone = api.delete(&name, &DeleteParams::default()).await.map(drop);
        absent_is_none(gone).on(|| format!("delete endpoint slice {name}"))?;
        changed = true;
    }
    for mut slice in wanted {
        let name = slice.name_any();
        match present.iter().find(|present| present.name_any() == name) {
            None => {
                api.create(&PostParams::default(), &slice).await.on(|| format!("create endpoint slice {name}"))?;
            }
            Some(old) if same(old, &slice) => continue,
            Some(old) => {
                slice.metadata.resource_version = old.resource_version();
                api.replace(&name, &PostParams::default(), &slice)
                    .await
                    .on(|| format!("update endpoint slice {name}"))?;
            }
        }
        changed = true;
    }
    Ok(changed)
}

fn same(old: &EndpointSlice, new: &EndpointSlice) -> bool {
    old.endpoints.as_deref().unwrap_or_default() == new.endpoints.as_deref().unwrap_or_default()
        && old.ports.as_deref().unwrap_or_default() == new.ports.as_deref().unwrap_or_default()
        && old.metadata.labels == new.metadata.labels
        && old.annotations() == new.annotations()
}
