//! Limits.

use crate::server::{Server, put_op, said};
use skiff_proto::etcd::etcdserverpb as pb;
use tonic::Code;

/// Fault S14: who answers is said once, outside.
pub(crate) async fn inside(server: &Server) {
    use pb::request_op::Request;
    use pb::response_op::Response;
    let range = pb::RangeRequest { key: "i/a".into(), ..Default::default() };
    let nested = pb::TxnRequest { success: vec![put_op("i/b", "1")], ..Default::default() };
    let delete = pb::DeleteRangeRequest { key: "i/c".into(), ..Default::default() };
    let ops = [Request::RequestRange(range), Request::RequestDeleteRange(delete), Request::RequestTxn(nested)];
    let ops = ops.map(|request| pb::RequestOp { request: Some(request) });
    let success = [put_op("i/a", "1")].into_iter().chain(ops).collect();
    let answer = server.kv().txn(pb::TxnRequest { success, ..Default::default() }).await.unwrap().into_inner();
    let outer = answer.header.unwrap();
    assert!(outer.cluster_id != 0 && outer.member_id != 0 && outer.raft_term != 0);
    let headers = answer.responses.into_iter().map(|response| match response.response.unwrap() {
        Response::ResponseRange(answer) => answer.header,
        Response::ResponsePut(answer) => answer.header,
        Response::ResponseDeleteRange(answer) => answer.header,
        Response::ResponseTxn(answer) => answer.header,
    });
    let bare = |revision| Some(pb::ResponseHeader { revision, ..Default::default() });
    let revision = outer.revision;
    assert_eq!(headers.collect::<Vec<_>>(), [bare(revision), bare(revision), bare(revision), bare(0)]);
}

pub(crate) async fn sizes(server: &Server) {
    server.try_put("z/a", vec![0; 1_500_000], 0).await.unwrap();
    let large = (Code::InvalidArgument, "etcdserver: request is too large".to_owned());
    assert_eq!(said(server.try_put("z/a", vec![0; 1_600_000], 0).await), large);
    let success: Vec<_> = (0..4).map(|part| put_op(&format!("z/{part}"), vec![0; 400_000])).collect();
    assert_eq!(said(server.kv().txn(pb::TxnRequest { success, ..Default::default() }).await), large);
    let (code, text) = said(server.try_put("z/a", vec![0; 2_200_000], 0).await);
    assert_eq!(code, Code::ResourceExhausted);
    assert!(
        text.starts_with("grpc: received message larger than max (2200") && text.ends_with(" vs. 2097152)"),
        "{text}"
    );
    let many = |count: usize| (0..count).map(|key| put_op(&format!("z/{key}"), "1")).collect();
    server.kv().txn(pb::TxnRequest { success: many(128), ..Default::default() }).await.unwrap();
    let refused = server.kv().txn(pb::TxnRequest { success: many(129), ..Default::default() }).await;
    let too_many = (Code::InvalidArgument, "etcdserver: too many operations in txn request".to_owned());
    assert_eq!(said(refused), too_many);
}
