//! Whole builds over a store: what the image says of itself, and which files it has. As root, for overlay mounts.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use serde_json::{Value, json};
use skiff_build::{Bases, Dockerfile, Network, Options, make};
use skiff_image::{Builtin, Compression, Image, ImageStore, Packing};
use skiff_step::Engine;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What an image from scratch says, as others have it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct Arena {
    dir: tempfile::TempDir,
    store: ImageStore,
    /// Steps, and whether they were done before.
    steps: Mutex<Vec<(String, bool)>>,
}

impl Bases for Arena {
    fn image(&self, name: &str) -> Result<Image, String> {
        self.store.resolve(name).map_err(|error| error.chain())?.ok_or_else(|| format!("{name}: no such image"))
    }

    fn step(&self, text: &str, done_before: bool) {
        self.steps.lock().unwrap().push((text.to_owned(), done_before));
    }
}

impl Arena {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&dir.path().join("images"), Builtin::default(), Engine::off()).unwrap();
        let context = dir.path().join("context");
        for (path, text) in [("a.txt", "a"), ("d/x", "x"), ("d/e/y", "y"), ("skipped", "no"), ("run.sh", "#!/bin/sh\n")]
        {
            let at = context.join(path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, text).unwrap();
        }
        fs::set_permissions(context.join("run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("e/y", context.join("d/l")).unwrap();
        Self { dir, store, steps: Mutex::default() }
    }

    fn context(&self, path: &str) -> PathBuf {
        self.dir.path().join("context").join(path)
    }

    fn build(&self, text: &str, tweak: impl Fn(&mut Options)) -> Result<Image, String> {
        let work = self.dir.path().join("work");
        let _none_the_first_time = fs::remove_dir_all(&work);
        fs::create_dir(&work).unwrap();
        let mut options = Options {
            context: self.context(""),
            ignore: "skipped\n".to_owned(),
            name: Some("skiff.local/test:1".to_owned()),
            args: BTreeMap::new(),
            target: None,
            packing: Packing { compression: Compression::Gzip, time_max: Some(1000) },
            cached: true,
            network: Network::None,
            runtime: PathBuf::from("/bin/false"),
            work,
        };
        tweak(&mut options);
        let file = Dockerfile::read(text).map_err(|error| error.to_string())?;
        self.steps.lock().unwrap().clear();
        make(&self.store, &file, &options, self).map_err(|error| error.to_string())
    }

    /// Where the image's topmost layer is unpacked.
    fn layer(&self, image: &Image) -> PathBuf {
        let document = self.store.document(&image.id).unwrap();
        let diff = document["rootfs"]["diff_ids"].as_array().unwrap().last().unwrap().as_str().unwrap().to_owned();
        self.dir.path().join("images/layers").join(diff.strip_prefix("sha256:").unwrap()).join("fs")
    }

    fn done_before(&self) -> Vec<bool> {
        self.steps.lock().unwrap().iter().map(|(_, done)| *done).collect()
    }
}

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

fn about(path: &Path) -> (u32, u32, u32, i64) {
    let about = fs::symlink_metadata(path).unwrap();
    (about.mode() & 0o7777, about.uid(), about.gid(), about.mtime())
}

#[test]
fn files_of_the_context_become_a_layer() {
    if !is_root() {
        return;
    }
    let arena = Arena::new();
    let text = "FROM scratch\nENV A=1\nCOPY --chown=7:8 --chmod=640 a.txt /srv/app/\nCOPY d /srv/d\nCMD [\"/x\"]\n";
    let image = arena.build(text, |_| {}).unwrap();
    assert_eq!(image.repo_tags, ["skiff.local/test:1"]);
    let document = arena.store.document(&image.id).unwrap();
    assert_eq!(document["config"], json!({"Env": [PATH, "A=1"], "Cmd": ["/x"]}));
    assert_eq!(document["created"], "1970-01-01T00:16:40Z");
    let empty: Vec<bool> =
        document["history"].as_array().unwrap().iter().map(|entry| entry["empty_layer"] == true).collect();
    assert_eq!(empty, [true, false, false, true]);
    let layer = arena.layer(&image);
    assert_eq!(fs::read_link(layer.join("srv/d/l")).unwrap(), Path::new("e/y"));
    assert_eq!(about(&layer.join("srv/d/x")).3, 1000);
    let one = arena.build("FROM skiff.local/test:1\nCOPY run.sh /srv/app/a.txt\n", |_| {}).unwrap();
    assert_eq!(about(&arena.layer(&one).join("srv/app/a.txt")).0, 0o750);
    assert_eq!(about(&arena.layer(&one).join("srv/app")).1, 7, "folders on the way belong to who was named");
}

#[test]
fn the_same_files_give_the_same_image_and_no_step_is_done_twice() {
    if !is_root() {
        return;
    }
    let text = "FROM scratch AS one\nCOPY d /d\nFROM scratch\nCOPY --from=one /d/e /e\nWORKDIR /w\nCOPY a.txt .\n";
    let (arena, other) = (Arena::new(), Arena::new());
    let (image, again) = (arena.build(text, |_| {}).unwrap(), other.build(text, |_| {}).unwrap());
    assert_eq!(image.id, again.id, "of two stores");
    assert_eq!(arena.build(text, |_| {}).unwrap().id, image.id);
    assert_eq!(arena.done_before(), [false, true, false, true, true, true]);
    fs::write(arena.context("a.txt"), "changed").unwrap();
    assert_ne!(arena.build(text, |_| {}).unwrap().id, image.id);
    assert_eq!(arena.done_before(), [false, true, false, true, true, false]);
    arena.build(text, |options| options.cached = false).unwrap();
    assert_eq!(arena.done_before(), [false; 6]);
    assert!(arena.store.snapshots().unwrap().is_empty(), "a build leaves no snapshot");
    let named: Vec<Vec<String>> = arena.store.list().unwrap().into_iter().map(|image| image.repo_tags).collect();
    assert_eq!(named.iter().filter(|tags| !tags.is_empty()).count(), 1);
    assert!(named.len() <= 4, "stages stay, steps do not: {named:?}");
}

#[test]
fn archives_are_unpacked_by_add_and_copied_by_copy() {
    if !is_root() {
        return;
    }
    let arena = Arena::new();
    let mut tape = tar::Builder::new(fs::File::create(arena.context("t.tar")).unwrap());
    tape.append_path_with_name(arena.context("d/x"), "in/x").unwrap();
    tape.into_inner().unwrap();
    let image = arena.build("FROM scratch\nADD t.tar /t\nCOPY t.tar /t.tar\n", |_| {}).unwrap();
    assert!(arena.layer(&image).join("t.tar").is_file());
    let image = arena.build("FROM scratch\nADD t.tar /t\n", |_| {}).unwrap();
    assert_eq!(fs::read_to_string(arena.layer(&image).join("t/in/x")).unwrap(), "x");
}

#[test]
fn what_goes_wrong_is_told_with_its_line_and_leaves_nothing_named() {
    if !is_root() {
        return;
    }
    let arena = Arena::new();
    for (text, said) in [
        ("FROM scratch\n\nCOPY none /\n", "line 3: COPY: none: there is no such file in the context"),
        ("FROM scratch\nCOPY skipped /\n", "line 2: COPY: skipped: there is no such file in the context"),
        ("FROM none:1\n", "line 1: FROM: none:1: no such image"),
        ("FROM scratch\nCOPY a.txt d /x\n", "line 2: COPY: /x: a place for several sources ends with /"),
        ("FROM scratch\nCOPY --chmod=u+x a.txt /x\n", "line 2: COPY: --chmod=u+x: of modes only octal"),
        ("FROM scratch\nCOPY --chown=ann a.txt /x\n", "line 2: COPY: --chown=ann: user ann: /etc/passwd"),
        ("FROM scratch\nCOPY a.txt /x\nCOPY d /x\n", "line 3: COPY: /x is there and no folder"),
        ("FROM scratch\nRUN true\n", "line 2: RUN: it ended with exit code 1"),
        ("FROM --platform=linux/none scratch\n", "line 1: FROM: --platform=linux/none"),
    ] {
        let refusal = arena.build(text, |_| {}).unwrap_err();
        assert!(refusal.starts_with(said), "{text}: {refusal}");
        let is_named = arena.store.list().unwrap().iter().any(|image| !image.repo_tags.is_empty());
        assert!(!is_named && arena.store.snapshots().unwrap().is_empty(), "{text}");
    }
}

/// Links in an image and in a context lead nowhere else.
#[test]
fn links_do_not_lead_out() {
    if !is_root() {
        return;
    }
    let arena = Arena::new();
    let outside = arena.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, arena.context("d/out")).unwrap();
    let base = "FROM scratch\nCOPY d /d\nCOPY a.txt /d/out/evil\n";
    arena.build(base, |_| {}).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    symlink("/etc/hostname", arena.context("h")).unwrap();
    assert!(arena.build("FROM scratch\nCOPY h /h\n", |_| {}).unwrap_err().contains("no such file"));
    let value: Value = arena.store.document("skiff.local/test:1").unwrap();
    assert!(value["history"].is_array());
}
