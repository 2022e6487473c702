//! Real kubectl, old and new, against our server behind an API server of thirty lines: exec, attach and port-forward over
//! whichever transport each prefers, and over SPDY where the new one is told to. Absent binaries are reported and skipped.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use skiff_streams::{AttachRequest, ExecRequest, StreamServer};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Commands, ports};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tower::ServiceExt;

fn kubectl(version: &str) -> Option<PathBuf> {
    let name = format!("kubectl-{version}");
    let found = skiff_harness::peer(&name).map(|peer| peer.path().to_owned());
    if found.is_none() {
        skiff_harness::skip(&format!("there is no {name} in {}", skiff_harness::peers_folder().display()));
    }
    found
}

/// Method and upgrade of each streaming request that came.
type Seen = Arc<Mutex<Vec<String>>>;

async fn api(State((server, seen)): State<(StreamServer, Seen)>, mut request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let Some(verb) = path.strip_prefix("/api/v1/namespaces/default/pods/web/") else {
        return Json(document(&path)).into_response();
    };
    let upgrade = request.headers().get("upgrade").map_or("", |value| value.to_str().unwrap()).to_lowercase();
    seen.lock().unwrap().push(format!("{} {upgrade}", request.method()));
    let all = |name: &str| -> Vec<String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).collect()
    };
    let (container_id, has) = ("c1".to_owned(), |name: &str| all(name) == ["true"]);
    let (tty, stdin, stdout, stderr) = (has("tty"), has("stdin"), has("stdout"), has("stderr"));
    let url = match verb {
        "exec" => server.exec_url(ExecRequest { container_id, command: all("command"), tty, stdin, stdout, stderr }),
        "attach" => server.attach_url(AttachRequest { container_id, tty, stdin, stdout, stderr }),
        _ => server.port_forward_url(ports(&[])),
    };
    *request.uri_mut() = url.parse().unwrap();
    server.router().oneshot(request).await.unwrap()
}

fn document(path: &str) -> Value {
    let pods =
        json!({ "name": "pods", "namespaced": true, "kind": "Pod", "singularName": "pod", "verbs": ["get", "create"] });
    match path {
        "/api" => json!({ "kind": "APIVersions", "versions": ["v1"] }),
        "/apis" => json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] }),
        "/api/v1" => json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": [pods] }),
        "/version" => json!({ "major": "1", "minor": "32", "gitVersion": "v1.32.0" }),
        _ => json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "web", "namespace": "default", "uid": "u" },
            "spec": { "containers": [{ "name": "web", "image": "x", "stdin": true }] },
            "status": { "phase": "Running" },
        }),
    }
}

/// A kubectl against the API server, with a home of its own.
struct World {
    program: PathBuf,
    port: u16,
    home: PathBuf,
    seen: Seen,
    websockets: bool,
}

impl World {
    async fn new(program: PathBuf, websockets: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let home = std::env::temp_dir().join(format!("skiff-kubectl-test-{}-{port}", std::process::id()));
        std::fs::create_dir(&home).unwrap();
        let seen = Seen::default();
        let server = StreamServer::new(Arc::new(Commands::default()), String::new());
        let router = axum::Router::new().fallback(api).with_state((server, Arc::clone(&seen)));
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { program, port, home, seen, websockets }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        let switch = if self.websockets { "true" } else { "false" };
        command
            .arg(format!("--server=http://127.0.0.1:{}", self.port))
            .args(arguments)
            .env_clear()
            .env("HOME", &self.home)
            .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", switch)
            .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", switch)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self.command(arguments).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feed = async {
            let _ended_early = stdin.write_all(input).await;
            drop(stdin);
        };
        let ended =
            tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(feed, child.wait_with_output()).1 });
        ended.await.unwrap_or_else(|_| panic!("kubectl {arguments:?} does not end")).unwrap()
    }

    async fn check_exec(&self) {
        let said = self.run(&["exec", "web", "--", "say", "out", "err"], b"").await;
        assert_eq!((text(&said.stdout), text(&said.stderr)), ("out".into(), "err".into()));
        assert!(said.status.success());
        let failed = self.run(&["exec", "web", "--", "exit", "3"], b"").await;
        assert_eq!(failed.status.code(), Some(3), "{}", text(&failed.stderr));
        assert!(text(&failed.stderr).contains("command terminated with exit code 3"));
        let input = vec![b'x'; 3 << 20];
        let copied = self.run(&["exec", "-i", "web", "--", "cat"], &input).await;
        assert!(copied.stdout == input, "{} bytes came back: {}", copied.stdout.len(), text(&copied.stderr));
        let counted = self.run(&["exec", "-i", "web", "--", "count"], &input).await;
        assert_eq!(text(&counted.stdout), input.len().to_string(), "{}", text(&counted.stderr));
        let unknown = self.run(&["exec", "web", "--", "nonsense"], b"").await;
        assert!(text(&unknown.stderr).contains("no such command"), "{}", text(&unknown.stderr));
    }

    async fn check_attach(&self) {
        let attached = self.run(&["attach", "-i", "web"], b"hello").await;
        assert_eq!(text(&attached.stdout), "hello", "{}", text(&attached.stderr));
    }

    async fn check_port_forward(&self) {
        let mut child = self.command(&["port-forward", "pod/web", ":80"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("kubectl says where it listens");
        let address = line.split(' ').nth(2).unwrap().to_owned();
        for _connection in 0..5 {
            let mut client = TcpStream::connect(&address).await.unwrap();
            client.write_all(b"ping").await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "port 80: ping");
        }
        child.kill().await.unwrap();
    }

    /// The pod closes first, as after an answer with `Connection: close`; the client has nothing to close.
    async fn check_port_forward_ended_by_pod(&self) {
        let mut child = self.command(&["port-forward", "pod/web", ":2"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("kubectl says where it listens");
        let mut client = TcpStream::connect(line.split(' ').nth(2).unwrap()).await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(Duration::from_secs(30), client.read_to_string(&mut answer)).await;
        read.expect("the forwarded connection ends").unwrap();
        assert_eq!(answer, "bye");
        child.kill().await.unwrap();
    }

    async fn check_all(&self, transport: &str) {
        self.check_exec().await;
        self.check_attach().await;
        self.check_port_forward().await;
        self.check_port_forward_ended_by_pod().await;
        let seen = self.seen.lock().unwrap();
        assert_eq!(seen.len(), 8, "{seen:?}");
        assert!(seen.iter().all(|request| request == transport), "{seen:?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn old_kubectl_speaks_spdy_with_us() {
    let Some(program) = kubectl("1.20") else { return };
    World::new(program, false).await.check_all("POST spdy/3.1").await;
}

#[tokio::test]
async fn new_kubectl_speaks_websocket_with_us() {
    let Some(program) = kubectl("1.32") else { return };
    World::new(program, true).await.check_all("GET websocket").await;
}

#[tokio::test]
async fn new_kubectl_speaks_spdy_with_us() {
    let Some(program) = kubectl("1.32") else { return };
    World::new(program, false).await.check_all("POST spdy/3.1").await;
}
