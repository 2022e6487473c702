//! A CRI service of one test, as a process of its own, and everything that must be gone after it.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod calls;
pub(crate) mod fakes;

use hyper_util::rt::TokioIo;
use skiff_proto::cri::v1 as pb;
use skiff_proto::cri::v1::image_service_client::ImageServiceClient;
use skiff_proto::cri::v1::runtime_service_client::RuntimeServiceClient;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

pub(crate) struct Service {
    pub(crate) dir: tempfile::TempDir,
    parts: Parts,
    process: Child,
    /// Keeps the network namespace while the service is restarted.
    _holder: Option<Child>,
}

/// Which program serves.
#[derive(Clone, Copy)]
enum Parts {
    /// `cri-over-fakes`, in our own network namespace: it makes nothing there.
    Fake,
    /// `cri-whole`, in the network namespace of this process.
    Real(u32),
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        make_rootfs(&dir.path().join("rootfs"));
        let process = launch(dir.path(), Parts::Fake, env).await;
        Self { dir, parts: Parts::Fake, process, _holder: None }
    }

    /// With the real image store and pod networks.
    pub(crate) async fn start_whole() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let holder = hold_network().await;
        let parts = Parts::Real(holder.id().unwrap());
        let process = launch(dir.path(), parts, &[]).await;
        Self { dir, parts, process, _holder: Some(holder) }
    }

    /// Of the service's process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// SIGKILL, then the same again.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.stop_process().await;
        self.start_process().await;
    }

    /// SIGKILL.
    pub(crate) async fn stop_process(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Over what the predecessor left.
    pub(crate) async fn start_process(&mut self) {
        self.process = launch(self.dir.path(), self.parts, &[]).await;
    }

    /// Waits until the service has killed itself at a planned fault, then starts it without.
    pub(crate) async fn restart_after_its_death(&mut self) {
        self.process.wait().await.unwrap();
        self.process = launch(self.dir.path(), self.parts, &[]).await;
    }

    pub(crate) async fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(channel(&self.dir.path().join("cri.sock")).await)
    }

    pub(crate) async fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(channel(&self.dir.path().join("cri.sock")).await)
    }

    pub(crate) fn sandbox(&self, name: &str) -> pb::PodSandboxConfig {
        pb::PodSandboxConfig {
            metadata: Some(pb::PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: self.dir.path().join("logs").to_string_lossy().into_owned(),
            ..Default::default()
        }
    }

    /// What a sandbox or container of this service would leave: mounts, cgroups, processes, folders.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let dir = self.dir.path().to_string_lossy().into_owned();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mut all: Vec<String> = mounts.lines().filter(|line| line.contains(&dir)).map(str::to_owned).collect();
        for kind in ["run/sandboxes", "run/containers", "run/oci", "snapshots"] {
            let entries = std::fs::read_dir(self.dir.path().join(kind)).into_iter().flatten().flatten();
            all.extend(entries.map(|entry| entry.path().display().to_string()));
        }
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let pods = hierarchy.path().join(&self.cgroup_root()[1..]).join("pods");
            all.extend(
                std::fs::read_dir(pods)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path())
                    .filter(|path| path.is_dir())
                    .map(|path| path.display().to_string()),
            );
        }
        all.extend(
            processes()
                .into_iter()
                .filter(|(_, line)| line.contains(&dir) && line.contains("supervise"))
                .map(|(_, line)| line),
        );
        all
    }

    fn cgroup_root(&self) -> String {
        format!("/skiff-test-cri{}", self.dir.path().file_name().unwrap().to_string_lossy().replace('.', "-"))
    }

    /// Removes every sandbox through the service and checks that nothing is left.
    pub(crate) async fn finish(self) {
        let mut runtime = self.runtime().await;
        let list = runtime.list_pod_sandbox(pb::ListPodSandboxRequest::default()).await.unwrap().into_inner();
        for sandbox in list.items {
            runtime.remove_pod_sandbox(pb::RemovePodSandboxRequest { pod_sandbox_id: sandbox.id }).await.unwrap();
        }
        // A supervisor answers before it is gone.
        for _ in 0..6000 {
            if self.leftovers().is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(self.leftovers(), Vec::<String>::new());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _gone = self.process.start_kill();
        let dir = self.dir.path().to_string_lossy().into_owned();
        // Only after a failed test is there anything: supervisors of this test's folder, and its mounts.
        for (pid, line) in processes() {
            if line.contains(&dir) && line.contains("supervise") {
                let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
                for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([pid]) {
                    let _gone =
                        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
                }
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for at in mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|at| at.starts_with(&dir)) {
            let _gone = nix::mount::umount2(at, nix::mount::MntFlags::MNT_DETACH);
        }
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            remove_cgroup(&hierarchy.path().join(&self.cgroup_root()[1..]));
        }
    }
}

/// With everything below it; a cgroup's files are not removed but vanish with it.
fn remove_cgroup(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _absent = std::fs::remove_dir(folder);
}

fn processes() -> Vec<(i32, String)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    pids.filter_map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
    })
    .collect()
}

pub(crate) fn container(name: &str, args: &[&str]) -> pb::ContainerConfig {
    let namespace_options = pb::NamespaceOption { pid: pb::NamespaceMode::Container as i32, ..Default::default() };
    pb::ContainerConfig {
        metadata: Some(pb::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(pb::ImageSpec { image: fakes::IMAGE.to_owned(), ..Default::default() }),
        command: args.iter().map(|&arg| arg.to_owned()).collect(),
        log_path: format!("{name}.log"),
        linux: Some(pb::LinuxContainerConfig {
            security_context: Some(pb::LinuxContainerSecurityContext {
                namespace_options: Some(namespace_options),
                run_as_user: Some(pb::Int64Value { value: 0 }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

async fn launch(dir: &Path, parts: Parts, env: &[(&str, &str)]) -> Child {
    let examples = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples");
    let supervisor = std::env::var_os("SKIFF_TEST_SUPERVISOR").map_or(examples.join("cri-supervisor"), PathBuf::from);
    let (mut command, last) = match parts {
        Parts::Fake => (Command::new(examples.join("cri-over-fakes")), dir.join("rootfs")),
        Parts::Real(holder) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/proc/{holder}/ns/net")).arg(examples.join("cri-whole"));
            (command, skiff_harness::needed("SKIFF_TEST_BUSYBOX", &["busybox-static", "busybox"]))
        }
    };
    let mut process = command
        .arg(dir)
        .arg(skiff_harness::needed("SKIFF_TEST_OCI_RUNTIME", &["runc", "runc-1.1.15", "crun"]))
        .arg(supervisor)
        .arg(last)
        .envs(env.iter().copied())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    assert_eq!(line, "ready\n");
    process
}

/// A process in a new network namespace.
async fn hold_network() -> Child {
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", "echo there; exec sleep 1000"]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut holder = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    assert_eq!(line, "there\n");
    holder
}

async fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { std::io::Result::Ok(TokioIo::new(tokio::net::UnixStream::connect(socket).await?)) }
    });
    Endpoint::from_static("http://cri").connect_with_connector(connect).await.unwrap()
}

fn make_rootfs(at: &Path) {
    for folder in ["bin", "etc", "proc", "dev", "sys", "tmp"] {
        std::fs::create_dir_all(at.join(folder)).unwrap();
    }
    let busybox = skiff_harness::needed("SKIFF_TEST_BUSYBOX", &["busybox-static", "busybox"]);
    skiff_harness::copy_program(busybox, at.join("bin/busybox"));
    for name in ["sh", "sleep", "cat", "hostname", "echo", "id", "env", "grep", "stty", "test", "["] {
        std::os::unix::fs::symlink("busybox", at.join("bin").join(name)).unwrap();
    }
    std::fs::write(at.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/srv:/bin/sh\n").unwrap();
    std::fs::write(at.join("etc/group"), "root:x:0:\nweb:x:102:\naudio:x:29:web\n").unwrap();
}
