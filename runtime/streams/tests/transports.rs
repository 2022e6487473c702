//! Both transports with test clients: every stream, every ending, and what happens when one side is slow or leaves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{SinkExt, StreamExt};
use skiff_streams::spdy::{Headers, Role, Session, Stream, start};
use skiff_streams::{AttachRequest, ExecRequest};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use support::{World, exec, ports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const V4: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io"];

/// A client's side of an exec over SPDY.
struct Client {
    session: Session,
    streams: BTreeMap<&'static str, Stream>,
}

impl Client {
    async fn open(world: &World, request: ExecRequest, protocols: &[&str]) -> Self {
        let names: &[&str] = match (request.stdin, request.tty) {
            (true, false) => &["error", "stdin", "stdout", "stderr"],
            (false, false) => &["error", "stdout", "stderr"],
            (true, true) => &["error", "stdin", "stdout", "resize"],
            (false, true) => &["error", "stdout", "resize"],
        };
        let (head, io) = world.spdy(&world.server.exec_url(request), protocols).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let (session, _accept) = start(io, Role::Client);
        let mut streams = BTreeMap::new();
        for name in ["error", "stdin", "stdout", "stderr", "resize"] {
            if names.contains(&name) {
                streams.insert(name, session.open(Headers::of(&[("streamType", name)])).await.unwrap());
            }
        }
        Self { session, streams }
    }

    async fn read(&mut self, name: &str) -> String {
        let mut text = String::new();
        self.streams.get_mut(name).unwrap().reader.read_to_string(&mut text).await.unwrap();
        text
    }
}

#[tokio::test]
async fn spdy_carries_input_output_and_the_ending() {
    let world = World::new();
    let mut client = Client::open(&world, exec(&["cat"]), V4).await;
    let stdin = &mut client.streams.get_mut("stdin").unwrap().writer;
    stdin.write_all(b"hello").await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(client.read("stdout").await, "hello");
    assert_eq!(client.read("stderr").await, "");
    assert_eq!(client.read("error").await, r#"{"metadata":{},"status":"Success"}"#);
    let mut client = Client::open(&world, exec(&["say", "out", "err"]), V4).await;
    assert_eq!(client.read("stdout").await, "out");
    assert_eq!(client.read("stderr").await, "err");
    let mut client = Client::open(&world, exec(&["exit", "3"]), V4).await;
    assert!(client.read("error").await.contains(r#""causes":[{"message":"3","reason":"ExitCode"}]"#));
    let mut client = Client::open(&world, exec(&["exit", "3"]), &["v2.channel.k8s.io"]).await;
    assert_eq!(client.read("error").await, "command terminated with exit code 3");
    let mut client = Client::open(&world, exec(&["nonsense"]), V4).await;
    assert!(client.read("error").await.contains("container c1 has no such command"));
}

#[tokio::test]
async fn spdy_resizes_terminals() {
    let world = World::new();
    let mut client = Client::open(&world, ExecRequest { tty: true, ..exec(&["size"]) }, V4).await;
    let resize = &mut client.streams.get_mut("resize").unwrap().writer;
    resize.write_all(b"{\"Width\":80,\"Height\":24}\n").await.unwrap();
    assert_eq!(client.read("stdout").await, "80x24");
}

#[tokio::test]
async fn spdy_gives_the_best_common_version() {
    let world = World::new();
    let (head, _) = world.spdy(&world.server.exec_url(exec(&["cat"])), V4).await;
    assert!(head.to_lowercase().contains("x-stream-protocol-version: v4.channel.k8s.io"), "{head}");
    let (head, _) = world.spdy(&world.server.exec_url(exec(&["cat"])), &["v9"]).await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
}

#[tokio::test]
async fn a_url_works_once_and_only_for_an_upgrade() {
    let world = World::new();
    let url = world.server.exec_url(exec(&["exit", "0"]));
    let (head, _) = world.request("GET", &url, &[]).await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    let (head, _) = world.spdy(&url, V4).await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    let (head, _) = world.spdy("/exec/guess", V4).await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
}

/// More than every queue on the way holds must wait in the command, and nothing may get lost.
#[tokio::test]
async fn a_slow_client_slows_the_command_down() {
    const BYTES: usize = 32 << 20;
    let world = World::new();
    let mut client = Client::open(&world, exec(&["yes", &BYTES.to_string()]), V4).await;
    let stdout = &mut client.streams.get_mut("stdout").unwrap().reader;
    let (mut total, mut piece) = (0, vec![0; 300_000]);
    loop {
        match stdout.read(&mut piece).await.unwrap() {
            0 => break,
            count => total += count,
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(total, BYTES);
    assert!(client.read("error").await.contains("Success"));
}

#[tokio::test]
async fn much_input_arrives_whole() {
    const BYTES: usize = 8 << 20;
    let world = World::new();
    let mut client = Client::open(&world, exec(&["count"]), V4).await;
    let stdin = &mut client.streams.get_mut("stdin").unwrap().writer;
    stdin.write_all(&vec![b'x'; BYTES]).await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(client.read("stdout").await, BYTES.to_string());
    drop(client.session);
}

async fn until_dropped(world: &World) {
    for _try in 0..6000 {
        if world.dropped.load(Ordering::SeqCst) == 1 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the command still runs");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_command() {
    let world = World::new();
    // A client that left before the command began would find nothing to end.
    let mut client = Client::open(&world, exec(&["hang"]), V4).await;
    client.streams.get_mut("stdout").unwrap().reader.read_exact(&mut [0; 2]).await.unwrap();
    drop(client);
    until_dropped(&world).await;
    let world = World::new();
    let mut socket = websocket(&world, &world.server.exec_url(exec(&["hang"])), Some("v5.channel.k8s.io")).await;
    while !socket.next().await.unwrap().unwrap().into_data().ends_with(b"up") {}
    drop(socket);
    until_dropped(&world).await;
}

#[tokio::test]
async fn bytes_that_are_no_spdy_close_the_connection() {
    let world = World::new();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff],
        &[0x80, 3, 0, 1, 0, 0, 0, 11, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7],
    ] {
        let (_, mut io) = world.spdy(&world.server.exec_url(exec(&["hang"])), V4).await;
        io.write_all(garbage).await.unwrap();
        io.shutdown().await.unwrap();
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
    }
}

async fn websocket(world: &World, path: &str, protocol: Option<&str>) -> WebSocketStream<UnixStream> {
    let mut request = format!("ws://test{path}").into_client_request().unwrap();
    if let Some(protocol) = protocol {
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
    }
    let (socket, answer) = tokio_tungstenite::client_async(request, world.connect().await).await.unwrap();
    let chosen = answer.headers().get("Sec-WebSocket-Protocol").map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(chosen.as_deref(), protocol);
    socket
}

/// Everything that arrives until the close, by channel.
async fn collect(mut socket: WebSocketStream<UnixStream>) -> BTreeMap<u8, String> {
    let mut channels: BTreeMap<u8, String> = BTreeMap::new();
    let mut put =
        |channel, data: &[u8]| channels.entry(channel).or_default().push_str(std::str::from_utf8(data).unwrap());
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => put(bytes[0], &bytes[1..]),
            Message::Text(text) => put(text.as_bytes()[0] - b'0', &STANDARD.decode(&text.as_bytes()[1..]).unwrap()),
            Message::Close(_) => return channels,
            _ => {}
        }
    }
}

#[tokio::test]
async fn websocket_carries_input_output_and_the_ending() {
    let world = World::new();
    let mut socket = websocket(&world, &world.server.exec_url(exec(&["count"])), Some("v5.channel.k8s.io")).await;
    socket.send(Message::binary(&b"\0hel"[..])).await.unwrap();
    socket.send(Message::binary(&b"\0lo"[..])).await.unwrap();
    socket.send(Message::binary(&[255, 0][..])).await.unwrap();
    let channels = collect(socket).await;
    assert_eq!(channels[&1], "5");
    assert_eq!(channels[&3], r#"{"metadata":{},"status":"Success"}"#);
    let socket =
        websocket(&world, &world.server.exec_url(exec(&["say", "out", "err"])), Some("v4.channel.k8s.io")).await;
    let channels = collect(socket).await;
    assert_eq!((channels[&1].as_str(), channels[&2].as_str()), ("out", "err"));
    let socket =
        websocket(&world, &world.server.exec_url(exec(&["exit", "7"])), Some("v4.base64.channel.k8s.io")).await;
    assert!(collect(socket).await[&3].contains(r#""message":"7""#));
    let socket = websocket(&world, &world.server.exec_url(exec(&["exit", "7"])), None).await;
    assert_eq!(collect(socket).await[&3], "command terminated with exit code 7");
}

#[tokio::test]
async fn websocket_attaches_and_resizes() {
    let world = World::new();
    let request = AttachRequest { container_id: "c".into(), tty: true, stdin: true, stdout: true, stderr: false };
    let mut socket = websocket(&world, &world.server.attach_url(request), Some("v4.base64.channel.k8s.io")).await;
    socket.send(Message::text(format!("0{}", STANDARD.encode("hello")))).await.unwrap();
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) if text.len() > 1 => {
                assert_eq!(text.as_str(), format!("1{}", STANDARD.encode("hello")));
                break;
            }
            _ => {}
        }
    }
    drop(socket);
    let request = ExecRequest { tty: true, ..exec(&["size"]) };
    let mut socket = websocket(&world, &world.server.exec_url(request), Some("v5.channel.k8s.io")).await;
    socket.send(Message::binary(&b"\x04{\"Width\":132,\"Height\":43}"[..])).await.unwrap();
    assert_eq!(collect(socket).await[&1], "132x43");
}

#[tokio::test]
async fn much_output_over_websocket_arrives_whole() {
    let world = World::new();
    let bytes = 16 << 20;
    let url = world.server.exec_url(exec(&["yes", &bytes.to_string()]));
    let channels = collect(websocket(&world, &url, Some("v5.channel.k8s.io")).await).await;
    assert_eq!(channels[&1].len(), bytes);
    assert!(channels[&3].contains("Success"));
}

/// Opens a pair, sends a word, and gives what came back on data and error.
async fn forwarded(session: &Session, port: &str, request_id: Option<&str>) -> (String, String) {
    let headers = |kind| {
        let mut pairs = vec![("streamType", kind), ("port", port)];
        pairs.extend(request_id.map(|id| ("requestID", id)));
        Headers::of(&pairs)
    };
    let mut error = session.open(headers("error")).await.unwrap();
    error.writer.shutdown().await.unwrap();
    let mut data = session.open(headers("data")).await.unwrap();
    // A refused connection may be closed before we have written.
    let _refused = data.writer.write_all(b"ping").await;
    let _refused = data.writer.shutdown().await;
    let (mut text, mut failure) = (String::new(), String::new());
    data.reader.read_to_string(&mut text).await.unwrap();
    error.reader.read_to_string(&mut failure).await.unwrap();
    (text, failure)
}

/// The pod closes first: a client that waits for the ends of data and error sees both, while its own half is open.
async fn check_end_by_pod(session: &Session) {
    let headers = |kind| Headers::of(&[("streamType", kind), ("port", "2"), ("requestID", "end")]);
    let mut error = session.open(headers("error")).await.unwrap();
    let mut data = session.open(headers("data")).await.unwrap();
    let (mut text, mut failure) = (String::new(), String::new());
    let ends = async {
        data.reader.read_to_string(&mut text).await.unwrap();
        error.reader.read_to_string(&mut failure).await.unwrap();
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), ends).await.expect("both streams end");
    assert_eq!((text.as_str(), failure.as_str()), ("bye", ""));
    data.writer.write_all(b"still open").await.unwrap();
}

async fn check_forwarding(session: &Session) {
    let many = (10..60).map(|port| async move {
        let (port, id) = (port.to_string(), format!("r{port}"));
        assert_eq!(forwarded(session, &port, Some(&id)).await, (format!("port {port}: ping"), String::new()));
    });
    futures::future::join_all(many).await;
    assert_eq!(forwarded(session, "80", None).await, ("port 80: ping".into(), String::new()));
    assert_eq!(forwarded(session, "1", Some("a")).await, (String::new(), "connection refused".into()));
    assert_eq!(forwarded(session, "99999", Some("b")).await, (String::new(), "`99999` is no port".into()));
    check_end_by_pod(session).await;
}

#[tokio::test]
async fn ports_are_forwarded_over_spdy() {
    let world = World::new();
    let (head, io) = world.spdy(&world.server.port_forward_url(ports(&[])), &["portforward.k8s.io"]).await;
    assert!(head.to_lowercase().contains("x-stream-protocol-version: portforward.k8s.io"), "{head}");
    let (session, _accept) = start(io, Role::Client);
    check_forwarding(&session).await;
    let (_, io) = world.spdy(&world.server.port_forward_url(ports(&[80])), &["portforward.k8s.io"]).await;
    let (session, _accept) = start(io, Role::Client);
    assert_eq!(forwarded(&session, "80", Some("a")).await.0, "port 80: ping");
    assert_eq!(forwarded(&session, "81", Some("b")).await.1, "port 81 was not asked for");
}

#[tokio::test]
async fn ports_are_forwarded_through_a_websocket() {
    let world = World::new();
    let url = world.server.port_forward_url(ports(&[]));
    let socket = websocket(&world, &url, Some("SPDY/3.1+portforward.k8s.io")).await;
    let (pipe, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        let (mut sink, mut stream) = socket.split();
        let (mut read, mut write) = tokio::io::split(far);
        let incoming = async {
            while let Some(Ok(Message::Binary(bytes))) = stream.next().await {
                write.write_all(&bytes).await.unwrap();
            }
        };
        let outgoing = async {
            let mut piece = vec![0; 1000];
            while let Ok(count @ 1..) = read.read(&mut piece).await {
                sink.send(Message::binary(piece[..count].to_vec())).await.unwrap();
            }
        };
        tokio::join!(incoming, outgoing);
    });
    let (session, _accept) = start(pipe, Role::Client);
    check_forwarding(&session).await;
}

/// What clients in Python and JavaScript speak: two channels a port, the port itself first.
#[tokio::test]
async fn ports_are_forwarded_over_channels_of_a_websocket() {
    let world = World::new();
    let url = world.server.port_forward_url(ports(&[80, 1, 2]));
    let mut socket = websocket(&world, &url, Some("v4.channel.k8s.io")).await;
    socket.send(Message::binary(&b"\0ping"[..])).await.unwrap();
    let mut channels: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    // Port 80 stays open as long as we do; the others end at once.
    while channels.get(&0).is_none_or(|data| !data.ends_with(b"ping"))
        || channels.get(&3).is_none_or(|data| data.len() < 3)
    {
        match socket.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => channels.entry(bytes[0]).or_default().extend_from_slice(&bytes[1..]),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(channels[&0], [&[80, 0][..], b"port 80: ping"].concat());
    assert_eq!(channels[&1], [80, 0]);
    assert_eq!(channels[&3], [&[1, 0][..], b"error forwarding port 1 to pod s1: connection refused"].concat());
    drop(socket);
    let url = world.server.port_forward_url(ports(&[2]));
    let socket = websocket(&world, &url, Some("v4.base64.channel.k8s.io")).await;
    let channels = collect(socket).await;
    assert_eq!((channels[&0].as_str(), channels[&1].as_str()), ("\u{2}\0bye", "\u{2}\0"));
    let (head, _io) = world.spdy(&world.server.port_forward_url(ports(&[])), &["v4.channel.k8s.io"]).await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
}

/// Kubernetes' server does not ask whether a client calls its bytes text; Python's sends what is typed so.
#[tokio::test]
async fn text_counts_as_bytes_on_channels_of_bytes() {
    let world = World::new();
    let mut socket = websocket(&world, &world.server.exec_url(exec(&["count"])), Some("v5.channel.k8s.io")).await;
    socket.send(Message::text("\0hello")).await.unwrap();
    socket.send(Message::binary(&[255, 0][..])).await.unwrap();
    assert_eq!(collect(socket).await[&1], "5");
}

/// kubectl reads the stdin stream too, and stops sending when our half ends: not before the command is done with it.
#[tokio::test]
async fn our_half_of_stdin_ends_with_the_command() {
    let world = World::new();
    let mut client = Client::open(&world, exec(&["cat"]), V4).await;
    let mut stdin = client.streams.remove("stdin").unwrap();
    let mut echoed = [0; 4];
    for _round in 0..20 {
        stdin.writer.write_all(b"ping").await.unwrap();
        client.streams.get_mut("stdout").unwrap().reader.read_exact(&mut echoed).await.unwrap();
    }
    let mut early = [0; 1];
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(50), stdin.reader.read(&mut early)).await;
    assert!(waiting.is_err(), "our half ended while the command reads");
    stdin.writer.shutdown().await.unwrap();
    assert_eq!(stdin.reader.read(&mut early).await.unwrap(), 0);
}
