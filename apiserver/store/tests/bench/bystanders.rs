//! Puts while others only wait: leases that are not due, watchers of other keys, watchers that come back and read history.

use crate::Parameters;
use crate::kv::{Puts, fill, kv};
use crate::load::{Sample, row};
use crate::server::Server;
use crate::table::{Row, Table};
use bytes::Bytes;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::lease_client::LeaseClient;
use skiff_proto::etcd::etcdserverpb::watch_client::WatchClient;
use skiff_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Longer than any bench: none of these leases ends.
const LEASE_SECONDS: i64 = 100_000;
/// Streams that watchers share.
const STREAMS: usize = 50;
/// Keys that have a history.
const RESUMED_KEYS: usize = 1000;

/// Every row of this module.
pub(crate) async fn measure(parameters: &Parameters, servers: &[Server; 2], table: &mut Table) {
    let puts = |channel, client| Puts::new(channel, client, 256);
    let mut there = 0;
    for leases in [0, 1000, 10_000, 50_000] {
        let what = format!("put 256 B, 1 client, {leases} leases about");
        if parameters.wants(&what) {
            for server in servers {
                grant(server, leases - there).await;
            }
            there = leases;
            row(parameters, servers, table, what, 1, puts).await;
        }
    }
    let (mut open, mut there) = (Vec::new(), 0);
    for watchers in [1000, 10_000, 50_000] {
        let what = format!("put 256 B, 1 client, {watchers} watchers of other keys");
        if parameters.wants(&what) {
            for server in servers {
                open.push(watch_others(server, there..watchers).await);
            }
            there = watchers;
            row(parameters, servers, table, what, 1, puts).await;
        }
    }
    drop(open);
    resuming(parameters, servers, table).await;
}

async fn grant(server: &Server, count: usize) {
    let tasks: Vec<_> = (server.connect(8).await.into_iter().enumerate())
        .map(|(task, channel)| {
            tokio::spawn(async move {
                let grants = (task..count).step_by(8).map(|_| {
                    let mut lease = LeaseClient::new(channel.clone());
                    async move { lease.lease_grant(pb::LeaseGrantRequest { ttl: LEASE_SECONDS, id: 0 }).await.unwrap() }
                });
                let mut grants = futures::StreamExt::buffer_unordered(futures::stream::iter(grants), 32);
                while futures::StreamExt::next(&mut grants).await.is_some() {}
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// What a stream of watches is held open by, and what it answers.
struct Watching {
    _requests: mpsc::UnboundedSender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

async fn stream(channel: Channel, creates: impl IntoIterator<Item = pb::WatchCreateRequest>) -> Watching {
    let (requests, receiver) = mpsc::unbounded_channel();
    for create in creates {
        requests.send(pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).unwrap();
    }
    let mut watch = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
    let answers = watch.watch(UnboundedReceiverStream::new(receiver)).await.unwrap().into_inner();
    Watching { _requests: requests, answers }
}

/// Half of them watch one key each, half of them what begins with one.
async fn watch_others(server: &Server, numbers: std::ops::Range<usize>) -> Vec<Watching> {
    let mut open = Vec::new();
    for (at, channel) in server.connect(STREAMS).await.into_iter().enumerate() {
        let create = |number: usize| {
            let key = format!("/others/{number:08}/");
            let range_end = if number.is_multiple_of(2) { String::new() } else { format!("/others/{number:08}0") };
            pb::WatchCreateRequest { key: key.into(), range_end: range_end.into(), ..Default::default() }
        };
        let mine: Vec<usize> = numbers.clone().skip(at).step_by(STREAMS).collect();
        let mut watching = stream(channel, mine.iter().map(|&number| create(number))).await;
        for _ in &mine {
            assert!(watching.answers.message().await.unwrap().unwrap().created);
        }
        open.push(watching);
    }
    open
}

/// Watchers that come back after 100,000 revisions, while one client puts.
async fn resuming(parameters: &Parameters, servers: &[Server; 2], table: &mut Table) {
    let counts = [30, 100, 300, 1000];
    let what =
        |watchers: usize| format!("put 256 B, 1 client, while {watchers} watchers read {} revisions", parameters.keys);
    if !counts.iter().any(|&watchers| parameters.wants(&what(watchers))) {
        return;
    }
    let key = |at: usize| Bytes::from(format!("/resumed/{:04}", at % RESUMED_KEYS));
    let mut begins = [0, 0];
    for (server, begin) in servers.iter().zip(&mut begins) {
        *begin = revision(server).await + 1;
        fill(server, parameters.keys, 256, key).await;
    }
    for watchers in counts.into_iter().filter(|&watchers| parameters.wants(&what(watchers))) {
        let (mut samples, mut last) = ([Sample::default(), Sample::default()], [Duration::ZERO; 2]);
        for turn in 0..parameters.turns {
            for place in [turn % 2, (turn + 1) % 2] {
                let before = servers[place].processor();
                let (sample, took) = resume(parameters, &servers[place], begins[place], watchers).await;
                samples[place].add(sample);
                samples[place].processor += servers[place].processor() - before;
                last[place] += took / u32::try_from(parameters.turns).unwrap();
            }
        }
        let [ours, etcd] = samples;
        table.add(Row::new(what(watchers), ours, etcd));
        table.times(&format!("{watchers} watchers have read {} revisions", parameters.keys), last, Some(1.0));
    }
}

async fn revision(server: &Server) -> i64 {
    let get = pb::RangeRequest { key: "health".into(), ..Default::default() };
    kv(server.connect(1).await.remove(0)).range(get).await.unwrap().into_inner().header.unwrap().revision
}

/// Puts until every watcher has had its events; how long that was, and how long the puts took.
async fn resume(parameters: &Parameters, server: &Server, begin: i64, watchers: usize) -> (Sample, Duration) {
    let events = parameters.keys / RESUMED_KEYS;
    let (done, left) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(watchers)));
    let begun = Instant::now();
    let putting = {
        let (channel, done) = (server.connect(1).await.remove(0), done.clone());
        tokio::spawn(async move {
            let (mut puts, mut took) = (Puts::new(channel, 0, 256), Vec::new());
            while !done.load(Ordering::Relaxed) || took.is_empty() {
                let asked = Instant::now();
                crate::load::Client::once(&mut puts).await;
                took.push(asked.elapsed());
            }
            Sample { took, elapsed: begun.elapsed(), ..Sample::default() }
        })
    };
    let (told, mut all) = mpsc::channel(1);
    for (at, channel) in server.connect(STREAMS.min(watchers)).await.into_iter().enumerate() {
        let mine = (at..watchers).step_by(STREAMS.min(watchers));
        let creates = mine.clone().map(|number| pb::WatchCreateRequest {
            key: format!("/resumed/{:04}", number % RESUMED_KEYS).into(),
            start_revision: begin,
            ..Default::default()
        });
        let watching = stream(channel, creates.collect::<Vec<_>>()).await;
        let (left, told, count) = (left.clone(), told.clone(), mine.count());
        tokio::spawn(async move {
            // Both, because a stream of which one side is closed ends.
            let Watching { _requests, mut answers } = watching;
            let mut wanted = count * events;
            while wanted > 0 {
                let answer = answers.message().await.unwrap().unwrap();
                wanted = wanted.saturating_sub(answer.events.len());
            }
            if left.fetch_sub(count, Ordering::AcqRel) == count {
                told.send(()).await.unwrap();
            }
        });
    }
    all.recv().await.unwrap();
    let took = begun.elapsed();
    done.store(true, Ordering::Relaxed);
    (putting.await.unwrap(), took)
}
