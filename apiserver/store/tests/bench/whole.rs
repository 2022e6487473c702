//! What a server takes as a whole: memory, the time to start again, disk.

use crate::Parameters;
use crate::kv::{fill, kv};
use crate::server::Server;
use crate::table::Table;
use bytes::Bytes;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Bytes of each value while memory is measured.
const VALUE_BYTES: usize = 1024;
/// Keys that are updated again and again, and the bytes of their values.
const UPDATED: (usize, usize) = (1000, 1024);
/// Starts of each kind; the median counts.
const STARTS: usize = 5;

/// Every row of this module.
pub(crate) fn measure(
    runtime: &Runtime,
    parameters: &Parameters,
    start: impl Fn(&str) -> [Server; 2],
    table: &mut Table,
) {
    if parameters.wants("memory") || parameters.wants("restart") {
        let mut servers = start("keys");
        let key = |at: usize| Bytes::from(format!("/registry/things/{:03}/thing-{at:08}", at % 100));
        servers.iter().for_each(|server| runtime.block_on(fill(server, parameters.keys, VALUE_BYTES, key)));
        let resident = |servers: &[Server; 2]| [servers[0].resident_bytes(), servers[1].resident_bytes()];
        let (keys, half, third) = (parameters.keys, Some(0.5), Some(1.0 / 3.0));
        table.bytes(&format!("memory with {keys} keys of 1 KiB, just written"), resident(&servers), half);
        table.bytes(&format!("disk with {keys} keys of 1 KiB"), disk(&servers), None);
        table.times(&format!("restart after SIGTERM, {keys} keys"), restarts(&mut servers, Server::stop), third);
        table.times(&format!("restart after kill -9, {keys} keys"), restarts(&mut servers, Server::kill), third);
        table.bytes(&format!("memory with {keys} keys, restarted"), resident(&servers), half);
    }
    if parameters.wants("updates") {
        let mut servers = start("updates");
        let key = |at: usize| Bytes::from(format!("/registry/things/{}", at % UPDATED.0));
        servers.iter().for_each(|server| runtime.block_on(fill(server, parameters.updates, UPDATED.1, key)));
        let updates = parameters.updates;
        table.bytes(&format!("disk after {updates} updates"), disk(&servers), None);
        servers.iter().for_each(|server| runtime.block_on(compact(server)));
        table.bytes("disk when they are compacted", disk(&servers), Some(1.0));
        servers.iter().for_each(|server| runtime.block_on(defragment(server)));
        table.bytes("disk when that is defragmented", disk(&servers), Some(1.0));
        table.times("restart after these updates", restarts(&mut servers, Server::stop), Some(1.0 / 3.0));
    }
}

fn disk(servers: &[Server; 2]) -> [u64; 2] {
    [servers[0].disk_bytes(), servers[1].disk_bytes()]
}

fn restarts(servers: &mut [Server; 2], end: fn(&mut Server)) -> [Duration; 2] {
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..STARTS {
        for (server, took) in servers.iter_mut().zip(&mut took) {
            end(server);
            took.push(server.spawn());
        }
    }
    took.map(|mut took| {
        took.sort_unstable();
        took[STARTS / 2]
    })
}

async fn compact(server: &Server) {
    let channel = server.connect(1).await.remove(0);
    let mut kv = kv(channel);
    let get = pb::RangeRequest { key: "health".into(), ..Default::default() };
    let revision = kv.range(get).await.unwrap().into_inner().header.unwrap().revision;
    kv.compact(pb::CompactionRequest { revision, physical: true }).await.unwrap();
}

async fn defragment(server: &Server) {
    let channel = server.connect(1).await.remove(0);
    MaintenanceClient::new(channel).defragment(pb::DefragmentRequest {}).await.unwrap();
}
