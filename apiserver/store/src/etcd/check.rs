//! Whether a request makes sense at all, before the store sees it.

use super::answer;
use crate::keys::{End, KeyRange};
use crate::request::Range;
use bytes::Bytes;
use prost::Message;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::request_op::Request;
use tonic::Status;

pub(crate) fn range(request: &pb::RangeRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(answer::empty_key());
    }
    // etcd 3.5 takes an unknown order for none and dies of an unknown target; later ones refuse both.
    let target = pb::range_request::SortTarget::try_from(request.sort_target);
    let order = pb::range_request::SortOrder::try_from(request.sort_order);
    if target.is_ok() && order.is_ok() { Ok(()) } else { Err(answer::bad_sort()) }
}

/// A number of an enumeration that we do not know is a wish that cannot be granted: to take it for another one could do harm.
pub(crate) fn known<E: TryFrom<i32>>(field: &str, number: i32) -> Result<E, Status> {
    E::try_from(number).map_err(|_| answer::unknown(field, number))
}

/// etcd 3.5 lets an unknown relation hold, and takes what an unknown target compares for equal: then a branch runs by chance.
fn compare(compare: &pb::Compare) -> Result<(), Status> {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    if compare.key.is_empty() {
        return Err(answer::empty_key());
    }
    known::<CompareResult>("Compare.result", compare.result)?;
    let target = known("Compare.target", compare.target)?;
    let of = match compare.target_union {
        // Compares with zero, as proto3 reads an absent number.
        None => return Ok(()),
        Some(TargetUnion::Version(_)) => CompareTarget::Version,
        Some(TargetUnion::CreateRevision(_)) => CompareTarget::Create,
        Some(TargetUnion::ModRevision(_)) => CompareTarget::Mod,
        Some(TargetUnion::Value(_)) => CompareTarget::Value,
        Some(TargetUnion::Lease(_)) => CompareTarget::Lease,
    };
    if of == target { Ok(()) } else { Err(answer::other_target(target, of)) }
}

/// What can be answered in pieces: etcd streams in the order of keys only.
pub(crate) fn streamed(range: &Range) -> Result<(), Status> {
    if range.sort.is_some() {
        return Err(Status::unimplemented("RangeStream does not support custom sort orders"));
    }
    if range.is_picky() {
        return Err(Status::unimplemented("RangeStream does not support revision filters"));
    }
    Ok(())
}

pub(crate) fn put(request: &pb::PutRequest) -> Result<(), Status> {
    match request {
        put if put.key.is_empty() => Err(answer::empty_key()),
        put if put.ignore_value && !put.value.is_empty() => Err(answer::value_provided()),
        put if put.ignore_lease && put.lease != 0 => Err(answer::lease_provided()),
        _ => Ok(()),
    }
}

pub(crate) fn delete(request: &pb::DeleteRangeRequest) -> Result<(), Status> {
    if request.key.is_empty() { Err(answer::empty_key()) } else { Ok(()) }
}

pub(crate) fn size(request: &impl Message, bytes_max: usize) -> Result<(), Status> {
    if request.encoded_len() > bytes_max { Err(answer::too_large()) } else { Ok(()) }
}

pub(crate) fn txn(request: &pb::TxnRequest, ops_max: usize) -> Result<(), Status> {
    txn_within(request, ops_max)?;
    written(&request.success)?;
    written(&request.failure)?;
    Ok(())
}

fn txn_within(request: &pb::TxnRequest, ops_max: usize) -> Result<(), Status> {
    let ops = request.compare.len().max(request.success.len()).max(request.failure.len());
    if ops > ops_max {
        return Err(answer::too_many_ops());
    }
    request.compare.iter().try_for_each(compare)?;
    request.success.iter().chain(&request.failure).try_for_each(|op| match &op.request {
        Some(Request::RequestRange(request)) => range(request),
        Some(Request::RequestPut(request)) => put(request),
        Some(Request::RequestDeleteRange(request)) => delete(request),
        Some(Request::RequestTxn(request)) => txn_within(request, ops_max - ops),
        None => Err(answer::key_not_found()),
    })
}

/// What a list of steps writes.
#[derive(Default)]
struct Written {
    puts: Vec<Bytes>,
    deletes: Vec<KeyRange>,
}

/// Whether a put needs what stands there.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    Previous,
}

impl Written {
    fn deletes(&self, key: &Bytes, needs: Needs) -> bool {
        // etcd overlooks deletions from a key on, and dies if such a put then finds nothing.
        let counts = |keys: &&KeyRange| keys.end != End::Unbounded || needs == Needs::Previous;
        self.deletes.iter().filter(counts).any(|keys| keys.contains(key))
    }

    /// A key is put once, and not deleted before it is put.
    fn clashes(&self, put: &pb::PutRequest) -> bool {
        let needs = if put.ignore_value || put.ignore_lease { Needs::Previous } else { Needs::Nothing };
        self.puts.contains(&put.key) || self.deletes(&put.key, needs)
    }
}

fn written(ops: &[pb::RequestOp]) -> Result<Written, Status> {
    let mut all = Written::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request {
            all.deletes.push(KeyRange::from_etcd(delete.key.clone(), delete.range_end.clone()));
        }
    }
    for op in ops {
        let Some(Request::RequestTxn(txn)) = &op.request else { continue };
        let (then, otherwise) = (written(&txn.success)?, written(&txn.failure)?);
        for put in puts_of(&txn.success).chain(puts_of(&txn.failure)) {
            if all.clashes(put) {
                return Err(answer::duplicate_key());
            }
        }
        // What an earlier one puts a later one may delete: etcd looks in this order only. Two branches exclude each other.
        all.deletes.extend(then.deletes.into_iter().chain(otherwise.deletes));
        all.puts.extend(then.puts.into_iter().chain(otherwise.puts));
    }
    for op in ops {
        let Some(Request::RequestPut(put)) = &op.request else { continue };
        if all.clashes(put) {
            return Err(answer::duplicate_key());
        }
        all.puts.push(put.key.clone());
    }
    Ok(all)
}

/// Every put of some steps, those of transactions inside too.
fn puts_of(ops: &[pb::RequestOp]) -> Box<dyn Iterator<Item = &pb::PutRequest> + '_> {
    Box::new(ops.iter().flat_map(|op| -> Box<dyn Iterator<Item = &pb::PutRequest>> {
        match &op.request {
            Some(Request::RequestPut(put)) => Box::new(std::iter::once(put)),
            Some(Request::RequestTxn(txn)) => Box::new(puts_of(&txn.success).chain(puts_of(&txn.failure))),
            _ => Box::new(std::iter::empty()),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_op(key: &'static str) -> pb::RequestOp {
        let put = pb::PutRequest { key: key.into(), ..Default::default() };
        pb::RequestOp { request: Some(Request::RequestPut(put)) }
    }

    fn delete_op(key: &'static str, range_end: &'static [u8]) -> pb::RequestOp {
        let delete = pb::DeleteRangeRequest { key: key.into(), range_end: range_end.into(), ..Default::default() };
        pb::RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
    }

    fn txn_op(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::RequestOp {
        let txn = pb::TxnRequest { success, failure, ..Default::default() };
        pb::RequestOp { request: Some(Request::RequestTxn(txn)) }
    }

    fn accepted(success: Vec<pb::RequestOp>) -> bool {
        txn(&pb::TxnRequest { success, ..Default::default() }, 128).is_ok()
    }

    #[test]
    fn a_key_is_written_once() {
        assert!(accepted(vec![put_op("a"), put_op("b")]));
        assert!(!accepted(vec![put_op("a"), put_op("a")]));
        assert!(!accepted(vec![put_op("b"), delete_op("a", b"c")]));
        assert!(accepted(vec![delete_op("a", b"\0"), put_op("b")]), "from a on: etcd does not see it");
        let keeping = pb::PutRequest { key: "b".into(), ignore_value: true, ..Default::default() };
        let keeping = pb::RequestOp { request: Some(Request::RequestPut(keeping)) };
        assert!(!accepted(vec![delete_op("a", b"\0"), keeping]), "there will be no value to keep");
        assert!(!accepted(vec![put_op("a"), txn_op(vec![put_op("a")], vec![])]));
        assert!(accepted(vec![txn_op(vec![put_op("a")], vec![put_op("a")])]), "only one of the two happens");
    }

    #[test]
    fn nested_steps_count() {
        let steps = |count| (0..count).map(|_| delete_op("a", b"")).collect::<Vec<_>>();
        assert!(accepted(steps(128)) && !accepted(steps(129)));
        assert!(accepted(vec![txn_op(steps(127), vec![])]) && !accepted(vec![txn_op(steps(128), vec![])]));
    }
}
