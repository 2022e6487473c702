//! A cgroup is one container's: what others have put there is never killed, and never joined.

#![allow(clippy::unwrap_used)] // what may fail here fails the test

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use support::groups::{Version, find};
use support::{Bundle, holder, wait_until};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A path for a cgroup that several may want; whatever is left there is removed in the end.
struct Shared(String);

impl Shared {
    fn new() -> Self {
        Self(format!("/skiff-claim-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// A container there whose shell runs `script`.
    fn bundle(&self, script: &str, change: impl FnOnce(&mut Value)) -> Bundle {
        Bundle::new(script, |c| {
            c["linux"]["cgroupsPath"] = json!(self.0);
            change(c);
        })
    }

    /// The directory in the hierarchy that freezes, and in that of memory.
    fn directories(&self) -> Vec<PathBuf> {
        let one = ["freezer", "memory"].iter().filter_map(|name| find(name));
        let found: Vec<_> = one.filter(|(version, _)| *version == Version::One).collect();
        let roots = if found.is_empty() { vec![find("cgroup").unwrap()] } else { found };
        roots.into_iter().map(|(_, root)| root.join(self.0.trim_start_matches('/'))).collect()
    }

    /// A program of the host's in the group `inner` below it (or in itself) in each of [`Shared::directories`].
    fn stranger(&self, inner: &str) -> Stranger {
        let stranger = holder(&["sleep", "1000"]);
        for directory in self.directories() {
            let place = directory.join(inner);
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("cgroup.procs"), stranger.id().to_string()).unwrap();
        }
        Stranger(stranger)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for directory in self.directories() {
            let inner = directory.join("inner");
            for place in [inner, directory] {
                wait_until("an empty group", || !place.exists() || fs::remove_dir(&place).is_ok());
            }
        }
    }
}

/// Ends with the test.
struct Stranger(Child);

impl Stranger {
    fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn missing_program(c: &mut Value) {
    c["process"]["args"] = json!(["/nonesuch"]);
}

/// Fault O1: who wants the cgroup of a running container is refused, and neither that nor the cleaning up ends anybody.
#[test]
fn a_running_containers_cgroup_is_not_taken() {
    let shared = Shared::new();
    let first = shared.bundle("sleep 1000", |_| ());
    first.start();
    for change in [missing_program, |_: &mut Value| ()] {
        let second = shared.bundle("true", change);
        let said = second.oci(&["create", &second.id]);
        assert!(said.code == 1 && said.err.contains("not empty: 1 process(es) found"), "{said:?}");
        second.oci(&["delete", "--force", &second.id]).ok();
        assert_eq!(first.status(), "running");
    }
}

/// Fault O1: nor is one with somebody in it, or in a group below it, or with a group that somebody means to use.
#[test]
fn a_strangers_group_is_not_taken() {
    for inner in ["", "inner"] {
        let shared = Shared::new();
        let mut stranger = shared.stranger(inner);
        let bundle = shared.bundle("true", missing_program);
        let said = bundle.oci(&["create", &bundle.id]);
        assert!(
            said.code == 1 && said.err.contains("linux.cgroupsPath: the container's cgroup is not empty"),
            "{said:?}"
        );
        bundle.oci(&["delete", "--force", &bundle.id]).ok();
        assert!(stranger.is_alive());
        drop(stranger);
        if inner == "inner" {
            let said = bundle.oci(&["create", &bundle.id]);
            assert!(said.code == 1 && said.err.contains("has a group below it"), "{said:?}");
        }
    }
}

#[test]
fn a_group_that_an_engine_made_beforehand_is_taken_and_removed() {
    let shared = Shared::new();
    shared.directories().iter().for_each(|directory| fs::create_dir(directory).unwrap());
    let bundle = shared.bundle("echo in", |_| ());
    assert_eq!(bundle.run().ok(), "in\n");
    assert!(shared.directories().iter().all(|directory| !directory.exists()));
}

/// Fault O1: a creation that was killed before it had a process has nobody in the cgroup that it names.
#[test]
fn what_a_killed_creation_leaves_names_no_victims() {
    let shared = Shared::new();
    let second = shared.bundle("true", |_| ());
    let mut create = second.command(&["create", &second.id]);
    assert!(!create.env("SKIFF_FAULT", "ns.clone:1=kill").stderr(Stdio::null()).status().unwrap().success());
    let first = shared.bundle("sleep 1000", |_| ());
    first.start();
    second.oci(&["delete", "--force", &second.id]).ok();
    assert_eq!(first.status(), "running");
}

/// A container that has ended and is not deleted has given its cgroup up. Where its pid namespace does not tell whose processes
/// are left, the other containers of the same folder do.
#[test]
fn a_stopped_containers_deletion_spares_who_came_after() {
    for namespaces in [json!([{"type": "mount"}, {"type": "pid"}]), json!([{"type": "mount"}])] {
        let shared = Shared::new();
        let change = |c: &mut Value| {
            c.as_object_mut().unwrap().remove("hostname");
            c["linux"]["namespaces"] = namespaces.clone();
        };
        let (first, second) = (shared.bundle("true", change), shared.bundle("sleep 1000", change));
        let second_in_root_of_first = |words: &[&str]| {
            let root = first.root();
            let out = fs::File::create(second.path().join("out")).unwrap();
            let mut command = second.command(&[&["--root", root.to_str().unwrap()], words, &[&second.id]].concat());
            assert!(command.stdout(out.try_clone().unwrap()).stderr(out).status().unwrap().success(), "{words:?}");
        };
        first.start();
        wait_until("end", || first.status() == "stopped");
        second_in_root_of_first(&["run", "--detach"]);
        first.oci(&["kill", "--all", &first.id, "KILL"]).ok();
        first.oci(&["delete", &first.id]).ok();
        let state: Value = serde_json::from_str(&first.oci(&["state", &second.id]).ok()).unwrap();
        assert_eq!(state["status"], "running");
        second_in_root_of_first(&["delete", "--force"]);
    }
}

#[test]
fn a_stranger_that_came_later_outlives_the_container() {
    let shared = Shared::new();
    let bundle = shared.bundle("sleep 1000", |_| ());
    bundle.start();
    let mut stranger = shared.stranger("");
    let said = bundle.oci(&["delete", "--force", &bundle.id]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(stranger.is_alive());
}

/// Fault O1: of two creations at the same time one is refused, before either has a process there.
#[test]
fn two_creations_do_not_share() {
    let shared = Shared::new();
    let slow = json!([{"path": "/bin/sleep", "args": ["sleep", "1000"]}]);
    let first = shared.bundle("true", |c| c["hooks"] = json!({"createRuntime": slow}));
    let mut create = first.command(&["create", &first.id]).stderr(Stdio::null()).spawn().unwrap();
    wait_until("a claim", || shared.directories().iter().all(|directory| directory.exists()));
    let second = shared.bundle("true", |_| ());
    // Between the directory and its lock there is a moment, which whoever comes in it may win.
    wait_until("a process", || !fs::read_to_string(shared.directories()[0].join("cgroup.procs")).unwrap().is_empty());
    let said = second.oci(&["create", &second.id]);
    assert!(said.code == 1 && said.err.contains("another container is being created in"), "{said:?}");
    first.oci(&["delete", "--force", &first.id]).ok();
    assert!(!create.wait().unwrap().success());
}

/// Fault O2: a frozen group, or one below a frozen group, is refused: its first process would never answer.
#[test]
fn a_frozen_group_is_refused() {
    for below in ["", "/inner"] {
        let shared = Shared::new();
        let directory = shared.directories().remove(0);
        fs::create_dir(&directory).unwrap();
        let (file, frozen, thawed) = match directory.join("freezer.state") {
            state if state.exists() => (state, "FROZEN", "THAWED"),
            _ => (directory.join("cgroup.freeze"), "1", "0"),
        };
        fs::write(&file, frozen).unwrap();
        let bundle = shared.bundle("echo in", |c| c["linux"]["cgroupsPath"] = json!(format!("{}{below}", shared.0)));
        let said = bundle.oci(&["create", &bundle.id]);
        assert!(said.code == 1 && said.err.contains("linux.cgroupsPath: the container's cgroup is frozen"), "{said:?}");
        fs::write(&file, thawed).unwrap();
        assert_eq!(bundle.run().ok(), "in\n");
    }
}

/// Fault O6: a creation that is under way is ended, wherever it is.
#[test]
fn a_creation_under_way_is_deleted_by_force() {
    for kind in ["createRuntime", "createContainer"] {
        let bundle = Bundle::new("true", |c| {
            c["hooks"] = json!({kind: [{"path": "/bin/sleep", "args": ["sleep", "1000"]}]});
        });
        let mut create = bundle.command(&["create", &bundle.id]).stderr(Stdio::null()).spawn().unwrap();
        wait_until("a process", || bundle.root().join(&bundle.id).join("state.json.new").exists());
        let deleted = bundle.oci(&["delete", "--force", &bundle.id]);
        assert_eq!((deleted.code, deleted.err.as_str()), (0, ""), "{kind}");
        assert!(!create.wait().unwrap().success());
        assert_eq!(bundle.cgroups_left(), Vec::<PathBuf>::new(), "{kind}");
    }
}

/// Fault O6: at whatever moment of the creation.
#[test]
fn a_creation_is_deleted_by_force_at_any_moment() {
    let bundle = Bundle::new("sleep 1000", |_| ());
    for round in 0..40_u64 {
        let mut create =
            bundle.command(&["create", &bundle.id]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(round * 700));
        let deleted = bundle.oci(&["delete", "--force", &bundle.id]);
        assert_eq!(deleted.code, 0, "round {round}: {deleted:?}");
        // It may have begun only after there was nothing to delete.
        create.wait().unwrap();
        bundle.oci(&["delete", "--force", &bundle.id]).ok();
        assert_eq!(bundle.cgroups_left(), Vec::<PathBuf>::new(), "round {round}");
    }
}
