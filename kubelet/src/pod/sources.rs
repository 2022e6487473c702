//! What pods take from other API objects: config maps, secrets and services.
//!
//! Fetched when a container starts or a volume is written, only where the pod names it. An object that is not there is a
//! fact (`None`), not an error; a server that does not answer is an error.

use super::memory::Failure;
use futures::FutureExt;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec, Secret, Service, Volume};
use kube::Api;
use skiff_client::{Cache, Caches, Kept, Subscription};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The objects by name; a name that was asked for and is not there maps to `None`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    pub(crate) config_maps: BTreeMap<String, Option<ConfigMap>>,
    pub(crate) secrets: BTreeMap<String, Option<Secret>>,
    /// Those whose variables the pod gets.
    pub(crate) services: Vec<Service>,
    /// Files in volumes by volume and path, or why one cannot be read.
    pub(crate) files: BTreeMap<(String, String), Result<String, String>>,
}

/// The names of objects that something refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct References {
    pub(crate) config_maps: BTreeSet<String>,
    pub(crate) secrets: BTreeSet<String>,
}

impl References {
    /// Those in a container's environment.
    pub(crate) fn of_env(container: &Container) -> Self {
        let mut found = Self::default();
        for from in container.env_from.iter().flatten() {
            found.config_maps.extend(from.config_map_ref.iter().map(|reference| reference.name.clone()));
            found.secrets.extend(from.secret_ref.iter().map(|reference| reference.name.clone()));
        }
        for from in container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()) {
            found.config_maps.extend(from.config_map_key_ref.iter().map(|reference| reference.name.clone()));
            found.secrets.extend(from.secret_key_ref.iter().map(|reference| reference.name.clone()));
        }
        found
    }

    /// Those that `spec` names for pulling images.
    pub(crate) fn of_pulls(spec: &PodSpec) -> Self {
        let names = spec.image_pull_secrets.iter().flatten().map(|reference| reference.name.clone());
        Self { secrets: names.filter(|name| !name.is_empty()).collect(), ..Self::default() }
    }

    /// Those of a pod's volumes.
    pub(crate) fn of_volumes(volumes: &[Volume]) -> Self {
        let mut found = Self::default();
        for volume in volumes {
            found.config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
            found.secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
            for source in volume.projected.iter().flat_map(|all| all.sources.iter().flatten()) {
                found.config_maps.extend(source.config_map.iter().map(|source| source.name.clone()));
                found.secrets.extend(source.secret.iter().map(|source| source.name.clone()));
            }
        }
        found
    }

    /// Whether nothing is referred to.
    pub(crate) fn is_empty(&self) -> bool {
        self.config_maps.is_empty() && self.secrets.is_empty()
    }
}

/// Fetches what `references` names in `namespace`.
pub(crate) async fn fetch(client: &kube::Client, namespace: &str, references: &References) -> Result<Sources, Failure> {
    let mut sources = Sources::default();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    for name in &references.config_maps {
        let found = maps.get_opt(name).await.map_err(|error| refused("configmap", namespace, name, &error))?;
        sources.config_maps.insert(name.clone(), found);
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for name in &references.secrets {
        let found = secrets.get_opt(name).await.map_err(|error| refused("secret", namespace, name, &error))?;
        sources.secrets.insert(name.clone(), found);
    }
    Ok(sources)
}

fn refused(kind: &str, namespace: &str, name: &str, error: &kube::Error) -> Failure {
    Failure::new(
        "CreateContainerConfigError",
        format!("get {kind} {namespace}/{name}: {}", skiff_client::sentence(error)),
    )
}

/// The services whose variables `pod` gets: those of its namespace, and always `default/kubernetes`.
pub(crate) fn linked(pod: &Pod, all: &Cache<Service>) -> Vec<Service> {
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut found: Vec<_> = all.get("default", "kubernetes").into_iter().collect();
    if links {
        let mut own = all.within(namespace);
        own.retain(|service| !found.iter().any(|known| Arc::ptr_eq(known, service)));
        own.sort_by_key(|service| service.metadata.name.clone());
        // The pod's own namespace last, so that a service of the name `kubernetes` there wins.
        found.extend(own);
    }
    found.iter().map(|service| Service::clone(service)).collect()
}

/// Tells `inbox` whenever one of the referenced objects changes; the first sight of each is no change. Runs until it is
/// dropped; pods that refer to the same object share one watch.
pub(super) async fn follow(caches: Caches, namespace: String, references: References, inbox: super::worker::Inbox) {
    let maps =
        references.config_maps.iter().map(|name| follow_one::<ConfigMap>(&caches, &namespace, name, &inbox).boxed());
    let secrets = references.secrets.iter().map(|name| follow_one::<Secret>(&caches, &namespace, name, &inbox).boxed());
    let _subscriptions = futures::future::join_all(maps.chain(secrets)).await;
    std::future::pending::<()>().await;
}

async fn follow_one<K: Kept>(
    caches: &Caches,
    namespace: &str,
    name: &str,
    inbox: &super::worker::Inbox,
) -> Subscription {
    let object = caches.one::<K>(Some(namespace), name);
    object.synced().await;
    let known = object.get(namespace, name).and_then(|object| object.meta().resource_version.clone());
    let inbox = inbox.clone();
    object.subscribe(move |change| {
        // Who subscribes is told of what there is.
        let same = change.before.is_none() && change.now.is_some_and(|now| now.meta().resource_version == known);
        if !same {
            // A worker that has ended is told nothing.
            let _ended = inbox.send(super::worker::Event::SourceChanged);
        }
    })
}
