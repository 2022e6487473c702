//! The two servers, each of processes of its own with a folder of its own.

use crate::http::{Ask, Client, Door, JSON};
use crate::{access, load};
use skiff_apiserver::{ApiServer, Audit, AuditBatch, AuditLog, AuditMode, Config, Limits, Pki, Rotation};
use skiff_store::{Options, Store};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const FOLDER: &str = "SKIFF_BENCH_SERVES_FOLDER";
const PORT: &str = "SKIFF_BENCH_SERVES_PORT";
const AUDIT: &str = "SKIFF_BENCH_SERVES_AUDIT";
const FLOODED: &str = "SKIFF_BENCH_FLOODS";
const TOKEN: &str = "SKIFF_BENCH_FLOODS_WITH";
const SEATS: &str = "SKIFF_BENCH_SERVES_SEATS";
const SERVICES: &str = "10.96.0.0/24";
/// What is recorded: what is written, and of everything else who asked for what.
const POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [
    {"level": "Request", "verbs": ["create"], "resources": [{"group": "", "resources": ["configmaps"]}]},
    {"level": "Metadata"}]}"#;

/// Which server.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Ours, in a child of this program.
    Ours,
    /// A kube-apiserver over an etcd.
    Kube { program: PathBuf, etcd: PathBuf },
}

/// What a server has that others have not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extras {
    /// Whether everything is recorded in a file.
    pub(crate) audit: bool,
    /// How many requests that read, and half as many that change something, have a turn at a time; 0: as many as by default.
    pub(crate) seats: usize,
}

/// A server; its processes are killed when it is dropped.
pub(crate) struct Server {
    children: Vec<Child>,
    door: Door,
    address: SocketAddr,
    pki: PathBuf,
}

/// A client in a process of its own that floods a server until it is dropped.
pub(crate) struct Flood(Child);

impl Drop for Flood {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ended_already = child.kill();
            let _reaped = child.wait();
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Server {
    /// Starts one whose data is below `folder`, and waits until it says that it is ready.
    pub(crate) async fn start(kind: Kind, folder: &Path) -> Self {
        Self::start_with(kind, folder, Extras::default()).await
    }

    /// The same with extras.
    pub(crate) async fn start_with(kind: Kind, folder: &Path, extras: Extras) -> Self {
        let folder = folder.join(if matches!(kind, Kind::Ours) { "ours" } else { "kube" });
        let pki = folder.join("pki");
        Pki::open_or_create(&pki, &["127.0.0.1".to_owned()]).unwrap();
        let address = loopback(skiff_harness::free_port());
        std::fs::write(folder.join("policy.json"), POLICY).unwrap();
        let commands = match kind {
            Kind::Ours => vec![our_command(&folder, address.port(), extras)],
            Kind::Kube { program, etcd } => {
                let url = format!("http://{}", loopback(skiff_harness::free_port()));
                let mut kube = kube_command(&program, &folder, &url, address.port());
                kube.args(extra_flags(&folder, extras));
                vec![etcd_command(&etcd, &folder, &url), kube]
            }
        };
        let log = || Stdio::from(std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap());
        let children = commands.into_iter().map(|mut command| command.stdout(log()).stderr(log()).spawn().unwrap());
        let server = Self { children: children.collect(), door: Door::new(address, &pki), address, pki };
        server.until_ready(&folder).await;
        server
    }

    async fn until_ready(&self, folder: &Path) {
        let begun = Instant::now();
        loop {
            if let Some(mut client) = self.door.connect().await
                && client.ask(&Ask::get("/readyz", JSON)).await.0.is_success()
            {
                return;
            }
            let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "no server is ready in {}:\n{}",
                folder.display(),
                log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn door(&self) -> Door {
        self.door.clone()
    }

    pub(crate) async fn connect(&self) -> Client {
        self.door.must().await
    }

    /// Floods it, as somebody on another machine would: at the lowest priority, so that the clients do not take the victim's processor.
    pub(crate) fn flood(&self, token: &str) -> Flood {
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "child_that_floods", "--nocapture"]);
        command.env(FLOODED, self.address.to_string()).env(FOLDER, &self.pki).env(TOKEN, token);
        Flood(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Memory of the processes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.children.iter().map(|child| skiff_harness::resident_bytes(child.id())).sum()
    }

    /// Processor time of the processes since they were started.
    pub(crate) fn processor(&self) -> Duration {
        self.children.iter().map(|child| skiff_harness::processor_time(child.id())).sum()
    }
}

fn our_command(folder: &Path, port: u16, extras: Extras) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_that_serves", "--nocapture"]).env(FOLDER, folder).env(PORT, port.to_string());
    command.env(AUDIT, if extras.audit { "1" } else { "0" }).env(SEATS, extras.seats.to_string());
    command
}

fn etcd_command(program: &Path, folder: &Path, url: &str) -> Command {
    let mut command = Command::new(program);
    let peer = format!("http://{}", loopback(skiff_harness::free_port()));
    command
        .args(["--data-dir".as_ref(), folder.join("etcd").as_os_str()])
        .args(["--listen-client-urls", url, "--advertise-client-urls", url])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"]);
    command
}

fn kube_command(program: &Path, folder: &Path, etcd: &str, port: u16) -> Command {
    let pki = folder.join("pki");
    let file = |flag: &str, name: &str| format!("--{flag}={}", pki.join(name).display());
    let mut command = Command::new(program);
    command
        .args([file("tls-cert-file", "apiserver.crt"), file("tls-private-key-file", "apiserver.key")])
        .args([file("client-ca-file", "ca.crt"), file("service-account-key-file", "apiserver.crt")])
        .args([file("service-account-signing-key-file", "apiserver.key")])
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .args([
            format!("--etcd-servers={etcd}"),
            format!("--secure-port={port}"),
            format!("--cert-dir={}", pki.display()),
        ])
        .args(["--bind-address=127.0.0.1", "--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none"])
        .args([format!("--service-cluster-ip-range={SERVICES}"), "--authorization-mode=RBAC".to_owned()]);
    command
}

fn extra_flags(folder: &Path, extras: Extras) -> Vec<String> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", folder.join(name).display());
    let mut flags = Vec::new();
    if extras.audit {
        flags.extend([file("audit-policy-file", "policy.json"), file("audit-log-path", "audit.log")]);
    }
    if extras.seats > 0 {
        flags.push(format!("--max-requests-inflight={}", extras.seats));
        flags.push(format!("--max-mutating-requests-inflight={}", extras.seats / 2));
    }
    flags
}

/// Our server with the same extras.
async fn with_extras(mut server: ApiServer, folder: &Path) -> ApiServer {
    if std::env::var(AUDIT).is_ok_and(|word| word == "1") {
        let mut audit = Audit::read(&folder.join("policy.json")).unwrap();
        let batch = AuditBatch { events_max: 10_000, size_max: 1, wait: Duration::ZERO, throttle: None };
        let rotation = Rotation { bytes_max: 0, files_max: 0, days_max: 0, compress: false };
        let (path, mode) = (folder.join("audit.log"), AuditMode::Blocking);
        audit.log = Some(AuditLog { path, legacy: false, mode, batch, limits: None, rotation });
        server = server.audited(&audit).await.unwrap();
    }
    match std::env::var(SEATS).ok().and_then(|seats| seats.parse::<usize>().ok()) {
        Some(seats @ 1..) => server.limited_to(Limits { reading: seats as _, mutating: (seats / 2) as _ }, true),
        _ => server,
    }
}

/// In the child: serves until it is killed.
pub(crate) fn serve_if_asked() {
    let (Some(folder), Ok(port)) = (std::env::var_os(FOLDER), std::env::var(PORT)) else { return };
    let (folder, address) = (PathBuf::from(folder), loopback(port.parse().unwrap()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(address).unwrap();
        let store = Store::open(&folder.join("store"), Options::default()).unwrap();
        let config = Config {
            backend: store.backend(),
            service_cidr: SERVICES.to_owned(),
            node_port_range: 30000..=32767,
            pki: Pki::open_or_create(&folder.join("pki"), &["127.0.0.1".to_owned()]).unwrap(),
            advertise: SocketAddr::from(([192, 0, 2, 1], address.port())),
            authentication: skiff_apiserver::Authentication::default(),
            engine: skiff_step::Engine::off(),
        };
        let server = with_extras(ApiServer::new(config).await.unwrap(), &folder).await;
        server.serve(listener, CancellationToken::new()).await.unwrap();
    });
}

/// In the child: floods until it is killed.
pub(crate) fn flood_if_asked() {
    let (Ok(address), Some(pki), Ok(token)) = (std::env::var(FLOODED), std::env::var_os(FOLDER), std::env::var(TOKEN))
    else {
        return;
    };
    let door = Door::new(address.parse().unwrap(), Path::new(&pki)).with_token(&token);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(load::flood(&door, access::FLOOD, access::FLOODING));
}
