//! Folders, ports and ranges that cannot be used: one sentence with operation, operand and reason, and nothing left behind.

use crate::support::bounded;
use skiff_harness::{Ended, Snapshot, TestNode, skiff};
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A node that cannot start has said so by then.
const START_SECONDS_MAX: u64 = 60;

fn program() -> String {
    skiff().get_program().to_string_lossy().into_owned()
}

/// Folders for one attempt. Should the attempt leave something, it is removed, so that other tests do not meet it.
struct Folders {
    base: TempDir,
}

impl Folders {
    fn new() -> Self {
        let base = tempfile::Builder::new().prefix("skiff-test-").tempdir().unwrap();
        std::fs::create_dir(base.path().join("disk")).unwrap();
        Self { base }
    }

    /// What [`up_after`] mounts on.
    fn disk(&self) -> PathBuf {
        self.base.path().join("disk")
    }

    fn data(&self) -> PathBuf {
        self.disk().join("data")
    }

    fn run(&self) -> PathBuf {
        self.base.path().join("run")
    }
}

impl Folders {
    /// What everything of this attempt bears in its path, words or cgroup.
    fn mark(&self) -> String {
        self.base.path().file_name().unwrap().to_string_lossy().into_owned()
    }

    fn flags(&self) -> [OsString; 6] {
        let group = format!("/{}", self.mark()).into();
        ["--data-dir".into(), self.data().into(), "--run-dir".into(), self.run().into(), "--cgroup-root".into(), group]
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        let mut command = skiff();
        command.args(["down", "--purge"]).args(self.flags());
        let ended = bounded(command, START_SECONDS_MAX);
        if ended.code != 0 {
            eprintln!("clean up: {}", ended.err);
        }
    }
}

/// `skiff up` in these folders, with more flags.
fn up(folders: &Folders, flags: &[&str]) -> Ended {
    let mut command = skiff();
    command.args(["up", "--isolated", "--api-listen", "127.0.0.1:0"]).args(folders.flags()).args(flags);
    bounded(command, START_SECONDS_MAX)
}

/// The same in a mount namespace of its own, after `mounts` were made there. `$1` is the data folder.
fn up_after(mounts: &str, folders: &Folders) -> Ended {
    let up =
        r#"exec "$3" up --isolated --api-listen 127.0.0.1:0 --data-dir "$1/data" --run-dir "$2" --cgroup-root "$4""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &format!("set -e; {mounts}; {up}"), "sh"]);
    command.arg(folders.disk()).arg(folders.run()).arg(program()).arg(format!("/{}", folders.mark()));
    bounded(command, START_SECONDS_MAX)
}

/// It was refused, in one line that has all of `parts`.
#[track_caller]
fn says(ended: Ended, parts: &[&str]) {
    assert_eq!(ended.code, 1, "{ended:?}");
    let said = ended.err.trim_end();
    assert!(said.starts_with("skiff: "), "{said}");
    assert_eq!(said.lines().count(), 1, "one sentence: {said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[test]
fn a_read_only_data_folder() {
    let (before, folders) = (Snapshot::take(), Folders::new());
    let new = up_after(r#"mount -t tmpfs -o ro,size=1m none "$1""#, &folders);
    says(new, &["create folder", "/data", "Read-only file system"]);
    let mounts = r#"mount -t tmpfs -o size=1m none "$1"; for d in bin store images pods pki; do mkdir -p "$1/data/$d"; done; mount -o remount,ro "$1""#;
    says(up_after(mounts, &folders), &["open ", "/data/node.lock", "Read-only file system"]);
    before.assert_nothing_new_of(&folders.mark());
}

#[test]
fn a_full_data_folder() {
    let (before, folders) = (Snapshot::take(), Folders::new());
    // 64 KiB hold the folders but not the programs.
    let ended = up_after(r#"mount -t tmpfs -o size=64k none "$1""#, &folders);
    says(ended, &["install ", "/data/bin/skiff-oci", "No space left on device"]);
    before.assert_nothing_new_of(&folders.mark());
}

#[test]
fn a_data_folder_that_is_a_file() {
    let (before, folders) = (Snapshot::take(), Folders::new());
    let data = folders.data();
    std::fs::write(&data, "mine").unwrap();
    says(up(&folders, &[]), &["create folder", "/data", "exists"]);
    assert_eq!(std::fs::read_to_string(&data).unwrap(), "mine");
    before.assert_nothing_new_of(&folders.mark());
}

#[test]
fn a_data_folder_in_use() {
    let node = TestNode::up(&[]);
    let mut command = skiff();
    command.args(["up", "--isolated", "--api-listen", "127.0.0.1:0", "--data-dir"]).arg(node.data());
    command.arg("--run-dir").arg(node.scratch().join("other"));
    let ended = bounded(command, START_SECONDS_MAX);
    let (data, pid) = (node.data().display().to_string(), format!("(pid {})", node.pid()));
    says(ended, &["data folder", &data, "in use by another node", &pid]);
    assert!(node.skiff(["get", "nodes"]).ok().contains("Ready"), "the other node was disturbed");
    node.down();
}

#[test]
fn a_port_in_use() {
    let (before, folders) = (Snapshot::take(), Folders::new());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = skiff();
    command.args(["up", "--isolated", "--api-listen", &address]).args(folders.flags());
    says(bounded(command, START_SECONDS_MAX), &["listen on", &address, "in use"]);
    before.assert_nothing_new_of(&folders.mark());
}

#[test]
fn ranges_and_flags_that_make_no_sense() {
    let (before, folders) = (Snapshot::take(), Folders::new());
    says(up(&folders, &["--pod-cidr", "10.244.0.0/99"]), &["10.244.0.0/99"]);
    says(up(&folders, &["--service-cidr", "everything"]), &["service", "everything"]);
    says(up(&folders, &["--publish", "8080"]), &["--publish 8080", "HOST_PORT:NODE_PORT"]);
    says(up(&folders, &["--etcd-servers", "http://127.0.0.1:1"]), &["etcd", "http://127.0.0.1:1"]);
    says(up(&folders, &["--oci-runtime", "/nowhere/crun"]), &["/nowhere/crun", "No such file"]);
    before.assert_nothing_new_of(&folders.mark());
    let wrong = up(&folders, &["--kubelet-port", "nowhere"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    // Fault N12: the API server found this out, and its answer was told as a debug dump.
    let wrong = up(&folders, &["--node-name", "A B"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(
        wrong.err.starts_with("error: invalid value 'A B' for '--node-name <NAME>': a node's name has "),
        "{wrong:?}"
    );
    assert!(wrong.err.len() < 400, "more than a sentence: {wrong:?}");
    let nobody = skiff().args(["get", "pods", "--kubeconfig", "/nowhere/kubeconfig"]).output().unwrap();
    says(nobody.into(), &["kubeconfig /nowhere/kubeconfig", "no such file", "skiff up"]);
}

/// Fault N14: addresses that mean something already were given to pods and services.
#[test]
fn ranges_that_take_what_is_taken() {
    let (before, folders) = (Snapshot::take(), Folders::new());
    let same = up(&folders, &["--service-cidr", "10.244.0.0/24"]);
    says(same, &["--service-cidr 10.244.0.0/24", "overlaps --pod-cidr 10.244.0.0/24"]);
    let around = up(&folders, &["--service-cidr", "10.0.0.0/8"]);
    says(around, &["--service-cidr 10.0.0.0/8", "overlaps --pod-cidr 10.244.0.0/24"]);
    says(
        up(&folders, &["--pod-cidr", "172.31.255.0/24"]),
        &["--pod-cidr 172.31.255.0/24", "node's address 172.31.255.1"],
    );
    let own = up(&folders, &["--node-ip", "10.96.0.7"]);
    says(own, &["--service-cidr 10.96.0.0/16", "node's address 10.96.0.7"]);
    before.assert_nothing_new_of(&folders.mark());
}

/// The same on a host whose networks lie there: one in a network namespace of its own.
#[test]
fn ranges_that_the_host_uses() {
    let (before, folders) = (Snapshot::take(), Folders::new());
    let net = "ip link set lo up; ip link add eth7 type bridge; ip addr add 10.244.0.9/22 dev eth7; ip link set eth7 up; \
               ip route add 10.96.7.0/24 dev eth7";
    let up = |flags: &str| {
        let up = format!(r#"exec "$2" up --data-dir "$1/data" --run-dir "$1/run" {flags}"#);
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-c", &format!("set -e; {net}; {up}"), "sh"]);
        command.arg(folders.disk()).arg(program());
        bounded(command, START_SECONDS_MAX)
    };
    says(up(""), &["--pod-cidr 10.244.0.0/24", "the host's network 10.244.0.0/22 on eth7"]);
    says(up("--pod-cidr 10.7.0.0/24"), &["--service-cidr 10.96.0.0/16", "the host's network 10.96.7.0/24 on eth7"]);
    assert!(!folders.data().exists(), "it was made before the ranges were looked at");
    before.assert_nothing_new_of(&folders.mark());
}

#[test]
fn a_bundle_without_a_configuration() {
    let node = TestNode::up(&[]);
    let bundle = node.scratch().join("bundle");
    std::fs::create_dir(&bundle).unwrap();
    let mut command = Command::new(node.data().join("bin/skiff-oci"));
    command.arg("--root").arg(node.scratch().join("oci")).arg("create").arg("--bundle").arg(&bundle).arg("empty");
    let ended = bounded(command, START_SECONDS_MAX);
    assert_ne!(ended.code, 0);
    let said = ended.err.trim_end();
    assert_eq!(said.lines().count(), 1, "one sentence: {said}");
    for part in [bundle.join("config.json").display().to_string().as_str(), "No such file"] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    assert!(!node.scratch().join("oci/empty").exists(), "state was left behind");
    node.down();
}

#[test]
fn a_trace_that_cannot_be_written() {
    let (before, folders) = (Snapshot::take(), Folders::new());
    says(up(&folders, &["--trace", "/nowhere/trace"]), &["/nowhere/trace", "No such file"]);
    before.assert_nothing_new_of(&folders.mark());
}
