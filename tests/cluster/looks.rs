//! Who only looks writes nothing: the commands that show, run on what is at rest, and on what is not there.

use skiff_harness::skiff;
use skiff_store::request::{Op, Put, Txn};
use skiff_store::{Options, Store};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Every file below `path`: what kind, how long, and when it last changed.
fn tree(path: &Path) -> BTreeMap<PathBuf, [i64; 4]> {
    let about = fs::symlink_metadata(path).unwrap();
    let size = if about.is_dir() { 0 } else { about.size().cast_signed() };
    let mut all = BTreeMap::from([(path.to_owned(), [about.mode().into(), size, about.mtime(), about.mtime_nsec()])]);
    if about.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            all.extend(tree(&entry.unwrap().path()));
        }
    }
    all
}

/// Runs skiff with everything that it might write to below `folder`; returns its exit code.
fn run(folder: &Path, words: &str) -> i32 {
    let mut command = skiff();
    for variable in ["HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"] {
        command.env(variable, folder.join("home"));
    }
    let ended = command.args(words.split(' ')).current_dir(folder).output().unwrap();
    ended.status.code().unwrap()
}

/// Makes a store in `folder` as a kill leaves it: its last write is in its log alone.
async fn make_killed_store(folder: &Path) {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(scratch.path(), Options::default()).unwrap();
    let put = Put { key: "k".into(), value: Some("v".into()), lease: Some(0), want_previous: false };
    store.txn(Txn::of(Op::Put(put))).await.unwrap();
    fs::create_dir_all(folder).unwrap();
    for entry in fs::read_dir(scratch.path()).unwrap() {
        let file = entry.unwrap().path();
        fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
    }
    store.close().await;
}

/// Found when `skiff image list` made folders and installed programs.
#[test]
fn who_only_looks_writes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    fs::create_dir(folder.join("home")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(make_killed_store(&folder.join("data/store")));
    for words in
        ["image --data-dir data --run-dir run pull skiff.local/demo", "store snapshot save saved --data-dir data/store"]
    {
        assert_eq!(run(folder, words), 0, "{words}");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let save = format!("store snapshot save {} --data-dir data/store", elsewhere.path().join("saved").display());
    let copy = format!("store copy data/store {}", elsewhere.path().join("copy").display());
    let before = tree(folder);
    for (words, code) in [
        ("image --data-dir data --run-dir run list", 0),
        ("image --data-dir data --run-dir run list -o json", 0),
        ("image --data-dir absent --run-dir absent-run list", 0),
        ("store fsck --data-dir data/store", 0),
        ("store fsck --data-dir absent", 1),
        ("store snapshot status saved", 0),
        ("store snapshot status absent", 1),
        ("store top --once --data-dir data/store", 0),
        ("store top --once --data-dir absent", 1),
        (save.as_str(), 0),
        (copy.as_str(), 0),
        ("get pods --kubeconfig absent", 1),
        ("describe pods --kubeconfig absent", 1),
        ("logs web --kubeconfig absent", 1),
        ("completion bash", 0),
        ("--help", 0),
        ("--version", 0),
    ] {
        assert_eq!(run(folder, words), code, "{words}");
        assert_eq!(tree(folder), before, "{words}");
    }
}
