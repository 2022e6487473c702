//! Locks and elections.

use crate::server::{Server, below, said};
use skiff_proto::etcd::{v3electionpb as election, v3lockpb as lock};
use tonic::{Code, Status};

async fn locked(server: Server, name: &'static str, lease: i64) -> Result<lock::LockResponse, Status> {
    Ok(server.locks().lock(lock::LockRequest { name: name.into(), lease }).await?.into_inner())
}

async fn unlock(server: &Server, key: &[u8]) {
    server.locks().unlock(lock::UnlockRequest { key: key.to_vec() }).await.unwrap();
}

/// Waits until so many keys stand in line.
async fn in_line(server: &Server, name: &str, count: usize) {
    let mut stream = server.watch(below(name, 1)).await;
    while server.keys(name).await.len() != count {
        stream.next().await;
    }
}

pub(crate) async fn locks(server: &Server) {
    for id in [0x10, 0x11, 0x12] {
        server.grant(id, 1000).await.unwrap();
    }
    let first = locked(server.clone(), "k", 0x10).await.unwrap();
    assert_eq!(first.key, b"k/10");
    assert_eq!(locked(server.clone(), "k", 0x10).await.unwrap().key, b"k/10", "who has it gets it again");
    let leaves = tokio::spawn(locked(server.clone(), "k", 0x11));
    in_line(server, "k/", 2).await;
    let waits = tokio::spawn(locked(server.clone(), "k", 0x12));
    in_line(server, "k/", 3).await;
    leaves.abort();
    in_line(server, "k/", 2).await;
    assert!(!waits.is_finished(), "somebody has it");
    unlock(server, &first.key).await;
    assert_eq!(waits.await.unwrap().unwrap().key, b"k/12");
    unlock(server, b"k/12").await;
    let own = locked(server.clone(), "k", 0).await.unwrap();
    assert!(own.key.starts_with(b"k/") && own.key.len() > 3, "a lease of its own");
    let missing = (Code::Unknown, "etcdserver: requested lease not found".to_owned());
    let refused = said(locked(server.clone(), "other", 0x99).await);
    assert!(refused == missing || refused.1 == "requested lease not found", "{refused:?}");
}

/// Who waits and whose lease ends meanwhile does not get it.
pub(crate) async fn lost(server: &Server) {
    server.grant(0x20, 1000).await.unwrap();
    server.grant(0x21, 1000).await.unwrap();
    let first = locked(server.clone(), "x", 0x20).await.unwrap();
    let waits = tokio::spawn(locked(server.clone(), "x", 0x21));
    in_line(server, "x/", 2).await;
    let revoke = skiff_proto::etcd::etcdserverpb::LeaseRevokeRequest { id: 0x21 };
    server.lease().lease_revoke(revoke).await.unwrap();
    unlock(server, &first.key).await;
    assert_eq!(said(waits.await.unwrap()), (Code::Unknown, "mutex: session is expired".to_owned()));
}

fn leader_of(name: &str) -> election::LeaderRequest {
    election::LeaderRequest { name: name.into() }
}

async fn campaign(server: Server, lease: i64, value: &'static str) -> election::LeaderKey {
    let request = election::CampaignRequest { name: b"e".to_vec(), lease, value: value.into() };
    server.elections().campaign(request).await.unwrap().into_inner().leader.unwrap()
}

pub(crate) async fn elections(server: &Server) {
    let mut elections = server.elections();
    let nobody = (Code::Unknown, "election: no leader".to_owned());
    assert_eq!(said(elections.leader(leader_of("e")).await), nobody);
    let unnamed = (Code::Unknown, "\"leader\" field must be provided".to_owned());
    assert_eq!(said(elections.proclaim(election::ProclaimRequest::default()).await), unnamed);
    for id in [0x30, 0x31] {
        server.grant(id, 1000).await.unwrap();
    }
    let leader = campaign(server.clone(), 0x30, "one").await;
    assert_eq!((&leader.name[..], &leader.key[..], leader.lease), (&b"e"[..], &b"e/30"[..], 0x30));
    let mut observed = elections.observe(leader_of("e")).await.unwrap().into_inner();
    let mut seen = Vec::new();
    seen.push(observed.message().await.unwrap().unwrap().kv.unwrap().value);
    let next = tokio::spawn(campaign(server.clone(), 0x31, "three"));
    in_line(server, "e/", 2).await;
    let proclaim = |value: &str| election::ProclaimRequest { leader: Some(leader.clone()), value: value.into() };
    elections.proclaim(proclaim("two")).await.unwrap();
    seen.push(observed.message().await.unwrap().unwrap().kv.unwrap().value);
    assert!(!next.is_finished(), "there is a leader");
    let now = elections.leader(leader_of("e")).await.unwrap().into_inner().kv.unwrap();
    assert_eq!((&now.key[..], &now.value[..]), (&b"e/30"[..], &b"two"[..]));
    elections.resign(election::ResignRequest { leader: Some(leader.clone()) }).await.unwrap();
    assert_eq!(next.await.unwrap().key, b"e/31");
    seen.push(observed.message().await.unwrap().unwrap().kv.unwrap().value);
    assert_eq!(seen, ["one", "two", "three"]);
    let no_longer = (Code::Unknown, "election: not leader".to_owned());
    assert_eq!(said(elections.proclaim(proclaim("four")).await), no_longer);
}
