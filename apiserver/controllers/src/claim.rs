//! Whose an object is: a controller adopts what its selector selects and nobody has, and releases what it selects no more.
//!
//! Kubernetes' `ControllerRefManager`. What no longer matches a selector is in no list by that selector; so the watch notes
//! it on its way, and the reconciliation that it triggers releases it.

use crate::context::{ControllerError, On, absent_is_none};
use crate::owned::{controller, owner_reference};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::api::{Api, Patch, PatchParams};
use kube::core::{Selector, SelectorExt};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

/// An object that owns those which it selects.
pub(crate) trait Selecting: Resource<DynamicType = ()> + Clone + 'static {
    /// Its selector.
    fn selector(&self) -> Option<&LabelSelector>;
}

impl Selecting for Deployment {
    fn selector(&self) -> Option<&LabelSelector> {
        self.spec.as_ref().map(|spec| &spec.selector)
    }
}

impl Selecting for ReplicaSet {
    fn selector(&self) -> Option<&LabelSelector> {
        self.spec.as_ref().map(|spec| &spec.selector)
    }
}

impl Selecting for Job {
    fn selector(&self) -> Option<&LabelSelector> {
        self.spec.as_ref()?.selector.as_ref()
    }
}

/// Whether `owner` selects an object with this metadata. An empty selector selects nothing here.
fn selects<K: Selecting>(owner: &K, child: &ObjectMeta) -> bool {
    let selector = owner.selector().filter(|selector| **selector != LabelSelector::default());
    let selector = selector.and_then(|selector| Selector::try_from(selector.clone()).ok());
    owner.namespace() == child.namespace
        && selector.is_some_and(|selector| selector.matches(child.labels.as_ref().unwrap_or(&BTreeMap::new())))
}

/// The claims of all owners of one kind.
#[derive(Clone)]
pub(crate) struct Claims<K: Selecting> {
    owners: Store<K>,
    /// By the owner's uid: names of objects that it owns and no longer selects.
    strays: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
}

impl<K> Claims<K>
where
    K: Selecting + Debug + Send + Sync,
{
    pub(crate) fn new(owners: Store<K>) -> Self {
        Self { owners, strays: Arc::default() }
    }

    /// Who must look at `child` after it changed: its owner, or everybody who may adopt it.
    pub(crate) fn concerned<C: Resource>(&self, child: &C) -> Vec<ObjectRef<K>> {
        let metadata = child.meta();
        let Some(owner) = controller(metadata) else {
            let all = self.owners.state().into_iter();
            let adopters = all.filter(|owner| metadata.deletion_timestamp.is_none() && selects(&**owner, metadata));
            return adopters.map(|owner| ObjectRef::from_obj(&*owner)).collect();
        };
        if owner.kind != K::kind(&()) || owner.api_version != K::api_version(&()) {
            return Vec::new();
        }
        let reference = ObjectRef::new(&owner.name).within(metadata.namespace.as_deref().unwrap_or_default());
        let known = self.owners.get(&reference).filter(|known| known.uid().as_ref() == Some(&owner.uid));
        if known.is_some_and(|known| !selects(&*known, metadata)) {
            let mut strays = self.strays.lock().unwrap_or_else(PoisonError::into_inner);
            strays.entry(owner.uid.clone()).or_default().extend(metadata.name.clone());
        }
        vec![reference]
    }

    /// Of `selected`, which `owner` selects, those that are its own, the newly adopted ones among them; and lets the others
    /// go that it no longer selects.
    pub(crate) async fn settle<C>(&self, api: &Api<C>, owner: &K, selected: Vec<C>) -> Result<Vec<C>, ControllerError>
    where
        C: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let (uid, staying) = (owner.uid().unwrap_or_default(), owner.meta().deletion_timestamp.is_none());
        let mut own = Vec::new();
        for child in selected {
            match controller(child.meta()) {
                Some(of) if of.uid == uid => own.push(child),
                None if staying && child.meta().deletion_timestamp.is_none() => {
                    own.extend(adopt(api, owner, &child).await?)
                }
                _ => {}
            }
        }
        let strays = self.strays.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid).unwrap_or_default();
        for name in strays {
            let child = api.get_opt(&name).await.on(|| format!("get {name}"))?;
            if let Some(child) = child.filter(|child| is_stray(owner, child.meta())) {
                release(api, &uid, &child).await?;
            }
        }
        Ok(own)
    }
}

fn is_stray<K: Selecting>(owner: &K, child: &ObjectMeta) -> bool {
    let ours = controller(child).is_some_and(|of| Some(&of.uid) == owner.meta().uid.as_ref());
    ours && child.deletion_timestamp.is_none() && !selects(owner, child)
}

/// `None`: it has gone meanwhile.
async fn adopt<K, C>(api: &Api<C>, owner: &K, child: &C) -> Result<Option<C>, ControllerError>
where
    K: Selecting,
    C: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let mut owners = child.owner_references().to_vec();
    owners.push(owner_reference(owner));
    let name = child.name_any();
    absent_is_none(write_owners(api, child, &owners).await).on(|| format!("adopt {} {name}", C::kind(&())))
}

async fn release<C>(api: &Api<C>, owner_uid: &str, child: &C) -> Result<(), ControllerError>
where
    C: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let owners: Vec<_> = child.owner_references().iter().filter(|owner| owner.uid != owner_uid).cloned().collect();
    let name = child.name_any();
    let written = absent_is_none(write_owners(api, child, &owners).await);
    written.map(drop).on(|| format!("release {} {name}", C::kind(&())))
}

async fn write_owners<C>(api: &Api<C>, child: &C, owners: &[OwnerReference]) -> Result<C, kube::Error>
where
    C: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    // The uid is a precondition, for an object of the same name may have been made in between; so is the version, for
    // somebody else may have adopted it.
    let (uid, version) = (child.uid(), child.resource_version());
    let patch = json!({"metadata": {"uid": uid, "resourceVersion": version, "ownerReferences": owners}});
    api.patch(&child.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use kube::runtime::{reflector, watcher};

    fn set(name: &str) -> ReplicaSet {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "a", "uid": format!("uid-{name}")},
            "spec": {"selector": {"matchLabels": {"app": name}}}}))
        .unwrap()
    }

    fn pod(label: &str, owner: Option<&str>) -> Pod {
        let owners: Vec<_> = owner.map(|name| owner_reference(&set(name))).into_iter().collect();
        serde_json::from_value(
            json!({"metadata": {"name": "p", "namespace": "a", "labels": {"app": label}, "ownerReferences": owners}}),
        )
        .unwrap()
    }

    /// Fault N29, siblings: orphans concern whoever selects them, and a relabelled pod its owner, who lets it go.
    #[test]
    fn orphans_and_strays_concern_the_right_owner() {
        let (store, mut writer) = reflector::store();
        for one in [set("web"), set("db")] {
            writer.apply_watcher_event(&watcher::Event::Apply(one));
        }
        let claims = Claims::new(store);
        let names = |pod: Pod| claims.concerned(&pod).into_iter().map(|owner| owner.name).collect::<Vec<_>>();
        assert_eq!(names(pod("web", None)), ["web"]);
        assert!(names(pod("other", None)).is_empty());
        assert_eq!(names(pod("web", Some("web"))), ["web"]);
        assert!(claims.strays.lock().unwrap().is_empty());
        assert_eq!(names(pod("other", Some("web"))), ["web"]);
        assert_eq!(claims.strays.lock().unwrap()["uid-web"], BTreeSet::from(["p".to_owned()]));
        assert!(is_stray(&set("web"), &pod("other", Some("web")).metadata));
        assert!(!is_stray(&set("web"), &pod("other", Some("db")).metadata));
        let mut foreign = pod("web", Some("web"));
        foreign.metadata.owner_references.as_mut().unwrap()[0].kind = "Job".to_owned();
        assert!(names(foreign).is_empty());
    }
}
