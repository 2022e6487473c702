//! Gateway API, as soon as its definitions are installed, and for as long.

use super::Wake;
use crate::gateway::{GROUP, Object, World};
use crate::objects::{GRPCRoute, Gateway, GatewayClass, HTTPRoute, ReferenceGrant};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{ApiResource, GroupVersionKind};
use skiff_client::loose::{Loose, Named};
use skiff_client::{Cache, Caches, MetadataCache, Subscription};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// How long rules wait for the objects of a kind that has just been defined.
const FIRST_MAX: Duration = Duration::from_secs(2);

/// The plurals of our group that are defined.
type Defined = Arc<Mutex<BTreeSet<String>>>;

/// The objects of one kind, while it is defined.
struct Kind<T: Named>(Option<(Cache<Loose<T>>, Subscription)>);

impl<T: Named> Kind<T> {
    /// Follows it or not.
    async fn set(&mut self, defined: &BTreeSet<String>, cache: impl FnOnce() -> Cache<Loose<T>>, wake: &Wake) {
        match (defined.contains(T::NAMES[3]), self.0.is_some()) {
            (true, false) => {
                let (cache, wake) = (cache(), wake.clone());
                let subscription = cache.subscribe(move |_| wake.routes());
                let _wakes_when_they_come = timeout(FIRST_MAX, cache.synced()).await;
                self.0 = Some((cache, subscription));
            }
            (false, true) => self.0 = None,
            _ => {}
        }
    }

    fn all(&self) -> Vec<Arc<Loose<T>>> {
        self.0.as_ref().map(|(cache, _)| cache.all()).unwrap_or_default()
    }
}

fn objects<T>(all: &[Arc<Loose<T>>]) -> Vec<Object<'_>> {
    all.iter().map(|one| Object { meta: &one.metadata, fields: &one.fields }).collect()
}

/// All kinds of Gateway API.
pub(super) struct Gateways {
    caches: Caches,
    wake: Wake,
    defined: Defined,
    classes: Kind<crate::objects::OfGatewayClasses>,
    gateways: Kind<crate::objects::OfGateways>,
    http_routes: Kind<crate::objects::OfHttpRoutes>,
    grpc_routes: Kind<crate::objects::OfGrpcRoutes>,
    grants: Kind<crate::objects::OfGrants>,
    namespaces: Option<Cache<Namespace>>,
    _definitions: (MetadataCache, Subscription),
}

impl Gateways {
    pub(super) fn new(caches: &Caches, wake: Wake) -> Self {
        let of_definitions = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        let definitions = caches.metadata(&ApiResource::from_gvk(&of_definitions));
        let defined = Defined::default();
        let (to, who) = (Arc::clone(&defined), wake.clone());
        let plural = |name: Option<&String>| Some(name?.strip_suffix(GROUP)?.strip_suffix('.')?.to_owned());
        let subscription = definitions.subscribe(move |before, now| {
            let named = now.or(before).and_then(|meta| plural(meta.name.as_ref()));
            let Some(plural) = named else { return };
            let mut all = to.lock().unwrap_or_else(PoisonError::into_inner);
            let is_change = if now.is_some() { all.insert(plural) } else { all.remove(&plural) };
            drop(all);
            if is_change {
                who.routes();
            }
        });
        Self {
            caches: caches.clone(),
            wake,
            defined,
            classes: Kind(None),
            gateways: Kind(None),
            http_routes: Kind(None),
            grpc_routes: Kind(None),
            grants: Kind(None),
            namespaces: None,
            _definitions: (definitions, subscription),
        }
    }

    /// Whether there is anything to look at.
    pub(super) fn is_active(&self) -> bool {
        self.gateways.0.is_some() && self.classes.0.is_some()
    }

    /// Follows what is defined now.
    pub(super) async fn look(&mut self) {
        let defined = self.defined.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if defined.is_empty() && !self.is_active() {
            return;
        }
        let (caches, wake) = (&self.caches, &self.wake);
        self.classes.set(&defined, || caches.all::<GatewayClass>(), wake).await;
        self.gateways.set(&defined, || caches.all::<Gateway>(), wake).await;
        self.http_routes.set(&defined, || caches.all::<HTTPRoute>(), wake).await;
        self.grpc_routes.set(&defined, || caches.all::<GRPCRoute>(), wake).await;
        self.grants.set(&defined, || caches.all::<ReferenceGrant>(), wake).await;
        if self.namespaces.is_none() && self.is_active() {
            let namespaces = caches.all::<Namespace>();
            let _their_labels_count_when_they_come = timeout(FIRST_MAX, namespaces.synced()).await;
            self.namespaces = Some(namespaces);
        }
    }

    /// Shows them all; `rest` has what else decides.
    pub(super) fn show<R>(&self, rest: World<'_>, look: impl FnOnce(&World<'_>) -> R) -> R {
        let (classes, gateways) = (self.classes.all(), self.gateways.all());
        let (http, grpc, grants) = (self.http_routes.all(), self.grpc_routes.all(), self.grants.all());
        let labels = |namespace: &str| -> BTreeMap<String, String> {
            let found = self.namespaces.as_ref().and_then(|all| all.get("", namespace));
            found.and_then(|found| found.metadata.labels.clone()).unwrap_or_default()
        };
        look(&World {
            classes: objects(&classes),
            gateways: objects(&gateways),
            http_routes: objects(&http),
            grpc_routes: objects(&grpc),
            grants: objects(&grants),
            labels: &labels,
            missing: rest.missing,
            wrong: rest.wrong,
            refused: rest.refused,
            addresses: rest.addresses,
        })
    }
}
