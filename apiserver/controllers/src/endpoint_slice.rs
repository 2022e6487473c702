//! Keeps the endpoint slices of every service that has a selector, and its Endpoints object, which older clients read.
//!
//! Both are made of one list of pods; who keeps what a user wrote for a service without selector is `endpoint_mirror`.

mod endpoints; // the one object that holds all
mod plan; // the slices

use crate::context::{Context, ControllerError, On, absent_is_none};
use crate::looking::{Again, Loop, Outcome, Own};
use crate::owned::key_of_controller;
pub(crate) use endpoints::{CONTROLLER, MANAGED_BY};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams};
use plan::MANAGER;
pub(crate) use plan::{MANAGER_LABEL, SERVICE_LABEL};
use skiff_client::{Cache, Key};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

struct Keeper {
    /// Writes endpoints, which Kubernetes' controller of slices may not.
    endpoints_writer: Context,
    services: Cache<Service>,
    pods: Cache<Pod>,
    endpoints: Cache<Endpoints>,
    nodes: Cache<Node>,
    slices: Slices,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let services = looking.over::<Service>();
    let caches = looking.context.caches.clone();
    let (slices, pods, endpoints) = (caches.all::<EndpointSlice>(), caches.all::<Pod>(), caches.all::<Endpoints>());
    looking.when(&slices, |change| key_of_controller(change.meta(), "Service").into_iter().collect());
    // Whoever changes or deletes the object of a service finds it mended.
    looking.when(&endpoints, |change| vec![Key::of(change.meta())]);
    let known = services.clone();
    looking.when(&pods, move |change| {
        let sides = [change.before, change.now].into_iter().flatten();
        sides.flat_map(|pod| selecting(&known, pod)).collect()
    });
    let (nodes, of_nodes) = (caches.all::<Node>(), services.clone());
    // A node that is somewhere else now: any service may have endpoints there.
    looking.when(&nodes, move |change| {
        if change.before.and_then(|node| zone(node)) == change.now.and_then(|node| zone(node)) {
            return Vec::new();
        }
        of_nodes.all().iter().map(|service| Key::of(&service.metadata)).collect()
    });
    let slices = Slices { context: looking.context.clone(), own: looking.own.clone(), cache: slices };
    let endpoints_writer = looking.context.acting_as("endpoint-controller");
    let keeper = Arc::new(Keeper { endpoints_writer, services, pods, endpoints, nodes, slices });
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

fn zone(node: &Node) -> Option<&String> {
    node.metadata.labels.as_ref()?.get(plan::ZONE)
}

/// The services that select a pod.
fn selecting(services: &Cache<Service>, pod: &Pod) -> Vec<Key> {
    let all = services.within(&pod.namespace().unwrap_or_default());
    all.iter().filter(|service| selects(service, pod)).map(|service| Key::of(&service.metadata)).collect()
}

/// Whether the service's selector (never empty) matches the pod's labels.
fn selects(service: &Service, pod: &Pod) -> bool {
    let selector =
        service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).filter(|selector| !selector.is_empty());
    service.namespace() == pod.namespace()
        && selector.is_some_and(|selector| selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value)))
}

impl Keeper {
    /// Where a node is, if that is known.
    fn zone(&self, node: &str) -> Option<String> {
        zone(self.nodes.get("", node)?.as_ref()).cloned()
    }

    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let Some(service) = self.services.get(&key.namespace, &key.name) else { return Ok(Again::OnChange) };
        let spec = service.spec.as_ref();
        let selector = spec.and_then(|spec| spec.selector.as_ref()).filter(|selector| !selector.is_empty());
        let external = spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName");
        // Without a selector the endpoints are the user's own affair.
        let (Some(selector), false) = (selector, external) else { return Ok(Again::OnChange) };
        if service.metadata.deletion_timestamp.is_some() {
            return Ok(Again::OnChange);
        }
        let pods = self.pods.labelled(&key.namespace, selector);
        let wanted = plan::slices(&service, &pods, &|node| self.zone(node));
        self.slices.write(&key, MANAGER, wanted).await?;
        self.write_endpoints(&key, &service, &pods).await?;
        Ok(Again::OnChange)
    }

    async fn write_endpoints(&self, key: &Key, service: &Service, pods: &[Arc<Pod>]) -> Result<(), ControllerError> {
        let api: Api<Endpoints> = self.endpoints_writer.api(&key.namespace);
        let present = self.endpoints.get(&key.namespace, &key.name);
        let mut wanted = endpoints::endpoints(service, pods, present.as_deref());
        let written = match present {
            None => {
                let made = api.create(&PostParams::default(), &wanted).await;
                made.on(|| format!("create endpoints {key}"))?
            }
            Some(present) if endpoints::same(&present, &wanted) => return Ok(()),
            Some(present) => {
                wanted.metadata.resource_version = present.resource_version();
                let replaced = api.replace(&key.name, &PostParams::default(), &wanted).await;
                replaced.on(|| format!("update endpoints {key}"))?
            }
        };
        self.slices.own.wrote(key, &self.endpoints, &written);
        Ok(())
    }
}

/// The slices of services, whoever manages them.
pub(crate) struct Slices {
    pub(crate) context: Context,
    pub(crate) own: Own,
    pub(crate) cache: Cache<EndpointSlice>,
}

impl Slices {
    /// Those of the service `key` that `manager` keeps.
    pub(crate) fn of(&self, key: &Key, manager: &str) -> Vec<Arc<EndpointSlice>> {
        let labels = [(SERVICE_LABEL, key.name.as_str()), (MANAGER_LABEL, manager)];
        self.cache.labelled(&key.namespace, &labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
    }

    /// Makes those of `key` and `manager` what is `wanted`, by name; answers whether there was anything to do.
    pub(crate) async fn write(
        &self,
        key: &Key,
        manager: &str,
        wanted: Vec<EndpointSlice>,
    ) -> Result<bool, ControllerError> {
        let (present, api): (_, Api<EndpointSlice>) = (self.of(key, manager), self.context.api(&key.namespace));
        let mut changed = false;
        for slice in present.iter().filter(|slice| wanted.iter().all(|wanted| wanted.name_any() != slice.name_any())) {
            let name = slice.name_any();
            let gone = api.delete(&name, &DeleteParams::default()).await.map(drop);
            absent_is_none(gone).on(|| format!("delete endpoint slice {name}"))?;
            self.own.deleted(key, &self.cache, &**slice);
            changed = true;
        }
        for mut slice in wanted {
            let name = slice.name_any();
            let written = match present.iter().find(|present| present.name_any() == name) {
                None => {
                    let made = api.create(&PostParams::default(), &slice).await;
                    made.on(|| format!("create endpoint slice {name}"))?
                }
                Some(old) if same(old, &slice) => continue,
                Some(old) => {
                    slice.metadata.resource_version = old.resource_version();
                    let replaced = api.replace(&name, &PostParams::default(), &slice).await;
                    replaced.on(|| format!("update endpoint slice {name}"))?
                }
            };
            self.own.wrote(key, &self.cache, &written);
            changed = true;
        }
        Ok(changed)
    }
}

fn same(old: &EndpointSlice, new: &EndpointSlice) -> bool {
    old.endpoints.as_deref().unwrap_or_default() == new.endpoints.as_deref().unwrap_or_default()
        && old.ports.as_deref().unwrap_or_default() == new.ports.as_deref().unwrap_or_default()
        && old.metadata.labels == new.metadata.labels
        && old.annotations() == new.annotations()
}
