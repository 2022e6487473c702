//! Services and endpoint slices to pools.

use crate::endpoints::{Found, Missing, find};
use crate::pool::Pool;
use crate::route::Backend;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use skiff_client::{Cache, Caches, Subscription};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// The label of a slice that names its service.
const OF_SERVICE: &str = "kubernetes.io/service-name";

/// Namespace and name of services that changed.
type Changed = Arc<Mutex<HashSet<(String, String)>>>;

/// The pools of all backends that rules lead to.
pub(super) struct Backends {
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    changed: Changed,
    /// Whether services came or went since somebody asked: a route to one that is not there is another one.
    services_changed: Arc<AtomicBool>,
    pools: HashMap<Backend, Known>,
    /// Those that were asked for since [`Backends::begin`].
    asked: HashSet<Backend>,
    _subscriptions: [Subscription; 2],
}

struct Known {
    pool: Arc<Pool>,
    missing: Option<Missing>,
}

impl Backends {
    pub(super) fn new(caches: &Caches, wakes: &Arc<Notify>) -> Self {
        let (services, slices) = (caches.all::<Service>(), caches.all::<EndpointSlice>());
        let changed = Changed::default();
        let note = |changed: &Changed, namespace: Option<&String>, name: Option<&String>, wakes: &Notify| {
            if let (Some(namespace), Some(name)) = (namespace, name) {
                let key = (namespace.clone(), name.clone());
                changed.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
                wakes.notify_one();
            }
        };
        let services_changed = Arc::new(AtomicBool::new(false));
        let (to, who, came) = (Arc::clone(&changed), Arc::clone(wakes), Arc::clone(&services_changed));
        let of_services = services.subscribe(move |change| {
            came.store(true, Ordering::Release);
            let meta = change.meta();
            note(&to, meta.namespace.as_ref(), meta.name.as_ref(), &who);
        });
        let (to, who) = (Arc::clone(&changed), Arc::clone(wakes));
        let of_slices = slices.subscribe(move |change| {
            let meta = change.meta();
            let service = meta.labels.as_ref().and_then(|labels| labels.get(OF_SERVICE));
            note(&to, meta.namespace.as_ref(), service, &who);
        });
        let (pools, asked) = (HashMap::new(), HashSet::new());
        Self { services, slices, changed, services_changed, pools, asked, _subscriptions: [of_services, of_slices] }
    }

    pub(super) async fn synced(&self) {
        tokio::join!(self.services.synced(), self.slices.synced());
    }

    /// Fills the pools of services that changed; answers whether there were any.
    pub(super) fn refresh(&mut self) -> bool {
        let changed = std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner));
        let is_changed = |backend: &Backend| changed.contains(&(backend.namespace.clone(), backend.service.clone()));
        let touched: Vec<Backend> = self.pools.keys().filter(|backend| is_changed(backend)).cloned().collect();
        for backend in &touched {
            let found = self.find(backend);
            if let Some(known) = self.pools.get_mut(backend) {
                known.fill(found);
            }
        }
        !touched.is_empty()
    }

    /// Looks a backend up.
    pub(super) fn find(&self, backend: &Backend) -> Result<Found, Missing> {
        let service = self.services.get(&backend.namespace, &backend.service);
        let label = [(OF_SERVICE.to_owned(), backend.service.clone())].into();
        let slices = self.slices.labelled(&backend.namespace, &label);
        find(backend, service.as_deref(), &slices)
    }

    /// Whether services changed since this was asked.
    pub(super) fn services_changed(&self) -> bool {
        self.services_changed.swap(false, Ordering::AcqRel)
    }

    /// From here on it is noted which are asked for.
    pub(super) fn begin(&mut self) {
        self.asked.clear();
    }

    /// The pool of a backend, filled.
    pub(super) fn pool(&mut self, backend: &Backend) -> Arc<Pool> {
        self.asked.insert(backend.clone());
        if let Some(known) = self.pools.get(backend) {
            return Arc::clone(&known.pool);
        }
        let mut known = Known { pool: Arc::default(), missing: None };
        known.fill(self.find(backend));
        let pool = Arc::clone(&known.pool);
        self.pools.insert(backend.clone(), known);
        pool
    }

    /// Those that nobody asked for are forgotten; requests that are under way keep theirs.
    pub(super) fn end(&mut self) {
        let asked = &self.asked;
        self.pools.retain(|backend, _| asked.contains(backend));
    }

    /// Why nothing can stand behind a backend.
    pub(super) fn missing(&self, backend: &Backend) -> Option<&Missing> {
        self.pools.get(backend)?.missing.as_ref()
    }
}

impl Known {
    fn fill(&mut self, found: Result<Found, Missing>) {
        let (found, missing) = match found {
            Ok(found) => (found, None),
            Err(missing) => (Found::default(), Some(missing)),
        };
        self.pool.set(&found);
        self.missing = missing;
    }
}
