//! `fsck` finds a store sound that was used, closed or dropped, and does not change a byte of it.

#![allow(clippy::unwrap_used)]

use skiff_store::fsck::fsck;
use skiff_store::keys::KeyRange;
use skiff_store::request::{Delete, Op, Put, Txn};
use skiff_store::{Options, Store, StoreError};

fn put(key: usize, lease: i64) -> Txn {
    let value = Some(vec![b'x'; key * 37].into());
    Txn::of(Op::Put(Put { key: format!("/{key}").into(), value, lease: Some(lease), want_previous: false }))
}

async fn use_it(store: &Store) {
    store.grant(7, 100).await.unwrap();
    for count in 0..200 {
        store.txn(put(count % 50, if count % 50 == 3 { 7 } else { 0 })).await.unwrap();
    }
    let keys = KeyRange::single("/4".into());
    store.txn(Txn::of(Op::Delete(Delete { keys, want_previous: false }))).await.unwrap();
    store.compact(100, false).await.unwrap();
    store.txn(put(60, 0)).await.unwrap();
}

#[tokio::test]
async fn a_used_store_is_sound_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Options::default()).unwrap();
    use_it(&store).await;
    let refused = fsck(folder.path());
    assert!(matches!(refused, Err(StoreError::InUse { .. })), "checked while it is served: {refused:?}");
    store.close().await;
    let read = || {
        let mut files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = read();
    let report = fsck(folder.path()).unwrap();
    assert!(report.is_sound(), "{report}");
    assert_eq!((report.revision, report.compacted, report.keys, report.leases), (203, 100, 50, 1), "{report}");
    assert!(before == read(), "fsck changed the store");
}

#[tokio::test]
async fn what_is_no_store_is_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let missing = fsck(&folder.path().join("none"));
    assert!(matches!(missing, Err(StoreError::File { .. })), "{missing:?}");
}
