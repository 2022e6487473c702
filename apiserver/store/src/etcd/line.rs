//! Waiting in line: what Lock and Election are made of.
//!
//! Whoever wants something puts a key below its name that lives by a lease; who came first, by the revision that made the key, has
//! it, and the others wait until every key before theirs is gone. Clients that build locks themselves do the same with the same
//! keys, so both kinds wait in one line.

use super::Service;
use crate::core::Core;
use crate::hub::{Group, Moment};
use crate::keys::KeyRange;
use crate::record::Record;
use crate::request::{
    Compare, Delete, Direction, Done, Op, Put, Range, Ranged, Refusal, Relation, SortBy, Target, Txn, TxnDone,
};
use crate::watch::{Wants, Watcher};
use crate::{Revision, Store};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// Seconds that a place lives if the client brings no lease: etcd's.
const TTL_SECONDS: i64 = 60;

/// A place in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The key that holds it.
    pub key: Bytes,
    /// The revision that made it.
    pub created: Revision,
    /// What it lives by.
    pub lease: i64,
}

impl Place {
    fn is_ours(&self) -> Compare {
        let keys = KeyRange::single(self.key.clone());
        Compare { keys, target: Target::Created(self.created), relation: Relation::Equal }
    }

    /// Gives it up, if it is still held.
    pub(super) async fn leave(&self, store: &Store) -> Result<TxnDone, Refusal> {
        let gone = Op::Delete(Delete { keys: KeyRange::single(self.key.clone()), want_previous: false });
        store.txn(Txn { compares: vec![self.is_ours()], success: vec![gone], failure: vec![] }).await
    }

    /// Writes a value into it; `None`: it is no longer held.
    pub(super) async fn say(&self, store: &Store, value: Bytes) -> Result<Option<TxnDone>, Refusal> {
        let put = Put { key: self.key.clone(), value: Some(value), lease: Some(self.lease), want_previous: false };
        let done =
            store.txn(Txn { compares: vec![self.is_ours()], success: vec![Op::Put(put)], failure: vec![] }).await?;
        Ok(done.succeeded.then_some(done))
    }

    /// Whether it is still held, and the store's revision when that was so.
    pub(super) async fn held_at(&self, store: &Store) -> Result<Option<Revision>, Refusal> {
        let found = store.range(Range::of(KeyRange::single(self.key.clone()))).await?;
        Ok(found.records.iter().any(|record| record.created == self.created).then_some(found.revision))
    }
}

/// What a name's keys begin with.
pub(super) fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// Gets into the line of `name` with a lease (0: one of our own), or finds the place that the lease already has.
///
/// Returns also what stood in that place, and the revision.
pub(super) async fn enter(
    store: &Store,
    name: &[u8],
    lease: i64,
    value: Bytes,
) -> Result<(Place, Option<Record>, Revision), Refusal> {
    let lease = session(store, lease).await?;
    let sign = if lease < 0 { "-" } else { "" };
    let key: Bytes = [&prefix(name)[..], format!("{sign}{:x}", lease.unsigned_abs()).as_bytes()].concat().into();
    let keys = KeyRange::single(key.clone());
    let put = Put { key: key.clone(), value: Some(value), lease: Some(lease), want_previous: false };
    let done = store
        .txn(Txn {
            compares: vec![Compare { keys: keys.clone(), target: Target::Created(0), relation: Relation::Equal }],
            success: vec![Op::Put(put)],
            failure: vec![Op::Range(Range::of(keys))],
        })
        .await?;
    let there = match done.done.into_iter().next() {
        Some(Done::Range(found)) => found.records.into_iter().next(),
        _ => None,
    };
    let created = there.as_ref().map_or(done.revision, |there| there.created);
    Ok((Place { key, created, lease }, there, done.revision))
}

/// A lease whose life begins anew, as etcd's sessions do it; 0: a new one. Whether it exists is seen when it is used.
async fn session(store: &Store, lease: i64) -> Result<i64, Refusal> {
    if lease == 0 {
        return Ok(store.grant(0, TTL_SECONDS).await?.0);
    }
    let _seen_when_used = store.core().leases().keep_alive(lease, Instant::now());
    Ok(lease)
}

/// Returns when no key of the line is older than `created`.
pub(super) async fn wait(store: &Store, name: &[u8], created: Revision) -> Result<(), Refusal> {
    loop {
        let before = Range {
            created: (0, created - 1),
            sort: Some((SortBy::Created, Direction::Descending)),
            limit: 1,
            ..Range::of(KeyRange::prefix(&prefix(name), None))
        };
        let found = store.range(before).await?;
        let Some(next) = found.records.into_iter().next() else { return Ok(()) };
        let mut followed = Followed::from(store.core(), KeyRange::single(next.key), found.revision + 1);
        while !followed.next().await?.iter().any(ends) {}
    }
}

fn ends(moment: &Moment) -> bool {
    moment.changes.iter().any(|change| change.record.is_tombstone())
}

/// The first of a line.
pub(super) async fn first(store: &Store, name: &[u8]) -> Result<Ranged, Refusal> {
    let sort = Some((SortBy::Created, Direction::Ascending));
    store.range(Range { sort, limit: 1, ..Range::of(KeyRange::prefix(&prefix(name), None)) }).await
}

/// A watch of one's own.
pub(super) struct Followed {
    group: Arc<Group>,
    watcher: Watcher,
}

impl Followed {
    /// Of `keys` from revision `start` on.
    pub(super) fn from(core: &Arc<Core>, keys: KeyRange, start: Revision) -> Self {
        let group = Arc::new(Group::default());
        Followed { watcher: Watcher::add(core, keys, start, Wants::default(), &group), group }
    }

    /// What happens next.
    pub(super) async fn next(&mut self) -> Result<Vec<Moment>, Refusal> {
        loop {
            let moments = self.watcher.take().await?;
            if !moments.is_empty() {
                return Ok(moments);
            }
            self.group.ready().await;
        }
    }
}

/// Leaves the line when the client goes away while it waits.
pub(super) struct Waiting {
    service: Service,
    place: Option<Place>,
}

impl Waiting {
    /// Until [`Waiting::done`].
    pub(super) fn at(service: &Service, place: &Place) -> Self {
        Waiting { service: service.clone(), place: Some(place.clone()) }
    }

    /// The place is kept.
    pub(super) fn done(mut self) {
        self.place = None;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let store = self.service.store.clone();
        // Refused: the store is closed; the lease ends the place later.
        tokio::spawn(async move { place.leave(&store).await.map(|_| ()) });
    }
}
