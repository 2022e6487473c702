//! A pod of one test: a folder, a supervisor, a root file system of busybox, and bundles.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]
#![allow(dead_code, reason = "each test program uses its part of it")]

use serde_json::{Value, json};
use skiff_supervise::client::Client;
use skiff_supervise::wire::{Create, Exit, PidNamespace, Ready, Reply, Request, StdinPolicy};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub(crate) struct Pod {
    dir: tempfile::TempDir,
    supervisor: Child,
    pid: i32,
}

/// The request that creates `id` from `bundle`, logging below `dir`.
pub(crate) fn container(id: &str, bundle: &Path, dir: &Path) -> Create {
    Create {
        container: id.to_owned(),
        bundle: bundle.to_owned(),
        log: Some(dir.join(format!("{id}.log"))),
        terminal: false,
        stdin: StdinPolicy::Empty,
        cgroup: cgroup(dir, id),
        pid_namespace: PidNamespace::Private,
        correlation: None,
    }
}

fn cgroup(dir: &Path, id: &str) -> String {
    format!("{}/{id}", cgroup_parent(dir))
}

fn cgroup_parent(dir: &Path) -> String {
    format!("/skiff-test-supervise{}", dir.file_name().unwrap().to_string_lossy().replace('.', "-"))
}

impl Pod {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let alone = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/supervise-alone");
        let program = std::env::var_os("SKIFF_TEST_SUPERVISOR").map_or(alone, PathBuf::from);
        let own_log = File::create(dir.path().join("supervise.log")).unwrap();
        let mut supervisor = Command::new(program)
            .args(["supervise", "--sandbox", "test", "--hostname", "pod-name"])
            .arg("--dir")
            .arg(dir.path())
            .arg("--runtime")
            .arg(skiff_harness::needed("SKIFF_TEST_OCI_RUNTIME", &["runc", "runc-1.1.15", "crun"]))
            .arg("--oci-root")
            .arg(dir.path().join("oci"))
            .stdout(Stdio::piped())
            .stderr(own_log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Ready = serde_json::from_str(&line).unwrap();
        Self { dir, supervisor, pid: ready.pid }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The supervisor's process id.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// What the supervisor had to say.
    pub(crate) fn words(&self) -> String {
        std::fs::read_to_string(self.dir().join("supervise.log")).unwrap()
    }

    pub(crate) fn start_container(&self, id: &str) {
        let reply = self.call(&Request::Start { container: id.into() });
        assert!(matches!(reply, Reply::Started { .. }), "{reply:?}");
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.dir()).unwrap()
    }

    pub(crate) fn call(&self, request: &Request) -> Reply {
        self.client().call(request, &[]).unwrap().0
    }

    pub(crate) fn watch(&self) -> Client {
        let mut client = self.client();
        assert_eq!(client.call(&Request::Watch, &[]).unwrap().0, Reply::Done);
        client
    }

    pub(crate) fn process(&self, args: &[&str], terminal: bool) -> Value {
        json!({
            "terminal": terminal, "user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin"], "cwd": "/",
            "noNewPrivileges": true,
        })
    }

    /// Creates a container that may use so much memory.
    pub(crate) fn create_limited(&self, id: &str, args: &[&str], memory_bytes: u64) -> PathBuf {
        let bundle = self.bundle(id, args, false);
        let file = bundle.join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        config["linux"]["resources"] = json!({"memory": {"limit": memory_bytes}});
        std::fs::write(&file, config.to_string()).unwrap();
        self.create_bundle(id, &bundle, |_| {})
    }

    /// A bundle whose network, IPC and UTS namespaces are the pod's.
    pub(crate) fn bundle(&self, id: &str, args: &[&str], terminal: bool) -> PathBuf {
        self.bundle_with(id, args, terminal, json!({"type": "pid"}))
    }

    fn bundle_with(&self, id: &str, args: &[&str], terminal: bool, pid: Value) -> PathBuf {
        let bundle = self.dir().join(format!("bundle-{id}"));
        let bin = bundle.join("rootfs/bin");
        std::fs::create_dir_all(&bin).unwrap();
        for folder in ["proc", "dev", "sys"] {
            std::fs::create_dir(bundle.join("rootfs").join(folder)).unwrap();
        }
        let busybox = skiff_harness::needed("SKIFF_TEST_BUSYBOX", &["busybox-static", "busybox"]);
        skiff_harness::copy_program(busybox, bin.join("busybox"));
        for name in ["sh", "sleep", "cat", "hostname", "echo", "test", "stty", "dd", "seq"] {
            std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
        }
        let of_pod = |kind: &str, file: &str| json!({"type": kind, "path": format!("/proc/{}/ns/{file}", self.pid)});
        let config = json!({
            "ociVersion": "1.0.2", "process": self.process(args, terminal), "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
            ],
            "linux": {
                "cgroupsPath": cgroup(self.dir(), id),
                "namespaces": [
                    {"type": "mount"}, pid, of_pod("network", "net"), of_pod("ipc", "ipc"), of_pod("uts", "uts"),
                ],
            },
        });
        std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        bundle
    }

    /// Creates the container and tells where its log is.
    pub(crate) fn create(&self, id: &str, args: &[&str], change: impl FnOnce(&mut Create)) -> PathBuf {
        self.create_bundle(id, &self.bundle(id, args, false), change)
    }

    pub(crate) fn create_with_terminal(&self, id: &str, args: &[&str]) -> PathBuf {
        self.create_bundle(id, &self.bundle(id, args, true), |create| create.terminal = true)
    }

    pub(crate) fn create_in_pid_namespace(
        &self,
        id: &str,
        args: &[&str],
        pid: i32,
        change: impl FnOnce(&mut Create),
    ) -> PathBuf {
        let namespace = json!({"type": "pid", "path": format!("/proc/{pid}/ns/pid")});
        self.create_bundle(id, &self.bundle_with(id, args, false, namespace), change)
    }

    fn create_bundle(&self, id: &str, bundle: &Path, change: impl FnOnce(&mut Create)) -> PathBuf {
        let mut create = container(id, bundle, self.dir());
        change(&mut create);
        let log = create.log.clone().unwrap();
        let reply = self.call(&Request::Create(create));
        assert!(matches!(reply, Reply::Created { .. }), "{reply:?}");
        log
    }

    /// Waits until the log has the text.
    pub(crate) fn wait_for_log(&self, log: &Path, text: &str) {
        eventually(&format!("{text:?} in the log"), || std::fs::read_to_string(log).unwrap().contains(text));
    }

    /// Waits for the end of a container that `watch` was opened before.
    pub(crate) fn wait_for_exit(watch: &mut Client) -> Exit {
        match watch.next().unwrap() {
            (Reply::Exited(exit), _) => exit,
            (other, _) => panic!("expected an exit, got {other:?}"),
        }
    }
}

/// Waits, at most ten seconds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("a minute without {what}");
}

impl Drop for Pod {
    fn drop(&mut self) {
        let Ok(mut client) = Client::connect(self.dir()) else { return };
        let Ok((Reply::Containers { containers }, _)) = client.call(&Request::List, &[]) else { return };
        for state in containers {
            let _best_effort = client.call(&Request::Delete { container: state.container }, &[]);
        }
        let _best_effort = client.call(&Request::Shutdown, &[]);
        let _reaped = self.supervisor.wait();
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
            let _absent = std::fs::remove_dir(hierarchy.unwrap().path().join(&cgroup_parent(self.dir())[1..]));
        }
    }
}
