//! A store on a real filesystem that fills up, and is freed again (fault N2).

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use skiff_store::backend::{ListRange, Swapped};
use skiff_store::{Backend, BackendError, Options, Store};
use std::path::Path;
use std::time::Duration;

/// Bytes of the filesystem.
const DISK: &str = "size=24m";
/// What somebody else has there, until he removes it.
const BALLAST_BYTES: usize = 8 << 20;
/// Bytes of a value.
const VALUE_BYTES: usize = 256 << 10;

/// Mounts a small filesystem that only this thread and its children see; `false`: that cannot be done here.
fn small_disk(at: &Path) -> bool {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).is_ok()
        && mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).is_ok()
        && mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(DISK)).is_ok()
}

fn value(number: usize) -> Bytes {
    vec![u8::try_from(number % 251).unwrap(); VALUE_BYTES].into()
}

fn key(number: usize) -> Bytes {
    format!("/k/{number:04}").into()
}

/// Whether all that was acknowledged can be read, and nothing else.
async fn check(backend: &dyn Backend, acknowledged: usize) {
    let range = ListRange { prefix: "/k/".into(), from: None, limit: 0, revision: 0 };
    let listed = backend.list(range).await.unwrap_or_else(|error| panic!("cannot be read: {error}"));
    assert_eq!(listed.entries.len(), acknowledged);
    for (number, entry) in listed.entries.iter().enumerate() {
        assert!(entry.key == key(number) && entry.value == value(number), "{number}");
    }
}

/// Writes until there is no room.
async fn fill(backend: &dyn Backend, acknowledged: &mut usize) -> String {
    for _ in 0..1_000 {
        match backend.put(key(*acknowledged), value(*acknowledged), 0, 0).await {
            Ok(Swapped::Done(_)) => *acknowledged += 1,
            Err(BackendError::NoSpace(why)) => return why,
            other => panic!("{other:?}"),
        }
    }
    panic!("the disk is larger than it should be")
}

/// Writes once there is room.
async fn write_soon(backend: &dyn Backend, acknowledged: &mut usize) {
    for _ in 0..600 {
        match backend.put(key(*acknowledged), value(*acknowledged), 0, 0).await {
            Ok(Swapped::Done(_)) => {
                *acknowledged += 1;
                return;
            }
            Err(BackendError::NoSpace(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            other => panic!("{other:?}"),
        }
    }
    panic!("there is space, and the store does not notice: {:?}", backend.put(key(9_999), value(0), 0, 0).await)
}

async fn fill_and_free(folder: &Path) {
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![1; BALLAST_BYTES]).unwrap();
    let store = Store::open(&folder.join("data"), Options::default()).unwrap();
    let backend = store.backend();
    let mut acknowledged = 0;
    let why = fill(&*backend, &mut acknowledged).await;
    let told = why.contains("no space is left on the filesystem of ") && why.contains(" bytes are free, ");
    assert!(told && why.contains("/data/store."), "{why}");
    assert!(acknowledged > 8, "{acknowledged}");
    for _ in 0..20 {
        let refused = backend.put(key(acknowledged), value(acknowledged), 0, 0).await;
        assert!(matches!(refused, Err(BackendError::NoSpace(_))), "{refused:?}");
    }
    check(&*backend, acknowledged).await;
    std::fs::remove_file(&ballast).unwrap();
    write_soon(&*backend, &mut acknowledged).await;
    check(&*backend, acknowledged).await;
    // Once more, and now it ends while it is full.
    let filled = fill(&*backend, &mut acknowledged).await;
    check(&*backend, acknowledged).await;
    drop(backend);
    store.close().await;
    let store =
        Store::open(&folder.join("data"), Options::default()).unwrap_or_else(|error| panic!("{filled}: {error:?}"));
    check(&*store.backend(), acknowledged).await;
    store.close().await;
}

/// The kernel lets go of the files of a thread a moment after whoever waited for its work has gone on.
fn unmount(folder: &Path) {
    for _ in 0..100 {
        match nix::mount::umount(folder) {
            Err(nix::errno::Errno::EBUSY) => std::thread::sleep(Duration::from_millis(20)),
            ended => return ended.unwrap(),
        }
    }
    panic!("{} stays in use", folder.display());
}

#[test]
fn a_full_filesystem_is_read_and_recovers() {
    let tested = std::thread::spawn(|| {
        let folder = tempfile::tempdir().unwrap();
        if !small_disk(folder.path()) {
            return skiff_harness::skip("a small filesystem takes root");
        }
        // Of one thread, as those that it begins: the mount is theirs alone.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(fill_and_free(folder.path()));
        unmount(folder.path());
    });
    tested.join().unwrap();
}
