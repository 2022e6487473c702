//! What a user does with images: names, pins, room, what nobody needs, archives.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use support::{Tape, World};

fn layer(text: &[u8]) -> Vec<u8> {
    Tape::new().file("file", text).end()
}

#[test]
fn a_name_is_given_and_moves() {
    let world = World::new();
    let (one, two) = (world.import("one:1", &[layer(b"1")]).unwrap(), world.import("two:1", &[layer(b"2")]).unwrap());
    world.store.tag("one:1", "registry.example/team/app").unwrap();
    let moved = world.store.tag(&two.id, "registry.example/team/app").unwrap();
    assert_eq!(moved.repo_tags, ["docker.io/library/two:1", "registry.example/team/app:latest"]);
    assert_eq!(world.store.resolve(&one.id).unwrap().unwrap().repo_tags, ["docker.io/library/one:1"]);
    world.store.tag("none", "a:1").expect_err("no such image");
    world.store.tag("one:1", "A B").expect_err("no name");
    world.store.tag("one:1", &format!("a@{}", one.id)).expect_err("a digest cannot be given");
}

#[test]
fn room_is_counted_once_and_what_nobody_needs_goes() {
    let world = World::new();
    let shared = layer(&[7; 100_000]);
    world.import("one:1", &[shared.clone(), layer(b"1")]).unwrap();
    world.import("two:1", &[shared, layer(b"2")]).unwrap();
    world.import("three:1", &[layer(b"3")]).unwrap();
    world.store.prepare("one:1", "c1").unwrap();
    world.store.pin("three:1", true).unwrap();
    let rooms = world.store.room().unwrap();
    let of = |name: &str| rooms.iter().find(|room| room.image.repo_tags[0].ends_with(name)).unwrap();
    assert!(of("one:1").shared_bytes >= 200_000 && of("one:1").own_bytes < 100_000, "{:?}", of("one:1"));
    assert_eq!((of("one:1").containers, of("two:1").containers, of("three:1").shared_bytes), (1, 0, 0));
    assert_eq!(world.store.prune(false).unwrap(), [], "all have names");
    let removed = world.store.prune(true).unwrap();
    assert_eq!(
        removed.iter().map(|image| image.repo_tags[0].as_str()).collect::<Vec<_>>(),
        ["docker.io/library/two:1"]
    );
    world.store.release("c1").unwrap();
    world.store.pin("three:1", false).unwrap();
    assert_eq!(world.store.prune(true).unwrap().len(), 2);
    assert_eq!((world.names("layers"), world.names("content/blobs/sha256")), (Vec::new(), Vec::new()));
}

#[test]
fn an_archive_that_was_written_is_read_again() {
    let world = World::new();
    let image = world.import("one:1", &[layer(b"1"), layer(b"2")]).unwrap();
    world.import("two:1", &[layer(b"1")]).unwrap();
    world.store.tag("one:1", "also:1").unwrap();
    let saved = world.dir.path().join("saved.tar");
    world.store.save(&["one:1".into(), "two:1".into()], &saved).unwrap();
    let other = World::new();
    let images = other.store.import(&saved, None).unwrap();
    assert_eq!(other.store.list().unwrap().len(), 2);
    let again = other.store.resolve("also:1").unwrap().unwrap();
    assert_eq!((again.id, again.repo_tags.len(), images.len() >= 2), (image.id.clone(), 2, true));
    let detail = other.store.detail("one:1").unwrap();
    assert_eq!((detail.layers.len(), detail.manifest), (2, world.store.detail("one:1").unwrap().manifest));
    world.store.save(&["none:1".into()], &world.dir.path().join("x.tar")).expect_err("no such image");
    assert!(!world.dir.path().join("x.tar.part").exists());
}
