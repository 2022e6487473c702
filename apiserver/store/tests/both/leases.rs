//! Leases.

use crate::server::{Server, below, said, shown};
use skiff_proto::etcd::etcdserverpb as pb;
use tonic::Code;

async fn keep_alive(server: &Server, id: i64) -> i64 {
    let requests = tokio_stream::iter([pb::LeaseKeepAliveRequest { id }]);
    let mut answers = server.lease().lease_keep_alive(requests).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap().ttl
}

async fn time_to_live(server: &Server, id: i64) -> pb::LeaseTimeToLiveResponse {
    let request = pb::LeaseTimeToLiveRequest { id, keys: true };
    server.lease().lease_time_to_live(request).await.unwrap().into_inner()
}

pub(crate) async fn granted(server: &Server) {
    for ttl in [-1, 0, 1] {
        assert_eq!(server.grant(0, ttl).await.unwrap().ttl, 2, "no lease is shorter");
    }
    let lease = server.grant(100, 1000).await.unwrap();
    assert_eq!((lease.id, lease.ttl), (100, 1000));
    let exists = (Code::FailedPrecondition, "etcdserver: lease already exists".to_owned());
    assert_eq!(said(server.grant(100, 1000).await), exists);
    let long = (Code::OutOfRange, "etcdserver: too large lease TTL".to_owned());
    assert_eq!(said(server.grant(101, 9_000_000_001).await), long);
    let missing = (Code::NotFound, "etcdserver: requested lease not found".to_owned());
    assert_eq!(said(server.try_put("l/a", "1", 102).await), missing);
    assert_eq!(said(server.lease().lease_revoke(pb::LeaseRevokeRequest { id: 102 }).await), missing);
    assert_eq!((keep_alive(server, 100).await, keep_alive(server, 102).await), (1000, 0));
    assert_eq!(time_to_live(server, 102).await.ttl, -1);
    server.try_put("l/a", "1", 100).await.unwrap();
    let left = time_to_live(server, 100).await;
    assert!((900..=1000).contains(&left.ttl), "{left:?}");
    assert_eq!((left.granted_ttl, left.keys), (1000, vec![bytes::Bytes::from("l/a")]));
    server.put("l/a", "2").await;
    assert!(time_to_live(server, 100).await.keys.is_empty(), "a put without it takes it off");
}

/// Fault S13: who ends first comes first.
pub(crate) async fn listed(server: &Server) {
    for (id, ttl) in [(1, 5000), (2, 1000), (3, 9000), (4, 3000)] {
        server.grant(id, ttl).await.unwrap();
    }
    let leases = async || {
        let answer = server.lease().lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner();
        answer.leases.iter().map(|lease| lease.id).collect::<Vec<_>>()
    };
    assert_eq!(leases().await, [2, 4, 1, 3]);
    server.lease().lease_revoke(pb::LeaseRevokeRequest { id: 4 }).await.unwrap();
    assert_eq!(leases().await, [2, 1, 3]);
}

/// The keys of one lease go in one revision, and are seen to go.
pub(crate) async fn expiry(server: &Server) {
    let lease = server.grant(0, 2).await.unwrap().id;
    for key in ["e/b", "e/a"] {
        server.try_put(key, "1", lease).await.unwrap();
    }
    let last = server.put("e/stays", "1").await;
    let mut stream = server.watch(pb::WatchCreateRequest { prev_kv: true, ..below("e/", last + 1) }).await;
    stream.created().await;
    let seen: Vec<_> = stream.events(2).await.iter().map(shown).collect();
    assert_eq!(seen, [format!("e/a@{} was 1", last + 1), format!("e/b@{} was 1", last + 1)]);
    assert_eq!(server.keys("e/").await, ["e/stays"]);
    assert_eq!(keep_alive(server, lease).await, 0, "too late");
}
