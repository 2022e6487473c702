//! What was delivered is kept beside what was unpacked: other programs read it, damaged layers are made anew from it, and stores of
//! earlier versions, which kept none, go on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Tape, World, sha256};

const BLOBS: &str = "content/blobs/sha256";

fn images(world: &World) -> PathBuf {
    world.dir.path().join("images")
}

fn layer(text: &[u8]) -> Vec<u8> {
    Tape::new().dir("bin").mode(b'0', "bin/tool", 0o755, text).symlink("bin/sh", "tool").end()
}

/// As after a start of the machine: nothing counts as compared.
fn restart(world: &World) -> skiff_image::ImageStore {
    for name in world.names("layers") {
        fs::write(images(world).join("layers").join(name).join("checked"), "an earlier start").unwrap();
    }
    World::open(world.dir.path())
}

fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Bytes below `path` as `du` counts them.
fn du(path: &Path) -> u64 {
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split('\t').next().unwrap().parse().unwrap()
}

#[test]
fn what_was_delivered_is_a_layout_that_others_read() {
    let world = World::new();
    let image = world.import("app:1", &[layer(b"one"), layer(b"two")]).unwrap();
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(images(&world).join("content/index.json")).unwrap()).unwrap();
    let descriptor = &index["manifests"][0];
    assert_eq!(descriptor["annotations"]["org.opencontainers.image.ref.name"], "docker.io/library/app:1");
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let manifest = fs::read(images(&world).join(BLOBS).join(digest)).unwrap();
    assert_eq!(sha256(&manifest), digest);
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["config"]["digest"], image.id);
    let skopeo = skiff_harness::peers_folder().join("skopeo-1.18");
    if skopeo.exists() {
        let to = format!("oci:{}:copy", world.dir.path().join("copy").display());
        let from = format!("oci:{}:docker.io/library/app:1", images(&world).join("content").display());
        let scratch = world.dir.path().to_str().unwrap();
        let output = Command::new(skopeo).args(["--tmpdir", scratch, "copy", "-q", &from, &to]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let again = world.store.import(&world.dir.path().join("copy"), Some("again:1")).unwrap();
        assert_eq!(again[0].id, image.id);
    }
    world.store.remove(&image.id).unwrap();
    assert_eq!(world.names(BLOBS), Vec::<String>::new());
}

#[test]
fn figures_agree_with_du() {
    let world = World::new();
    let noise: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let layer = Tape::new().dir("d").file("d/noise", &noise).hardlink("d/same", "d/noise").end();
    world.import("app:1", &[layer]).unwrap();
    let counted = world.store.usage().unwrap().bytes_used;
    let there = du(&images(&world));
    // Folders, locks and the index are not images.
    assert!(there - counted < 100_000, "{there} on the disk, {counted} counted");
}

#[test]
fn a_damaged_layer_is_made_anew_before_it_is_used() {
    let world = World::new();
    let (one, two) = (layer(b"one"), layer(b"the second layer"));
    world.import("app:1", &[one.clone(), two.clone()]).unwrap();
    spoil(&world.layer(&two).join("bin/tool"));
    fs::remove_dir_all(world.layer(&one).parent().unwrap()).unwrap();
    let store = restart(&world);
    store.prepare("app:1", "c1").unwrap();
    assert_eq!(fs::read(world.layer(&two).join("bin/tool")).unwrap(), b"the second layer");
    assert_eq!(fs::read(world.layer(&one).join("bin/tool")).unwrap(), b"one");
    assert_eq!(world.names("tmp"), Vec::<String>::new());
    assert_eq!(store.verify(false).unwrap().wrong, Vec::<String>::new());
}

#[test]
fn an_image_that_cannot_be_mended_is_pulled_again_and_not_run() {
    let world = World::new();
    let layer = layer(b"the only layer");
    world.import("app:1", std::slice::from_ref(&layer)).unwrap();
    spoil(&world.layer(&layer).join("bin/tool"));
    spoil(&images(&world).join(BLOBS).join(sha256(&layer)));
    let store = restart(&world);
    assert_eq!(store.verify(false).unwrap().wrong.len(), 2);
    let error = store.prepare("app:1", "c1").unwrap_err().to_string();
    assert!(error.contains("pull or import it again"), "{error}");
    assert_eq!(store.resolve("app:1").unwrap(), None);
    assert_eq!(world.names("layers"), Vec::<String>::new());
    world.import("app:1", std::slice::from_ref(&layer)).unwrap();
    World::open(world.dir.path()).prepare("app:1", "c1").unwrap();
}

#[test]
fn verify_mends_what_can_be_mended() {
    let world = World::new();
    let (one, two) = (layer(b"one"), layer(b"two"));
    world.import("app:1", std::slice::from_ref(&one)).unwrap();
    world.import("app:2", std::slice::from_ref(&two)).unwrap();
    assert_eq!(world.store.verify(true).unwrap().mended, Vec::<String>::new());
    spoil(&world.layer(&one).join("bin/tool"));
    spoil(&images(&world).join(BLOBS).join(sha256(&two)));
    let verified = world.store.verify(true).unwrap();
    assert_eq!(verified.wrong.len(), 2, "{verified:?}");
    assert_eq!(fs::read(world.layer(&one).join("bin/tool")).unwrap(), b"one");
    assert_eq!(world.store.resolve("app:2").unwrap(), None);
    assert_eq!(world.store.verify(true).unwrap().wrong, Vec::<String>::new());
}

/// A store as the version before this one wrote it.
fn make_old(world: &World) {
    let path = images(world).join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (id, record) in index["images"].as_object_mut().unwrap() {
        fs::copy(images(world).join(BLOBS).join(id), images(world).join("configs").join(id)).unwrap();
        let record = record.as_object_mut().unwrap();
        record.retain(|key, _| ["tags", "digests", "layers", "size_bytes"].contains(&key.as_str()));
    }
    fs::write(&path, index.to_string()).unwrap();
    for name in world.names("layers") {
        let at = images(world).join("layers").join(name);
        fs::write(at.join("layer.json"), r#"{"bytes":3,"inodes":3}"#).unwrap();
        fs::remove_file(at.join("checked")).unwrap();
    }
    fs::remove_dir_all(images(world).join("content")).unwrap();
    fs::remove_dir_all(images(world).join("ingest")).unwrap();
}

#[test]
fn a_store_of_an_earlier_version_goes_on() {
    let world = World::new();
    let layer = layer(b"one");
    let image = world.import("app:1", std::slice::from_ref(&layer)).unwrap();
    make_old(&world);
    let store = World::open(world.dir.path());
    assert_eq!(store.list().unwrap(), std::slice::from_ref(&image));
    assert_eq!(store.usage().unwrap().bytes_used, 3);
    store.prepare("app:1", "c1").unwrap();
    world.import("app:1", std::slice::from_ref(&layer)).unwrap();
    assert_eq!(world.names(BLOBS).len(), 3, "taken in again, it is kept whole");
    store.release("c1").unwrap();
    store.remove("app:1").unwrap();
    assert_eq!((world.names("configs"), world.names("layers")), (Vec::new(), Vec::new()));
}
