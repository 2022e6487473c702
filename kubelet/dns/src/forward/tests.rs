//! Forwarding to resolvers of the tests' own, on the loopback.

use super::*;
use hickory_proto::op::{MessageType, OpCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What a resolver of the tests does.
#[derive(Clone, Copy)]
enum Manner {
    Answers,
    Fails,
    IsSilent,
}

/// A resolver at an address of the loopback; the number of questions that came.
struct Resolver {
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn resolver(socket: UdpSocket, manner: Manner) -> Resolver {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let task = tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut message = Message::from_vec(&buffer[..length]).unwrap().into_response();
            match manner {
                Manner::IsSilent => continue,
                Manner::Fails => message.metadata.response_code = ResponseCode::ServFail,
                Manner::Answers => {
                    let name = message.queries[0].name().to_lowercase();
                    let data = RData::A(A::new(192, 0, 2, 1));
                    message.add_answer(Record::from_rdata(name, 60, data));
                }
            }
            socket.send_to(&message.to_vec().unwrap(), from).await.unwrap();
        }
    });
    Resolver { asked, task }
}

/// As many sockets with one port, at 127.0.0.1, 127.0.0.2 and so on.
async fn sockets(number: u8) -> (Vec<UdpSocket>, u16) {
    for _ in 0..100 {
        let first = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut all = vec![first];
        for last in 2..=number {
            all.extend(UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), port)).await.ok());
        }
        if all.len() == usize::from(number) {
            return (all, port);
        }
    }
    panic!("no port is free at {number} addresses");
}

/// Forwards to resolvers of these manners, which stand in a file in this order.
async fn forward(test: &str, manners: &[Manner]) -> (Forward, Vec<Resolver>) {
    let (sockets, port) = sockets(u8::try_from(manners.len()).unwrap()).await;
    let mut resolvers = Vec::new();
    let mut text = String::new();
    for (socket, manner) in sockets.into_iter().zip(manners) {
        text += &format!("nameserver {}\n", socket.local_addr().unwrap().ip());
        resolvers.push(resolver(socket, *manner).await);
    }
    let forward = Forward::new(Upstreams { file: file(test, &text), ourselves: Vec::new(), port });
    let _not_probed = forward.resolvers.refresh();
    (forward, resolvers)
}

fn file(test: &str, text: &str) -> PathBuf {
    let file = std::env::temp_dir().join(format!("skiff-dns-{}-{test}", std::process::id()));
    std::fs::write(&file, text).unwrap();
    file
}

fn question(name: &str) -> (Query, Message) {
    let query = Query::query(Name::from_ascii(name).unwrap(), RecordType::A);
    let mut request = Message::new(1, MessageType::Query, OpCode::Query);
    request.add_query(query.clone());
    (query, request)
}

async fn resolve(forward: &Forward, name: &str) -> Option<Message> {
    let (query, request) = question(name);
    forward.resolve(&query, &request).await
}

#[tokio::test]
async fn an_answer_is_asked_for_once_however_many_want_it() {
    let (forward, resolvers) = forward("once", &[Manner::Answers]).await;
    let mut all = tokio::task::JoinSet::new();
    let forward = Arc::new(forward);
    for _ in 0..50 {
        let forward = Arc::clone(&forward);
        all.spawn(async move { resolve(&forward, "wEb.example.").await.unwrap().answers.len() });
    }
    assert_eq!(all.join_all().await, [1; 50]);
    assert!(resolve(&forward, "web.example.").await.is_some());
    assert_eq!(resolvers[0].asked.load(Ordering::SeqCst), 1);
    assert!(lock(&forward.asked).is_empty(), "nothing is left of who waited");
}

#[tokio::test]
async fn the_next_is_asked_when_one_fails_and_is_the_first_from_then_on() {
    let (forward, resolvers) = forward("next", &[Manner::Fails, Manner::Answers]).await;
    for name in ["a.example.", "b.example."] {
        assert_eq!(resolve(&forward, name).await.unwrap().response_code, ResponseCode::NoError);
    }
    let asked: Vec<usize> = resolvers.iter().map(|resolver| resolver.asked.load(Ordering::SeqCst)).collect();
    assert_eq!(asked, [1, 2]);
}

#[tokio::test]
async fn a_failure_of_all_is_passed_on() {
    let (forward, _resolvers) = forward("fail", &[Manner::Fails]).await;
    assert_eq!(resolve(&forward, "a.example.").await.unwrap().response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn silence_ends_and_is_remembered() {
    let (forward, resolvers) = forward("silent", &[Manner::IsSilent]).await;
    assert!(resolve(&forward, "a.example.").await.is_none());
    let asked = resolvers[0].asked.load(Ordering::SeqCst);
    assert_eq!(asked, TURNS.len());
    assert!(resolve(&forward, "a.example.").await.is_none());
}

#[tokio::test]
async fn a_host_without_resolvers_fails_at_once() {
    let upstreams = Upstreams { file: file("none", "search lan\n"), ourselves: Vec::new(), port: 53 };
    let forward = Forward::new(upstreams);
    forward.look().await;
    assert!(resolve(&forward, "a.example.").await.is_none());
}

#[tokio::test]
async fn a_resolver_that_asks_us_again_is_left_out() {
    let (mut sockets, port) = sockets(1).await;
    let ours = sockets.remove(0);
    let upstreams = Upstreams { file: file("loop", "nameserver 127.0.0.1\n"), ourselves: Vec::new(), port };
    let forward = Arc::new(Forward::new(upstreams));
    let asked = Arc::clone(&forward);
    // Stands for a forwarder that asks us: what it is asked reaches us.
    let task = tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = ours.recv_from(&mut buffer).await {
            let message = Message::from_vec(&buffer[..length]).unwrap().into_response();
            assert!(asked.is_own_probe(&message.queries[0]));
            ours.send_to(&message.to_vec().unwrap(), from).await.unwrap();
        }
    });
    forward.look().await;
    let server = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    assert!(forward.probes.is_looping(server) && forward.servers().is_empty());
    assert!(!forward.is_own_probe(&question("web.example.").0));
    task.abort();
}
