//! Events to many: how long until the last of many watchers has seen a change.

use crate::Parameters;
use crate::http::{Ask, Client, JSON, PROTOBUF};
use crate::objects::NAMESPACE;
use crate::server::Server;
use crate::table::Table;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Watches on one connection: below what servers allow (kube-apiserver: 100 at least).
const STREAMS: usize = 50;
/// Changes that are timed.
const CHANGES: usize = 20;

/// How many watchers have seen the present change.
#[derive(Default)]
struct Seen {
    count: AtomicUsize,
    more: Notify,
}

/// How many events end in what has come: in JSON each is a line, in Protobuf each stands behind its length in four bytes.
fn ended(waiting: &mut Vec<u8>, data: &[u8], accept: &str) -> usize {
    if accept == JSON {
        return data.iter().filter(|byte| **byte == b'\n').count();
    }
    waiting.extend_from_slice(data);
    let mut events = 0;
    while let Some(length) = waiting.first_chunk().map(|length| u32::from_be_bytes(*length) as usize + 4)
        && waiting.len() >= length
    {
        waiting.drain(..length);
        events += 1;
    }
    events
}

async fn follow(mut body: Incoming, accept: &'static str, seen: Arc<Seen>) {
    let mut waiting = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        let events = ended(&mut waiting, data, accept);
        seen.count.fetch_add(events, Ordering::Relaxed);
        seen.more.notify_one();
    }
}

async fn change(client: &mut Client, number: usize) {
    let body = json!({"metadata": {"labels": {"seen": number.to_string()}}}).to_string();
    let path = format!("{NAMESPACE}/pods/own-0");
    client.must(&Ask::send("PATCH", path, "application/merge-patch+json", body)).await;
}

/// The median time from a write's request until the last watcher has its event.
async fn fan_out(server: &Server, watchers: usize, query: &str, accept: &'static str) -> Duration {
    let seen = Arc::new(Seen::default());
    let mut writer = server.connect().await;
    let list = writer.must(&Ask::get(format!("{NAMESPACE}/pods?limit=1"), JSON)).await;
    let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut tasks = Vec::new();
    let mut client = server.connect().await;
    for number in 0..watchers {
        if number % STREAMS == 0 {
            client = server.connect().await;
        }
        let path = format!("{NAMESPACE}/pods?watch=true&resourceVersion={revision}{query}");
        let body = client.begin(&Ask::get(path, accept)).await.into_body();
        tasks.push(tokio::spawn(follow(body, accept, Arc::clone(&seen))));
    }
    let mut took = Vec::new();
    for number in 0..CHANGES {
        seen.count.store(0, Ordering::Relaxed);
        let begun = Instant::now();
        change(&mut writer, number).await;
        while seen.count.load(Ordering::Relaxed) < watchers {
            let waited = tokio::time::timeout(Duration::from_secs(30), seen.more.notified()).await;
            assert!(waited.is_ok(), "{} of {watchers} watchers saw a change", seen.count.load(Ordering::Relaxed));
        }
        took.push(begun.elapsed());
    }
    tasks.into_iter().for_each(|task| task.abort());
    took.sort_unstable();
    took[took.len() / 2]
}

pub(crate) async fn measure(parameters: &Parameters, servers: &[Server; 2], table: &mut Table) {
    let rows = [
        ("of one pod, JSON", "&fieldSelector=metadata.name%3Down-0", JSON),
        ("of one pod, Protobuf", "&fieldSelector=metadata.name%3Down-0", PROTOBUF),
        ("of all pods, JSON", "", JSON),
        ("of all pods, Protobuf", "", PROTOBUF),
        ("of all pods by label, JSON", "&labelSelector=app%3Dbench", JSON),
    ];
    for (what, query, accept) in rows {
        let what = format!("the last of {} watchers {what}", parameters.watchers);
        if parameters.wants(&what) {
            let ours = fan_out(&servers[0], parameters.watchers, query, accept).await;
            let theirs = fan_out(&servers[1], parameters.watchers, query, accept).await;
            table.times(&what, [ours, theirs], 0.25);
        }
    }
}
