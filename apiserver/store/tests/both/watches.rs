//! Watches.

use crate::peers::{ours, peer, real_etcd_with};
use crate::server::{Server, below, put_op, shown};
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_store::Options;
use std::time::Duration;

fn revision(answer: &pb::WatchResponse) -> i64 {
    answer.header.as_ref().unwrap().revision
}

/// Past, compacted, exactly compacted, future.
pub(crate) async fn starts(server: &Server) {
    let one = server.put("s/a", "1").await;
    let two = server.put("s/a", "2").await;
    let gone = server.delete("s/a").await;
    let mut past = server.watch(below("s/", one)).await;
    past.created().await;
    let seen: Vec<_> = past.events(3).await.iter().map(shown).collect();
    assert_eq!(seen, [format!("s/a=1@{one}"), format!("s/a=2@{two}"), format!("s/a@{gone}")]);
    server.compact(gone).await;
    let mut compacted = server.watch(below("s/", two)).await;
    assert_eq!(revision(&compacted.created().await), gone);
    let refused = compacted.next().await;
    assert_eq!((refused.canceled, refused.compact_revision, revision(&refused)), (true, gone, 0));
    assert_eq!(refused.cancel_reason, "");
    let mut exactly = server.watch(pb::WatchCreateRequest { prev_kv: true, ..below("s/", gone) }).await;
    exactly.created().await;
    assert_eq!(shown(&exactly.events(1).await[0]), format!("s/a@{gone}"), "its deletion, without what it was");
    let mut future = server.watch(below("s/", gone + 3)).await;
    future.created().await;
    for value in ["3", "4", "5"] {
        server.put("s/a", value).await;
    }
    assert_eq!(shown(&future.events(1).await[0]), format!("s/a=5@{}", gone + 3), "nothing older");
}

pub(crate) async fn previous_and_filters(server: &Server) {
    let mut stream = server.watch(pb::WatchCreateRequest { prev_kv: true, ..below("p/", 0) }).await;
    stream.created().await;
    for filter in [0, 1] {
        stream.create(pb::WatchCreateRequest {
            filters: vec![filter],
            watch_id: 10 + i64::from(filter),
            ..below("p/", 0)
        });
        stream.created().await;
    }
    let one = server.put("p/a", "1").await;
    server.put("p/a", "2").await;
    server.delete("p/a").await;
    let mut seen: [Vec<String>; 3] = Default::default();
    while seen.iter().map(Vec::len).sum::<usize>() < 6 {
        let answer = stream.next().await;
        let which = [0, 10, 11].iter().position(|id| *id == answer.watch_id).unwrap();
        seen[which].extend(answer.events.iter().map(shown));
    }
    let (two, three) = (one + 1, one + 2);
    assert_eq!(seen[0], [format!("p/a=1@{one}"), format!("p/a=2@{two} was 1"), format!("p/a@{three} was 2")]);
    assert_eq!(seen[1], [format!("p/a@{three}")], "no puts");
    assert_eq!(seen[2], [format!("p/a=1@{one}"), format!("p/a=2@{two}")], "no deletions");
}

/// Two revisions of three large values each; with what they replaced the second is above the limit of an answer.
pub(crate) async fn fragments(server: &Server) {
    let mut last = 0;
    for letter in *b"xy" {
        let success = ["f/a", "f/b", "f/c"].map(|key| put_op(key, vec![letter; 450_000])).into();
        let answer = server.kv().txn(pb::TxnRequest { success, ..Default::default() }).await.unwrap().into_inner();
        last = answer.header.unwrap().revision;
    }
    let whole = pb::WatchCreateRequest { prev_kv: true, ..below("f/", last) };
    let mut stream = server.watch(pb::WatchCreateRequest { fragment: true, ..whole.clone() }).await;
    stream.created().await;
    let (mut events, mut answers) = (0, 0);
    loop {
        let answer = stream.next().await;
        events += answer.events.len();
        answers += 1;
        let bytes: usize = answer.events.iter().map(|event| event.kv.as_ref().unwrap().value.len() * 2).sum();
        assert!(bytes < 2_000_000, "{bytes}");
        assert_eq!(answer.fragment, events < 3, "all but the last");
        if !answer.fragment {
            break;
        }
    }
    assert_eq!(events, 3);
    assert!(answers > 1);
    let mut stream = server.watch(whole).await;
    stream.created().await;
    let answer = stream.next().await;
    assert_eq!((answer.events.len(), answer.fragment), (3, false), "a revision is one answer");
}

/// Asked for after every write: what was not delivered is not passed over.
pub(crate) async fn progress(server: &Server) {
    let mut stream = server.watch(below("g/", 0)).await;
    stream.created().await;
    let (mut seen, mut told, mut last) = (0, 0, 0);
    for round in 0..50 {
        last = server.put("g/a", &round.to_string()).await;
        stream.ask_progress();
    }
    while told < last {
        let answer = stream.next().await;
        if answer.events.is_empty() {
            assert_eq!(answer.watch_id, -1);
            told = revision(&answer);
            let owed = told.min(last);
            assert!(seen >= owed, "{told} was told, {seen} was delivered");
            // Silence means that something was not delivered yet: then one asks again.
        } else {
            seen = answer.events.last().unwrap().kv.as_ref().unwrap().mod_revision;
            stream.ask_progress();
        }
    }
    assert_eq!(seen, last);
}

/// Fault S12: nobody writes, and a watch that wants to know is told again and again that this is so.
async fn told_without_writes(server: &Server) {
    let last = server.put("q/a", "1").await;
    let mut stream = server.watch(pb::WatchCreateRequest { progress_notify: true, ..below("q/", 0) }).await;
    let id = stream.created().await.watch_id;
    stream.create(below("q/", 0));
    stream.created().await;
    for _ in 0..3 {
        let told = stream.next().await;
        assert_eq!((told.watch_id, revision(&told), told.events.len()), (id, last, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_without_writes_by_ours() {
    let options = Options { progress_interval: Duration::from_millis(50), ..Options::default() };
    let ours = ours(options).await;
    told_without_writes(&Server::connect(&ours.url, false).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_without_writes_by_etcd() {
    let Some(program) = peer("etcd-3.5", "/nonexistent") else { return };
    let args = ["--unsafe-no-fsync", "--experimental-watch-progress-notify-interval=100ms"];
    let etcd = real_etcd_with(&program, &args).await;
    told_without_writes(&Server::connect(&etcd.url, true).await).await;
}

pub(crate) async fn many(server: &Server) {
    let mut stream = server.watch(below("m/", 0)).await;
    assert_eq!(stream.created().await.watch_id, 0);
    for id in [0, 7, -5, 0] {
        stream.create(pb::WatchCreateRequest { watch_id: id, ..below("m/", 0) });
    }
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(stream.created().await.watch_id);
    }
    assert_eq!(ids, [1, 7, -5, 2], "in the order of the requests");
    stream.create(pb::WatchCreateRequest { watch_id: 7, ..below("m/", 0) });
    stream.create(pb::WatchCreateRequest { key: "m/b".into(), range_end: "m/a".into(), ..Default::default() });
    for _ in 0..2 {
        let refused = stream.created().await;
        assert_eq!((refused.watch_id, refused.canceled), (-1, true));
        assert!(!refused.cancel_reason.is_empty());
    }
    stream.cancel(99);
    stream.cancel(7);
    let cancelled = stream.next().await;
    assert_eq!((cancelled.watch_id, cancelled.canceled, cancelled.compact_revision), (7, true, 0));
    server.put("m/a", "1").await;
    let mut told = Vec::new();
    for _ in 0..4 {
        let answer = stream.next().await;
        assert_eq!(answer.events.len(), 1);
        told.push(answer.watch_id);
    }
    told.sort_unstable();
    assert_eq!(told, [-5, 0, 1, 2], "each once, and not the one that was cancelled");
}

/// Nobody reads for 20 MiB; somebody else does.
pub(crate) async fn slow(server: &Server) {
    const WRITES: usize = 200;
    let first = server.put("w/a", "first").await + 1;
    let mut slow = server.watch(below("w/", first)).await;
    slow.created().await;
    let mut fast = server.watch(below("w/", first)).await;
    fast.created().await;
    for write in 0..WRITES {
        server.try_put("w/a", vec![write as u8; 100_000], 0).await.unwrap();
    }
    for stream in [&mut fast, &mut slow] {
        let events = stream.events(WRITES).await;
        for (write, event) in events.iter().enumerate() {
            let kv = event.kv.as_ref().unwrap();
            assert_eq!((kv.mod_revision, kv.value[0]), (first + write as i64, write as u8));
        }
    }
}
