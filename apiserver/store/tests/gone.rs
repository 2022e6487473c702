//! Clients that vanish without a word are noticed (fault S5).

#![allow(clippy::unwrap_used)]

#[path = "peers/mod.rs"]
mod peers;

use nix::sched::{CloneFlags, unshare};
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use skiff_store::etcd::{ServeOptions, serve};
use skiff_store::{Options, Store};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How long a client may be silent in these tests.
const SILENCE: Duration = Duration::from_secs(1);
/// Looks, a tenth of a second apart, before a test gives up.
const LOOKS_MAX: usize = 600;

/// A store at this port of the loopback device.
async fn serving(folder: &std::path::Path, port: u16) -> Store {
    let store = Store::open(&folder.join("data"), Options::default()).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let options = ServeOptions { silence: SILENCE, ..ServeOptions::at([url.parse().unwrap()]) };
    tokio::spawn(serve(store.clone(), options, CancellationToken::new()));
    peers::wait_for(&url).await;
    store
}

async fn figure(port: u16, name: &str) -> u64 {
    let answer = tokio::task::spawn_blocking(move || get(port, "/metrics")).await.unwrap();
    let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in\n{answer}")).parse().unwrap()
}

fn get(port: u16, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Passes on what one client says until `stop`; then it keeps both connections and reads neither.
async fn passed_on(server: u16, stop: CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
        tokio::select! {
            () = stop.cancelled() => (),
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => (),
        }
        std::future::pending::<()>().await;
    });
    address
}

/// A client whose program has stopped: its kernel still takes what is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_answers_no_ping_is_gone() {
    const WATCHERS: &str = "etcd_debugging_mvcc_watcher_total";
    let (folder, port, stop) = (tempfile::tempdir().unwrap(), skiff_harness::free_port(), CancellationToken::new());
    let _store = serving(folder.path(), port).await;
    let between = passed_on(port, stop.clone()).await;
    let channel = tonic::transport::Channel::from_shared(format!("http://{between}")).unwrap().connect().await.unwrap();
    let create = pb::WatchCreateRequest { key: "a".into(), ..Default::default() };
    let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests = futures::StreamExt::chain(tokio_stream::iter([create]), tokio_stream::pending());
    let mut watches = pb::watch_client::WatchClient::new(channel).watch(requests).await.unwrap().into_inner();
    assert!(watches.message().await.unwrap().unwrap().created);
    // It is asked several times meanwhile, and answers.
    tokio::time::sleep(SILENCE * 4).await;
    assert_eq!(figure(port, WATCHERS).await, 1);
    stop.cancel();
    for _ in 0..LOOKS_MAX {
        if figure(port, WATCHERS).await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the watcher is still there");
}

/// Connections of the server's in this thread's network namespace.
fn connections(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|fields| fields.len() > 3 && fields[1].ends_with(&local) && fields[3] == "01").count()
}

/// Whether it could be done.
fn link(state: &str) -> bool {
    Command::new("ip").args(["link", "set", "lo", state]).status().is_ok_and(|status| status.success())
}

/// A client whose machine has lost power: nothing comes from it, and nothing reaches it. It spoke HTTP/1.1, which has no pings.
#[test]
fn a_client_whose_machine_is_gone_is_gone() {
    let tested = std::thread::spawn(|| {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() || !link("up") {
            return skiff_harness::skip("a network namespace takes root and the program ip");
        }
        // Of one thread, because the namespace is this thread's.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let _store = serving(folder.path(), 2379).await;
            let mut client = TcpStream::connect("127.0.0.1:2379").await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut client, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .await
                .unwrap();
            client.readable().await.unwrap();
            tokio::time::sleep(SILENCE * 4).await;
            assert_eq!(connections(2379), 1, "silent, but its machine answers");
            assert!(link("down"));
            for _ in 0..LOOKS_MAX {
                if connections(2379) == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("the connection is still there");
        });
    });
    tested.join().unwrap();
}
