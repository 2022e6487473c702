//! How many pods the owners of some pods want to have.

use crate::context::{Context, absent_is_none};
use crate::owned::controller;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::{Resource, ResourceExt};
use skiff_client::{Cache, Caches, Kept};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The kinds that own pods and are followed; all others are asked for their scale.
#[derive(Clone)]
pub(super) struct Owners {
    pub(super) deployments: Cache<Deployment>,
    pub(super) replica_sets: Cache<ReplicaSet>,
    pub(super) controllers: Cache<ReplicationController>,
    pub(super) stateful_sets: Cache<StatefulSet>,
}

/// The owners of some pods: what they want in all, and the pods that have none.
#[derive(Debug, Default)]
pub(super) struct Scale {
    pub(super) pods: i32,
    pub(super) unmanaged: BTreeSet<String>,
}

fn is<K: Resource<DynamicType = ()>>(owner: &OwnerReference) -> bool {
    owner.kind == K::kind(&()) && owner.api_version.split('/').next() == K::api_version(&()).split('/').next()
}

/// The owner itself, if it is of this kind and still the same.
fn live<K: Kept>(cache: &Cache<K>, namespace: &str, owner: &OwnerReference) -> Option<Arc<K>> {
    let found = is::<K>(owner).then(|| cache.get(namespace, &owner.name)).flatten();
    found.filter(|found| found.meta().uid.as_ref() == Some(&owner.uid))
}

impl Owners {
    pub(super) fn of(caches: &Caches) -> Self {
        Self {
            deployments: caches.all(),
            replica_sets: caches.all(),
            controllers: caches.all(),
            stateful_sets: caches.all(),
        }
    }

    /// What the owner that counts wants: for a replica set of a deployment that is the deployment.
    fn known(&self, namespace: &str, owner: &OwnerReference) -> Option<(String, i32)> {
        if let Some(set) = live(&self.replica_sets, namespace, owner) {
            let above = controller(&set.metadata).filter(|above| above.kind == Deployment::kind(&()));
            let Some(above) = above else {
                return Some((owner.uid.clone(), set.spec.as_ref()?.replicas.unwrap_or(1)));
            };
            let deployment = live(&self.deployments, namespace, above)?;
            return Some((above.uid.clone(), deployment.spec.as_ref()?.replicas.unwrap_or(1)));
        }
        let controllers = || live(&self.controllers, namespace, owner).and_then(|one| one.spec.as_ref()?.replicas);
        let sets = || live(&self.stateful_sets, namespace, owner).and_then(|one| one.spec.as_ref()?.replicas);
        controllers().or_else(sets).map(|replicas| (owner.uid.clone(), replicas))
    }

    /// Adds up what the owners of `pods` want.
    ///
    /// # Errors
    /// In words: an owner is not there, or has no scale.
    pub(super) async fn scale(&self, context: &Context, namespace: &str, pods: &[Arc<Pod>]) -> Result<Scale, String> {
        let (mut scale, mut wanted, mut asked) = (Scale::default(), BTreeMap::new(), BTreeSet::new());
        for pod in pods {
            let Some(owner) = controller(&pod.metadata) else {
                scale.unmanaged.insert(pod.name_any());
                continue;
            };
            if !asked.insert(owner.uid.clone()) {
                continue;
            }
            let found = match self.known(namespace, owner) {
                Some(found) => Some(found),
                None if self.follows(owner) => None,
                None => ask(context, namespace, owner).await?,
            };
            let missing = || format!("found no controllers for pod \"{}\"", pod.name_any());
            let (uid, replicas) = found.ok_or_else(missing)?;
            wanted.insert(uid, replicas);
        }
        scale.pods = wanted.into_values().sum();
        Ok(scale)
    }

    fn follows(&self, owner: &OwnerReference) -> bool {
        let kinds = [is::<ReplicaSet>, is::<ReplicationController>, is::<StatefulSet>];
        kinds.iter().any(|is| is(owner))
    }
}

/// Asks for the subresource `scale` of an owner of any other kind.
async fn ask(context: &Context, namespace: &str, owner: &OwnerReference) -> Result<Option<(String, i32)>, String> {
    let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
    let kind = GroupVersionKind::gvk(group, version, &owner.kind);
    let (resource, _) = kube::discovery::pinned_kind(&context.client, &kind)
        .await
        .map_err(|error| format!("no matches for kind \"{}\": {}", owner.kind, skiff_client::sentence(&error)))?;
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &resource);
    let scale = absent_is_none(api.get_scale(&owner.name).await)
        .map_err(|error| format!("get the scale of {}: {}", owner.name, skiff_client::sentence(&error)))?;
    match scale {
        Some(scale) => {
            let same = scale.metadata.uid.as_ref() == Some(&owner.uid);
            let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
            Ok(same.then(|| (owner.uid.clone(), replicas)))
        }
        None if scales(context, &resource).await? => Ok(None),
        None => Err(format!("{} does not implement the scale subresource", group_resource(&resource))),
    }
}

fn group_resource(resource: &ApiResource) -> String {
    if resource.group.is_empty() { resource.plural.clone() } else { format!("{}.{}", resource.plural, resource.group) }
}

/// Whether the resource has a scale at all, as discovery says.
async fn scales(context: &Context, resource: &ApiResource) -> Result<bool, String> {
    let listed = match resource.group.as_str() {
        "" => context.client.list_core_api_resources(&resource.version).await,
        _ => context.client.list_api_group_resources(&resource.api_version).await,
    };
    let listed =
        listed.map_err(|error| format!("discover {}: {}", resource.api_version, skiff_client::sentence(&error)))?;
    let wanted = format!("{}/scale", resource.plural);
    Ok(listed.resources.iter().any(|one| one.name == wanted))
}
