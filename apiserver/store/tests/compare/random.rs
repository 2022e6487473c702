//! Requests at random: few keys, few leases and revisions around the newest, so that they meet.

use crate::send::{Answer, Asked};
use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::compare::{CompareTarget, TargetUnion};
use skiff_proto::etcd::etcdserverpb::request_op::Request;
use std::collections::BTreeSet;

const KEYS: &[&str] = &["a", "a/1", "a/2", "b", "b/1", "c", "\u{0}"];
const ENDS: &[&str] = &["\u{0}", "a0", "b", "b/2", "d", "a"];
const VALUES: &[&str] = &["", "x", "y", "yy", "z"];

/// See the module.
pub(crate) struct Random {
    random: StdRng,
    /// The newest revision.
    pub(crate) revision: i64,
    /// What history was compacted to.
    pub(crate) compacted: i64,
    compactions: BTreeSet<i64>,
    /// The compaction under way.
    asked: i64,
}

/// Whether a transaction deletes; then its puts give their values (see the crate's doc).
#[derive(Clone, Copy, PartialEq)]
enum Deletes {
    Yes,
    No,
}

impl Random {
    pub(crate) fn new(random: StdRng) -> Self {
        Random { random, revision: 1, compacted: -1, compactions: BTreeSet::new(), asked: -1 }
    }

    /// Takes note of what was answered.
    pub(crate) fn learn(&mut self, answer: &Answer) {
        self.revision = answer.revision().unwrap_or(self.revision).max(self.revision);
        if answer.revision().is_some() {
            self.compacted = self.compacted.max(self.asked);
            self.compactions.insert(self.asked);
        }
        self.asked = -1;
    }

    pub(crate) fn request(&mut self) -> Asked {
        match self.below(100) {
            0..25 => Asked::Put(self.put(Deletes::No)),
            25..45 => Asked::Range(self.range()),
            45..55 => Asked::Delete(self.delete()),
            55..80 => Asked::Txn(self.txn(2)),
            80..82 => {
                self.asked = if self.one_in(8) { self.around() } else { self.revision - self.below(12) as i64 };
                if self.asked == 0 {
                    // etcd takes 0 for the newest revision when it is asked for the hash of what it compacted to.
                    self.asked = 1;
                }
                Asked::Compact(pb::CompactionRequest { revision: self.asked, physical: true })
            }
            82..85 => Asked::Grant(pb::LeaseGrantRequest { id: self.lease_id(), ttl: self.ttl() }),
            85..88 => Asked::Revoke(pb::LeaseRevokeRequest { id: self.lease_id() }),
            88..91 => Asked::TimeToLive(pb::LeaseTimeToLiveRequest { id: self.lease_id(), keys: self.coin() }),
            91..92 => Asked::Leases,
            92..95 => Asked::KeepAlive(self.lease_id()),
            _ => Asked::Hash(self.hashed()),
        }
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.random.random_range(0..bound)
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.random.random()
    }

    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn one_of(&mut self, all: &[&'static str]) -> Bytes {
        let which = self.below(all.len() as u64) as usize;
        Bytes::from_static(all[which].as_bytes())
    }

    fn key(&mut self) -> Bytes {
        if self.one_in(60) { Bytes::new() } else { self.one_of(KEYS) }
    }

    fn end(&mut self) -> Bytes {
        if self.coin() { Bytes::new() } else { self.one_of(ENDS) }
    }

    /// Some keys, as a watch names them.
    pub(crate) fn keys(&mut self) -> (Bytes, Bytes) {
        (self.one_of(KEYS), self.end())
    }

    /// Never 0: both servers would draw an id.
    fn lease_id(&mut self) -> i64 {
        [1, 2, 3, 4, 5, -7][self.below(6) as usize]
    }

    fn ttl(&mut self) -> i64 {
        // Long enough that none ends while they are compared; one that is refused.
        [3600, 5000, 100_000, 9_000_000_001][self.below(4) as usize]
    }

    /// Mostly valid.
    fn around(&mut self) -> i64 {
        match self.below(8) {
            0 => -1,
            1 => 0,
            2 => self.revision + 1 + self.below(3) as i64,
            _ => (self.revision - self.below(20) as i64).max(0),
        }
    }

    /// For the last ten revisions that it compacted to, etcd answers the hash that it took then, before what was to go was gone.
    fn hashed(&mut self) -> i64 {
        let revision = self.around();
        if self.compactions.contains(&revision) { 0 } else { revision }
    }

    fn bound(&mut self) -> i64 {
        if self.one_in(4) { self.around() } else { 0 }
    }

    fn range(&mut self) -> pb::RangeRequest {
        pb::RangeRequest {
            key: self.key(),
            range_end: self.end(),
            limit: [0, 0, 1, 2, 3, -1][self.below(6) as usize],
            revision: if self.coin() { 0 } else { self.around() },
            sort_order: [0, 0, 1, 2][self.below(4) as usize],
            sort_target: self.below(5) as i32,
            serializable: self.one_in(4),
            keys_only: self.one_in(5),
            count_only: self.one_in(6),
            min_mod_revision: self.bound(),
            max_mod_revision: self.bound(),
            min_create_revision: self.bound(),
            max_create_revision: self.bound(),
        }
    }

    fn put(&mut self, deletes: Deletes) -> pb::PutRequest {
        let ignore_value = deletes == Deletes::No && self.one_in(8);
        let ignore_lease = deletes == Deletes::No && self.one_in(8);
        pb::PutRequest {
            key: self.key(),
            value: if ignore_value && !self.one_in(5) { Bytes::new() } else { self.one_of(VALUES) },
            lease: if ignore_lease && !self.one_in(5) || !self.one_in(5) { 0 } else { self.lease_id() },
            prev_kv: self.coin(),
            ignore_value,
            ignore_lease,
        }
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        pb::DeleteRangeRequest { key: self.key(), range_end: self.end(), prev_kv: self.coin() }
    }

    /// Not from a key on: etcd lets a transaction put such a key anew, and a compaction to that revision then loses it.
    fn delete_up_to(&mut self) -> pb::DeleteRangeRequest {
        let delete = self.delete();
        let up_to = if delete.range_end == "\0" { Bytes::new() } else { delete.range_end };
        pb::DeleteRangeRequest { range_end: up_to, ..delete }
    }

    fn txn(&mut self, depth: u64) -> pb::TxnRequest {
        let deletes = if self.coin() { Deletes::Yes } else { Deletes::No };
        self.txn_that(deletes, depth)
    }

    fn txn_that(&mut self, deletes: Deletes, depth: u64) -> pb::TxnRequest {
        let (compares, then, otherwise) = (self.below(3), self.below(4), self.below(3));
        pb::TxnRequest {
            compare: (0..compares).map(|_| self.compare()).collect(),
            success: (0..then).map(|_| self.op(deletes, depth)).collect(),
            failure: (0..otherwise).map(|_| self.op(deletes, depth)).collect(),
        }
    }

    fn op(&mut self, deletes: Deletes, depth: u64) -> pb::RequestOp {
        let request = match self.below(20) {
            0 if self.one_in(6) => None,
            0..10 => Some(Request::RequestPut(self.put(deletes))),
            10..15 if deletes == Deletes::Yes => Some(Request::RequestDeleteRange(self.delete_up_to())),
            15..18 if depth > 0 => Some(Request::RequestTxn(self.txn_that(deletes, depth - 1))),
            _ => Some(Request::RequestRange(self.range())),
        };
        pb::RequestOp { request }
    }

    fn compare(&mut self) -> pb::Compare {
        let target = [
            CompareTarget::Version,
            CompareTarget::Create,
            CompareTarget::Mod,
            CompareTarget::Value,
            CompareTarget::Lease,
        ][self.below(5) as usize];
        let union = match target {
            CompareTarget::Version => TargetUnion::Version(self.below(4) as i64),
            CompareTarget::Create => TargetUnion::CreateRevision(self.around()),
            CompareTarget::Mod => TargetUnion::ModRevision(self.around()),
            CompareTarget::Value => TargetUnion::Value(self.one_of(VALUES)),
            CompareTarget::Lease => TargetUnion::Lease(if self.coin() { 0 } else { self.lease_id() }),
        };
        pb::Compare {
            result: self.below(4) as i32,
            target: target.into(),
            key: self.key(),
            range_end: if self.one_in(3) { self.end() } else { Bytes::new() },
            target_union: (!self.one_in(20)).then_some(union),
        }
    }
}
