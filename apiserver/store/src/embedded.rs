//! The embedded store as the API server's [`Backend`].

use crate::Store;
use crate::backend::{
    Backend, BackendError, Change, Entry, Got, HEALTH_KEY, ListRange, Listed, Revision, Since, Swapped, WatchBatch,
};
use crate::hub::{self, Group, Moment, Ready};
use crate::keys::KeyRange;
use crate::record::Record;
use crate::request::{Compare, Delete, Done, Op, Put, Range, Refusal, Relation, Target, Txn, TxnDone};
use crate::ttl::{Buckets, SharesLeases};
use crate::watch::{Wants, Watcher};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use std::sync::Arc;

/// See the module.
pub(crate) struct Embedded {
    store: Store,
    buckets: Buckets,
}

impl Embedded {
    /// Over an open store.
    pub(crate) fn new(store: Store) -> Self {
        Embedded { store, buckets: Buckets::default() }
    }

    async fn swap(&self, key: Bytes, expected: Revision, then: Op) -> Result<Swapped, Refusal> {
        let keys = KeyRange::single(key);
        let compare = Compare { keys: keys.clone(), target: Target::Modified(expected), relation: Relation::Equal };
        let txn = Txn { compares: vec![compare], success: vec![then], failure: vec![Op::Range(Range::of(keys))] };
        Ok(swapped(self.store.txn(txn).await?))
    }
}

impl SharesLeases for Embedded {
    type Error = Refusal;

    fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    async fn grant(&self, ttl_seconds: i64) -> Result<i64, Refusal> {
        Ok(self.store.grant(0, ttl_seconds).await?.0)
    }

    async fn put_under(&self, key: Bytes, value: Bytes, expected: Revision, lease: i64) -> Result<Swapped, Refusal> {
        let put = Put { key: key.clone(), value: Some(value), lease: Some(lease), want_previous: false };
        self.swap(key, expected, Op::Put(put)).await
    }

    fn lost_lease(refusal: &Refusal) -> bool {
        matches!(refusal, Refusal::LeaseNotFound)
    }
}

fn swapped(txn: TxnDone) -> Swapped {
    match txn.done.into_iter().next() {
        Some(Done::Range(found)) => Swapped::Conflict(found.records.into_iter().next().map(entry)),
        _ => Swapped::Done(txn.revision),
    }
}

fn entry(record: Record) -> Entry {
    Entry { key: record.key, value: record.value, create_revision: record.created, mod_revision: record.at.revision }
}

impl From<Refusal> for BackendError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Compacted { oldest } => BackendError::Compacted { oldest },
            Refusal::Future { newest } => BackendError::Future { newest },
            Refusal::NoSpace => {
                BackendError::NoSpace("the quota of the store behind the API server is used up".to_owned())
            }
            Refusal::DiskFull(why) => BackendError::NoSpace(why),
            Refusal::Failed(why) => BackendError::Unavailable(why),
            other => BackendError::Internal(other.to_string()),
        }
    }
}

impl Backend for Embedded {
    fn get(&self, key: Bytes) -> BoxFuture<'_, Result<Got, BackendError>> {
        async move {
            let found = self.store.range(Range::of(KeyRange::single(key))).await?;
            Ok(Got { entry: found.records.into_iter().next().map(entry), revision: found.revision })
        }
        .boxed()
    }

    fn list(&self, range: ListRange) -> BoxFuture<'_, Result<Listed, BackendError>> {
        async move {
            let keys = KeyRange::prefix(&range.prefix, range.from);
            let asked = Range { revision: range.revision, limit: range.limit, ..Range::of(keys) };
            let found = self.store.range(asked).await?;
            let revision = if range.revision > 0 { range.revision } else { found.revision };
            let count = i64::try_from(found.count).unwrap_or(i64::MAX);
            Ok(Listed { entries: found.records.into_iter().map(entry).collect(), count, revision })
        }
        .boxed()
    }

    fn put(
        &self,
        key: Bytes,
        value: Bytes,
        expected: Revision,
        ttl_seconds: i64,
    ) -> BoxFuture<'_, Result<Swapped, BackendError>> {
        async move {
            if key.len() + value.len() > self.store.core().options.limits.request_bytes {
                return Err(BackendError::TooLarge);
            }
            Ok(self.put_for(key, value, expected, ttl_seconds).await?)
        }
        .boxed()
    }

    fn delete(&self, key: Bytes, expected: Revision) -> BoxFuture<'_, Result<Swapped, BackendError>> {
        async move {
            let then = Op::Delete(Delete { keys: KeyRange::single(key.clone()), want_previous: false });
            Ok(self.swap(key, expected, then).await?)
        }
        .boxed()
    }

    fn watch(&self, prefix: Bytes, after: Revision) -> BoxStream<'static, Result<WatchBatch, BackendError>> {
        let oldest = self.store.core().view().compacted;
        if after + 1 < oldest {
            // Even if the newest of it is still in memory: what is answered must not depend on that.
            return stream::once(futures::future::ready(Err(BackendError::Compacted { oldest }))).boxed();
        }
        let group = Arc::new(Group::default());
        let keys = KeyRange::prefix(&prefix, None);
        let watcher =
            Watcher::add(self.store.core(), keys, after + 1, Wants { previous: true, progress: true }, &group);
        stream::unfold(Some(Following { store: self.store.clone(), group, watcher, told: after }), step).boxed()
    }

    fn since(&self, prefix: &Bytes, after: Revision) -> Since {
        match self.store.core().hub.since(&KeyRange::prefix(prefix, None), after) {
            Some(newest) => Since::Nothing(newest),
            None => Since::Something,
        }
    }

    fn size_bytes(&self) -> BoxFuture<'_, Result<u64, BackendError>> {
        futures::future::ready(Ok(self.store.core().engine.disk_bytes())).boxed()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), BackendError>> {
        // One key is read from memory and the page cache: it needs no bound.
        async move { self.get(HEALTH_KEY).await.map(|_| ()) }.boxed()
    }
}

struct Following {
    store: Store,
    group: Arc<Group>,
    watcher: Watcher,
    /// The receiver knows that it has everything up to here.
    told: Revision,
}

type Followed = (Result<WatchBatch, BackendError>, Option<Following>);

async fn step(following: Option<Following>) -> Option<Followed> {
    let mut following = following?;
    loop {
        match following.watcher.take().await {
            Err(refusal) => return Some((Err(refusal.into()), None)),
            Ok(moments) if !moments.is_empty() => {
                following.told = moments.last().map_or(following.told, |moment| moment.revision);
                let changes = moments.into_iter().flat_map(changes).collect();
                return Some((Ok(WatchBatch::Changes(changes)), Some(following)));
            }
            Ok(_) => (),
        }
        if following.group.ready().await.contains(&Ready::Progress)
            && let Some(seen) = following.store.core().hub.all_seen(&[following.watcher.id()])
            && seen > following.told
        {
            following.told = seen;
            return Some((Ok(WatchBatch::Progress(seen)), Some(following)));
        }
    }
}

fn changes(moment: Moment) -> impl Iterator<Item = Change> {
    moment.changes.into_iter().filter_map(|change| {
        let hub::Change { record, previous } = Arc::unwrap_or_clone(change);
        let previous = previous.map(entry);
        if record.is_tombstone() {
            // Without what was deleted there is nothing to say; only a watch from a compacted deletion on gets here.
            Some(Change::Delete { previous: previous?, revision: record.at.revision })
        } else {
            Some(Change::Put { entry: entry(record), previous })
        }
    })
}
