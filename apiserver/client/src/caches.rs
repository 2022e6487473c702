//! One reflector a kind a process: everybody who needs to know the objects of a kind holds the same cache of them.
//!
//! A [`Caches`] belongs to one client, and so to one identity: what its holder may not list, no cache shows. The first who
//! asks for a kind starts the list and the watch, the others share it, and with the last holder it ends. An object is held
//! once, behind an `Arc`, however many indexes name it and however many loops look at it.
//!
//! Guarantees: a holder sees states that the server had, each object's in order; after [`Cache::synced`] all that was there
//! when the first list was made. Not guaranteed: that it is the present. [`crate::expect`] keeps decisions off caches that do
//! not show one's own last write. Managed fields are not kept: nobody decides by them, and they are half of an object.
//!
//! ```no_run
//! # async fn show(client: kube::Client) {
//! use k8s_openapi::api::core::v1::Pod;
//! let caches = skiff_client::Caches::new(client);
//! let pods = caches.all::<Pod>();
//! pods.synced().await;
//! let here = pods.on_node("n1");
//! let told = pods.subscribe(|change| println!("{:?}", change.meta().name));
//! # drop((here, told));
//! # }
//! ```

mod follow; // list and watch, for as long as anybody holds it
mod shared; // what the holders share
mod store; // the objects and their indexes; no I/O

use crate::expect::{Position, Seen};
use follow::{PACE, Pace, Read, Source};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta, Selector, SelectorExt};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use shared::{Place, Shared};
use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use store::{Shown, Store, Term, Turn};
use tokio::sync::Notify;

/// What a kind must be for a cache to hold it: every kind of k8s-openapi is.
pub trait Kept: Resource<DynamicType = ()> + DeserializeOwned + Debug + Any + Send + Sync {}

impl<K: Resource<DynamicType = ()> + DeserializeOwned + Debug + Any + Send + Sync> Kept for K {}

/// The caches of one client; clones are the same.
#[derive(Clone)]
pub struct Caches {
    client: Client,
    known: Arc<Mutex<HashMap<Key, Weak<Shared>>>>,
    pace: Pace,
}

/// What is followed: where it is, which of it, and whether only its metadata.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    path: String,
    fields: Option<String>,
    metadata: bool,
    /// As what its objects are read: who reads them otherwise needs a cache of its own.
    kind: Option<TypeId>,
}

impl Caches {
    /// Caches of what `client` may see; nothing is asked for yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, known: Arc::default(), pace: PACE }
    }

    /// All objects of a kind.
    #[must_use]
    pub fn all<K: Kept>(&self) -> Cache<K> {
        self.typed(K::url_path(&(), None), None)
    }

    /// The objects of a kind in one namespace.
    #[must_use]
    pub fn within<K: Kept>(&self, namespace: &str) -> Cache<K> {
        self.typed(K::url_path(&(), Some(namespace)), None)
    }

    /// The objects of a kind that a field selector chooses, in all namespaces.
    #[must_use]
    pub fn chosen<K: Kept>(&self, fields: &str) -> Cache<K> {
        self.typed(K::url_path(&(), None), Some(fields.to_owned()))
    }

    /// One object by name; `namespace` is `None` for a kind without.
    #[must_use]
    pub fn one<K: Kept>(&self, namespace: Option<&str>, name: &str) -> Cache<K> {
        self.typed(K::url_path(&(), namespace), Some(format!("metadata.name={name}")))
    }

    /// The metadata of all objects of a resource. Whoever holds the objects themselves shares them with this cache.
    #[must_use]
    pub fn metadata(&self, resource: &ApiResource) -> MetadataCache {
        let path = DynamicObject::url_path(resource, None);
        let is_whole = |key: &Key| key.path == path && key.fields.is_none() && !key.metadata;
        let held = self.lock().iter().filter(|(key, _)| is_whole(key)).find_map(|(_, shared)| shared.upgrade());
        let only = Key { path, fields: None, metadata: true, kind: None };
        MetadataCache {
            shared: held.unwrap_or_else(|| self.shared(only, Read::of::<PartialObjectMeta<DynamicObject>>())),
        }
    }

    fn typed<K: Kept>(&self, path: String, fields: Option<String>) -> Cache<K> {
        let key = Key { path, fields, metadata: false, kind: Some(TypeId::of::<K>()) };
        Cache { shared: self.shared(key, Read::of::<K>()), kind: PhantomData }
    }

    fn shared(&self, key: Key, read: Read) -> Arc<Shared> {
        let mut known = self.lock();
        if let Some(shared) = known.get(&key).and_then(Weak::upgrade) {
            return shared;
        }
        known.retain(|_, shared| shared.strong_count() > 0);
        let shared = Arc::new(Shared::new());
        let source = Source { path: key.path.clone(), fields: key.fields.clone(), metadata: key.metadata, read };
        let following = follow::follow(self.client.clone(), source, Arc::downgrade(&shared), self.pace);
        shared.kept_by(tokio::spawn(following).abort_handle());
        known.insert(key, Arc::downgrade(&shared));
        shared
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Weak<Shared>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The objects of one kind, or some of them; clones are the same.
pub struct Cache<K> {
    shared: Arc<Shared>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), kind: PhantomData }
    }
}

impl<K: Kept> Cache<K> {
    /// Waits until the first list has come, for as long as that takes.
    pub async fn synced(&self) {
        synced(&self.shared).await;
    }

    /// The object of that name. `namespace` is empty for a kind without.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.shared.ask(|store| store.get(namespace, name)).and_then(typed)
    }

    /// All of them, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        self.ask(Store::all)
    }

    /// Those of one namespace.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Vec<Arc<K>> {
        self.ask(|store| store.by(Term::Namespace(namespace)))
    }

    /// Those that name an owner with this uid.
    #[must_use]
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.ask(|store| store.by(Term::Owner(uid)))
    }

    /// The pods on a node.
    #[must_use]
    pub fn on_node(&self, node: &str) -> Vec<Arc<K>> {
        self.ask(|store| store.by(Term::Node(node)))
    }

    /// Those of a namespace with all of these labels; without labels all of the namespace.
    #[must_use]
    pub fn labelled(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<Arc<K>> {
        let has = |object: &Shown| {
            let own = object.meta().labels.as_ref();
            labels.iter().all(|(key, value)| own.and_then(|own| own.get(key)) == Some(value))
        };
        self.fitting(namespace, labels, &has)
    }

    /// Those of a namespace that a selector chooses; an empty selector chooses all, one that does not parse none.
    #[must_use]
    pub fn selected(&self, namespace: &str, selector: &LabelSelector) -> Vec<Arc<K>> {
        let Ok(full) = Selector::try_from(selector.clone()) else { return Vec::new() };
        let none = BTreeMap::new();
        let fits = |object: &Shown| full.matches(object.meta().labels.as_ref().unwrap_or(&none));
        self.fitting(namespace, selector.match_labels.as_ref().unwrap_or(&none), &fits)
    }

    /// Looks among those with the first of `labels` only.
    fn fitting(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        fits: &dyn Fn(&Shown) -> bool,
    ) -> Vec<Arc<K>> {
        let term = labels.iter().next();
        let term = term.map_or(Term::Namespace(namespace), |(key, value)| Term::Label(namespace, key, value));
        self.ask(|store| {
            let mut found = store.by(term);
            found.retain(|object| fits(object));
            found
        })
    }

    /// Tells `handler` of every object there is, then of every change, in order; each is in the cache already. It is called
    /// by the task that follows the server and must not block. Nothing is told any more once the subscription is dropped.
    pub fn subscribe(&self, handler: impl Fn(Change<'_, K>) + Send + Sync + 'static) -> Subscription {
        let handler = Box::new(move |turn: &Turn| {
            let Turn { before, now } = turn.clone();
            let (before, now) = (before.and_then(typed::<K>), now.and_then(typed::<K>));
            handler(Change { before: before.as_ref(), now: now.as_ref() });
        });
        let number = self.shared.subscribe(handler);
        Subscription { _place: Place { shared: Arc::clone(&self.shared), number } }
    }

    /// Wakes `who` for every object there is and at every change, as [`Cache::subscribe`] tells of them.
    pub fn wakes(&self, who: &Arc<Notify>) -> Subscription {
        let who = Arc::clone(who);
        self.subscribe(move |_| who.notify_one())
    }

    /// The cache as expectations look at it.
    #[must_use]
    pub fn seen(&self) -> Arc<dyn Seen> {
        self.shared.clone()
    }

    /// How far it reaches.
    #[must_use]
    pub fn position(&self) -> Position {
        self.shared.position()
    }

    fn ask(&self, question: impl FnOnce(&Store) -> Vec<Shown>) -> Vec<Arc<K>> {
        self.shared.ask(question).into_iter().filter_map(typed).collect()
    }
}

fn typed<K: Any + Send + Sync>(object: Shown) -> Option<Arc<K>> {
    let any: Arc<dyn Any + Send + Sync> = object;
    any.downcast().ok()
}

async fn synced(shared: &Shared) {
    // The sender lives as long as `shared`.
    let mut positions = shared.positions();
    let _position = positions.wait_for(Position::is_synced).await;
}

/// One change: what an object was, and what it is. At least one of them is there.
pub struct Change<'a, K> {
    /// `None`: it was not there, or not known.
    pub before: Option<&'a Arc<K>>,
    /// `None`: it is gone.
    pub now: Option<&'a Arc<K>>,
}

impl<K: Resource> Change<'_, K> {
    /// The metadata as they are, or as they last were.
    #[must_use]
    pub fn meta(&self) -> &ObjectMeta {
        static NOTHING: std::sync::LazyLock<ObjectMeta> = std::sync::LazyLock::new(ObjectMeta::default);
        self.now.or(self.before).map_or(&NOTHING, |object| object.meta())
    }
}

/// Keeps a handler subscribed, and its cache followed.
#[must_use = "a handler is told nothing once its subscription is dropped"]
pub struct Subscription {
    _place: Place,
}

/// The metadata of the objects of one resource.
pub struct MetadataCache {
    shared: Arc<Shared>,
}

impl MetadataCache {
    /// Waits until the first list has come.
    pub async fn synced(&self) {
        synced(&self.shared).await;
    }

    /// How many objects there are in a namespace.
    #[must_use]
    pub fn count(&self, namespace: &str) -> usize {
        self.shared.ask(|store| store.by(Term::Namespace(namespace))).len()
    }

    /// As [`Cache::subscribe`], with the metadata before and now.
    pub fn subscribe(
        &self,
        handler: impl Fn(Option<&ObjectMeta>, Option<&ObjectMeta>) + Send + Sync + 'static,
    ) -> Subscription {
        let number = self.shared.subscribe(Box::new(move |turn| {
            handler(turn.before.as_ref().map(|one| one.meta()), turn.now.as_ref().map(|one| one.meta()));
        }));
        Subscription { _place: Place { shared: Arc::clone(&self.shared), number } }
    }
}

#[cfg(test)]
mod tests;
