//! Events to many watchers: one at a time, and in a burst.

use crate::Parameters;
use crate::kv::kv;
use crate::load::Sample;
use crate::server::Server;
use crate::table::{Row, Table};
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::watch_client::WatchClient;
use skiff_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use skiff_store::keys::KeyRange;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tonic::transport::Channel;

/// Connections that watchers share.
const CONNECTIONS: usize = 10;
/// Puts of a burst.
const BURST: usize = 2000;
/// Clients that put them.
const BURST_CLIENTS: usize = 16;

/// Watchers of one prefix; each tells of every event when it arrives, and when its put was begun.
struct Watchers {
    events: mpsc::UnboundedReceiver<Duration>,
    count: usize,
    putters: Vec<Channel>,
    epoch: Instant,
    prefix: &'static str,
}

impl Watchers {
    async fn start(server: &Server, prefix: &'static str, count: usize) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let epoch = Instant::now();
        for channel in server.connect(CONNECTIONS).await {
            for _ in 0..count / CONNECTIONS {
                watch(channel.clone(), prefix, epoch, sender.clone()).await;
            }
        }
        Watchers { events, count, putters: server.connect(BURST_CLIENTS).await, epoch, prefix }
    }

    /// Puts one key after the other, each when all have seen the one before.
    async fn one_by_one(&mut self, time: Duration) -> Sample {
        let (begun, mut took) = (Instant::now(), Vec::new());
        while begun.elapsed() < time {
            put(self.putters[0].clone(), self.prefix, 0, self.epoch).await;
            for _ in 0..self.count {
                took.push(self.events.recv().await.unwrap());
            }
        }
        Sample { took, elapsed: begun.elapsed(), ..Sample::default() }
    }

    /// Puts many at once, and waits until everyone has seen everything.
    async fn burst(&mut self) -> Sample {
        let (begun, mut took) = (Instant::now(), Vec::new());
        for putter in self.putters.clone() {
            let (prefix, epoch) = (self.prefix, self.epoch);
            tokio::spawn(async move {
                for at in 0..BURST / BURST_CLIENTS {
                    put(putter.clone(), prefix, at, epoch).await;
                }
            });
        }
        for _ in 0..self.count * (BURST / BURST_CLIENTS * BURST_CLIENTS) {
            took.push(self.events.recv().await.unwrap());
        }
        Sample { took, elapsed: begun.elapsed(), ..Sample::default() }
    }
}

/// The value is the time, so that whoever sees it knows how old it is; padded to 256 bytes.
async fn put(channel: Channel, prefix: &str, at: usize, epoch: Instant) {
    let mut value = u64::try_from(epoch.elapsed().as_nanos()).unwrap().to_le_bytes().to_vec();
    value.resize(256, b'x');
    let put = pb::PutRequest { key: format!("{prefix}{at}").into(), value: value.into(), ..Default::default() };
    kv(channel).put(put).await.unwrap();
}

async fn watch(channel: Channel, prefix: &str, epoch: Instant, events: mpsc::UnboundedSender<Duration>) {
    let (key, range_end) = KeyRange::prefix(&prefix.to_owned().into(), None).into_etcd();
    let create = pb::WatchCreateRequest { key, range_end, ..Default::default() };
    let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let (requests, receiver) = mpsc::channel(1);
    requests.send(create).await.unwrap();
    let requests_end = Arc::new(requests);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = WatchClient::new(channel).watch(stream).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().unwrap().created);
    tokio::spawn(async move {
        let _open = requests_end;
        while let Ok(Some(answer)) = answers.message().await {
            for event in answer.events {
                let begun = u64::from_le_bytes(event.kv.unwrap().value[..8].try_into().unwrap());
                if events.send(epoch.elapsed().saturating_sub(Duration::from_nanos(begun))).is_err() {
                    return;
                }
            }
        }
    });
}

/// Every row of this module.
pub(crate) async fn measure(parameters: &Parameters, servers: &[Server; 2], table: &mut Table) {
    for (watchers, prefix) in [(100, "/watched-a/"), (1000, "/watched-b/")] {
        let what = format!("event to {watchers} watchers");
        if parameters.wants(&what) {
            let mut both = both(servers, prefix, watchers).await;
            let mut samples = [Sample::default(), Sample::default()];
            for turn in 0..parameters.turns {
                for place in [turn % 2, (turn + 1) % 2] {
                    let before = servers[place].processor();
                    samples[place].add(both[place].one_by_one(parameters.turn).await);
                    samples[place].processor += servers[place].processor() - before;
                }
            }
            let [ours, etcd] = samples;
            table.add(Row::events(what, ours, etcd));
        }
    }
    let what = format!("burst of {BURST} puts to 100 watchers");
    if parameters.wants(&what) {
        let mut both = both(servers, "/watched-c/", 100).await;
        let mut samples = [Sample::default(), Sample::default()];
        for turn in 0..parameters.turns {
            for place in [turn % 2, (turn + 1) % 2] {
                let before = servers[place].processor();
                samples[place].add(both[place].burst().await);
                samples[place].processor += servers[place].processor() - before;
            }
        }
        let [ours, etcd] = samples;
        table.add(Row::events(what, ours, etcd));
    }
}

async fn both(servers: &[Server; 2], prefix: &'static str, count: usize) -> [Watchers; 2] {
    [Watchers::start(&servers[0], prefix, count).await, Watchers::start(&servers[1], prefix, count).await]
}
