//! Very many connections to a server in a process of its own: each that is idle holds little, others are answered, and who comes when there
//! is no descriptor left is told so.

use super::PATIENCE;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use skiff_apiserver::{ApiServer, Authentication, Config, Pki};
use skiff_store::{Options, Store};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

const FOLDER: &str = "SKIFF_CROWD_FOLDER";
const PORT: &str = "SKIFF_CROWD_PORT";
/// What an idle connection may hold of the server's memory.
const CONNECTION_BYTES_MAX: u64 = 64 << 10;

/// A server in a child, with so many descriptors.
struct Server {
    child: Child,
    address: SocketAddr,
    tls: TlsConnector,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

type Client = SendRequest<Empty<Bytes>>;

impl Server {
    async fn start(descriptors: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pki = Pki::open_or_create(&folder.path().join("pki"), &["127.0.0.1".to_owned()]).expect("keys");
        let port = skiff_harness::free_port();
        let script = format!("ulimit -n {descriptors} && exec \"$0\" --exact crowd::child_that_serves --nocapture");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(std::env::current_exe().expect("this program"));
        command.env(FOLDER, folder.path()).env(PORT, port.to_string()).stdout(Stdio::null());
        let child = command.spawn().expect("sh");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pki.authority_certificate().as_bytes()).expect("PEM")).expect("one");
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let server = Self { child, address, tls: TlsConnector::from(Arc::new(config)), _folder: folder };
        let ready = async {
            loop {
                if let Some(mut client) = server.connect().await
                    && ask(&mut client).await.0 == 200
                {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, ready).await.expect("it serves");
        server
    }

    async fn connect(&self) -> Option<Client> {
        let stream = TcpStream::connect(self.address).await.ok()?;
        let stream = self.tls.connect(ServerName::IpAddress(self.address.ip().into()), stream).await.ok()?;
        let (client, connection) =
            http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    }
}

/// The code and the text of an answer; 0: there is none.
async fn ask(client: &mut Client) -> (u16, String) {
    let request = Request::get("https://127.0.0.1/livez").body(Empty::new()).expect("a request");
    let asked = async {
        client.ready().await.ok()?;
        let answer = client.send_request(request).await.ok()?;
        let code = answer.status().as_u16();
        Some((code, String::from_utf8_lossy(&answer.into_body().collect().await.ok()?.to_bytes()).into_owned()))
    };
    asked.await.unwrap_or_default()
}

/// How many descriptors this process may have.
fn descriptors() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("proc");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a line");
    line.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX)
}

/// A thousand, and with `SKIFF_LONG=1` ten thousand.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_cheap() {
    let count = if std::env::var_os("SKIFF_LONG").is_some() { 10_000 } else { 1_000 };
    if descriptors() < count + 300 {
        return skiff_harness::skip(&format!("{count} connections need more descriptors (ulimit -n)"));
    }
    let server = Server::start("$(ulimit -Hn)").await;
    let before = skiff_harness::resident_bytes(server.child.id());
    let mut idle = Vec::new();
    for number in 0..count {
        let client = server.connect().await.unwrap_or_else(|| panic!("connection {number} is not taken"));
        idle.push(client);
        if number % 100 == 0 {
            assert_eq!(ask(&mut idle[number]).await.0, 200, "the {number}th");
        }
    }
    let after = skiff_harness::resident_bytes(server.child.id());
    let each = after.saturating_sub(before) / count as u64;
    println!("{count} idle connections: {each} bytes of the server's memory each");
    assert!(each <= CONNECTION_BYTES_MAX, "{each} bytes each");
    let mut newcomer = server.connect().await.expect("a place");
    assert_eq!(ask(&mut newcomer).await.0, 200);
    assert_eq!(ask(&mut idle[0]).await.0, 200, "the first is still there");
}

/// Three in four descriptors are for connections. Whoever comes beyond is told so; whoever is there goes on; what is given back is given on.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_when_all_are_taken_is_told() {
    let server = Server::start("200").await;
    let mut inside = Vec::new();
    let refused = loop {
        let mut client = server.connect().await.expect("a handshake");
        match ask(&mut client).await {
            (200, _) => inside.push(client),
            refused => break refused,
        }
        assert!(inside.len() <= 150, "no end");
    };
    assert!(inside.len() > 140, "{} places", inside.len());
    let (code, text) = refused;
    let why = "the server has 150 connections open and takes no more (ulimit -n): come again later";
    assert_eq!(code, 503);
    assert!(text.contains(why), "{text}");
    assert_eq!(ask(&mut inside[0]).await.0, 200);
    inside.truncate(10);
    let again = async {
        loop {
            let mut client = server.connect().await.expect("a handshake");
            if ask(&mut client).await.0 == 200 {
                break;
            }
        }
    };
    timeout(PATIENCE, again).await.expect("there is a place again");
}

/// Not a test: what the others start.
#[test]
fn child_that_serves() {
    let (Some(folder), Ok(port)) = (std::env::var_os(FOLDER), std::env::var(PORT)) else { return };
    let (folder, port) = (PathBuf::from(folder), port.parse().expect("a port"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(serve(&folder, port));
}

async fn serve(folder: &Path, port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    let store = Store::open(&folder.join("store"), Options::default()).expect("a store");
    let config = Config {
        backend: store.backend(),
        service_cidr: "10.96.0.0/24".to_owned(),
        node_port_range: 30000..=30002,
        pki: Pki::open_or_create(&folder.join("pki"), &["127.0.0.1".to_owned()]).expect("keys"),
        advertise: SocketAddr::from(([192, 0, 2, 1], port)),
        authentication: Authentication::default(),
        engine: skiff_step::Engine::off(),
    };
    let server = ApiServer::new(config).await.expect("a server");
    server.serve(listener, CancellationToken::new()).await.expect("serves");
}
