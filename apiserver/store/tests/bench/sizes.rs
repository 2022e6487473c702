//! Gets, pages, counts and puts where there is little and where there is much; how long others wait for a large compaction.

use crate::Parameters;
use crate::kv::{Puts, fill, kv};
use crate::load::{Client, row};
use crate::server::Server;
use crate::table::Table;
use bytes::Bytes;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::kv_client::KvClient;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// Bytes of each value.
const VALUE_BYTES: usize = 128;
/// What kubectl asks for.
const PAGE: i64 = 500;

fn key(at: usize) -> Bytes {
    format!("/sized/{at:08}").into()
}

/// Asks one thing again and again; of a get the key changes.
struct Asks {
    kv: KvClient<Channel>,
    range: pb::RangeRequest,
    keys: usize,
    at: usize,
}

impl Client for Asks {
    async fn once(&mut self) {
        self.at = (self.at + 7919) % self.keys;
        let mut range = self.range.clone();
        if range.range_end.is_empty() {
            range.key = key(self.at);
        }
        assert!(self.kv.range(range).await.unwrap().into_inner().count > 0);
    }
}

/// Every row of this module.
pub(crate) async fn measure(parameters: &Parameters, servers: &[Server; 2], table: &mut Table) {
    let sizes: Vec<usize> = parameters.sizes.split(',').filter_map(|size| size.parse().ok()).collect();
    if !["among", "compaction"].iter().any(|word| parameters.rows.contains(word)) && !parameters.rows.is_empty() {
        return;
    }
    let mut there = 0;
    for &size in &sizes {
        for server in servers {
            let from = there;
            fill(server, size.saturating_sub(there), VALUE_BYTES, move |at| key(from + at)).await;
        }
        there = size;
        let all = pb::RangeRequest { key: "/sized/".into(), range_end: "/sized0".into(), ..Default::default() };
        for (what, range) in [
            ("get", pb::RangeRequest::default()),
            ("page of 500", pb::RangeRequest { limit: PAGE, ..all.clone() }),
            ("count", pb::RangeRequest { count_only: true, ..all }),
        ] {
            let make = |channel, at| Asks { kv: kv(channel), range: range.clone(), keys: size, at };
            row(parameters, servers, table, format!("{what} among {size} keys, 1 client"), 1, make).await;
        }
        let puts = |channel, client| Puts::new(channel, client, 256);
        row(parameters, servers, table, format!("put 256 B among {size} keys, 1 client"), 1, puts).await;
    }
    compaction(parameters, servers, there, table).await;
}

/// Every key is written once more, and history is compacted while one client puts and another one gets.
async fn compaction(parameters: &Parameters, servers: &[Server; 2], keys: usize, table: &mut Table) {
    let what = format!("during a compaction of {keys} revisions");
    if !parameters.wants(&what) {
        return;
    }
    let mut waited = [[Duration::ZERO; 2]; 2];
    for (server, waited) in servers.iter().zip(&mut waited) {
        fill(server, keys, VALUE_BYTES, key).await;
        let channels = server.connect(3).await;
        let revision = {
            let get = pb::RangeRequest { key: key(0), ..Default::default() };
            kv(channels[0].clone()).range(get).await.unwrap().into_inner().header.unwrap().revision
        };
        let mut compacting = kv(channels[2].clone());
        let compacting = tokio::spawn(async move {
            compacting.compact(pb::CompactionRequest { revision, physical: true }).await.unwrap();
        });
        let gets = Asks { kv: kv(channels[1].clone()), range: pb::RangeRequest::default(), keys, at: 0 };
        let (puts, gets) = (Puts::new(channels[0].clone(), 0, 256), gets);
        let until = Instant::now() + Duration::from_secs(2);
        let (puts, gets) = tokio::join!(tail(puts, until), tail(gets, until));
        compacting.await.unwrap();
        *waited = [puts, gets];
    }
    table.times(&format!("p99.9 of puts {what}"), [waited[0][0], waited[1][0]], Some(1.0));
    table.times(&format!("p99.9 of gets {what}"), [waited[0][1], waited[1][1]], Some(1.0));
}

async fn tail(mut client: impl Client, until: Instant) -> Duration {
    let mut took = Vec::new();
    while Instant::now() < until {
        let asked = Instant::now();
        client.once().await;
        took.push(asked.elapsed());
    }
    took.sort_unstable();
    took[took.len() - 1 - took.len() / 1000]
}
