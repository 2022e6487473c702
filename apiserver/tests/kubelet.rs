//! Logs, exec and port-forward through the server to a kubelet: kubectl 1.32 over WebSocket, gRPC, and raw upgrades.

mod common;

use common::{World, kubelet, peer};
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{Response, StatusCode};
use skiff_proto::api::v1::exec_input::Input;
use skiff_proto::api::v1::exec_output::Output;
use skiff_proto::api::v1::objects_client::ObjectsClient;
use skiff_proto::api::v1::pods_client::PodsClient;
use skiff_proto::api::v1::{
    Address, DeleteRequest, ExecInput, ExecStart, GetRequest, ListRequest, LogsRequest, Object, PatchRequest,
    ResourcesRequest, TerminalSize, WatchRequest, WriteRequest,
};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

const LOG: &str = "/api/v1/namespaces/default/pods/p/log";

#[tokio::test]
async fn logs_come_from_the_kubelet_with_its_words() {
    let world = World::new().await;
    kubelet::start(&world).await;
    let (code, text) = world.get(&format!("{LOG}?container=c&follow=true&tailLines=2&nonsense=x")).await;
    assert_eq!((code, text.as_str()), (StatusCode::OK, Some("first line\nasked: follow=true&tailLines=2\n")));
    let (code, status) = world.get(&format!("{LOG}?container=d")).await;
    assert_eq!(
        (code, &status["message"]),
        (StatusCode::BAD_REQUEST, &"container \"d\" in pod \"p\" is waiting to start".into())
    );
    let (_, status) = world.get(LOG).await;
    assert_eq!(status["message"], "a container name must be specified for pod p, choose one of: [c d]");
    assert_eq!(world.get(&format!("{LOG}?container=x")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.get(&format!("{LOG}?container=c&tailLines=-1")).await.0, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_kubelet_that_is_gone_is_a_bad_gateway() {
    let world = World::new().await;
    let node = serde_json::json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}});
    world.must("POST", "/api/v1/nodes", &node).await;
    let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n",
        "containers": [{"name": "c", "image": "i"}]}});
    world.must("POST", "/api/v1/namespaces/default/pods", &pod).await;
    let (code, status) = world.get(LOG).await;
    assert_eq!(code, StatusCode::BAD_GATEWAY);
    assert!(
        status["message"].as_str().is_some_and(|text| text.contains("error dialing backend: dial tcp 127.0.0.1:1")),
        "{status}"
    );
    assert_eq!(
        world.get("/api/v1/namespaces/default/pods/p/exec?command=ls&stdout=true").await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_execs_over_websockets_and_follows_logs() {
    let Some(program) = peer("kubectl-1.32") else { return };
    let mut world = World::new().await;
    let (shutdown, served) = world.serve();
    kubelet::start(&world).await;
    let (kubeconfig, home) = (world.kubeconfig(), world.folder.path().to_owned());
    let run = move |arguments: &str, stdin: &str| {
        let mut command = Command::new(&program);
        command.args(arguments.split(' ')).env_clear().env("HOME", &home).env("KUBECONFIG", &kubeconfig);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl starts");
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), stdin.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("kubectl ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    tokio::task::spawn_blocking(move || {
        let ran = |code, out: &str| (Some(code), out.to_owned(), String::new());
        assert_eq!(run("exec p -c c -- echo hi", ""), ran(0, "ran: echo hi\n"));
        assert_eq!(run("exec -i p -c c -- cat", "some input"), ran(0, "ran: cat\nsome input"));
        let (code, _, err) = run("exec p -c c -- exit 7", "");
        assert_eq!((code, err.trim_end()), (Some(7), "command terminated with exit code 7"));
        assert_eq!(run("logs p -c c -f --tail=3", ""), ran(0, "first line\nasked: follow=true&tailLines=3\n"));
        let (code, _, err) = run("logs p -c d", "");
        assert!(code == Some(1) && err.contains("is waiting to start"), "{err}");
    })
    .await
    .expect("checked");
    shutdown.cancel();
    timeout(Duration::from_secs(10), served).await.expect("stops").expect("served");
}

#[tokio::test]
async fn an_upgrade_passes_bytes_both_ways() {
    let mut world = World::new().await;
    let (shutdown, served) = world.serve();
    kubelet::start(&world).await;
    let mut stream = world.dial().await;
    let request = "POST /api/v1/namespaces/default/pods/p/portforward HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                   Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(Duration::from_secs(10), stream.read_u8()).await.expect("in time").expect("a byte"));
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: spdy/3.1"), "{head}");
    stream.write_all(b"\x80\x03\x00\x01frames").await.expect("sent");
    let mut back = [0; 10];
    timeout(Duration::from_secs(10), stream.read_exact(&mut back)).await.expect("in time").expect("echoed");
    assert_eq!(&back, b"\x80\x03\x00\x01frames");
    drop(stream);
    shutdown.cancel();
    timeout(Duration::from_secs(10), served).await.expect("stops").expect("served");
}

/// What a browser does, which cannot read an answer while it comes.
#[tokio::test]
async fn a_log_comes_over_a_websocket() {
    let mut world = World::new().await;
    let (shutdown, served) = world.serve();
    kubelet::start(&world).await;
    let whole = "first line\nasked: tailLines=2\n";
    for (protocol, frames) in [
        ("", vec![Message::binary(vec![]), Message::binary(whole)]),
        ("binary.k8s.io", vec![Message::binary(vec![]), Message::binary(whole)]),
        ("base64.binary.k8s.io", vec![Message::text(""), Message::text("Zmlyc3QgbGluZQphc2tlZDogdGFpbExpbmVzPTIK")]),
    ] {
        let (mut socket, answer) = open(&world, protocol).await.expect("upgraded");
        let chosen = answer.headers().get(SEC_WEBSOCKET_PROTOCOL).map(|it| it.to_str().expect("text"));
        assert_eq!(chosen.unwrap_or_default(), protocol);
        for expected in frames {
            assert_eq!(next(&mut socket).await, expected, "{protocol}");
        }
        let last = next(&mut socket).await;
        assert!(matches!(&last, Message::Close(Some(close)) if u16::from(close.code) == 1000), "{last:?}");
    }
    let refused = open(&world, "v4.channel.k8s.io").await.expect_err("no such protocol");
    let tungstenite::Error::Http(refused) = refused else { panic!("{refused}") };
    let said = String::from_utf8_lossy(refused.body().as_deref().unwrap_or_default()).into_owned();
    assert!(refused.status() == 400 && said.contains("v4.channel.k8s.io"), "{said}");
    shutdown.cancel();
    timeout(Duration::from_secs(10), served).await.expect("stops").expect("served");
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_rustls::client::TlsStream<TcpStream>>;

async fn next(socket: &mut Socket) -> Message {
    let message = timeout(Duration::from_secs(10), socket.next()).await;
    message.expect("in time").expect("a message").expect("sound")
}

async fn open(world: &World, protocol: &str) -> Result<(Socket, Response<Option<Vec<u8>>>), tungstenite::Error> {
    let url = format!("wss://{}{LOG}?container=c&tailLines=2", world.address);
    let mut request = url.into_client_request().expect("a request");
    if !protocol.is_empty() {
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol.parse().expect("a value"));
    }
    tokio_tungstenite::client_async(request, world.dial().await).await
}

async fn channel(world: &World) -> Channel {
    let admin = world.pki.admin();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(world.pki.authority_certificate()))
        .identity(Identity::from_pem(&admin.certificate, &admin.private_key));
    let endpoint =
        Channel::from_shared(format!("https://{}", world.address)).expect("a url").tls_config(tls).expect("TLS");
    endpoint.connect().await.expect("connects")
}

fn address(resource: &str, name: &str) -> Option<Address> {
    Some(Address {
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        namespace: "default".to_owned(),
        name: name.to_owned(),
        ..Address::default()
    })
}

#[tokio::test]
async fn objects_are_written_and_watched_over_grpc() {
    let mut world = World::new().await;
    let (shutdown, served) = world.serve();
    let mut objects = ObjectsClient::new(channel(&world).await);
    let resources = objects.resources(ResourcesRequest {}).await.expect("resources").into_inner().resources;
    assert!(resources.iter().any(|resource| resource.plural == "deployments"));
    let asked = WatchRequest { address: address("configmaps", ""), ..WatchRequest::default() };
    let mut events = objects.watch(asked).await.expect("watch").into_inner();
    let json = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"1"}}"#.to_vec();
    let write =
        WriteRequest { address: address("configmaps", ""), object: Some(Object { json }), ..WriteRequest::default() };
    objects.create(write.clone()).await.expect("created");
    assert_eq!(objects.create(write).await.expect_err("twice").code(), Code::AlreadyExists);
    let patch = PatchRequest {
        address: address("configmaps", "c"),
        patch_type: "application/merge-patch+json".to_owned(),
        patch: br#"{"data":{"a":"2"}}"#.to_vec(),
        ..PatchRequest::default()
    };
    objects.patch(patch).await.expect("patched");
    let asked = ListRequest { address: address("configmaps", ""), as_table: true, ..ListRequest::default() };
    let listed = objects.list(asked).await.expect("listed").into_inner();
    let table: serde_json::Value = serde_json::from_slice(&listed.table_json).expect("JSON");
    assert_eq!(table["rows"][0]["cells"][0], "c");
    let gone = DeleteRequest { address: address("configmaps", "c"), ..DeleteRequest::default() };
    objects.delete(gone).await.expect("deleted");
    let missing = objects.get(GetRequest { address: address("configmaps", "c") }).await.expect_err("gone");
    assert_eq!((missing.code(), missing.message()), (Code::NotFound, "configmaps \"c\" not found"));
    for expected in ["ADDED", "MODIFIED", "DELETED"] {
        let event =
            timeout(Duration::from_secs(10), events.next()).await.expect("in time").expect("an event").expect("sound");
        assert_eq!(event.r#type, expected);
    }
    shutdown.cancel();
    timeout(Duration::from_secs(10), served).await.expect("stops").expect("served");
}

#[tokio::test]
async fn pods_are_reached_over_grpc() {
    let mut world = World::new().await;
    let (shutdown, served) = world.serve();
    kubelet::start(&world).await;
    let mut pods = PodsClient::new(channel(&world).await);
    let asked = LogsRequest {
        namespace: "default".to_owned(),
        pod: "p".to_owned(),
        container: "c".to_owned(),
        tail_lines: Some(1),
        ..LogsRequest::default()
    };
    let mut chunks = pods.logs(asked).await.expect("logs").into_inner();
    let mut text = Vec::new();
    while let Some(chunk) = chunks.next().await {
        text.extend(chunk.expect("sound").data);
    }
    assert_eq!(String::from_utf8_lossy(&text), "first line\nasked: tailLines=1\n");

    let start = ExecStart {
        namespace: "default".to_owned(),
        pod: "p".to_owned(),
        container: "c".to_owned(),
        command: vec!["exit".to_owned(), "3".to_owned()],
        stdin: true,
        tty: false,
    };
    let inputs = [
        Input::Start(start),
        Input::Stdin(b"words".to_vec()),
        Input::Resize(TerminalSize { width: 80, height: 24 }),
        Input::StdinClosed(true),
    ];
    let inputs = tokio_stream::iter(inputs.map(|input| ExecInput { input: Some(input) }));
    let mut outputs = pods.exec(inputs).await.expect("exec").into_inner();
    let mut seen = Vec::new();
    while let Some(output) = timeout(Duration::from_secs(10), outputs.next()).await.expect("in time") {
        seen.push(match output.expect("sound").output.expect("something") {
            Output::Stdout(data) => format!("out {}", String::from_utf8_lossy(&data).trim_end()),
            Output::Stderr(data) => format!("err {}", String::from_utf8_lossy(&data)),
            Output::End(end) => format!("end {} {:?}", end.exit_code, end.error),
        });
    }
    assert_eq!(seen, ["out ran: exit 3", "out words", r#"err {"Height":24,"Width":80}"#, r#"end 3 """#]);
    shutdown.cancel();
    timeout(Duration::from_secs(10), served).await.expect("stops").expect("served");
}
