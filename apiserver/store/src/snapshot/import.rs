//! Reads a saved database of an etcd, ours or a real one's, as what a store of ours holds.

use super::etcd::{AUTH_REVISION, COMPACTED, COMPACTING, DELETED, ENABLED, Lease, bucket};
use super::file::{Entry, Stop, Summary};
use crate::bolt::read::{Bolt, Broken, Tree};
use crate::open::NEVER_COMPACTED;
use crate::record::{Point, Record};
use crate::request::{Alarm, Alarms, Raiser};
use crate::{Revision, StoreError, users};
use bytes::Bytes;
use prost::Message;
use skiff_proto::etcd::{authpb, etcdserverpb as pb, mvccpb};
use std::collections::BTreeMap;
use std::fs::File;

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Io(error) => error.into(),
            Broken::Damaged(what) => Stop::Foreign(what),
        }
    }
}

fn damaged(bucket: &[u8], what: &str) -> Stop {
    Stop::Foreign(format!("is damaged: its bucket {} has {what}", bucket.escape_ascii()))
}

/// Passes everything to `visit`. The file was proved to be what was saved; that is not yet to be what an etcd would have written.
pub(super) fn read(
    file: File,
    bytes: u64,
    sha256: [u8; 32],
    visit: &mut dyn FnMut(Entry) -> Result<(), StoreError>,
) -> Result<Summary, Stop> {
    let bolt = Bolt::open(file, bytes)?;
    let buckets: BTreeMap<Vec<u8>, Tree> = bolt.buckets()?.into_iter().collect();
    let mut import = Import { bolt, buckets, visit };
    if !import.buckets.contains_key(bucket::KEY) {
        return Err(Stop::Foreign("is not of an etcd: it has no bucket for keys".to_owned()));
    }
    let compacted = import.compacted()?;
    let alarms = import.alarms()?;
    import.pass(Entry::Head { compacted, alarms })?;
    let (newest, records) = import.keys()?;
    let leases = import.leases()?;
    import.users()?;
    let revision = newest.max(compacted).max(1);
    Ok(Summary { revision, compacted, keys: 0, records, leases, bytes, sha256 })
}

/// What is done with an entry of a snapshot.
type Visitor<'a> = dyn FnMut(Entry) -> Result<(), StoreError> + 'a;

/// What is done with a row of a bucket, for whom the entries are.
type OfRow<'a> = dyn FnMut(&mut Visitor<'_>, &[u8], &[u8]) -> Result<(), Stop> + 'a;

struct Import<'a> {
    bolt: Bolt<File>,
    buckets: BTreeMap<Vec<u8>, Tree>,
    visit: &'a mut Visitor<'a>,
}

impl Import<'_> {
    fn pass(&mut self, entry: Entry) -> Result<(), Stop> {
        (self.visit)(entry).map_err(Stop::Visitor)
    }

    /// Walks a bucket that may be missing, as most are where nothing was ever put in them.
    fn each(&mut self, bucket: &[u8], visit: &mut OfRow<'_>) -> Result<(), Stop> {
        let Some(tree) = self.buckets.get(bucket) else { return Ok(()) };
        self.bolt.walk(tree, &mut |key, value| visit(&mut *self.visit, key, value))
    }

    /// A compaction that etcd had begun is one here: what it refuses, we do.
    fn compacted(&mut self) -> Result<Revision, Stop> {
        let mut compacted = NEVER_COMPACTED;
        self.each(bucket::META, &mut |_, name, value| {
            if name == COMPACTED || name == COMPACTING {
                let (at, _) = point(value).ok_or_else(|| damaged(bucket::META, "a revision that is none"))?;
                compacted = compacted.max(at.revision);
            }
            Ok(())
        })?;
        Ok(compacted)
    }

    fn alarms(&mut self) -> Result<Alarms, Stop> {
        let mut alarms = Alarms::default();
        self.each(bucket::ALARM, &mut |_, name, _| {
            let member = pb::AlarmMember::decode(name).map_err(|_| damaged(bucket::ALARM, "an alarm that is none"))?;
            let raiser = if member.member_id == 0 { Raiser::Nobody } else { Raiser::Us };
            match member.alarm() {
                pb::AlarmType::Nospace => alarms.set(Alarm::NoSpace, raiser, true),
                pb::AlarmType::Corrupt => alarms.set(Alarm::Corrupt, raiser, true),
                pb::AlarmType::None => return Err(damaged(bucket::ALARM, "an alarm that nobody knows")),
            }
            Ok(())
        })?;
        Ok(alarms)
    }

    /// Every write in history; returns the newest revision, and how many there are.
    fn keys(&mut self) -> Result<(Revision, u64), Stop> {
        let (mut last, mut records) = (None, 0);
        self.each(bucket::KEY, &mut |pass, name, value| {
            let record = record(name, value).ok_or_else(|| damaged(bucket::KEY, "a record that is none"))?;
            if last.is_some_and(|last| last >= record.at) {
                return Err(damaged(bucket::KEY, "records that are not in order"));
            }
            last = Some(record.at);
            records += 1;
            pass(Entry::Record(record)).map_err(Stop::Visitor)
        })?;
        Ok((last.map_or(0, |last| last.revision), records))
    }

    fn leases(&mut self) -> Result<u64, Stop> {
        let mut leases = 0;
        self.each(bucket::LEASE, &mut |pass, name, value| {
            let lease = Lease::decode(value).ok().filter(|lease| lease.id.to_be_bytes() == *name && lease.id != 0);
            let lease = lease.filter(|lease| lease.ttl_seconds > 0);
            let lease = lease.ok_or_else(|| damaged(bucket::LEASE, "a lease that is none"))?;
            leases += 1;
            pass(Entry::Lease(lease.id, lease.ttl_seconds)).map_err(Stop::Visitor)
        })?;
        Ok(leases)
    }

    /// Users and roles under the names that we keep them under; a right that nobody knows would be lost, so it is refused.
    fn users(&mut self) -> Result<(), Stop> {
        let (mut enabled, mut revision, mut any) = (false, 1, false);
        self.each(bucket::AUTH, &mut |_, name, value| {
            match name {
                ENABLED => enabled = value == [1],
                AUTH_REVISION => {
                    let number = value.try_into().map(u64::from_be_bytes);
                    revision = number.map_err(|_| damaged(bucket::AUTH, "a revision that is none"))?.max(1);
                }
                _ => (),
            }
            Ok(())
        })?;
        for (name, named) in
            [(bucket::USERS, users::user_named as fn(&str) -> Bytes), (bucket::ROLES, users::role_named)]
        {
            self.each(name, &mut |pass, whose, value| {
                any = true;
                let whose = std::str::from_utf8(whose).map_err(|_| damaged(name, "a name that is no text"))?;
                let is_whole = if name == bucket::USERS {
                    authpb::User::decode(value).is_ok()
                } else {
                    authpb::Role::decode(value).is_ok_and(|role| users::are_known(role.key_permission))
                };
                let value = is_whole.then(|| Bytes::copy_from_slice(value));
                let value = value.ok_or_else(|| damaged(name, "an entry that is none"))?;
                pass(Entry::User(named(whose), value)).map_err(Stop::Visitor)
            })?;
        }
        if any || enabled || revision > 1 {
            self.pass(Entry::User(users::state_name(), users::state(enabled, revision)))?;
        }
        Ok(())
    }
}

/// A record's name: its point, and whether it is a deletion.
fn point(name: &[u8]) -> Option<(Point, bool)> {
    let (revision, rest) = name.split_first_chunk::<8>()?;
    let (sub, rest) = rest.strip_prefix(b"_")?.split_first_chunk::<8>()?;
    let revision = i64::from_be_bytes(*revision);
    let sub = u32::try_from(i64::from_be_bytes(*sub)).ok()?;
    let gone = match rest {
        [] => false,
        [DELETED] => true,
        _ => return None,
    };
    (revision >= 0).then_some((Point { revision, sub }, gone))
}

/// A write, if it is one that could have been made: later than what made its key, and counted.
fn record(name: &[u8], value: &[u8]) -> Option<Record> {
    let (at, gone) = point(name)?;
    let message = mvccpb::KeyValue::decode(value).ok().filter(|message| !message.key.is_empty() && at.revision > 0)?;
    if gone {
        return Some(Record::tombstone(at, message.key).in_own_memory());
    }
    let fits = message.mod_revision == at.revision
        && message.version > 0
        && (1..=at.revision).contains(&message.create_revision);
    let record = Record {
        at,
        key: message.key,
        value: message.value,
        created: message.create_revision,
        version: message.version,
        lease: message.lease,
    };
    fits.then(|| record.in_own_memory())
}
