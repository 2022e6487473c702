//! Between etcd's messages and the store's own requests.

use crate::keys::KeyRange;
use crate::record::Record;
use crate::request::{
    Compare, Delete, Direction, Done, Op, Put, Range, Ranged, Relation, SortBy, Target, Txn, TxnDone, Want,
};
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::mvccpb;

/// Makes the header of an answer at a revision.
pub(crate) type Header<'a> = &'a dyn Fn(i64) -> Option<pb::ResponseHeader>;

/// A checked range, as are the others (see [`super::check`]).
pub(crate) fn range(request: pb::RangeRequest) -> Range {
    let want = match (request.count_only, request.keys_only) {
        (true, _) => Want::CountOnly,
        (false, true) => Want::KeysOnly,
        (false, false) => Want::Records,
    };
    Range {
        sort: sort(&request),
        cut_first: request.sort_order == pb::range_request::SortOrder::None as i32,
        limit: usize::try_from(request.limit).unwrap_or(0),
        revision: request.revision,
        want,
        modified: (request.min_mod_revision, request.max_mod_revision),
        created: (request.min_create_revision, request.max_create_revision),
        keys: KeyRange::from_etcd(request.key, request.range_end),
    }
}

fn sort(request: &pb::RangeRequest) -> Option<(SortBy, Direction)> {
    use pb::range_request::{SortOrder, SortTarget};
    let order = request.sort_order();
    let by = match request.sort_target() {
        SortTarget::Key => SortBy::Key,
        SortTarget::Version => SortBy::Version,
        SortTarget::Create => SortBy::Created,
        SortTarget::Mod => SortBy::Modified,
        SortTarget::Value => SortBy::Value,
    };
    match (order, by) {
        (SortOrder::None | SortOrder::Ascend, SortBy::Key) => None,
        (SortOrder::Descend, by) => Some((by, Direction::Descending)),
        (_, by) => Some((by, Direction::Ascending)),
    }
}

pub(crate) fn put(request: pb::PutRequest) -> Put {
    Put {
        key: request.key,
        value: (!request.ignore_value).then_some(request.value),
        lease: (!request.ignore_lease).then_some(request.lease),
        want_previous: request.prev_kv,
    }
}

pub(crate) fn delete(request: pb::DeleteRangeRequest) -> Delete {
    Delete { keys: KeyRange::from_etcd(request.key, request.range_end), want_previous: request.prev_kv }
}

pub(crate) fn txn(request: pb::TxnRequest) -> Txn {
    let ops = |ops: Vec<pb::RequestOp>| ops.into_iter().filter_map(|op| op.request).map(op).collect();
    Txn {
        compares: request.compare.into_iter().map(compare).collect(),
        success: ops(request.success),
        failure: ops(request.failure),
    }
}

fn op(request: pb::request_op::Request) -> Op {
    use pb::request_op::Request;
    match request {
        Request::RequestRange(request) => Op::Range(range(request)),
        Request::RequestPut(request) => Op::Put(put(request)),
        Request::RequestDeleteRange(request) => Op::Delete(delete(request)),
        Request::RequestTxn(request) => Op::Txn(txn(request)),
    }
}

fn compare(request: pb::Compare) -> Compare {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let relation = match request.result() {
        CompareResult::Equal => Relation::Equal,
        CompareResult::Greater => Relation::Greater,
        CompareResult::Less => Relation::Less,
        CompareResult::NotEqual => Relation::NotEqual,
    };
    let given = request.target_union.as_ref();
    // A target without its value compares with zero, as proto3 reads an absent number.
    let target = match request.target() {
        CompareTarget::Version => Target::Version(number(given, |given| matches!(given, TargetUnion::Version(_)))),
        CompareTarget::Create => {
            Target::Created(number(given, |given| matches!(given, TargetUnion::CreateRevision(_))))
        }
        CompareTarget::Mod => Target::Modified(number(given, |given| matches!(given, TargetUnion::ModRevision(_)))),
        CompareTarget::Lease => Target::Lease(number(given, |given| matches!(given, TargetUnion::Lease(_)))),
        CompareTarget::Value => Target::Value(match given {
            Some(TargetUnion::Value(value)) => value.clone(),
            _ => Default::default(),
        }),
    };
    Compare { keys: KeyRange::from_etcd(request.key, request.range_end), target, relation }
}

fn number(given: Option<&pb::compare::TargetUnion>, fits: impl Fn(&pb::compare::TargetUnion) -> bool) -> i64 {
    use pb::compare::TargetUnion;
    match given.filter(|given| fits(given)) {
        Some(
            TargetUnion::Version(number)
            | TargetUnion::CreateRevision(number)
            | TargetUnion::ModRevision(number)
            | TargetUnion::Lease(number),
        ) => *number,
        _ => 0,
    }
}

pub(crate) fn key_value(record: Record) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        mod_revision: record.at.revision,
        key: record.key,
        value: record.value,
        create_revision: record.created,
        version: record.version,
        lease: record.lease,
    }
}

pub(crate) fn ranged(found: Ranged, header: Header<'_>) -> pb::RangeResponse {
    pb::RangeResponse {
        header: header(found.revision),
        more: found.more,
        count: i64::try_from(found.count).unwrap_or(i64::MAX),
        kvs: found.records.into_iter().map(key_value).collect(),
    }
}

/// The header of an answer inside of a transaction's: who answers is said once, outside.
fn inside(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}

fn done(done: Done) -> pb::ResponseOp {
    use pb::response_op::Response;
    let response = match done {
        Done::Range(found) => Response::ResponseRange(ranged(found, &inside)),
        Done::Put { previous, revision } => {
            Response::ResponsePut(pb::PutResponse { header: inside(revision), prev_kv: previous.map(key_value) })
        }
        Done::Delete { deleted, previous, revision } => Response::ResponseDeleteRange(pb::DeleteRangeResponse {
            header: inside(revision),
            deleted: i64::try_from(deleted).unwrap_or(i64::MAX),
            prev_kvs: previous.into_iter().map(key_value).collect(),
        }),
        // etcd leaves the revision of a nested answer at 0.
        Done::Txn { succeeded, done } => Response::ResponseTxn(txn_response(succeeded, done, inside(0))),
    };
    pb::ResponseOp { response: Some(response) }
}

fn txn_response(succeeded: bool, steps: Vec<Done>, header: Option<pb::ResponseHeader>) -> pb::TxnResponse {
    pb::TxnResponse { header, succeeded, responses: steps.into_iter().map(done).collect() }
}

pub(crate) fn txn_done(txn: TxnDone, header: Header<'_>) -> pb::TxnResponse {
    txn_response(txn.succeeded, txn.done, header(txn.revision))
}
