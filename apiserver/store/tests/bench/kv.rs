//! Puts, compare-and-swap, gets, ranges, lists and leases.

use crate::Parameters;
use crate::load::{Client, row};
use crate::server::Server;
use crate::table::Table;
use bytes::Bytes;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::kv_client::KvClient;
use skiff_proto::etcd::etcdserverpb::lease_client::LeaseClient;
use tonic::transport::Channel;

/// Keys that gets, ranges and lists read.
const LISTED: usize = 10_000;
/// Bytes of each of their values.
const LISTED_BYTES: usize = 1024;
/// Entries of a page: what kubectl asks for.
const PAGE: i64 = 500;

pub(crate) fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(usize::MAX)
}

fn value(bytes: usize) -> Bytes {
    (0..bytes).map(|at| (at * 31 % 251) as u8).collect::<Vec<_>>().into()
}

/// Writes its own thousand keys again and again.
pub(crate) struct Puts {
    kv: KvClient<Channel>,
    client: usize,
    count: usize,
    value: Bytes,
}

impl Puts {
    pub(crate) fn new(channel: Channel, client: usize, bytes: usize) -> Self {
        Puts { kv: kv(channel), client, count: 0, value: value(bytes) }
    }
}

impl Client for Puts {
    async fn once(&mut self) {
        self.count += 1;
        let key = format!("/put/{:03}/{:04}", self.client, self.count % 1000).into();
        let put = pb::PutRequest { key, value: self.value.clone(), ..Default::default() };
        self.kv.put(put).await.unwrap();
    }
}

/// Writes its own key if nobody else did, as an API server updates an object.
struct Swaps {
    kv: KvClient<Channel>,
    key: Bytes,
    value: Bytes,
    revision: i64,
}

impl Client for Swaps {
    async fn once(&mut self) {
        use pb::compare::{CompareResult, CompareTarget, TargetUnion};
        let compare = pb::Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: self.key.clone(),
            target_union: Some(TargetUnion::ModRevision(self.revision)),
            ..Default::default()
        };
        let put = pb::PutRequest { key: self.key.clone(), value: self.value.clone(), ..Default::default() };
        let get = pb::RangeRequest { key: self.key.clone(), ..Default::default() };
        let op = |request| pb::RequestOp { request: Some(request) };
        let txn = pb::TxnRequest {
            compare: vec![compare],
            success: vec![op(pb::request_op::Request::RequestPut(put))],
            failure: vec![op(pb::request_op::Request::RequestRange(get))],
        };
        let answer = self.kv.txn(txn).await.unwrap().into_inner();
        self.revision = match answer.responses.into_iter().next().unwrap().response.unwrap() {
            pb::response_op::Response::ResponseRange(found) => found.kvs.first().map_or(0, |kv| kv.mod_revision),
            _ => answer.header.unwrap().revision,
        };
    }
}

struct Gets {
    kv: KvClient<Channel>,
    count: usize,
}

impl Client for Gets {
    async fn once(&mut self) {
        self.count += 7919;
        let get = pb::RangeRequest { key: listed(self.count % LISTED), ..Default::default() };
        assert_eq!(self.kv.range(get).await.unwrap().into_inner().kvs.len(), 1);
    }
}

fn listed(at: usize) -> Bytes {
    format!("/listed/{at:08}").into()
}

/// Reads every key in pages of at most `limit` (0: at once), `wanted` keys in all.
struct Lists {
    kv: KvClient<Channel>,
    limit: i64,
    wanted: usize,
}

impl Client for Lists {
    async fn once(&mut self) {
        let (mut key, mut revision, mut read) = (Bytes::from("/listed/"), 0, 0);
        while read < self.wanted {
            let end = "/listed0".into();
            let list = pb::RangeRequest { key, range_end: end, limit: self.limit, revision, ..Default::default() };
            let page = self.kv.range(list).await.unwrap().into_inner();
            revision = page.header.unwrap().revision;
            read += page.kvs.len();
            key = [&page.kvs.last().unwrap().key[..], &[0]].concat().into();
        }
        assert_eq!(read, self.wanted);
    }
}

/// Grants a lease, puts a key under it, revokes it.
struct Leases {
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
    key: Bytes,
}

impl Client for Leases {
    async fn once(&mut self) {
        let granted = self.lease.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 0 }).await.unwrap().into_inner();
        let put = pb::PutRequest { key: self.key.clone(), lease: granted.id, ..Default::default() };
        self.kv.put(put).await.unwrap();
        self.lease.lease_revoke(pb::LeaseRevokeRequest { id: granted.id }).await.unwrap();
    }
}

/// Writes keys that others will read.
pub(crate) async fn fill(
    server: &Server,
    count: usize,
    bytes: usize,
    key: impl Fn(usize) -> Bytes + Clone + Send + 'static,
) {
    const WRITERS: usize = 64;
    let channels = server.connect(8).await;
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (mut kv, key) = (kv(channels[writer % channels.len()].clone()), key.clone());
            tokio::spawn(async move {
                for at in (writer..count).step_by(WRITERS) {
                    let put = pb::PutRequest { key: key(at), value: value(bytes), ..Default::default() };
                    kv.put(put).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Every row of this module.
pub(crate) async fn measure(parameters: &Parameters, servers: &[Server; 2], table: &mut Table) {
    for server in servers {
        fill(server, LISTED, LISTED_BYTES, listed).await;
    }
    writes(parameters, servers, table).await;
    for clients in [1, 64] {
        let what = format!("get 1 KiB, {clients} clients");
        row(parameters, servers, table, what, clients, |channel, at| Gets { kv: kv(channel), count: at }).await;
    }
    for (what, limit, wanted, clients) in [
        ("range of 1,000, 1 client", 1000, 1000, 1),
        ("range of 1,000, 8 clients", 1000, 1000, 8),
        ("list of 10,000 in pages of 500", PAGE, LISTED, 1),
        ("list of 10,000 whole", 0, LISTED, 1),
    ] {
        let make = |channel, _| Lists { kv: kv(channel), limit, wanted };
        row(parameters, servers, table, what.to_owned(), clients, make).await;
    }
    let make = |channel: Channel, at| Leases {
        kv: kv(channel.clone()),
        lease: LeaseClient::new(channel),
        key: format!("/leased/{at}").into(),
    };
    row(parameters, servers, table, "lease grant, put, revoke, 16 clients".to_owned(), 16, make).await;
}

async fn writes(parameters: &Parameters, servers: &[Server; 2], table: &mut Table) {
    for (name, bytes) in [("256 B", 256), ("4 KiB", 4096)] {
        for clients in [1, 16, 64, 256] {
            let make = |channel, client| Puts::new(channel, client, bytes);
            row(parameters, servers, table, format!("put {name}, {clients} clients"), clients, make).await;
        }
    }
    for clients in [1, 16, 64, 256] {
        let key = |at| format!("/swap/{clients}/{at}").into();
        let make = |channel, at| Swaps { kv: kv(channel), key: key(at), value: value(256), revision: 0 };
        row(parameters, servers, table, format!("compare-and-swap 256 B, {clients} clients"), clients, make).await;
    }
}
