//! A store on a filesystem that is too small for an image (fault N2): refused in one sentence, nothing half-left, and taken in when there
//! is space.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::statvfs;
use std::path::Path;
use support::{Tape, World, docker_archive};

/// Bytes that are free at `at`.
fn free(at: &Path) -> u64 {
    let stat = statvfs(at).unwrap();
    stat.blocks_available() * stat.fragment_size()
}

/// What no compression makes small.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..bytes).map(&mut next).collect()
}

fn fill_and_free() {
    // Outside of the small filesystem.
    let elsewhere = World::new();
    let layer = Tape::new().file("large", &noise(10 << 20)).end();
    let archive = elsewhere.file("large.tar", &docker_archive("large:1", &[layer]));
    let small = tempfile::tempdir().unwrap();
    mount(Some("tmpfs"), small.path(), Some("tmpfs"), MsFlags::empty(), Some("size=32m")).unwrap();
    let store = World::open(small.path());
    let kept = elsewhere.file("kept.tar", &docker_archive("kept:1", &[Tape::new().file("x", b"1").end()]));
    store.import(&kept, None).unwrap();
    let ballast = small.path().join("ballast");
    std::fs::write(&ballast, vec![1; 25 << 20]).unwrap();
    let before = free(small.path());
    for _ in 0..2 {
        let error = store.import(&archive, None).unwrap_err();
        let said = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let said: Vec<_> = said.map(ToString::to_string).collect();
        assert!(said.join(": ").contains("No space left on device"), "{said:?}");
        let left = before - free(small.path()).min(before);
        assert!(left <= 64 << 10, "{left} bytes are left of an image that was refused");
        assert_eq!(store.list().unwrap().len(), 1, "the other one is still there");
    }
    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(store.import(&archive, None).unwrap()[0].repo_tags, ["docker.io/library/large:1"]);
    assert_eq!(store.list().unwrap().len(), 2);
    drop(store);
    umount(small.path()).unwrap();
}

#[test]
fn an_image_that_finds_no_room_leaves_nothing() {
    let tested = std::thread::spawn(|| {
        let none = None::<&str>;
        let private = unshare(CloneFlags::CLONE_NEWNS)
            .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none));
        match private {
            Ok(()) => fill_and_free(),
            Err(_) => skiff_harness::skip("a small filesystem takes root"),
        }
    });
    tested.join().unwrap();
}
