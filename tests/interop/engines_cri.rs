//! containerd's CRI service with `skiff-oci` as its runtime (`BinaryName`), asked as a kubelet asks it.

use crate::arena::{Arena, with_peers};
use hyper_util::rt::TokioIo;
use skiff_harness::{eventually, skip};
use skiff_proto::cri::v1 as cri;
use skiff_proto::cri::v1::runtime_service_client::RuntimeServiceClient;
use std::future::Future;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

/// The runtime that `skiff` carries.
const RUNTIME: &str = concat!(env!("OUT_DIR"), "/skiff-oci");
/// Where Debian puts the reference plugins.
const PLUGINS: &str = "/usr/lib/cni";
const MEMORY_BYTES: i64 = 64 << 20;
const LESS_MEMORY_BYTES: i64 = 32 << 20;
const STOP_SECONDS: i64 = 20;

/// A containerd with private folders, and a client.
struct Service<'a> {
    arena: &'a Arena,
    tokio: Runtime,
    client: RuntimeServiceClient<Channel>,
}

fn with_containerd(name: &'static str, test: fn(&Service<'_>)) {
    let program: &'static str = Box::leak(format!("{name}.d/containerd").into_boxed_str());
    with_peers(&[program], move |arena, peers| {
        let programs = peers[0].path().parent().unwrap().to_owned();
        let mut command = arena.command(programs.join("containerd"), ["--config", &config(arena)]);
        command.env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()));
        let mut daemon = arena.start(command, "containerd.log");
        let socket = arena.path("sock");
        let ctr = programs.join("ctr");
        eventually("containerd answers", || match arena.run(&ctr, ["-a", &arena.text("sock"), "version"]) {
            said if said.code == 0 => Ok(()),
            said => Err(said),
        });
        let layout = arena.make_layout();
        let import = ["-a", &arena.text("sock"), "-n", "k8s.io", "images", "import", "--snapshotter=native", &layout];
        arena.run(&ctr, import).ok();
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = RuntimeServiceClient::new(tokio.block_on(connect(socket)));
        test(&Service { arena, tokio, client });
        let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        daemon.wait().unwrap();
    });
}

fn config(arena: &Arena) -> String {
    let [root, state, socket, cni] = ["root", "state", "sock", "cni"].map(|name| arena.text(name));
    let network = r#"{"cniVersion": "1.0.0", "name": "box", "plugins": [{"type": "ptp", "ipMasq": false,
        "ipam": {"type": "host-local", "dataDir": "/run/cni", "ranges": [[{"subnet": "10.88.0.0/24"}]]}}]}"#;
    arena.write("cni/box.conflist", network);
    let text = format!(
        r#"version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/box:latest"
# The host may keep oom_score_adj from being lowered.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{PLUGINS}"
conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "skiff"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.skiff]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.skiff.options]
BinaryName = "{RUNTIME}"
"#
    );
    arena.write("config.toml", &text).display().to_string()
}

async fn connect(socket: PathBuf) -> Channel {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://containerd").connect_with_connector(connector).await.unwrap()
}

impl Service<'_> {
    fn try_call<T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        call: impl FnOnce(RuntimeServiceClient<Channel>) -> F,
    ) -> Result<T, Status> {
        self.tokio.block_on(call(self.client.clone())).map(Response::into_inner)
    }

    #[track_caller]
    fn call<T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        call: impl FnOnce(RuntimeServiceClient<Channel>) -> F,
    ) -> T {
        self.try_call(call).unwrap_or_else(|status| {
            let log = std::fs::read_to_string(self.arena.path("containerd.log")).unwrap();
            let end: Vec<_> = log.lines().rev().filter(|line| !line.contains("level=info")).take(5).collect();
            panic!("{status}\n{}", end.join("\n"))
        })
    }

    /// A sandbox whose network is its own, or the test's.
    fn sandbox(&self, name: &str, network: cri::NamespaceMode) -> (String, cri::PodSandboxConfig) {
        let namespaces = cri::NamespaceOption { network: network.into(), ..Default::default() };
        let security = cri::LinuxSandboxSecurityContext { namespace_options: Some(namespaces), ..Default::default() };
        let config = cri::PodSandboxConfig {
            metadata: Some(cri::PodSandboxMetadata { name: name.into(), uid: name.into(), ..Default::default() }),
            hostname: if network == cri::NamespaceMode::Pod { name.into() } else { String::new() },
            log_directory: self.arena.text("logs"),
            linux: Some(cri::LinuxPodSandboxConfig {
                cgroup_parent: self.arena.cgroup(),
                security_context: Some(security),
                ..Default::default()
            }),
            ..Default::default()
        };
        let request = cri::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        (self.call(|mut client| async move { client.run_pod_sandbox(request).await }).pod_sandbox_id, config)
    }

    fn create(&self, sandbox: &(String, cri::PodSandboxConfig), config: cri::ContainerConfig) -> String {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.0.clone(),
            config: Some(config),
            sandbox_config: Some(sandbox.1.clone()),
        };
        self.call(|mut client| async move { client.create_container(request).await }).container_id
    }

    fn start(&self, id: &str) -> Result<(), Status> {
        let request = cri::StartContainerRequest { container_id: id.into() };
        self.try_call(|mut client| async move { client.start_container(request).await }).map(drop)
    }

    fn exec(&self, id: &str, words: &[&str]) -> (i32, String, String) {
        let cmd = words.iter().map(|&word| word.into()).collect();
        let request = cri::ExecSyncRequest { container_id: id.into(), cmd, timeout: STOP_SECONDS };
        let said = self.call(|mut client| async move { client.exec_sync(request).await });
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (said.exit_code, text(&said.stdout), text(&said.stderr))
    }

    fn status(&self, id: &str) -> cri::ContainerStatus {
        let request = cri::ContainerStatusRequest { container_id: id.into(), verbose: false };
        self.call(|mut client| async move { client.container_status(request).await }).status.unwrap()
    }

    fn exited(&self, id: &str) -> cri::ContainerStatus {
        eventually("it has ended", || match self.status(id) {
            status if status.state() == cri::ContainerState::ContainerExited => Ok(status),
            status => Err(Box::new(status)),
        })
    }

    fn remove(&self, sandbox: &str) {
        let stop = cri::StopPodSandboxRequest { pod_sandbox_id: sandbox.into() };
        self.call(|mut client| async move { client.stop_pod_sandbox(stop).await });
        let remove = cri::RemovePodSandboxRequest { pod_sandbox_id: sandbox.into() };
        self.call(|mut client| async move { client.remove_pod_sandbox(remove).await });
    }
}

/// A container that runs a shell script.
fn container(name: &str, script: &str) -> cri::ContainerConfig {
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: name.into(), attempt: 0 }),
        image: Some(cri::ImageSpec { image: "localhost/box:latest".into(), ..Default::default() }),
        command: ["sh", "-c", script].map(Into::into).to_vec(),
        log_path: format!("{name}.log"),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(memory(MEMORY_BYTES)),
            security_context: Some(cri::LinuxContainerSecurityContext::default()),
        }),
        ..Default::default()
    }
}

fn memory(bytes: i64) -> cri::LinuxContainerResources {
    let (cpu_period, cpu_quota, cpu_shares) = (100_000, 50_000, 512);
    cri::LinuxContainerResources {
        memory_limit_in_bytes: bytes,
        cpu_period,
        cpu_quota,
        cpu_shares,
        ..Default::default()
    }
}

macro_rules! on_each {
    ($($release:ident: $name:literal),+; $tests:tt) => {
        $(on_each!(@release $release: $name; $tests);)+
    };
    (@release $release:ident: $name:literal; [$($test:ident),+]) => {
        mod $release {
            $(#[test] fn $test() { super::with_containerd($name, super::$test); })+
        }
    };
}
on_each!(containerd_1_6: "containerd-1.6", containerd_1_7: "containerd-1.7"; [
    a_container_lives_and_ends, its_security_context_holds, failures_carry_the_runtimes_words, a_pod_has_a_network
]);

fn a_container_lives_and_ends(service: &Service<'_>) {
    let sandbox = service.sandbox("pod", cri::NamespaceMode::Node);
    let script = r#"echo started; trap "exit 3" TERM; while :; do sleep 0.1; done"#;
    let id = service.create(&sandbox, container("main", script));
    service.start(&id).unwrap();
    assert_eq!(service.exec(&id, &["sh", "-c", "echo out; echo err >&2; exit 9"]), (9, "out\n".into(), "err\n".into()));
    eventually("its words are in the log", || {
        let log = std::fs::read_to_string(service.arena.path("logs/main.log")).unwrap_or_default();
        if log.ends_with("stdout F started\n") { Ok(()) } else { Err(log) }
    });
    let file = if Path::new("/sys/fs/cgroup/memory").is_dir() { "memory.limit_in_bytes" } else { "memory.max" };
    assert_eq!(service.arena.limit("memory", &id, file), MEMORY_BYTES.to_string());
    let linux = Some(memory(LESS_MEMORY_BYTES));
    let update = cri::UpdateContainerResourcesRequest { container_id: id.clone(), linux, ..Default::default() };
    service.call(|mut client| async move { client.update_container_resources(update).await });
    assert_eq!(service.arena.limit("memory", &id, file), LESS_MEMORY_BYTES.to_string());
    let stats = cri::ContainerStatsRequest { container_id: id.clone() };
    let stats = service.call(|mut client| async move { client.container_stats(stats).await }).stats.unwrap();
    assert!(stats.memory.unwrap().working_set_bytes.unwrap().value > 0);
    let stop = cri::StopContainerRequest { container_id: id.clone(), timeout: STOP_SECONDS };
    service.call(|mut client| async move { client.stop_container(stop).await });
    assert_eq!(service.exited(&id).exit_code, 3);
    // dd wants a buffer that the group may not have; a shell would hide the signal.
    let mut hungry = container("hungry", "");
    hungry.command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=96M", "count=1"].map(Into::into).to_vec();
    let hungry = service.create(&sandbox, hungry);
    service.start(&hungry).unwrap();
    let status = service.exited(&hungry);
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    service.remove(&sandbox.0);
}

fn its_security_context_holds(service: &Service<'_>) {
    let sandbox = service.sandbox("safe", cri::NamespaceMode::Node);
    let mut config = container("main", "sleep 1000");
    config.linux.as_mut().unwrap().security_context = Some(cri::LinuxContainerSecurityContext {
        capabilities: Some(cri::Capability { drop_capabilities: vec!["ALL".into()], ..Default::default() }),
        run_as_user: Some(cri::Int64Value { value: 1000 }),
        run_as_group: Some(cri::Int64Value { value: 1000 }),
        supplemental_groups: vec![77],
        readonly_rootfs: true,
        no_new_privs: true,
        seccomp: Some(cri::SecurityProfile::default()),
        masked_paths: vec!["/proc/keys".into()],
        ..Default::default()
    });
    service.arena.write("data/file", "data\n");
    config.mounts = vec![cri::Mount {
        container_path: "/v".into(),
        host_path: service.arena.text("data"),
        readonly: true,
        ..Default::default()
    }];
    let id = service.create(&sandbox, config);
    service.start(&id).unwrap();
    let sh = |script: &str| service.exec(&id, &["sh", "-c", script]).1;
    assert_eq!(sh("id -u; id -g; id -G"), "1000\n1000\n1000 77\n");
    assert!(sh("touch /x 2>&1").contains("Read-only file system"));
    assert_eq!(sh("cat /v/file; touch /v/x || echo no"), "data\nno\n");
    // The first process of the pid namespace is the sandbox's.
    let status = sh("cat /proc/self/status");
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert_eq!(sh("wc -c </proc/keys"), "0\n");
    service.remove(&sandbox.0);
}

fn failures_carry_the_runtimes_words(service: &Service<'_>) {
    let sandbox = service.sandbox("bad", cri::NamespaceMode::Node);
    for (name, reason) in [("nonesuch", "executable file not found in $PATH"), ("/etc/passwd", "permission denied")] {
        let mut config = container(name.trim_start_matches('/').split('/').next_back().unwrap(), "");
        config.command = vec![name.into()];
        let id = service.create(&sandbox, config);
        let status = service.start(&id).unwrap_err();
        assert!(status.message().contains(reason), "{status:?}");
        let remembered = service.exited(&id);
        assert!(remembered.message.contains(reason) && remembered.exit_code != 0, "{remembered:?}");
        let remove = cri::RemoveContainerRequest { container_id: id };
        service.call(|mut client| async move { client.remove_container(remove).await });
    }
    let id = service.create(&sandbox, container("good", "sleep 1000"));
    service.start(&id).unwrap();
    let request = cri::ExecSyncRequest { container_id: id, cmd: vec!["nonesuch".into()], timeout: STOP_SECONDS };
    let status = service.try_call(|mut client| async move { client.exec_sync(request).await }).unwrap_err();
    assert!(status.message().contains("executable file not found in $PATH"), "{status:?}");
    service.remove(&sandbox.0);
}

fn a_pod_has_a_network(service: &Service<'_>) {
    if !Path::new(PLUGINS).join("ptp").exists() {
        return skip(&format!("no CNI plugins in {PLUGINS}"));
    }
    let sandbox = service.sandbox("net", cri::NamespaceMode::Pod);
    let id = service.create(&sandbox, container("main", "sleep 1000"));
    service.start(&id).unwrap();
    let said = service.exec(&id, &["sh", "-c", "hostname; ip -o -4 addr show eth0"]);
    assert!(said.1.starts_with("net\n") && said.1.contains("10.88.0."), "{said:?}");
    service.remove(&sandbox.0);
}
