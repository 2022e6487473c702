//! What the store promises: images in and out, layers shared, snapshots mounted. Needs root for mounts and owners.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use skiff_image::{Builtin, ImageError, ImageStore, Recipe};
use skiff_step::Engine;
use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use support::{Tape, World, config, docker_archive, sha256};

/// Unmounts at the end of the test, however it ends.
struct Mounted<'a>(&'a ImageStore, PathBuf);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        self.0.unmount(&self.1).unwrap();
    }
}

fn mounted<'a>(world: &'a World, image: &str, container: &str) -> Mounted<'a> {
    let at = world.dir.path().join(format!("rootfs-{container}"));
    world.store.prepare(image, container).unwrap();
    world.store.mount(container, &at, None).unwrap();
    Mounted(&world.store, at)
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_image_is_found_by_every_name_it_has() {
    let world = World::new();
    let layer = Tape::new().file("x", b"12345").end();
    let image = world.import("app:1", std::slice::from_ref(&layer)).unwrap();
    assert_eq!(image.repo_tags, ["docker.io/library/app:1"]);
    let delivered = layer.len() + config(std::slice::from_ref(&layer)).len();
    assert_eq!(image.size_bytes, delivered as u64);
    for name in ["app:1", "docker.io/library/app:1", &image.id, &image.id[7..], &image.id[7..20]] {
        assert_eq!(world.store.resolve(name).unwrap().as_ref(), Some(&image), "{name}");
    }
    assert_eq!(world.store.resolve("app:2").unwrap(), None);
    assert_eq!(world.store.list().unwrap(), std::slice::from_ref(&image));
    assert_eq!(World::open(world.dir.path()).list().unwrap(), [image], "another process sees the same");
}

/// Who only lists makes no store, and cleans up after nobody.
#[test]
fn a_listing_writes_nothing() {
    let world = World::new();
    let image = world.import("app:1", &[Tape::new().file("x", b"12345").end()]).unwrap();
    let (store, absent) = (world.dir.path().join("images"), world.dir.path().join("absent"));
    fs::write(store.join("tmp/unfinished"), "").unwrap();
    let before = tree(world.dir.path());
    assert_eq!(ImageStore::list_at_rest(&store).unwrap(), [image]);
    assert_eq!(ImageStore::list_at_rest(&absent).unwrap(), []);
    assert_eq!(tree(world.dir.path()), before);
}

/// Every file below `path`, with when its content and its entries last changed.
fn tree(path: &Path) -> Vec<(PathBuf, i64, i64)> {
    let about = fs::symlink_metadata(path).unwrap();
    let mut all = vec![(path.to_owned(), about.mtime(), about.mtime_nsec())];
    if about.is_dir() {
        all.extend(names(path).iter().flat_map(|name| tree(&path.join(name))));
    }
    all
}

#[test]
fn a_given_name_replaces_the_archives() {
    let world = World::new();
    let path = world.file("a.tar", &docker_archive("app:1", &[Tape::new().end()]));
    let images = world.store.import(&path, Some("other/name")).unwrap();
    assert_eq!(images[0].repo_tags, ["docker.io/other/name:latest"]);
}

#[test]
fn layers_go_when_the_last_user_goes() {
    let world = World::new();
    let (shared, own) = (Tape::new().file("shared", b"1").end(), Tape::new().file("own", b"2").end());
    world.import("one", &[shared.clone(), own.clone()]).unwrap();
    world.import("two", std::slice::from_ref(&shared)).unwrap();
    world.store.prepare("one", "c1").unwrap();
    assert_eq!(world.names("content/blobs/sha256").len(), 2 + 2 * 2, "two layers, and for each image two documents");
    world.store.remove("one").unwrap();
    world.store.remove("one").unwrap();
    assert_eq!(world.names("layers").len(), 2, "the snapshot still stands on both");
    world.store.release("c1").unwrap();
    world.store.release("c1").unwrap();
    assert_eq!(world.names("layers"), [sha256(&shared)]);
    world.store.remove("two").unwrap();
    for folder in ["layers", "content/blobs/sha256", "configs", "snapshots", "ingest", "tmp"] {
        assert_eq!(world.names(folder), Vec::<String>::new(), "{folder}");
    }
}

#[test]
fn a_snapshot_shows_the_image_and_keeps_the_writes_apart() {
    let world = World::new();
    let lower = Tape::new().dir("etc").file("etc/a", b"lower").file("etc/b", b"gone").dir("d").file("d/old", b"");
    let lower = lower.dir("e").file("e/old", b"").dir("f").file("f/old", b"");
    let upper = Tape::new().file("etc/a", b"upper").file("etc/.wh.b", b"").dir("d").file("d/.wh..wh..opq", b"");
    // Removed and made again: both orders in which builders write it.
    let upper = upper.file("d/new", b"").file(".wh.e", b"").dir("e").file("e/new", b"").dir("f").file(".wh.f", b"");
    world.import("app", &[lower.end(), upper.end()]).unwrap();
    let root = mounted(&world, "app", "c1");
    assert_eq!(fs::read(root.1.join("etc/a")).unwrap(), b"upper");
    assert_eq!(names(&root.1.join("etc")), ["a"]);
    assert_eq!(names(&root.1.join("d")), ["new"]);
    assert_eq!(names(&root.1.join("e")), ["new"]);
    assert_eq!(names(&root.1.join("f")), Vec::<String>::new());
    fs::write(root.1.join("etc/a"), "changed").unwrap();
    fs::write(root.1.join("etc/b"), "back").unwrap();
    let other = mounted(&world, "app", "c2");
    assert_eq!(fs::read(other.1.join("etc/a")).unwrap(), b"upper");
    assert_eq!(names(&other.1.join("etc")), ["a"]);
    assert_eq!(world.store.snapshots().unwrap(), ["c1", "c2"]);
    assert!(world.store.snapshot_usage("c1").unwrap().bytes_used > 0);
    assert_eq!(world.store.snapshot_usage("c2").unwrap().bytes_used, 0);
    drop((root, other));
    world.store.release("c1").unwrap();
    assert_eq!(world.store.snapshots().unwrap(), ["c2"]);
}

#[test]
fn files_keep_what_the_archive_says() {
    let world = World::new();
    let owned = |header: &mut tar::Header| {
        header.set_uid(1000);
        header.set_gid(2000);
        header.set_mode(0o4755);
    };
    let layer = Tape::new()
        .tweaked(b'0', "setuid", "", b"program", owned)
        .mode(b'5', "tmp", 0o1777, b"")
        .mode(b'5', "./", 0o711, b"")
        .file("tmp/inside", b"")
        .hardlink("same", "setuid")
        .symlink("link", "/anywhere/../at/all")
        .device(b'3', "null", 1, 3)
        .tweaked(b'6', "fifo", "", b"", |_| {})
        .pax(&[("mtime", "1234567890.5"), ("SCHILY.xattr.user.colour", "blue")])
        .file("marked", b"")
        .end();
    world.import("app", std::slice::from_ref(&layer)).unwrap();
    let at = world.layer(&layer);
    let setuid = fs::metadata(at.join("setuid")).unwrap();
    assert_eq!(
        (setuid.mode() & 0o7777, setuid.uid(), setuid.gid(), setuid.mtime()),
        (0o4755, 1000, 2000, 1_000_000_000)
    );
    assert_eq!(fs::metadata(at.join("same")).unwrap().ino(), setuid.ino());
    let tmp = fs::metadata(at.join("tmp")).unwrap();
    assert_eq!((tmp.mode() & 0o7777, tmp.mtime()), (0o1777, 1_000_000_000));
    assert_eq!(fs::read_link(at.join("link")).unwrap(), Path::new("/anywhere/../at/all"));
    assert!(fs::metadata(at.join("null")).unwrap().file_type().is_char_device());
    assert!(fs::metadata(at.join("fifo")).unwrap().file_type().is_fifo());
    let marked = fs::metadata(at.join("marked")).unwrap();
    assert_eq!((marked.mtime(), marked.mtime_nsec()), (1_234_567_890, 500_000_000));
    assert_eq!(xattr::get(at.join("marked"), "user.colour").unwrap().as_deref(), Some(&b"blue"[..]));
    let root = mounted(&world, "app", "c1");
    assert_eq!(fs::metadata(&root.1).unwrap().mode() & 0o7777, 0o711, "the root folder's mode is the image's");
    assert!(fs::File::open(root.1.join("null")).is_err(), "devices of images are inert");
    let store = fs::metadata(world.dir.path().join("images")).unwrap();
    assert_eq!(store.mode() & 0o777, 0o700, "setuid files are out of reach of the host's users");
}

#[test]
fn a_hundred_layers_mount() {
    let world = World::new();
    let layers: Vec<Vec<u8>> = (0..100)
        .map(|n| Tape::new().file(&format!("f{n}"), b"").file("last", n.to_string().as_bytes()).end())
        .collect();
    world.import("many", &layers).unwrap();
    let root = mounted(&world, "many", "c1");
    assert_eq!(names(&root.1).len(), 101);
    assert_eq!(fs::read(root.1.join("last")).unwrap(), b"99");
}

#[test]
fn old_kernels_get_a_page_of_options() {
    let world = World::new();
    let layers: Vec<Vec<u8>> = (0..60).map(|n| Tape::new().file(&format!("f{n}"), b"").end()).collect();
    world.import("few", &layers[..10]).unwrap();
    world.import("many", &layers).unwrap();
    let at = world.dir.path().join("at");
    fs::create_dir(&at).unwrap();
    let mount = |image: &str, container: &str| {
        let made = world.store.prepare(image, container).unwrap();
        let (lower, upper, work) = (&made.lower_dirs, &made.upper_dir, &made.work_dir);
        let durability = skiff_sys::overlay::Durability::Volatile;
        skiff_sys::overlay::Overlay { lower, upper, work, durability }.mount_by_page(&at)
    };
    mount("few", "c1").unwrap();
    let root = Mounted(&world.store, at.clone());
    assert_eq!(names(&root.1).len(), 10);
    drop(root);
    assert_eq!(mount("many", "c2").unwrap_err().errno, nix::errno::Errno::E2BIG);
}

#[test]
fn a_layer_twice_and_no_layer_at_all_mount_too() {
    let world = World::new();
    let (a, b) = (Tape::new().file("a", b"1").end(), Tape::new().file("a", b"2").end());
    world.import("twice", &[a.clone(), b, a]).unwrap();
    let root = mounted(&world, "twice", "c1");
    assert_eq!(fs::read(root.1.join("a")).unwrap(), b"1");
    world.import("none", &[]).unwrap();
    let root = mounted(&world, "none", "c2");
    assert_eq!(names(&root.1), Vec::<String>::new());
    fs::write(root.1.join("x"), "").unwrap();
}

#[test]
fn compressed_layers_and_archives_are_recognised() {
    let world = World::new();
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let plain: Vec<Vec<u8>> = (0..3).map(|n| Tape::new().file(&format!("f{n}"), b"data").end()).collect();
    let config = config(&plain);
    let manifest = br#"[{"Config":"c","RepoTags":["mixed"],"Layers":["0","1","2"]}]"#;
    let archive = Tape::new().file("c", config.as_bytes()).file("0", &plain[0]).file("1", &gzip(&plain[1]));
    let archive = archive.file("2", &zstd(&plain[2])).file("manifest.json", manifest).end();
    for (name, bytes) in [("plain", archive.clone()), ("gzip", gzip(&archive)), ("zstd", zstd(&archive))] {
        let images = world.store.import(&world.file(name, &bytes), None).unwrap();
        let layers: Vec<String> = (0..3).map(|n| format!("f{n}")).collect();
        let unpacked: Vec<String> = plain.iter().flat_map(|layer| names(&world.layer(layer))).collect();
        assert_eq!(unpacked, layers, "{name}");
        assert_eq!(images.len(), 1, "{name}");
        world.store.remove("mixed").unwrap();
    }
}

/// An OCI layout of one image, in files.
fn layout(world: &World, layer: &[u8], spoil: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> PathBuf {
    let root = world.dir.path().join("layout");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("blobs/sha256")).unwrap();
    let put = |what: &str, bytes: Vec<u8>, media: &str| {
        let (digest, size) = (sha256(&bytes), bytes.len());
        fs::write(root.join("blobs/sha256").join(&digest), spoil(what, bytes)).unwrap();
        serde_json::json!({ "mediaType": media, "digest": format!("sha256:{digest}"), "size": size })
    };
    let config = put("config", config(&[layer.to_vec()]).into(), "application/vnd.oci.image.config.v1+json");
    let blob = put("layer", layer.to_vec(), "application/vnd.oci.image.layer.v1.tar");
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [blob] }).to_string();
    let mut manifest = put("manifest", manifest.into(), "application/vnd.oci.image.manifest.v1+json");
    manifest["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": "quay.io/some/app:7" });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string();
    fs::write(root.join("index.json"), spoil("index", index.into())).unwrap();
    fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    root
}

#[test]
fn a_layout_is_taken_in_with_its_digest() {
    let world = World::new();
    let root = layout(&world, &Tape::new().file("x", b"").end(), |_, bytes| bytes);
    let image = world.store.import(&root, None).unwrap().remove(0);
    assert_eq!(image.repo_tags, ["quay.io/some/app:7"]);
    assert!(image.repo_digests[0].starts_with("quay.io/some/app@sha256:"), "{:?}", image.repo_digests);
    assert_eq!(world.store.resolve(&image.repo_digests[0]).unwrap(), Some(image));
}

#[test]
fn spoiled_blobs_are_refused() {
    let world = World::new();
    let layer = Tape::new().file("x", b"good").end();
    for what in ["config", "layer", "manifest"] {
        for spoil in [|bytes: &mut Vec<u8>| bytes.push(b' '), |bytes: &mut Vec<u8>| bytes[40] ^= 1] {
            let root = layout(&world, &layer, |name, mut bytes| {
                if name == what {
                    spoil(&mut bytes);
                }
                bytes
            });
            world.store.import(&root, None).expect_err(what);
        }
    }
    let root = layout(&world, &layer, |_, bytes| bytes);
    let blob = root.join("blobs/sha256").join(sha256(&layer));
    fs::rename(&blob, world.dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(world.dir.path().join("elsewhere"), &blob).unwrap();
    world.store.import(&root, None).expect_err("a link out of the layout");
    fs::remove_file(&blob).unwrap();
    let fifo = CString::new(blob.to_str().unwrap()).unwrap();
    nix::unistd::mkfifo(fifo.as_c_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    world.store.import(&root, None).expect_err("a FIFO must not make us wait");
    assert_eq!(world.store.list().unwrap(), vec![]);
    assert_eq!(world.names("layers"), Vec::<String>::new());
}

#[test]
fn an_index_that_names_itself_over_and_over_ends() {
    let world = World::new();
    let root = layout(&world, &Tape::new().end(), |_, bytes| bytes);
    let mut child = fs::read(root.join("index.json")).unwrap();
    for _level in 0..2 {
        let (digest, size) = (sha256(&child), child.len());
        fs::write(root.join("blobs/sha256").join(&digest), &child).unwrap();
        let one = serde_json::json!({ "digest": format!("sha256:{digest}"), "size": size });
        child = serde_json::json!({ "manifests": vec![one; 60] }).to_string().into_bytes();
    }
    fs::write(root.join("index.json"), &child).unwrap();
    let error = world.store.import(&root, None).unwrap_err();
    assert!(error.to_string().contains("1000 documents"), "{error}");
}

#[test]
fn ids_that_are_no_file_names_are_refused() {
    let world = World::new();
    world.import("app", &[Tape::new().end()]).unwrap();
    for id in ["", ".", "..", "a/b", "../x", "-a", ".a", "A", "a\0", &"a".repeat(254)] {
        assert!(matches!(world.store.prepare("app", id), Err(ImageError::ContainerId(_))), "{id:?}");
        assert!(matches!(world.store.release(id), Err(ImageError::ContainerId(_))), "{id:?}");
    }
    world.store.prepare("app", "a").unwrap();
    world.store.prepare("app", "a").expect("preparing twice is preparing once");
    world.import("other", &[Tape::new().file("x", b"").end()]).unwrap();
    assert!(world.store.prepare("other", "a").is_err());
    assert!(matches!(world.store.mount("none", &world.dir.path().join("m"), None), Err(ImageError::NoSnapshot(_))));
    assert!(matches!(world.store.prepare("none", "b"), Err(ImageError::NotFound(_))));
}

/// Fails or dies at each step of an import in turn; afterwards a new store has the image whole or not at all.
#[test]
fn a_failure_at_any_step_leaves_no_half_image() {
    let world = World::new();
    let layers = [Tape::new().file("a", b"1").end(), Tape::new().file("b", b"2").end()];
    let path = world.file("a.tar", &docker_archive("app", &layers));
    for fault in ["image.import:1", "image.unpack:1", "image.unpack:2", "image.commit:1"] {
        let plan = format!("{fault}=error(28)").parse().unwrap();
        let engine = Engine::new("test", None, plan).unwrap();
        let store = ImageStore::open(&world.dir.path().join("images"), Builtin::default(), engine).unwrap();
        store.import(&path, None).expect_err(fault);
        assert_eq!(World::open(world.dir.path()).list().unwrap(), vec![], "{fault}");
        assert_eq!(world.names("layers"), Vec::<String>::new(), "{fault}");
        assert_eq!(world.names("tmp"), Vec::<String>::new(), "{fault}");
    }
    world.store.import(&path, None).unwrap();
}

#[test]
fn many_at_once_agree() {
    let world = World::new();
    let path = world.file("a.tar", &docker_archive("app", &[Tape::new().file("a", b"1").end()]));
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (store, path) = (world.store.clone(), &path);
            scope.spawn(move || {
                for round in 0..5 {
                    store.import(path, None).unwrap();
                    let id = format!("c{n}-{round}");
                    match store.prepare("app", &id) {
                        // Another thread has just removed it.
                        Err(ImageError::NotFound(_)) => {}
                        prepared => {
                            let lower = &prepared.unwrap().lower_dirs[0];
                            assert!(lower.join("a").exists(), "a snapshot's layers stay");
                            store.release(&id).unwrap();
                        }
                    }
                    store.remove("app").unwrap();
                }
            });
        }
    });
    assert_eq!(world.store.list().unwrap(), vec![]);
    world.store.remove("app").unwrap();
    assert_eq!(world.names("layers"), Vec::<String>::new());
}

/// Fault C9: snapshots are mounted volatile, which spares the removal a sync; the kernel's mark of that must not keep a snapshot from
/// being mounted again.
#[test]
fn a_snapshot_can_be_mounted_again() {
    let world = World::new();
    let image = world.import("app", &[Tape::new().file("x", b"").end()]).unwrap();
    fs::write(mounted(&world, &image.id, "c1").1.join("written"), "kept").unwrap();
    let again = mounted(&world, &image.id, "c1");
    assert_eq!(fs::read_to_string(again.1.join("written")).unwrap(), "kept");
    let options = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = options.lines().find(|line| line.contains(again.1.to_str().unwrap())).unwrap();
    assert!(line.contains("volatile"), "{line}");
}

/// Fault N17: there was no way from the demo to an image of one's own.
#[test]
fn an_image_is_made_of_what_this_host_has() {
    let world = World::new();
    let own = world.dir.path().join("own");
    fs::create_dir_all(own.join("sub")).unwrap();
    fs::write(own.join("sub/text"), "mine").unwrap();
    std::os::unix::fs::symlink("sub/text", own.join("link")).unwrap();
    std::os::unix::fs::chown(own.join("sub"), Some(1234), Some(1234)).unwrap();
    let recipe = Recipe {
        name: "skiff.local/own:1".into(),
        add: vec![("/bin/sh".into(), "/bin/sh".into()), (own.clone(), "/srv/own".into())],
        env: vec!["LANG=C".into()],
        workdir: "/srv".into(),
        command: vec!["/bin/sh".into(), "-c".into(), "cat own/link".into()],
        ..Recipe::default()
    };
    let image = world.store.build(&recipe).unwrap();
    assert_eq!(image.repo_tags, ["skiff.local/own:1"]);
    assert_eq!(world.store.build(&recipe).unwrap().id, image.id, "the same files give the same image");
    let config = image.config.config().clone().unwrap();
    assert_eq!(config.entrypoint().as_deref(), Some(&["/bin/sh".to_owned()][..]));
    assert_eq!(config.cmd().as_ref().map(Vec::len), Some(2));
    let mounted = mounted(&world, &image.id, "own");
    assert_eq!(fs::read_to_string(mounted.1.join("srv/own/link")).unwrap(), "mine");
    assert_eq!(fs::metadata(mounted.1.join("srv/own/sub")).unwrap().uid(), 0, "what is copied belongs to root");
    // It runs there: the shell's libraries came along.
    let run =
        std::process::Command::new("chroot").arg(&mounted.1).args(["/bin/sh", "-c", "echo works"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&run.stdout), "works\n", "{run:?}");
}

#[test]
fn a_whole_root_keeps_its_owners() {
    let world = World::new();
    let root = world.dir.path().join("root");
    fs::create_dir_all(root.join("home/me")).unwrap();
    std::os::unix::fs::chown(root.join("home/me"), Some(1000), Some(1000)).unwrap();
    let recipe = Recipe { name: "root".into(), add: vec![(root, "/".into())], ..Recipe::default() };
    let image = world.store.build(&recipe).unwrap();
    let mounted = mounted(&world, &image.id, "root");
    assert_eq!(names(&mounted.1), ["home"]);
    assert_eq!(fs::metadata(mounted.1.join("home/me")).unwrap().uid(), 1000);
}

#[test]
fn what_cannot_be_an_image_is_said() {
    let world = World::new();
    let refusal = |name: &str, from: &str, to: &str, env: &str| {
        let (add, env) = (vec![(from.into(), to.into())], vec![env.to_owned()]);
        let recipe = Recipe { name: name.into(), add, env, ..Recipe::default() };
        world.store.build(&recipe).unwrap_err().to_string()
    };
    assert!(refusal("A B", "/bin/sh", "/bin/sh", "A=1").contains("`A B`"));
    assert!(refusal("a", "/nowhere", "/x", "A=1").contains("find /nowhere"));
    assert!(refusal("a", "/bin/sh", "bin/sh", "A=1").contains("begins with /"));
    assert!(refusal("a", "/bin/sh", "/", "A=1").contains("cannot stand at /"));
    assert!(refusal("a", "/bin/sh", "/bin/sh", "A").contains("NAME=VALUE"));
    assert_eq!(world.store.list().unwrap(), []);
}

/// A service that dies after it has put a removed container's files aside leaves them to the next one.
#[test]
fn what_was_put_aside_goes_when_the_store_is_next_opened() {
    let world = World::new();
    let image = world.import("app:1", &[Tape::new().file("x", b"12345").end()]).unwrap();
    let snapshot = world.store.prepare(&image.id, "gone").unwrap();
    fs::write(snapshot.upper_dir.join("written"), b"much").unwrap();
    let aside = world.dir.path().join("images/tmp");
    let _never_removed = world.store.retire("gone").unwrap();
    assert_eq!(world.store.snapshots().unwrap(), [""; 0]);
    assert_eq!(names(&aside).len(), 1);
    assert!(world.store.retire("gone").unwrap().is_empty(), "there is no snapshot any more");
    World::open(world.dir.path());
    assert_eq!(names(&aside), [""; 0]);
}
