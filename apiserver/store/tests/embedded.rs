//! The embedded store keeps the promises of a backend, and those of a folder.

#![allow(clippy::unwrap_used)]

mod promises;

use promises::{bytes, create, keeps_backend_promises};
use skiff_store::backend::ListRange;
use skiff_store::{BackendError, History, Options, Store, StoreError};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

#[tokio::test]
async fn keeps_promises() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Options::default()).unwrap();
    keeps_backend_promises(store.backend()).await;
    store.close().await;
}

#[tokio::test]
async fn one_folder_is_one_node() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Options::default()).unwrap();
    let error = Store::open(folder.path(), Options::default()).err().unwrap().to_string();
    let wanted =
        format!("data folder {} is in use by another node (pid {})", folder.path().display(), std::process::id());
    assert_eq!(error, wanted);
    store.close().await;
    Store::open(folder.path(), Options::default()).unwrap().close().await;
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Options::default()).unwrap();
    let revision = create(&store.backend(), "/a", "1").await;
    let backend = store.backend();
    store.close().await;
    assert!(matches!(backend.get(bytes("/a")).await, Err(BackendError::Unavailable(_))), "closed for clones too");
    let store = Store::open(folder.path(), Options::default()).unwrap();
    let got = store.backend().get(bytes("/a")).await.unwrap();
    assert_eq!((got.entry.unwrap().mod_revision, got.revision), (revision, revision));
    store.close().await;
}

#[test]
fn foreign_files_are_named_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    std::fs::write(&path, b"dear diary, ".repeat(1000)).unwrap();
    let error = Store::open(folder.path(), Options::default()).err().unwrap();
    assert!(matches!(&error, StoreError::Foreign { path: named, .. } if *named == path), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"dear diary, ".repeat(1000));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400)).unwrap();
    let error = Store::open(&file.join("data"), Options::default()).err().unwrap();
    assert!(error.to_string().contains(&file.join("data").display().to_string()), "{error}");
}

#[tokio::test]
async fn a_database_half_made_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("store.redb.new"), [0; 4096]).unwrap();
    let store = Store::open(folder.path(), Options::default()).unwrap();
    create(&store.backend(), "/a", "1").await;
    store.close().await;
    assert!(!folder.path().join("store.redb.new").exists());
}

#[tokio::test]
async fn old_history_goes_as_told_and_stays_if_not() {
    // It goes as soon as the machine has time for it; it stays for many times as long as history is kept for.
    let (soon, until_gone, long) = (Duration::from_millis(20), 6000, 50);
    assert!(keeps_first_revision(History::All, long).await);
    assert!(!keeps_first_revision(History::Within(soon), until_gone).await);
    assert!(!keeps_first_revision(History::Newest { revisions: 3, counted_every: soon }, until_gone).await);
    assert!(keeps_first_revision(History::Newest { revisions: 1000, counted_every: soon }, long).await);
}

/// Whether the state after the first of ten writes can still be read after so many looks, 10 ms apart.
async fn keeps_first_revision(history: History, looks: usize) -> bool {
    let disk = redb::backends::InMemoryBackend::new();
    let store = Store::open_disk(disk, Options { history, ..Options::default() }).unwrap();
    let first = create(&store.backend(), "/a", "1").await;
    for number in 0..9 {
        create(&store.backend(), &format!("/b{number}"), "1").await;
    }
    let then = || ListRange { prefix: bytes("/a"), from: None, limit: 0, revision: first };
    let mut kept = true;
    for _ in 0..looks {
        kept = !matches!(store.backend().list(then()).await, Err(BackendError::Compacted { .. }));
        if !kept {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let newest = ListRange { revision: 0, ..then() };
    assert_eq!(store.backend().list(newest).await.unwrap().entries.len(), 1, "the present is never compacted");
    store.close().await;
    kept
}
