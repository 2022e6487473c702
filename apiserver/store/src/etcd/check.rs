//! Whether a request makes sense at all, before the store sees it.

use bytes::Bytes;
use prost::Message;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::request_op::Request;
use tonic::Status;

use super::answer;
use crate::keys::KeyRange;

pub(crate) fn range(request: &pb::RangeRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(answer::empty_key());
    }
    let known = pb::range_request::SortOrder::try_from(request.sort_order).is_ok()
        && pb::range_request::SortTarget::try_from(request.sort_target).is_ok();
    if known { Ok(()) } else { Err(answer::bad_sort()) }
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
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(answer::empty_key());
    }
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

impl Written {
    /// A key may be put once, and not be deleted as well. Two branches exclude each other.
    fn clashes(&self, put: &Bytes) -> bool {
        self.puts.contains(put) || self.deletes.iter().any(|keys| keys.contains(put))
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
        for put in then.puts.iter().chain(&otherwise.puts) {
            if all.clashes(put) {
                return Err(answer::duplicate_key());
            }
        }
        let deletes = || then.deletes.iter().chain(&otherwise.deletes);
        if all.puts.iter().any(|put| deletes().any(|keys| keys.contains(put))) {
            return Err(answer::duplicate_key());
        }
        all.deletes.extend(deletes().cloned());
        all.puts.extend(then.puts.into_iter().chain(otherwise.puts));
    }
    for op in ops {
        let Some(Request::RequestPut(put)) = &op.request else { continue };
        if all.clashes(&put.key) {
            return Err(answer::duplicate_key());
        }
        all.puts.push(put.key.clone());
    }
    Ok(all)
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
        assert!(!accepted(vec![delete_op("a", b"\0"), put_op("b")]), "from a on");
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
