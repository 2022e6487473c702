//! One loop: names of objects that events put into a queue, each reconciled on caches that show its own last writes.

use crate::context::{Context, ControllerError, On, absent_is_none, is_of_terminating_namespace, is_status};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde::Serialize;
use serde_json::{Value, json};
use skiff_client::expect::Expectations;
use skiff_client::loose::{Loose, Named};
use skiff_client::{Cache, Change, Kept, Key, Queue, Subscription};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a failed reconciliation waits before the next try: first, and after many failures in a row.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// The same after a conflict (somebody else wrote first), which is over as soon as the cache has heard of it.
const CONFLICT_MIN: Duration = Duration::from_millis(20);
/// A burst of pod events becomes one reconciliation. Longer would show in how fast a deployment settles.
const DEBOUNCE: Duration = Duration::from_millis(5);
/// How many objects of one kind are reconciled at the same time.
const CONCURRENCY: usize = 8;
/// When to look again whether a loop's own writes show, should no event say so.
const UNSEEN: Duration = Duration::from_secs(1);

/// When to look at an object again though nothing happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    OnChange,
    After(Duration),
}

impl Again {
    /// After `wait`, if there is one.
    pub(crate) fn within(wait: Option<jiff::SignedDuration>) -> Self {
        wait.and_then(|wait| wait.try_into().ok()).map_or(Self::OnChange, Self::After)
    }
}

pub(crate) type Outcome = Result<Again, ControllerError>;

/// What a loop has written and not seen yet; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Own(Arc<Mutex<Expectations<Key>>>);

impl Own {
    /// `object` is the server's answer to a write about `key`; its kind's cache is `cache`.
    pub(crate) fn wrote<K: Kept>(&self, key: &Key, cache: &Cache<K>, object: &K) {
        let revision = object.meta().resource_version.as_deref();
        self.lock().wrote(key.clone(), cache.seen(), revision, Instant::now());
    }

    /// `object` was deleted on behalf of `key`.
    pub(crate) fn deleted<K: Kept>(&self, key: &Key, cache: &Cache<K>, object: &K) {
        let meta = object.meta();
        let text = |text: &'_ Option<String>| text.clone().unwrap_or_default();
        let (namespace, name, uid) = (text(&meta.namespace), text(&meta.name), text(&meta.uid));
        self.lock().deleted(key.clone(), cache.seen(), (&namespace, &name, &uid), Instant::now());
    }

    /// Deletes `object` on behalf of `key`, and none that has come in its place meanwhile; whether it was still there.
    pub(crate) async fn delete<K: Kept + Clone>(
        &self,
        api: &Api<K>,
        key: &Key,
        cache: &Cache<K>,
        object: &K,
        options: DeleteParams,
    ) -> Result<bool, kube::Error> {
        let meta = object.meta();
        let same = Preconditions { uid: meta.uid.clone(), resource_version: None };
        let gone = api.delete(meta.name.as_deref().unwrap_or_default(), &options.preconditions(same)).await;
        let was_there = absent_is_none(gone)?.is_some();
        if was_there {
            self.deleted(key, cache, object);
        }
        Ok(was_there)
    }

    /// Writes `status` as a merge patch into the object that `key` names; it may be gone already.
    pub(crate) async fn patch_status<K: Kept + Clone>(
        &self,
        api: &Api<K>,
        key: &Key,
        cache: &Cache<K>,
        status: Value,
    ) -> Result<(), ControllerError> {
        let patch = Patch::Merge(json!({ "status": status }));
        let written = api.patch_status(&key.name, &PatchParams::default(), &patch).await;
        self.wrote_status(key, cache, written).map(drop)
    }

    /// Writes the status of `wanted`, whose version is a precondition; `None`: the object is gone.
    pub(crate) async fn replace_status<K: Kept + Clone + Serialize>(
        &self,
        api: &Api<K>,
        key: &Key,
        cache: &Cache<K>,
        wanted: &K,
    ) -> Result<Option<K>, ControllerError> {
        let written = api.replace_status(&key.name, &PostParams::default(), wanted).await;
        self.wrote_status(key, cache, written)
    }

    fn wrote_status<K: Kept>(
        &self,
        key: &Key,
        cache: &Cache<K>,
        written: Result<K, kube::Error>,
    ) -> Result<Option<K>, ControllerError> {
        let kind = || K::kind(&()).to_lowercase();
        let written = absent_is_none(written).on(|| format!("write status of {} {key}", kind()))?;
        if let Some(written) = &written {
            self.wrote(key, cache, written);
        }
        Ok(written)
    }

    fn are_seen(&self, key: &Key) -> bool {
        self.lock().are_met(key, Instant::now())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Expectations<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A loop that is being put together.
pub(crate) struct Loop {
    pub(crate) context: Context,
    pub(crate) own: Own,
    queue: Queue,
    subscriptions: Vec<Subscription>,
    synced: Vec<BoxFuture<'static, ()>>,
}

impl Loop {
    pub(crate) fn new(context: Context) -> Self {
        let queue = Queue::named(DEBOUNCE, crate::work_queue::name(context.account));
        Self { context, own: Own::default(), queue, subscriptions: Vec::new(), synced: Vec::new() }
    }

    /// Where names are put that no cache of the loop brings.
    pub(crate) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Looks at every object of a kind when it changes.
    pub(crate) fn over<K: Kept>(&mut self) -> Cache<K> {
        let cache = self.context.caches.all();
        self.when(&cache, |change| vec![Key::of(change.meta())]);
        cache
    }

    /// Looks at the objects that `concerned` names when one of `cache` changes.
    pub(crate) fn when<K: Kept>(
        &mut self,
        cache: &Cache<K>,
        concerned: impl Fn(Change<'_, K>) -> Vec<Key> + Send + Sync + 'static,
    ) {
        let queue = self.queue.clone();
        self.subscriptions.push(cache.subscribe(move |change| {
            for key in concerned(change) {
                queue.add(key);
            }
        }));
        self.needs(cache);
    }

    /// Looks at every object of a kind when it comes, goes, or its specification changes: the status, which we write, is no reason to look
    /// again.
    pub(crate) fn over_specs<N: Named>(&mut self) -> Cache<Loose<N>>
    where
        Loose<N>: Kept,
    {
        let cache = self.context.caches.all();
        self.when(&cache, |change: Change<'_, Loose<N>>| {
            let [before, now] = [change.before, change.now].map(|one| one.map(|one| &one.fields["spec"]));
            if before == now { Vec::new() } else { vec![Key::of(change.meta())] }
        });
        cache
    }

    /// Waits for `cache` before anything is decided.
    pub(crate) fn needs<K: Kept>(&mut self, cache: &Cache<K>) {
        let cache = cache.clone();
        self.synced.push(async move { cache.synced().await }.boxed());
    }

    /// Reconciles with `reconcile` until `shutdown`; errors are logged here, once, and tried again.
    pub(crate) async fn run(
        self,
        shutdown: CancellationToken,
        reconcile: impl Fn(Key) -> BoxFuture<'static, Outcome> + Send + Sync,
    ) {
        let Self { own, queue, subscriptions, synced, .. } = self;
        tokio::select! {
            () = shutdown.cancelled() => return,
            _all = futures::future::join_all(synced) => {}
        }
        drive(&own, &queue, &shutdown, &reconcile).await;
        drop(subscriptions);
    }
}

/// Compiled once for all loops.
async fn drive(
    own: &Own,
    queue: &Queue,
    shutdown: &CancellationToken,
    reconcile: &(dyn Fn(Key) -> BoxFuture<'static, Outcome> + Send + Sync),
) {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some((key, outcome)) = running.next() => settle(queue, &key, outcome),
            key = queue.next(), if running.len() < CONCURRENCY => {
                if own.are_seen(&key) {
                    let done = reconcile(key.clone());
                    running.push(async move { (key, done.await) });
                } else {
                    queue.done(&key, false);
                    queue.add_after(key, UNSEEN);
                }
            }
        }
    }
    // What is half done is not cut off: another loop may begin where this one ended.
    while running.next().await.is_some() {}
}

fn settle(queue: &Queue, key: &Key, outcome: Outcome) {
    let failed = queue.done(key, outcome.is_err());
    let again = match outcome {
        Ok(Again::OnChange) => None,
        Ok(Again::After(wait)) => Some(wait),
        Err(error) => {
            log(key, &error);
            wait_after(&error, failed)
        }
    };
    if let Some(wait) = again {
        queue.add_after(key.clone(), wait);
    }
}

/// How long to wait after an error, the `failed`th in a row.
fn wait_after(error: &ControllerError, failed: u32) -> Option<Duration> {
    let first = match error {
        ControllerError::Api { source, .. } if is_of_terminating_namespace(source) => return None,
        // The object changed or went away under us: its own event brings us back.
        ControllerError::Api { source, .. } if is_status(source, 409) || is_status(source, 404) => CONFLICT_MIN,
        _ => RETRY_MIN,
    };
    Some((first * 2_u32.saturating_pow(failed.saturating_sub(1).min(16))).min(RETRY_MAX))
}

fn log(key: &Key, error: &ControllerError) {
    match error {
        ControllerError::Api { source, operation }
            if is_status(source, 409) || is_status(source, 404) || is_of_terminating_namespace(source) =>
        {
            tracing::debug!(object = %key, %operation, error = skiff_client::sentence(source), "will look again");
        }
        error => tracing::warn!(object = %key, error = skiff_client::sentence(error), "reconciliation failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Fault N5, its sibling: what cannot be made because its namespace is going is not tried again and again.
    #[test]
    fn a_terminating_namespace_is_no_error() {
        let refusal = |reason: &str| {
            let status = json!({"status": "Failure", "message": "", "reason": "Forbidden", "code": 403,
                "details": {"causes": [{"reason": reason, "message": "", "field": "metadata.namespace"}]}});
            kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))
        };
        assert!(is_of_terminating_namespace(&refusal("NamespaceTerminating")));
        assert!(!is_of_terminating_namespace(&refusal("Other")));
        let error = ControllerError::Api { operation: String::new(), source: refusal("NamespaceTerminating") };
        assert_eq!(wait_after(&error, 1), None);
    }
}
