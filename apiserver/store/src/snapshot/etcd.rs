//! What etcd has in its database, of a store of ours.
//!
//! ```text
//!  key     revision 8 · '_' · sub 8 (· 't': a deletion)  ->  KeyValue        lease      id 8        ->  Lease
//!  meta    consistent_index, term, confState, finishedCompactRev …           alarm      AlarmMember ->  nothing
//!  auth    authEnabled, authRevision                                         authUsers, authRoles   name -> User, Role
//!  cluster, members, members_removed: empty, because a restored etcd is a new cluster
//! ```
//!
//! Numbers are big-endian there, so that their order is that of the bytes.

use crate::bolt::write::{Bucket, Pages, Plan};
use crate::engine::{EngineError, decode};
use crate::etcd::words;
use crate::record::{Point, Record};
use crate::request::{Alarm, Raiser};
use crate::users;
use crate::writer::Still;
use bytes::{BufMut, Bytes};
use prost::Message;
use skiff_proto::etcd::{etcdserverpb as pb, mvccpb};
use std::ops::ControlFlow;

/// A lease as etcd keeps it (`leasepb.Lease`).
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Lease {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
    #[prost(int64, tag = "2")]
    pub(super) ttl_seconds: i64,
    #[prost(int64, tag = "3")]
    pub(super) remaining_seconds: i64,
}

/// Names of buckets, in their order, which is that of the file.
pub(super) mod bucket {
    pub(crate) const ALARM: &[u8] = b"alarm";
    pub(crate) const AUTH: &[u8] = b"auth";
    pub(crate) const ROLES: &[u8] = b"authRoles";
    pub(crate) const USERS: &[u8] = b"authUsers";
    pub(crate) const CLUSTER: &[u8] = b"cluster";
    pub(crate) const KEY: &[u8] = b"key";
    pub(crate) const LEASE: &[u8] = b"lease";
    pub(crate) const MEMBERS: &[u8] = b"members";
    pub(crate) const MEMBERS_REMOVED: &[u8] = b"members_removed";
    pub(crate) const META: &[u8] = b"meta";
}

/// Whether access is enabled: a byte.
pub(super) const ENABLED: &[u8] = b"authEnabled";
/// Counts changes of users.
pub(super) const AUTH_REVISION: &[u8] = b"authRevision";
/// What history was compacted to, and what it is being compacted to.
pub(super) const COMPACTED: &[u8] = b"finishedCompactRev";
pub(super) const COMPACTING: &[u8] = b"scheduledCompactRev";
/// After the revision of a deletion.
pub(super) const DELETED: u8 = b't';

/// A point as etcd names a record.
fn point_name(at: Point) -> Vec<u8> {
    let mut name = Vec::with_capacity(18);
    name.put_i64(at.revision);
    name.put_u8(b'_');
    name.put_i64(at.sub.into());
    name
}

/// Passes the whole database to `out`, until that breaks. `plan` is what this returned before, or nothing the first time.
pub(super) fn lay_out(
    still: &Still,
    member: u64,
    plan: Plan,
    out: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<Plan, EngineError> {
    let mut pages = Pages::begin(out, plan);
    let [auth, roles, users] = users(still, &mut pages);
    let alarm = sorted(alarms(still, member), &mut pages);
    let (cluster, members, removed) = (empty(&mut pages), empty(&mut pages), empty(&mut pages));
    let key = keys(still, &mut pages)?;
    let lease = sorted(still.leases.iter().map(lease).collect(), &mut pages);
    let meta = sorted(meta(still, member), &mut pages);
    Ok(pages.end(&[
        (bucket::ALARM, alarm),
        (bucket::AUTH, auth),
        (bucket::ROLES, roles),
        (bucket::USERS, users),
        (bucket::CLUSTER, cluster),
        (bucket::KEY, key),
        (bucket::LEASE, lease),
        (bucket::MEMBERS, members),
        (bucket::MEMBERS_REMOVED, removed),
        (bucket::META, meta),
    ]))
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn sorted(mut rows: Rows, pages: &mut Pages<'_>) -> u64 {
    rows.sort();
    let mut bucket = Bucket::default();
    rows.iter().for_each(|(name, value)| bucket.put(pages, name, value));
    bucket.end(pages)
}

fn empty(pages: &mut Pages<'_>) -> u64 {
    Bucket::default().end(pages)
}

/// Every write in history, which is most of the file; it is not collected before it is written.
fn keys(still: &Still, pages: &mut Pages<'_>) -> Result<u64, EngineError> {
    let (mut bucket, mut damage) = (Bucket::default(), None);
    still.snapshot.scan(Point::start_of(0), &mut |point, bytes| match decode(point, bytes) {
        // Written meanwhile.
        _ if point.revision > still.revision => ControlFlow::Break(()),
        Ok(record) => {
            let (name, value) = key(record);
            bucket.put(pages, &name, &value);
            pages.flow()
        }
        Err(error) => {
            damage = Some(error);
            ControlFlow::Break(())
        }
    })?;
    damage.map_or(Ok(()), Err)?;
    Ok(bucket.end(pages))
}

/// A write under its point; of a deletion nothing but the key is kept.
fn key(record: Record) -> (Vec<u8>, Vec<u8>) {
    let mut name = point_name(record.at);
    let message = if record.is_tombstone() {
        name.push(DELETED);
        mvccpb::KeyValue { key: record.key, ..Default::default() }
    } else {
        words::key_value(record)
    };
    (name, message.encode_to_vec())
}

/// A lease begins its full time anew where it is restored, as after a restart.
fn lease(&(id, ttl_seconds): &(i64, i64)) -> (Vec<u8>, Vec<u8>) {
    (id.to_be_bytes().to_vec(), Lease { id, ttl_seconds, remaining_seconds: 0 }.encode_to_vec())
}

/// An alarm is all name.
fn alarms(still: &Still, member: u64) -> Rows {
    let all = Alarm::ALL.into_iter().flat_map(|alarm| Raiser::ALL.map(|raiser| (alarm, raiser)));
    let raised = all.filter(|&(alarm, raiser)| still.alarms.has_for(alarm, raiser)).map(|(alarm, raiser)| {
        let alarm = match alarm {
            Alarm::NoSpace => pb::AlarmType::Nospace,
            Alarm::Corrupt => pb::AlarmType::Corrupt,
        };
        let member_id = if raiser == Raiser::Us { member } else { 0 };
        (pb::AlarmMember { member_id, alarm: alarm.into() }.encode_to_vec(), Vec::new())
    });
    raised.collect()
}

/// What etcd knows of its log. A restore draws all of it anew; a reader that trusts the file finds it consistent.
fn meta(still: &Still, member: u64) -> Rows {
    // What a cluster of this member alone would have, after as many entries as there were revisions.
    let state = serde_json::json!({ "voters": [member], "auto_leave": false });
    let mut rows = vec![
        (b"consistent_index".to_vec(), still.revision.to_be_bytes().to_vec()),
        (b"term".to_vec(), 1_u64.to_be_bytes().to_vec()),
        (b"confState".to_vec(), state.to_string().into_bytes()),
    ];
    if still.compacted >= 0 {
        let point = point_name(Point::start_of(still.compacted));
        rows.extend([COMPACTED, COMPACTING].map(|name| (name.to_vec(), point.clone())));
    }
    rows
}

/// Auth, roles and users.
fn users(still: &Still, pages: &mut Pages<'_>) -> [u64; 3] {
    let (mut auth, mut roles, mut users) = (Rows::new(), Rows::new(), Rows::new());
    for (name, value) in &still.users {
        let row = |name: &str| (name.as_bytes().to_vec(), value.to_vec());
        match users::named(name) {
            Some(users::Named::User(name)) => users.push(row(name)),
            Some(users::Named::Role(name)) => roles.push(row(name)),
            Some(users::Named::State) => auth.extend(state(value)),
            None => (),
        }
    }
    if auth.is_empty() {
        // Of a fresh etcd.
        auth.extend(state(&users::state(false, 1)));
    }
    [sorted(auth, pages), sorted(roles, pages), sorted(users, pages)]
}

/// What is one entry here is two in etcd.
fn state(kept: &Bytes) -> Rows {
    let (enabled, revision) = kept.split_at_checked(1).unwrap_or((&[0], &[]));
    vec![(ENABLED.to_vec(), enabled.to_vec()), (AUTH_REVISION.to_vec(), revision.to_vec())]
}
