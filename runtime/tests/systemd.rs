//! Containers as units of systemd: with the one that runs here, or, on a host of version 2 without one, with a user's manager
//! that the test starts (its program is in `SKIFF_SYSTEMD` where it is not Debian's place). It never touches a host with
//! cgroups of version 1, where such a manager would make itself at home beside everything else.

// A helper of tests may fail like a test.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use support::{Bundle, is_unified, skipped, wait_until};

const SOCKET: &str = "/run/systemd/private";
/// One test looks at a host where the other's manager must not run yet.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A manager of our own, with its folders; gone when dropped.
struct Manager {
    process: Child,
    folder: tempfile::TempDir,
    group: PathBuf,
}

impl Manager {
    /// Starts it in a group of its own, since it takes the one where it is, and puts its socket where systemd has one.
    fn start() -> Option<Self> {
        let program = std::env::var("SKIFF_SYSTEMD").unwrap_or_else(|_| "/usr/lib/systemd/systemd".to_owned());
        if !is_unified() || !Path::new(&program).exists() || Path::new("/run/systemd/system").exists() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let group = PathBuf::from(format!("/sys/fs/cgroup/skiff-test-manager-{}", std::process::id()));
        fs::create_dir(&group).unwrap();
        // By this folder it knows that the system was booted with systemd.
        fs::create_dir_all("/run/systemd/system").unwrap();
        let script = format!("echo $$ > {}/cgroup.procs && exec {program} --user", group.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("XDG_RUNTIME_DIR", folder.path()).env("HOME", folder.path());
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let manager = Self { process, folder, group };
        let socket = manager.folder.path().join("systemd/private");
        wait_until("systemd answers", || UnixStream::connect(&socket).is_ok());
        symlink(&socket, SOCKET).unwrap();
        Some(manager)
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        fs::remove_file(SOCKET).unwrap();
        fs::remove_dir("/run/systemd/system").unwrap();
        remove(&self.group);
    }
}

/// A group with what systemd left below it.
fn remove(group: &Path) {
    for entry in fs::read_dir(group).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        remove(&entry.path());
    }
    wait_until("an empty group", || fs::remove_dir(group).is_ok());
}

fn bundle(unit: &str, resources: &Value) -> Bundle {
    let bundle = Bundle::new("exec sleep 60", |config| {
        config["linux"]["cgroupsPath"] = json!(unit);
        config["linux"]["resources"] = resources.clone();
    });
    bundle.through_option("--systemd-cgroup")
}

/// The folder of the container's first process.
fn group(bundle: &Bundle) -> PathBuf {
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", bundle.state()["pid"])).unwrap();
    let path = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned();
    PathBuf::from(format!("/sys/fs/cgroup{path}"))
}

#[test]
fn without_systemd_or_a_unit_it_is_refused() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let by_path = bundle("/not/a/unit", &json!({}));
    let said = by_path.oci(&["create", &by_path.id]);
    assert!(said.code == 1 && said.err.contains("linux.cgroupsPath: `/not/a/unit` is not of the form"), "{said:?}");
    if UnixStream::connect(SOCKET).is_ok() || UnixStream::connect("/run/dbus/system_bus_socket").is_ok() {
        return skipped("without_systemd_or_a_unit_it_is_refused", "systemd or a message bus runs here");
    }
    let alone = bundle("a.slice:b:c", &json!({}));
    let said = alone.oci(&["create", &alone.id]);
    assert!(said.code == 1 && said.err.contains("systemd cannot be reached at "), "{said:?}");
}

#[test]
fn a_container_is_a_scope_of_systemd() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let own = Manager::start();
    if own.is_none() && UnixStream::connect(SOCKET).is_err() {
        return skipped("a_container_is_a_scope_of_systemd", "no systemd runs or can be run here");
    }
    if !is_unified() {
        return skipped("a_container_is_a_scope_of_systemd", "written for cgroup version 2 alone");
    }
    let created = json!({"memory": {"limit": 67_108_864, "swap": 100_663_296}, "pids": {"limit": 50},
        "cpu": {"shares": 1024, "quota": 50_000}, "devices": [{"allow": false, "access": "rwm"}]});
    let name = format!("test{}", std::process::id());
    let bundle = bundle(&format!("skiff-test.slice:skiff:{name}"), &created);
    bundle.start();
    let group = group(&bundle);
    assert!(group.ends_with(format!("skiff.slice/skiff-test.slice/skiff-{name}.scope")), "{}", group.display());
    let shows = |file: &str| fs::read_to_string(group.join(file)).unwrap().trim_end().to_owned();
    assert_eq!([shows("memory.max"), shows("memory.swap.max"), shows("pids.max")], ["67108864", "33554432", "50"]);
    assert_eq!([shows("cpu.max"), shows("cpu.weight")], ["50000 100000", "100"]);
    assert_eq!(shows("cgroup.procs"), bundle.state()["pid"].to_string(), "who held it is gone");

    bundle.oci(&["update", "--memory", "32m", "--cpu-quota", "20000", "--pids-limit", "20", &bundle.id]).ok();
    assert_eq!([shows("memory.max"), shows("pids.max"), shows("cpu.max")], ["33554432", "20", "20000 100000"]);
    bundle.oci(&["pause", &bundle.id]).ok();
    assert_eq!(bundle.status(), "paused");
    let other = self::bundle(&format!("skiff-test.slice:skiff:{name}"), &json!({}));
    let said = other.oci(&["create", &other.id]);
    assert!(said.code == 1 && said.err.contains("systemd: start "), "the name is taken: {said:?}");
    drop(other);
    assert_eq!(bundle.status(), "paused", "and whose it is has not noticed");

    properties_of_annotations(&name);
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
    assert!(!group.exists());
    bundle.start();
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
}

/// Properties of the unit by annotation: `MemoryHigh` is one that no field of config.json writes.
fn properties_of_annotations(name: &str) {
    let annotated = |property: &str, value: &str| {
        let bundle = bundle(&format!("skiff-test.slice:skiff:{name}-annotated"), &json!({}));
        let mut config: Value = serde_json::from_slice(&fs::read(bundle.config()).unwrap()).unwrap();
        let timeout = "org.systemd.property.TimeoutStopSec";
        config["annotations"] = json!({format!("org.systemd.property.{property}"): value, timeout: "5"});
        fs::write(bundle.config(), config.to_string()).unwrap();
        bundle
    };
    let bundle = annotated("MemoryHigh", "uint64 52428800");
    bundle.start();
    assert_eq!(fs::read_to_string(group(&bundle).join("memory.high")).unwrap(), "52428800\n");
    drop(bundle);
    for (property, value, words) in [
        ("NoSuchProperty", "true", "systemd: start "),
        ("MemoryHigh", "'much'", "systemd: start "),
        ("MemoryHigh", "much", "annotations.org.systemd.property.MemoryHigh: "),
    ] {
        let bundle = annotated(property, value);
        let said = bundle.oci(&["create", &bundle.id]);
        assert!(said.code == 1 && said.err.contains(words), "{property} {value}: {said:?}");
    }
}
