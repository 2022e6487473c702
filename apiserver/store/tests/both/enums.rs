//! Numbers of enumerations that nobody has given a meaning: to take one for another would do what was not asked for.

use crate::server::{Server, below, put_op, said};
use bytes::Bytes;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::compare::TargetUnion;
use tonic::Code;

fn compare(result: i32, target: i32, target_union: Option<TargetUnion>) -> pb::TxnRequest {
    let compare = pb::Compare { result, target, key: Bytes::from("n/a"), target_union, ..Default::default() };
    pb::TxnRequest {
        compare: vec![compare],
        success: vec![put_op("n/then", "1")],
        failure: vec![put_op("n/else", "1")],
    }
}

fn unknown(field: &str, number: i32) -> (Code, String) {
    (Code::InvalidArgument, format!("etcdserver: {field} is {number}, which this store does not know"))
}

/// Fault S10. etcd 3.5 lets an unknown relation hold and finds an unknown target equal, and so takes a branch by chance.
pub(crate) async fn compares(server: &Server) {
    server.put("n/a", "1").await;
    let version = || Some(TargetUnion::Version(0));
    if server.real {
        let by_chance = server.kv().txn(compare(0, 7, version())).await.unwrap().into_inner();
        assert!(by_chance.succeeded, "what it compares for equal it finds equal, whatever there is");
        return;
    }
    for (target, asked) in [(7, compare(1, 7, version())), (-1, compare(0, -1, None))] {
        assert_eq!(said(server.kv().txn(asked).await), unknown("Compare.target", target));
    }
    assert_eq!(said(server.kv().txn(compare(4, 0, version())).await), unknown("Compare.result", 4));
    let inside = pb::RequestOp { request: Some(pb::request_op::Request::RequestTxn(compare(0, 5, None))) };
    let outside = pb::TxnRequest { success: vec![inside], ..Default::default() };
    assert_eq!(said(server.kv().txn(outside).await), unknown("Compare.target", 5), "inside of another");
    let other = "etcdserver: the comparison is of VERSION, but the value that came with it is of MOD";
    let mixed = server.kv().txn(compare(0, 0, Some(TargetUnion::ModRevision(3)))).await;
    assert_eq!(said(mixed), (Code::InvalidArgument, other.to_owned()));
    assert_eq!(server.keys("n/").await, ["n/a"], "neither branch ran");
}

/// Fault S10: what else has an enumeration in it. etcd 3.5 dies of some of these.
pub(crate) async fn others(server: &Server) {
    let unknown_downgrade = pb::DowngradeRequest { action: 9, version: "3.4.0".to_owned() };
    let method = (Code::Unknown, "etcdserver: unknown method".to_owned());
    assert_eq!(said(server.maintenance().downgrade(unknown_downgrade).await), method);
    if server.real {
        return;
    }
    let sort = (Code::InvalidArgument, "etcdserver: invalid sort option".to_owned());
    for (sort_order, sort_target) in [(3, 0), (0, 5), (-1, -1)] {
        let range = pb::RangeRequest { key: "n/a".into(), sort_order, sort_target, ..Default::default() };
        assert_eq!(said(server.kv().range(range.clone()).await), sort);
        let op = pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(range)) };
        let txn = pb::TxnRequest { failure: vec![op], ..Default::default() };
        assert_eq!(said(server.kv().txn(txn).await), sort);
    }
    for (action, alarm, refusal) in [
        (3, 1, unknown("AlarmRequest.action", 3)),
        (1, 3, unknown("AlarmRequest.alarm", 3)),
        (0, -1, unknown("AlarmRequest.alarm", -1)),
    ] {
        let asked = server.maintenance().alarm(pb::AlarmRequest { action, member_id: 0, alarm }).await;
        assert_eq!(said(asked), refusal);
    }
    let mut stream = server.watch(pb::WatchCreateRequest { filters: vec![1, 2], ..below("n/", 0) }).await;
    let refused = stream.created().await;
    let reason = unknown("WatchCreateRequest.filters", 2).1;
    assert_eq!((refused.watch_id, refused.canceled, refused.cancel_reason), (-1, true, reason));
    stream.create(below("n/", 0));
    assert!(!stream.created().await.canceled, "the stream goes on");
}
