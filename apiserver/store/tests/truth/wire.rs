//! Requests and answers as etcd's messages.

use crate::history::{Act, Answer, Condition, Did, Keys, Outcome, Refused, Request, Revision, Seen};
use crate::server::Door;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use skiff_proto::etcd::etcdserverpb::kv_client::KvClient;
use skiff_proto::etcd::etcdserverpb::lease_client::LeaseClient;
use skiff_proto::etcd::etcdserverpb::request_op::Request as Op;
use skiff_proto::etcd::etcdserverpb::response_op::Response as OpAnswer;
use skiff_proto::etcd::mvccpb::KeyValue;
use tonic::Status;

/// Sends a request, once, and says what came of it.
pub(crate) async fn send(door: Door, request: &Request) -> Outcome {
    let answered = match request.clone() {
        Request::One(act) => one(KvClient::new(door), act).await,
        Request::Txn { conditions, then, otherwise } => {
            let message = pb::TxnRequest {
                compare: conditions.into_iter().map(compare).collect(),
                success: then.into_iter().map(op).collect(),
                failure: otherwise.into_iter().map(op).collect(),
            };
            KvClient::new(door).txn(message).await.map(|answer| txn_done(answer.into_inner()))
        }
        Request::Grant { id, ttl_seconds: ttl } => {
            LeaseClient::new(door).lease_grant(pb::LeaseGrantRequest { ttl, id }).await.map(|_| Answer::Fine)
        }
        Request::Revoke { id } | Request::Expire { id } => {
            LeaseClient::new(door).lease_revoke(pb::LeaseRevokeRequest { id }).await.map(|_| Answer::Fine)
        }
        Request::Compact { revision, physical } => {
            let message = pb::CompactionRequest { revision, physical };
            KvClient::new(door).compact(message).await.map(|_| Answer::Fine)
        }
    };
    match answered {
        Ok(answer) => Outcome::Answered(answer),
        Err(status) => refusal(&status),
    }
}

fn refusal(status: &Status) -> Outcome {
    let why = match status.message() {
        "etcdserver: mvcc: required revision has been compacted" => Refused::Compacted,
        "etcdserver: mvcc: required revision is a future revision" => Refused::Future,
        "etcdserver: requested lease not found" => Refused::LeaseNotFound,
        _ => return Outcome::Unknown(status.to_string()),
    };
    Outcome::Answered(Answer::Refused(why))
}

async fn one(mut kv: KvClient<Door>, act: Act) -> Result<Answer, Status> {
    let (did, header) = match act {
        Act::Range { keys, revision, limit } => {
            let found = kv.range(range(keys, revision, limit)).await?.into_inner();
            let header = found.header;
            (ranged(pb::RangeResponse { header: None, ..found }), header)
        }
        Act::Put { key, value, lease, want_previous: prev_kv } => {
            let message = pb::PutRequest { key, value, lease, prev_kv, ..Default::default() };
            let done = kv.put(message).await?.into_inner();
            (Did::Put { previous: done.prev_kv }, done.header)
        }
        Act::Delete { keys, want_previous: prev_kv } => {
            let message = pb::DeleteRangeRequest { key: keys.from, range_end: keys.end, prev_kv };
            let done = kv.delete_range(message).await?.into_inner();
            (Did::Delete { deleted: done.deleted, previous: done.prev_kvs }, done.header)
        }
    };
    Ok(Answer::Done { succeeded: true, did: vec![did], revision: revision_of(header) })
}

/// The revision in a header; a header is always there.
pub(crate) fn revision_of(header: Option<pb::ResponseHeader>) -> Revision {
    header.map_or(-1, |header| header.revision)
}

fn range(keys: Keys, revision: Revision, limit: usize) -> pb::RangeRequest {
    let limit = i64::try_from(limit).unwrap();
    pb::RangeRequest { key: keys.from, range_end: keys.end, revision, limit, ..Default::default() }
}

fn ranged(found: pb::RangeResponse) -> Did {
    Did::Range { found: found.kvs, count: found.count, more: found.more }
}

fn compare(condition: Condition) -> pb::Compare {
    let (target, union) = match condition.seen {
        Seen::Modified(revision) => (CompareTarget::Mod, TargetUnion::ModRevision(revision)),
        Seen::Version(version) => (CompareTarget::Version, TargetUnion::Version(version)),
        Seen::Value(value) => (CompareTarget::Value, TargetUnion::Value(value)),
    };
    pb::Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: condition.key,
        target_union: Some(union),
        ..Default::default()
    }
}

fn op(act: Act) -> pb::RequestOp {
    let request = match act {
        Act::Range { keys, revision, limit } => Op::RequestRange(range(keys, revision, limit)),
        Act::Put { key, value, lease, want_previous: prev_kv } => {
            Op::RequestPut(pb::PutRequest { key, value, lease, prev_kv, ..Default::default() })
        }
        Act::Delete { keys, want_previous: prev_kv } => {
            Op::RequestDeleteRange(pb::DeleteRangeRequest { key: keys.from, range_end: keys.end, prev_kv })
        }
    };
    pb::RequestOp { request: Some(request) }
}

fn txn_done(done: pb::TxnResponse) -> Answer {
    let did = done.responses.into_iter().filter_map(|answer| match answer.response? {
        OpAnswer::ResponseRange(found) => Some(ranged(found)),
        OpAnswer::ResponsePut(put) => Some(Did::Put { previous: put.prev_kv }),
        OpAnswer::ResponseDeleteRange(delete) => {
            Some(Did::Delete { deleted: delete.deleted, previous: delete.prev_kvs })
        }
        OpAnswer::ResponseTxn(_) => None,
    });
    Answer::Done { succeeded: done.succeeded, did: did.collect(), revision: revision_of(done.header) }
}

/// The keys of an answer, for clients that go on from what they saw.
pub(crate) fn shown(answer: &Answer) -> impl Iterator<Item = &KeyValue> {
    let did = match answer {
        Answer::Done { did, .. } => &did[..],
        _ => &[],
    };
    did.iter().flat_map(|did| match did {
        Did::Range { found, .. } => &found[..],
        _ => &[],
    })
}
