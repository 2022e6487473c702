//! What the HTTPS API may know of the pods: each worker posts its view here.

use crate::pod::observed::Observed;
use crate::pod::worker::{Event, Inbox};
use k8s_openapi::api::core::v1::Pod;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// One pod's view.
#[derive(Clone)]
pub(crate) struct Posted {
    /// The object with the status last computed.
    pub(crate) pod: Arc<Pod>,
    /// What the runtime has of it.
    pub(crate) seen: Arc<Observed>,
    /// Where its worker hears of things.
    pub(crate) inbox: Inbox,
}

/// All views, by uid.
#[derive(Default)]
pub(crate) struct Board(RwLock<HashMap<String, Posted>>);

impl Board {
    /// Replaces the view of the pod `uid`.
    pub(crate) fn post(&self, uid: &str, posted: Posted) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), posted);
    }

    /// Takes the view of the pod `uid` down.
    pub(crate) fn remove(&self, uid: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// The pod of that name; with several of it, the one that is not being deleted.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Posted> {
        let matches = |posted: &&Posted| {
            let meta = &posted.pod.metadata;
            meta.namespace.as_deref() == Some(namespace) && meta.name.as_deref() == Some(name)
        };
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.values().filter(matches).min_by_key(|posted| posted.pod.metadata.deletion_timestamp.is_some()).cloned()
    }

    /// The view of `pod`.
    pub(crate) fn of(&self, pod: &Pod) -> Option<Posted> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(pod.metadata.uid.as_deref()?).cloned()
    }

    /// Tells the worker of the pod `uid` something, if there is one.
    pub(crate) fn tell(&self, uid: &str, event: Event) {
        if let Some(posted) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(uid) {
            // A worker that has just ended has nothing to do any more.
            let _ended = posted.inbox.send(event);
        }
    }

    /// All views.
    pub(crate) fn all(&self) -> Vec<Posted> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
