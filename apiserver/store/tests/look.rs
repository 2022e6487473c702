//! A store that is opened to be looked at tells what a server would, and neither its files nor its leases change.

#![allow(clippy::unwrap_used)]

use skiff_store::keys::KeyRange;
use skiff_store::request::{Delete, Op, Put, Range, Refusal, Txn};
use skiff_store::{Options, Store, StoreError, snapshot};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The shortest that a store grants.
const TTL_SECONDS: i64 = 2;

fn put(key: &'static str, lease: i64) -> Op {
    Op::Put(Put { key: key.into(), value: Some("v".into()), lease: Some(lease), want_previous: false })
}

/// The folder of a store that was killed: its last writes are in the log alone.
async fn killed() -> tempfile::TempDir {
    let (served, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(served.path(), Options::default()).unwrap();
    store.grant(7, TTL_SECONDS).await.unwrap();
    store.txn(Txn::of(put("/leased", 7))).await.unwrap();
    store.txn(Txn::of(put("/plain", 0))).await.unwrap();
    for (file, bytes) in files(served.path()) {
        fs::write(killed.path().join(file.file_name().unwrap()), bytes).unwrap();
    }
    store.close().await;
    killed
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

async fn count(store: &Store) -> usize {
    store.range(Range::of(KeyRange::everything())).await.unwrap().count
}

#[tokio::test]
async fn a_store_that_was_killed_is_looked_at_and_stays_as_it_is() {
    let folder = killed().await;
    let before = files(folder.path());
    let store = Store::look(folder.path(), Options::default()).unwrap();
    assert_eq!(count(&store).await, 2);
    // Whoever serves a store that opens ends its leases in time.
    tokio::time::sleep(Duration::from_secs(1 + TTL_SECONDS.unsigned_abs())).await;
    assert_eq!(count(&store).await, 2, "a lease ended of a store that nobody serves");
    let pieces = futures::StreamExt::collect::<Vec<_>>(snapshot::write(&store)).await;
    assert!(pieces.iter().all(Result::is_ok));
    store.close().await;
    assert!(before == files(folder.path()), "who only looks writes nothing");
}

#[tokio::test]
async fn what_would_write_is_refused() {
    let folder = killed().await;
    let before = files(folder.path());
    let store = Store::look(folder.path(), Options::default()).unwrap();
    let everything = Delete { keys: KeyRange::everything(), want_previous: false };
    for write in [put("/new", 0), Op::Delete(everything)] {
        assert!(matches!(store.txn(Txn::of(write)).await, Err(Refusal::OnlyLooks)));
    }
    let read = Txn::of(Op::Range(Range::of(KeyRange::everything())));
    assert_eq!(store.txn(read).await.unwrap().done.len(), 1, "a transaction that reads is answered");
    let refused = [
        store.grant(0, 60).await.map(drop),
        store.revoke(7).await,
        store.compact(2, true).await,
        store.defragment().await,
    ];
    assert_eq!(refused, [(); 4].map(|()| Err(Refusal::OnlyLooks)));
    assert_eq!((count(&store).await, store.revision()), (2, 3));
    store.close().await;
    assert!(before == files(folder.path()));
}

#[tokio::test]
async fn nobody_opens_what_is_looked_at_and_the_other_way_round() {
    let folder = killed().await;
    let looks = Store::look(folder.path(), Options::default()).unwrap();
    let refused = Store::open(folder.path(), Options::default()).err();
    assert!(matches!(refused, Some(StoreError::InUse { .. })), "{refused:?}");
    looks.close().await;
    let serves = Store::open(folder.path(), Options::default()).unwrap();
    let refused = Store::look(folder.path(), Options::default()).err();
    assert!(matches!(refused, Some(StoreError::InUse { .. })), "{refused:?}");
    serves.close().await;
}
