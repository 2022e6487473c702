//! A snapshot is the whole store: what is restored answers as the first did, and a damaged file is refused.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use futures::StreamExt;
use skiff_store::keys::KeyRange;
use skiff_store::request::{Delete, Op, Put, Range, Ranged, Txn};
use skiff_store::{Options, Store, snapshot};
use std::path::Path;

async fn put(store: &Store, key: &str, value: Vec<u8>, lease: i64) {
    let put = Put { key: key.to_owned().into(), value: Some(value.into()), lease: Some(lease), want_previous: false };
    store.txn(Txn::of(Op::Put(put))).await.unwrap();
}

async fn delete(store: &Store, key: &'static str) {
    let delete = Delete { keys: KeyRange::single(key.into()), want_previous: false };
    store.txn(Txn::of(Op::Delete(delete))).await.unwrap();
}

async fn save(store: &Store, file: &Path) {
    let pieces: Vec<Bytes> = snapshot::write(store).map(Result::unwrap).collect().await;
    std::fs::write(file, pieces.concat()).unwrap();
}

async fn at(store: &Store, revision: i64) -> Ranged {
    let all = KeyRange::from_etcd("\0".into(), "\0".into());
    store.range(Range { revision, ..Range::of(all) }).await.unwrap()
}

/// Deletions, history, a compaction, a lease with a key, and more bytes than a piece holds.
async fn filled(folder: &Path) -> Store {
    let store = Store::open(folder, Options::default()).unwrap();
    let (lease, _) = store.grant(0, 1000).await.unwrap();
    put(&store, "a", b"1".to_vec(), 0).await;
    put(&store, "b", vec![7; 100_000], lease).await;
    delete(&store, "a").await;
    store.compact(3, true).await.unwrap();
    put(&store, "c", Vec::new(), 0).await;
    put(&store, "b", b"2".to_vec(), lease).await;
    delete(&store, "c").await;
    store
}

#[tokio::test]
async fn what_is_restored_answers_alike() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(&folder.path().join("first")).await;
    let file = folder.path().join("saved");
    save(&store, &file).await;
    let summary = snapshot::restore(&file, &folder.path().join("second")).unwrap();
    assert_eq!((summary.revision, summary.compacted, summary.keys, summary.leases), (store.revision(), 3, 1, 1));
    let second = Store::open(&folder.path().join("second"), Options::default()).unwrap();
    assert_eq!(second.revision(), store.revision());
    for revision in 3..=store.revision() {
        assert_eq!(at(&second, revision).await, at(&store, revision).await, "at {revision}");
    }
    let lease = at(&store, 0).await.records[0].lease;
    second.revoke(lease).await.unwrap();
    assert_eq!(at(&second, 0).await.records, [], "its key went with the lease");
    let again = folder.path().join("again");
    save(&store, &again).await;
    assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(&again).unwrap(), "nothing happened in between");
}

#[tokio::test]
async fn an_empty_store_has_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("first"), Options::default()).unwrap();
    let file = folder.path().join("saved");
    save(&store, &file).await;
    assert_eq!(std::fs::metadata(&file).unwrap().len() % 512, 32, "as etcd's clients check");
    snapshot::restore(&file, &folder.path().join("second")).unwrap();
    assert_eq!(Store::open(&folder.path().join("second"), Options::default()).unwrap().revision(), 1);
}

#[tokio::test]
async fn damage_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(&folder.path().join("first")).await;
    let (file, target) = (folder.path().join("saved"), folder.path().join("second"));
    save(&store, &file).await;
    let whole = std::fs::read(&file).unwrap();
    for at in (0..whole.len()).step_by(997).chain([0, 8, 20, whole.len() - 1]) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&file, &bytes).unwrap();
        let refused = snapshot::restore(&file, &target).unwrap_err().to_string();
        assert!(refused.contains(&file.display().to_string()), "byte {at}: {refused}");
    }
    for length in [0, 31, 32, 512 + 32, whole.len() - 512, whole.len() - 32] {
        std::fs::write(&file, &whole[..length]).unwrap();
        assert!(snapshot::status(&file).is_err(), "cut to {length}");
    }
    assert!(!target.exists());
}

#[tokio::test]
async fn a_store_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(&folder.path().join("first")).await;
    let file = folder.path().join("saved");
    save(&store, &file).await;
    store.close().await;
    let refused = snapshot::restore(&file, &folder.path().join("first")).unwrap_err().to_string();
    assert!(refused.contains("is a store already"), "{refused}");
}
