//! Whose an object is: a controller adopts what its selector selects and nobody has, and releases what it selects no more.
//!
//! Kubernetes' `ControllerRefManager`.

use crate::context::{ControllerError, On, absent_is_none};
use crate::looking::Own;
use crate::owned::{controller, owner_reference};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::api::{Api, Patch, PatchParams};
use kube::core::{Selector, SelectorExt};
use kube::{Resource, ResourceExt};
use serde_json::json;
use skiff_client::{Cache, Change, Kept, Key};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An object that owns those which it selects.
pub(crate) trait Selecting: Kept + Clone + Resource<Scope = NamespaceResourceScope> {
    /// A finalizer that its children carry while they are its own.
    const FINALIZER: Option<&'static str> = None;

    /// Its selector.
    fn selector(&self) -> Option<Cow<'_, LabelSelector>>;

    /// Whether an object of `kind` with this metadata may be its own, apart from its labels.
    fn may_own(&self, _kind: &str, _child: &ObjectMeta) -> bool {
        true
    }
}

impl Selecting for Deployment {
    fn selector(&self) -> Option<Cow<'_, LabelSelector>> {
        self.spec.as_ref().map(|spec| Cow::Borrowed(&spec.selector))
    }
}

impl Selecting for ReplicaSet {
    fn selector(&self) -> Option<Cow<'_, LabelSelector>> {
        self.spec.as_ref().map(|spec| Cow::Borrowed(&spec.selector))
    }
}

impl Selecting for DaemonSet {
    fn selector(&self) -> Option<Cow<'_, LabelSelector>> {
        self.spec.as_ref().map(|spec| Cow::Borrowed(&spec.selector))
    }
}

impl Selecting for StatefulSet {
    fn selector(&self) -> Option<Cow<'_, LabelSelector>> {
        self.spec.as_ref().map(|spec| Cow::Borrowed(&spec.selector))
    }

    /// Its pods are known by their names, too.
    fn may_own(&self, kind: &str, child: &ObjectMeta) -> bool {
        kind != "Pod" || child.name.as_deref().and_then(ordinal_of).is_some_and(|(set, _)| set == self.name_any())
    }
}

/// The name of the set and the ordinal in the name of a stateful set's pod.
pub(crate) fn ordinal_of(pod: &str) -> Option<(&str, i32)> {
    let (set, ordinal) = pod.rsplit_once('-')?;
    let digits = !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| ordinal.parse().ok()).flatten().map(|ordinal| (set, ordinal))
}

impl Selecting for ReplicationController {
    fn selector(&self) -> Option<Cow<'_, LabelSelector>> {
        let match_labels = self.spec.as_ref()?.selector.clone();
        Some(Cow::Owned(LabelSelector { match_labels, match_expressions: None }))
    }
}

impl Selecting for Job {
    const FINALIZER: Option<&'static str> = Some(crate::job::TRACKING);

    fn selector(&self) -> Option<Cow<'_, LabelSelector>> {
        self.spec.as_ref()?.selector.as_ref().map(Cow::Borrowed)
    }
}

/// The selector of `owner`, if it can be used: an empty one selects nothing here.
fn usable<K: Selecting>(owner: &K) -> Option<(Cow<'_, LabelSelector>, Selector)> {
    let written = owner.selector()?;
    let empty = written.match_labels.iter().flatten().next().is_none()
        && written.match_expressions.as_deref().unwrap_or_default().is_empty();
    let selector = Selector::try_from(written.clone().into_owned()).ok()?;
    (!empty).then_some((written, selector))
}

/// Whether `owner` selects an object with this metadata.
fn selects<K: Selecting>(owner: &K, kind: &str, child: &ObjectMeta) -> bool {
    owner.namespace() == child.namespace
        && owner.may_own(kind, child)
        && usable(owner)
            .is_some_and(|(_, selector)| selector.matches(child.labels.as_ref().unwrap_or(&BTreeMap::new())))
}

/// Who must look at a child after it changed: its owner, the one it had before, and everybody who may adopt it.
pub(crate) fn concerned<K: Selecting, C: Kept>(owners: &Cache<K>, change: &Change<'_, C>) -> Vec<Key> {
    let mut keys = Vec::new();
    for side in [change.before, change.now].into_iter().flatten() {
        keys.extend(controller(side.meta()).and_then(|owner| key_of_owner::<K>(side.meta(), owner)));
    }
    let orphan = change.now.map(|now| now.meta());
    if let Some(meta) = orphan.filter(|meta| controller(meta).is_none() && meta.deletion_timestamp.is_none()) {
        let all = owners.within(meta.namespace.as_deref().unwrap_or_default());
        keys.extend(
            all.iter().filter(|owner| selects(&***owner, &C::kind(&()), meta)).map(|owner| Key::of(owner.meta())),
        );
    }
    keys.dedup();
    keys
}

fn key_of_owner<K: Selecting>(child: &ObjectMeta, owner: &OwnerReference) -> Option<Key> {
    let is_ours = owner.kind == K::kind(&()) && owner.api_version == K::api_version(&());
    is_ours.then(|| Key::new(child.namespace.as_deref().unwrap_or_default(), &owner.name))
}

/// Where the children of an owner are, and who notes what is written about them.
pub(crate) struct Claim<'a, C: Kept> {
    pub(crate) children: &'a Cache<C>,
    pub(crate) own: &'a Own,
    pub(crate) client: &'a kube::Client,
}

impl<C: Kept + Clone + Resource<Scope = NamespaceResourceScope>> Claim<'_, C> {
    /// The children of `owner`, the newly adopted ones among them; lets the others go that it no longer selects.
    pub(crate) async fn settle<K: Selecting>(&self, owner: &K) -> Result<Vec<Arc<C>>, ControllerError> {
        let (key, namespace) = (Key::of(owner.meta()), owner.namespace().unwrap_or_default());
        let Some((written, selector)) = usable(owner) else {
            return Err(ControllerError::Malformed(format!("{} {key}: no usable selector", K::kind(&()))));
        };
        let staying = owner.meta().deletion_timestamp.is_none();
        let uid = owner.uid().unwrap_or_default();
        let mut own = Vec::new();
        for child in self.children.owned_by(&uid) {
            let meta = child.meta();
            if controller(meta).is_none_or(|of| of.uid != uid) || meta.namespace.as_ref() != Some(&namespace) {
                continue;
            }
            let selected = selector.matches(meta.labels.as_ref().unwrap_or(&BTreeMap::new()));
            if selected && owner.may_own(&C::kind(&()), meta) {
                own.push(child);
            } else if staying && meta.deletion_timestamp.is_none() {
                self.release::<K>(&key, &uid, &child).await?;
            }
        }
        let orphans = self.children.selected(&namespace, &written).into_iter().filter(|child| {
            let meta = child.meta();
            let may = staying && controller(meta).is_none() && meta.deletion_timestamp.is_none();
            may && owner.may_own(&C::kind(&()), meta)
        });
        let mut may = None;
        for child in orphans {
            if may.is_none() {
                may = Some(self.may_adopt(owner, &namespace).await?);
            }
            if may == Some(true) {
                own.extend(self.adopt(&key, owner, &child).await?.map(Arc::new));
            }
        }
        Ok(own)
    }

    /// Whether the server, too, says that the owner is there and stays: an owner that is gone would get children that
    /// nobody deletes with it.
    async fn may_adopt<K: Selecting>(&self, owner: &K, namespace: &str) -> Result<bool, ControllerError> {
        let (api, name): (Api<K>, _) = (Api::namespaced(self.client.clone(), namespace), owner.name_any());
        let live = absent_is_none(api.get(&name).await).on(|| format!("get {} {namespace}/{name}", K::kind(&())))?;
        Ok(live.is_some_and(|live| live.uid() == owner.uid() && live.meta().deletion_timestamp.is_none()))
    }

    /// `None`: it has gone meanwhile.
    async fn adopt<K: Selecting>(&self, key: &Key, owner: &K, child: &C) -> Result<Option<C>, ControllerError> {
        let mut owners = child.owner_references().to_vec();
        owners.push(owner_reference(owner));
        let mut finalizers = child.finalizers().to_vec();
        finalizers.extend(K::FINALIZER.map(str::to_owned).filter(|own| !child.finalizers().contains(own)));
        self.write_owners("adopt", key, child, &owners, &finalizers).await
    }

    async fn release<K: Selecting>(&self, key: &Key, owner_uid: &str, child: &C) -> Result<(), ControllerError> {
        let owners: Vec<_> = child.owner_references().iter().filter(|owner| owner.uid != owner_uid).cloned().collect();
        let kept = child.finalizers().iter().filter(|finalizer| K::FINALIZER != Some(finalizer.as_str()));
        let finalizers: Vec<String> = kept.cloned().collect();
        self.write_owners("release", key, child, &owners, &finalizers).await.map(drop)
    }

    async fn write_owners(
        &self,
        what: &str,
        key: &Key,
        child: &C,
        owners: &[OwnerReference],
        finalizers: &[String],
    ) -> Result<Option<C>, ControllerError> {
        let api: Api<C> = Api::namespaced(self.client.clone(), &key.namespace);
        // The uid is a precondition, for an object of the same name may have been made in between; so is the version, for
        // somebody else may have adopted it.
        let (uid, version, name) = (child.uid(), child.resource_version(), child.name_any());
        let mut patch = json!({"metadata": {"uid": uid, "resourceVersion": version, "ownerReferences": owners}});
        if finalizers != child.finalizers() {
            patch["metadata"]["finalizers"] = json!(finalizers);
        }
        let written = absent_is_none(api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await);
        let written = written.on(|| format!("{what} {} {name}", C::kind(&())))?;
        if let Some(written) = &written {
            self.own.wrote(key, self.children, written);
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use std::convert::Infallible;

    fn set(name: &str) -> ReplicaSet {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "a", "uid": format!("uid-{name}")},
            "spec": {"selector": {"matchLabels": {"app": name}}}}))
        .unwrap()
    }

    fn pod(label: &str, owner: Option<&str>) -> Arc<Pod> {
        let owners: Vec<_> = owner.map(|name| owner_reference(&set(name))).into_iter().collect();
        let meta = json!({"name": "p", "namespace": "a", "labels": {"app": label}, "ownerReferences": owners});
        Arc::new(serde_json::from_value(json!({ "metadata": meta })).unwrap())
    }

    /// Replica sets as a cache holds them.
    async fn sets() -> Cache<ReplicaSet> {
        let server = tower::service_fn(|request: http::Request<kube::client::Body>| async move {
            if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
                std::future::pending::<()>().await;
            }
            let list = json!({"metadata": {"resourceVersion": "1"}, "items": [set("web"), set("db")]});
            Ok::<_, Infallible>(http::Response::new(kube::client::Body::from(list.to_string().into_bytes())))
        });
        let sets = skiff_client::Caches::new(kube::Client::new(server, "default")).all();
        sets.synced().await;
        sets
    }

    /// Fault N29, siblings: orphans concern whoever selects them, and a relabelled pod its owner, who lets it go.
    #[tokio::test]
    async fn orphans_and_strays_concern_the_right_owner() {
        let sets = sets().await;
        let names = |before: Option<Arc<Pod>>, now: Option<Arc<Pod>>| {
            let change = Change { before: before.as_ref(), now: now.as_ref() };
            concerned::<ReplicaSet, Pod>(&sets, &change).into_iter().map(|key| key.name).collect::<Vec<_>>()
        };
        assert_eq!(names(None, Some(pod("web", None))), ["web"]);
        assert!(names(None, Some(pod("other", None))).is_empty());
        assert_eq!(names(None, Some(pod("web", Some("web")))), ["web"]);
        assert_eq!(names(None, Some(pod("other", Some("web")))), ["web"]);
        assert_eq!(names(Some(pod("web", Some("web"))), None), ["web"]);
        assert_eq!(names(Some(pod("db", Some("web"))), Some(pod("db", None))), ["web", "db"]);
        let mut foreign = Pod::clone(&pod("web", Some("web")));
        foreign.metadata.owner_references.as_mut().unwrap()[0].kind = "Job".to_owned();
        assert!(names(None, Some(Arc::new(foreign))).is_empty());
    }

    #[test]
    fn pods_of_a_stateful_set_have_its_name() {
        let set: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "a"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {}}}))
        .unwrap();
        let named = |name: &str| ObjectMeta { name: Some(name.to_owned()), ..pod("web", None).metadata.clone() };
        let owned = ["web-0", "web-12", "web", "web-", "web-x", "other-0", "web-1-0"]
            .map(|name| selects(&set, "Pod", &named(name)));
        assert_eq!(owned, [true, true, false, false, false, false, false]);
        assert!(selects(&set, "ControllerRevision", &named("web-6bf2c")));
        assert_eq!(
            (ordinal_of("a-b-7"), ordinal_of("a--7"), ordinal_of("a-99999999999")),
            (Some(("a-b", 7)), Some(("a-", 7)), None)
        );
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        let controller: ReplicationController =
            serde_json::from_value(json!({"metadata": {"namespace": "a"}, "spec": {}})).unwrap();
        assert!(!selects(&controller, "Pod", &pod("web", None).metadata));
        assert!(selects(&set("web"), "Pod", &pod("web", None).metadata));
    }
}
