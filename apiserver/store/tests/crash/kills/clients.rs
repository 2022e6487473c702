//! Clients that write until the server is gone, and remember what they sent and what was answered.

use super::serve::Served;
use super::verify::Known;
use bytes::Bytes;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::kv_client::KvClient;
use skiff_proto::etcd::etcdserverpb::lease_client::LeaseClient;
use skiff_proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;

/// Writers, each one request at a time.
const WRITERS: usize = 8;
/// Keys that a writer writes one by one, and keys that it writes together.
const SINGLE: i64 = 4;
pub(super) const TOGETHER: i64 = 3;
/// Leases are granted by one of them; long enough that none ends by itself.
const TTL_SECONDS: i64 = 100_000;

/// A write: its number, which is its value, and the keys that it sets to it.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub number: i64,
    pub keys: Vec<String>,
    /// `None`: not answered.
    pub revision: Option<i64>,
}

/// A lease that was asked for or given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseState {
    GrantSent,
    Granted,
    RevokeSent,
    Revoked,
}

/// What one process was asked.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub writes: Vec<Sent>,
    pub leases: BTreeMap<i64, LeaseState>,
}

/// The clients of one process.
pub(super) struct Load {
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Asked>>,
}

struct Client {
    channel: Channel,
    name: usize,
    answered: Arc<AtomicU64>,
    numbers: Arc<AtomicI64>,
}

impl Load {
    /// Starts them; one compacts history to `compact`.
    pub(super) async fn begin(served: &Served, known: &Known, compact: Option<i64>) -> Self {
        let channels = [served.channel().await, served.channel().await];
        let load = Load { answered: Arc::default(), clients: Vec::new() };
        let numbers = Arc::new(AtomicI64::new(known.last_number + 1));
        let client = |name: usize| Client {
            channel: channels[name % 2].clone(),
            name,
            answered: load.answered.clone(),
            numbers: numbers.clone(),
        };
        let mut clients: Vec<_> = (0..WRITERS).map(|name| tokio::spawn(client(name).write())).collect();
        clients.push(tokio::spawn(client(WRITERS).lease()));
        if let Some(revision) = compact.filter(|revision| *revision > 1) {
            clients.push(tokio::spawn(client(WRITERS + 1).compact(revision)));
        }
        Load { clients, ..load }
    }

    /// Waits for so many answers.
    pub(super) async fn wait_for(&self, answers: u64) {
        let waited = async {
            while self.answered.load(Ordering::Relaxed) < answers {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waited).await.expect("a minute is enough for a few writes");
    }

    /// Waits until everyone has noticed the kill.
    pub(super) async fn end(self, known: &mut Known) {
        for client in self.clients {
            known.add(client.await.unwrap());
        }
    }
}

impl Client {
    /// Whether an answer came; the server says nothing else than yes, and nothing once it is killed.
    fn is_answered<T>(&self, answer: &Result<T, Status>) -> bool {
        match answer {
            Ok(_) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(_) => false,
        }
    }

    async fn write(self) -> Asked {
        let (mut kv, mut asked) = (KvClient::new(self.channel.clone()), Asked::default());
        loop {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let keys: Vec<String> = match number % 3 {
                0 => (0..TOGETHER).map(|key| format!("/{}/together/{key}", self.name)).collect(),
                _ => vec![format!("/{}/single/{}", self.name, number % SINGLE)],
            };
            asked.writes.push(Sent { number, keys: keys.clone(), revision: None });
            let value = format!("{number} {}", "x".repeat((number as usize * 37) % 900));
            let success = keys.into_iter().map(|key| put(key, &value, 0)).collect();
            let answer = kv.txn(pb::TxnRequest { success, ..Default::default() }).await;
            if !self.is_answered(&answer) {
                return asked;
            }
            let header = answer.unwrap().into_inner().header.unwrap();
            asked.writes.last_mut().unwrap().revision = Some(header.revision);
        }
    }

    /// Grants leases and gives each up again, later.
    async fn lease(self) -> Asked {
        let (mut leases, mut asked) = (LeaseClient::new(self.channel.clone()), Asked::default());
        loop {
            let id = self.numbers.fetch_add(1, Ordering::Relaxed);
            asked.leases.insert(id, LeaseState::GrantSent);
            let answer = leases.lease_grant(pb::LeaseGrantRequest { ttl: TTL_SECONDS, id }).await;
            if !self.is_answered(&answer) {
                return asked;
            }
            asked.leases.insert(id, LeaseState::Granted);
            if id % 4 == 0 {
                continue;
            }
            asked.leases.insert(id, LeaseState::RevokeSent);
            let answer = leases.lease_revoke(pb::LeaseRevokeRequest { id }).await;
            if !self.is_answered(&answer) {
                return asked;
            }
            asked.leases.insert(id, LeaseState::Revoked);
        }
    }

    async fn compact(self, revision: i64) -> Asked {
        let request = pb::CompactionRequest { revision, physical: revision % 2 == 0 };
        let answer = KvClient::new(self.channel.clone()).compact(request).await;
        if let Err(status) = &answer {
            // It may have been done by the process before, whose answer was lost.
            let done_before = status.message().contains("has been compacted");
            assert!(done_before || status.code() != tonic::Code::OutOfRange, "{status}");
        }
        if revision % 3 == 0 {
            // It is killed before that is done, or it is done; both are right.
            let _ = MaintenanceClient::new(self.channel).defragment(pb::DefragmentRequest {}).await;
        }
        Asked::default()
    }
}

fn put(key: String, value: &str, lease: i64) -> pb::RequestOp {
    let put = pb::PutRequest { key: key.into(), value: Bytes::from(value.to_owned()), lease, ..Default::default() };
    pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }
}
