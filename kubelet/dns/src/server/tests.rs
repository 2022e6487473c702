//! A server at the loopback, asked over UDP and TCP.

use super::*;
use crate::screen::UDP_PAYLOAD;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// More endpoints than fit into any UDP message.
const MANY: u8 = 200;

struct Running {
    address: SocketAddr,
    zone: Arc<RwLock<Zone>>,
    tasks: Vec<JoinHandle<io::Result<()>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn service(name: &str, address: &str) -> Service {
    let spec = json!({"clusterIP": address, "ports": [{"name": "http", "port": 80}]});
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec})).unwrap()
}

async fn running() -> Running {
    let mut zone = Zone::new("cluster.local", Vec::new(), Vec::new(), 1).unwrap();
    zone.change_service(None, Some(&service("web", "10.96.0.7")));
    zone.change_service(None, Some(&service("many", "None")));
    let out = json!({"metadata": {"name": "out", "namespace": "shop"}, "spec": {"type": "ExternalName", "externalName": "example.com"}});
    zone.change_service(None, Some(&serde_json::from_value(out).unwrap()));
    let endpoints: Vec<_> = (0..MANY).map(|last| json!({"addresses": [format!("10.244.0.{last}")]})).collect();
    let labels = json!({"kubernetes.io/service-name": "many"});
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": {"name": "many-a", "namespace": "shop", "labels": labels}, "addressType": "IPv4", "endpoints": endpoints,
    }))
    .unwrap();
    zone.change_slice(None, Some(&slice));
    zone.complete();
    let zone = Arc::new(RwLock::new(zone));
    let upstreams = Upstreams { file: "/nonexistent".into(), ourselves: Vec::new(), port: 53 };
    let core = Arc::new(Core::new(Arc::clone(&zone), Forward::new(upstreams), Vec::new()));
    let (udp, tcp) = sockets((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = udp.local_addr().unwrap();
    let tasks = vec![tokio::spawn(udp::serve(Arc::clone(&core), Arc::new(udp))), tokio::spawn(tcp::serve(core, tcp))];
    Running { address, zone, tasks }
}

fn question(name: &str, edns: Option<u16>) -> Message {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    if let Some(size) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        message.set_edns(edns);
    }
    message
}

async fn over_udp(server: &Running, question: &Message) -> Message {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(server.address).await.unwrap();
    socket.send(&question.to_vec().unwrap()).await.unwrap();
    let mut bytes = vec![0; 4096];
    let length = socket.recv(&mut bytes).await.unwrap();
    assert!(length <= usize::from(UDP_PAYLOAD));
    let message = Message::from_vec(&bytes[..length]).unwrap();
    assert_eq!((message.id, &message.queries), (question.id, &question.queries));
    message
}

#[tokio::test]
async fn what_does_not_fit_into_a_datagram_is_had_over_tcp() {
    let server = running().await;
    let (small, large) =
        (question("many.shop.svc.cluster.local.", None), question("many.shop.svc.cluster.local.", Some(4096)));
    let (of_small, of_large) = (over_udp(&server, &small).await, over_udp(&server, &large).await);
    assert!(of_small.truncation && of_large.truncation && of_large.recursion_available && of_large.authoritative);
    assert!(of_small.answers.len() < of_large.answers.len());
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // Three at once on one connection.
    for _ in 0..3 {
        let bytes = small.to_vec().unwrap();
        stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    }
    for _ in 0..3 {
        let mut bytes = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut bytes).await.unwrap();
        let message = Message::from_vec(&bytes).unwrap();
        assert!(!message.truncation);
        assert_eq!(message.answers.len(), usize::from(MANY));
    }
}

#[tokio::test]
async fn a_change_is_answered_as_soon_as_it_is_there() {
    let server = running().await;
    let asked = question("new.shop.svc.cluster.local.", None);
    assert_eq!(over_udp(&server, &asked).await.response_code, ResponseCode::NXDomain);
    server.zone.write().unwrap().change_service(None, Some(&service("new", "10.96.0.8")));
    assert_eq!(over_udp(&server, &asked).await.answers.len(), 1);
}

#[tokio::test]
async fn without_a_resolver_other_names_fail_and_ours_do_not() {
    let server = running().await;
    for name in ["example.com.", "out.shop.svc.cluster.local."] {
        let message = over_udp(&server, &question(name, None)).await;
        assert_eq!((message.response_code, message.answers.len()), (ResponseCode::ServFail, 0), "{name}");
    }
    let mut alone = question("example.com.", None);
    alone.metadata.recursion_desired = false;
    assert_eq!(over_udp(&server, &alone).await.response_code, ResponseCode::Refused);
    assert_eq!(over_udp(&server, &question("web.shop.svc.cluster.local.", None)).await.answers.len(), 1);
}

#[tokio::test]
async fn a_malformed_question_is_told_so_and_an_answer_is_not_answered() {
    let server = running().await;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(server.address).await.unwrap();
    let asked = question("web.shop.svc.cluster.local.", None);
    for bytes in [asked.clone().into_response().to_vec().unwrap(), vec![0; 5], asked.to_vec().unwrap()[..20].to_vec()] {
        socket.send(&bytes).await.unwrap();
    }
    let mut bytes = vec![0; 512];
    let length = socket.recv(&mut bytes).await.unwrap();
    // The first that is answered is the last that was sent.
    let message = Message::from_vec(&bytes[..length]).unwrap();
    assert_eq!((message.id, message.response_code), (asked.id, ResponseCode::FormErr));
}

#[tokio::test]
async fn another_port_is_taken_if_one_is_in_use_by_either_protocol() {
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = taken.local_addr().unwrap();
    let (udp, tcp) = sockets(address).await.unwrap();
    assert_eq!(udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    assert_ne!(udp.local_addr().unwrap(), address);
}

#[test]
fn strangers_are_refused() {
    let zone = Zone::new("cluster.local", Vec::new(), Vec::new(), 1).unwrap();
    let ranges = vec![Range::parse("203.0.113.0/24").unwrap()];
    let core = Core::new(Arc::new(RwLock::new(zone)), Forward::new(Upstreams::of_host(Vec::new())), ranges);
    let asked = question("web.shop.svc.cluster.local.", None).to_vec().unwrap();
    let code = |from: &str| {
        let mut answer = Vec::new();
        let _written = core.now(from.parse().unwrap(), &asked, ask::Transport::Udp, &mut answer);
        Message::from_vec(&answer).unwrap().response_code
    };
    for near in ["10.244.0.5", "192.168.1.1", "100.64.0.1", "127.0.0.1", "fd00::1", "fe80::1", "203.0.113.9"] {
        assert_eq!(code(near), ResponseCode::ServFail, "{near}");
    }
    for far in ["8.8.8.8", "100.128.0.1", "2001:db8::1", "203.0.114.9"] {
        assert_eq!(code(far), ResponseCode::Refused, "{far}");
    }
}
