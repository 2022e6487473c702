//! An etcd of three members as the backend, while members die, hang and come back.

#![allow(clippy::unwrap_used)]

#[path = "peers/keys.rs"]
mod keys;
mod peers;
mod promises;
#[path = "peers/three.rs"]
mod three;

use futures::StreamExt;
use peers::{ours, peer, real_etcd};
use promises::{bytes, create, done, keeps_backend_promises, next_changes};
use skiff_store::backend::{Change, ListRange, WatchBatch};
use skiff_store::etcd::{Remote, RemoteOptions};
use skiff_store::{Backend, BackendError, Options, Revision};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use three::{Elections, Three};
use tokio_util::sync::CancellationToken;

/// Writers that go on while members die.
const WRITERS: usize = 4;
/// Writes that must be acknowledged after each blow before the next.
const WRITES_BETWEEN: u64 = 40;
/// Longer than any request may take (10 s), on however slow a machine.
const BOUNDED: Duration = Duration::from_secs(60);

/// Times that a member is killed.
fn kills() -> usize {
    let given = std::env::var("SKIFF_KILLS").ok().and_then(|number| number.parse().ok());
    given.unwrap_or(if std::env::var_os("SKIFF_LONG").is_some() { 60 } else { 3 })
}

async fn open(three: &Three) -> Arc<dyn Backend> {
    Arc::new(Remote::open(&three.options()).await.unwrap())
}

#[tokio::test]
async fn three_members_keep_the_promises_with_client_certificates() {
    let Some(program) = peer("etcd-3.5", "/nonexistent") else { return };
    let three = Three::start_with_keys(&program, Elections::Rare).await;
    keeps_backend_promises(open(&three).await).await;
    let stranger = RemoteOptions::new(
        &[three.members[0].url.clone()],
        three.client_tls().map(|tls| skiff_store::etcd::ClientTls { identity: None, ..tls }),
    );
    assert!(Remote::open(&stranger).await.is_err(), "a client without a certificate is refused");
}

/// Writers that note what was acknowledged.
struct Load {
    acknowledged: AtomicU64,
    stop: CancellationToken,
}

impl Load {
    /// Creates keys until told to stop; what was acknowledged, with its revision.
    async fn write(self: Arc<Self>, store: Arc<dyn Backend>, writer: usize) -> BTreeMap<String, Revision> {
        let mut written = BTreeMap::new();
        for number in 0_u64.. {
            if self.stop.is_cancelled() {
                break;
            }
            let key = format!("/load/{writer}/{number:06}");
            match store.put(bytes(&key), bytes("x"), 0, 0).await {
                Ok(swapped) => {
                    // Were a write whose outcome is unknown sent again, this would be a conflict with itself.
                    written.insert(key, done(swapped));
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                // Nobody knows: the key may be there, and the next write is another key.
                Err(BackendError::Unavailable(_)) => (),
                Err(other) => panic!("{key}: {other}"),
            }
        }
        written
    }

    async fn more(&self, writes: u64) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + writes;
        for _ in 0..18_000 {
            if self.acknowledged.load(Ordering::Relaxed) >= wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no {writes} writes within three minutes");
    }
}

/// Told the revision at which to end.
type Until = tokio::sync::watch::Receiver<Revision>;

/// Every change after `after` until `last` was seen; a watch that gave up is opened again where it was, as an API server's clients do.
async fn followed(store: Arc<dyn Backend>, after: Revision, mut last: Until) -> Vec<Change> {
    let (mut seen, mut all) = (after, Vec::new());
    let mut watch = store.watch(bytes("/load/"), seen);
    loop {
        tokio::select! {
            batch = watch.next() => match batch {
                Some(Ok(WatchBatch::Changes(changes))) => {
                    seen = revision(changes.last().unwrap());
                    all.extend(changes);
                }
                Some(Ok(WatchBatch::Progress(_))) => (),
                Some(Err(BackendError::Unavailable(_))) => watch = store.watch(bytes("/load/"), seen),
                other => panic!("the watch: {other:?}"),
            },
            told = last.changed() => told.unwrap(),
        }
        if seen >= *last.borrow() {
            return all;
        }
    }
}

fn revision(change: &Change) -> Revision {
    match change {
        Change::Put { entry, .. } => entry.mod_revision,
        Change::Delete { revision, .. } => *revision,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_is_lost_and_no_change_missed_when_members_die() {
    let Some(program) = peer("etcd-3.5", "/nonexistent") else { return };
    let mut three = Three::start(&program, Elections::Usual).await;
    let store = open(&three).await;
    let start = store.get(bytes("/load/")).await.unwrap().revision;
    let (last, until) = tokio::sync::watch::channel(Revision::MAX);
    let watching = tokio::spawn(followed(open(&three).await, start, until));
    let load = Arc::new(Load { acknowledged: AtomicU64::new(0), stop: CancellationToken::new() });
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(load.clone().write(store.clone(), writer))).collect();
    load.more(WRITES_BETWEEN).await;
    for blow in 0..kills() {
        three.kill(blow % 3);
        load.more(WRITES_BETWEEN).await;
        three.revive(blow % 3);
        three.until_healthy(blow % 3).await;
    }
    load.stop.cancel();
    let mut acknowledged = BTreeMap::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    // A last write, so that the watch is known to have come to the end.
    let end = eventually_written(&store, "/load/end").await;
    acknowledged.insert("/load/end".to_owned(), end);
    last.send_replace(end);
    let all = ListRange { prefix: bytes("/load/"), from: None, limit: 0, revision: 0 };
    let there: Vec<_> = store.list(all).await.unwrap().entries;
    let there: BTreeMap<String, Revision> =
        there.into_iter().map(|entry| (String::from_utf8(entry.key.to_vec()).unwrap(), entry.mod_revision)).collect();
    for (key, revision) in &acknowledged {
        assert_eq!(there.get(key), Some(revision), "{key} was acknowledged");
    }
    let changes = tokio::time::timeout(BOUNDED, watching).await.expect("the watch comes to the end").unwrap();
    assert!(changes.is_sorted_by_key(revision), "in order");
    let seen: Vec<(String, Revision)> = changes.into_iter().map(put).collect();
    assert_eq!(seen.len(), there.len(), "nothing twice");
    assert_eq!(seen.into_iter().collect::<BTreeMap<_, _>>(), there, "nothing missed");
}

fn put(change: Change) -> (String, Revision) {
    match change {
        Change::Put { entry, previous: None } => (String::from_utf8(entry.key.to_vec()).unwrap(), entry.mod_revision),
        other => panic!("only created: {other:?}"),
    }
}

async fn eventually_written(store: &Arc<dyn Backend>, key: &str) -> Revision {
    for _ in 0..600 {
        match store.put(bytes(key), bytes("x"), 0, 0).await {
            Ok(swapped) => return done(swapped),
            Err(BackendError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(other) => panic!("{key}: {other}"),
        }
        // The one before may have been done all the same.
        if let Ok(got) = store.get(bytes(key)).await
            && let Some(entry) = got.entry
        {
            return entry.mod_revision;
        }
    }
    panic!("{key}: not written");
}

async fn eventually_read(store: &Arc<dyn Backend>, key: &str) {
    for _ in 0..600 {
        let read = tokio::time::timeout(BOUNDED, store.get(bytes(key))).await.expect("bounded");
        match read {
            Ok(got) => return assert!(got.entry.is_some(), "{key}"),
            Err(BackendError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(other) => panic!("{key}: {other}"),
        }
    }
    panic!("{key}: not read");
}

fn unavailable<T: std::fmt::Debug>(outcome: Result<Result<T, BackendError>, tokio::time::error::Elapsed>) {
    let outcome = outcome.expect("bounded");
    assert!(matches!(outcome, Err(BackendError::Unavailable(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_everything_is_refused_in_time_and_goes_on_with_one() {
    let Some(program) = peer("etcd-3.5", "/nonexistent") else { return };
    let mut three = Three::start(&program, Elections::Usual).await;
    let store: Arc<dyn Backend> = Arc::new(
        Remote::open(&RemoteOptions { request_timeout: Duration::from_secs(4), ..three.options() }).await.unwrap(),
    );
    let first = eventually_written(&store, "/first").await;
    store.health().await.unwrap();
    let (last, until) = tokio::sync::watch::channel(Revision::MAX);
    let watching = tokio::spawn(followed(store.clone(), first, until));
    three.kill(0);
    three.kill(1);
    unavailable(tokio::time::timeout(BOUNDED, store.get(bytes("/first"))).await);
    unavailable(tokio::time::timeout(BOUNDED, store.put(bytes("/second"), bytes("x"), 0, 0)).await);
    unavailable(tokio::time::timeout(BOUNDED, store.health()).await);
    three.revive(0);
    three.revive(1);
    let end = eventually_written(&store, "/load/a").await;
    last.send_replace(end);
    let changes = tokio::time::timeout(BOUNDED, watching).await.expect("the watch goes on").unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_hangs_holds_nobody_up() {
    let Some(program) = peer("etcd-3.5", "/nonexistent") else { return };
    let three = Three::start(&program, Elections::Usual).await;
    for hanging in 0..3 {
        let store = open(&three).await;
        eventually_written(&store, &format!("/before/{hanging}")).await;
        three.signal(hanging, "STOP");
        // If it led the others, they take their time to elect another.
        eventually_read(&store, &format!("/before/{hanging}")).await;
        eventually_written(&store, &format!("/after/{hanging}")).await;
        three.signal(hanging, "CONT");
        three.until_healthy(hanging).await;
    }
}

/// Two API servers on one etcd.
async fn shares_compaction(url: String) {
    let urls = [url];
    let one = Remote::open(&RemoteOptions::new(&urls, None)).await.unwrap();
    let two = Remote::open(&RemoteOptions::new(&urls, None)).await.unwrap();
    let (mut first, mut second) = (one.compactor(), two.compactor());
    let store: Arc<dyn Backend> = Arc::new(one);
    assert_eq!(first.tick().await.unwrap(), None, "it does not know how old anything is");
    assert_eq!(second.tick().await.unwrap(), None, "nor does the other, who sees that the clock ticked");
    let clock = store.get(bytes("compact_rev_key")).await.unwrap();
    assert_eq!(clock.entry.unwrap().value, bytes("0"), "as kube-apiserver writes it");
    let old = create(&store, "/old", "1").await;
    let seen = clock.revision;
    assert_eq!(first.tick().await.unwrap(), Some(seen), "to what it saw at its last tick");
    assert_eq!(second.tick().await.unwrap(), None, "the first was faster");
    let new = create(&store, "/new", "1").await;
    let compacted = second.tick().await.unwrap().expect("now the second is");
    assert!(old < compacted && compacted < new);
    assert_eq!(first.tick().await.unwrap(), None);
    let list = |revision| store.list(ListRange { prefix: bytes("/"), from: None, limit: 0, revision });
    assert!(matches!(list(old).await, Err(BackendError::Compacted { .. })));
    assert_eq!(list(new).await.unwrap().count, 2);
    let clock = store.get(bytes("compact_rev_key")).await.unwrap().entry.unwrap();
    assert_eq!(clock.value, bytes(compacted.to_string()), "who comes late can see it");
    // Compacted by an operator meanwhile: nothing to complain about.
    let mut watch = store.watch(bytes("/later"), new);
    create(&store, "/later", "1").await;
    next_changes(&mut watch, 1).await;
}

#[tokio::test]
async fn api_servers_share_the_compaction_of_an_etcd() {
    let Some(program) = peer("etcd-3.5", "/nonexistent") else { return };
    let etcd = real_etcd(&program).await;
    shares_compaction(etcd.url.clone()).await;
}

#[tokio::test]
async fn api_servers_share_the_compaction_of_our_store() {
    let ours = ours(Options::default()).await;
    shares_compaction(ours.url.clone()).await;
}
