//! Answers per second of one core, and how long one takes, over UDP on the loopback of a network namespace of its own.
//!
//! `SKIFF_BENCH=1 cargo test -p skiff-dns --profile long --lib bench -- --nocapture`, as root. Without `SKIFF_BENCH=1` it does nothing: a
//! figure depends on the machine, and is no test. The server has one thread on one processor, who asks has another.

use super::*;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::unistd::Pid;
use serde_json::json;
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::time::Instant;

const SERVICES: u32 = 10_000;
/// Questions on their way at a time when only their number counts.
const WINDOW: usize = 64;
const ROUNDS: usize = 300_000;
/// Questions one after the other, for the time of each.
const SINGLE: usize = 50_000;

fn pin(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// The processor's time of this thread (proc(5), schedstat: nanoseconds first).
fn busy() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local", Vec::new(), Vec::new(), 1).unwrap();
    for number in 0..SERVICES {
        let spec = json!({"clusterIP": Ipv4Addr::from(0x0a60_0000 + number), "ports": [{"name": "http", "port": 80}]});
        let service = json!({"metadata": {"name": format!("s{number}"), "namespace": "default"}, "spec": spec});
        zone.change_service(None, Some(&serde_json::from_value(service).unwrap()));
    }
    zone.complete();
    zone
}

/// Serves until it is told to stop; gives the processor's time that it took meanwhile.
fn server(tell: &mpsc::Sender<SocketAddr>, stop: &CancellationToken) -> Duration {
    pin(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let upstreams = Upstreams { file: "/nonexistent".into(), ourselves: Vec::new(), port: 53 };
        let core = Arc::new(Core::new(Arc::new(RwLock::new(zone())), Forward::new(upstreams), Vec::new()));
        let (udp, _tcp) = sockets((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        tell.send(udp.local_addr().unwrap()).unwrap();
        let begun = busy();
        let served = udp::serve(core, Arc::new(udp));
        assert!(stop.run_until_cancelled(served).await.is_none(), "it serves until it is told to stop");
        busy() - begun
    })
}

/// The questions that pods ask most: a service's address, and the same name with a search domain behind it.
fn questions() -> Vec<Vec<u8>> {
    let question = |number: usize| {
        let name = format!("s{}.default.svc.cluster.local.", number * 39);
        let name = if number.is_multiple_of(2) { name } else { format!("{name}svc.cluster.local.") };
        let mut message = Message::new(u16::try_from(number).unwrap(), MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        message.to_vec().unwrap()
    };
    (0..256).map(question).collect()
}

fn client(server: SocketAddr) -> std::net::UdpSocket {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// Keeps as many questions on their way as the window has; how long all took.
fn many(socket: &std::net::UdpSocket, questions: &[Vec<u8>]) -> Duration {
    let (begun, mut answer) = (Instant::now(), [0; 1500]);
    let ask = |turn: usize| socket.send(&questions[turn % questions.len()]).unwrap();
    for turn in 0..WINDOW {
        ask(turn);
    }
    for turn in WINDOW..ROUNDS + WINDOW {
        let length = socket.recv(&mut answer).unwrap();
        assert!(length > 12 && answer[2] & 0x80 != 0, "an answer");
        if turn < ROUNDS {
            ask(turn);
        }
    }
    begun.elapsed()
}

/// The times of questions one after the other, in order of length.
fn single(socket: &std::net::UdpSocket, questions: &[Vec<u8>]) -> Vec<Duration> {
    let mut answer = [0; 1500];
    let one = |turn: usize| {
        let begun = Instant::now();
        socket.send(&questions[turn % questions.len()]).unwrap();
        socket.recv(&mut answer).unwrap();
        begun.elapsed()
    };
    let mut times: Vec<_> = (0..SINGLE).map(one).collect();
    times.sort();
    times
}

#[test]
fn answers_per_second_over_udp() {
    if std::env::var_os("SKIFF_BENCH").is_none() {
        return;
    }
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
    assert!(up.success());
    let (tell, told) = mpsc::channel();
    let stop = CancellationToken::new();
    let token = stop.clone();
    let serving = std::thread::spawn(move || server(&tell, &token));
    let socket = client(told.recv().unwrap());
    pin(1);
    let questions = questions();
    let one_by_one = single(&socket, &questions);
    let took = many(&socket, &questions);
    stop.cancel();
    let busy = serving.join().unwrap();
    let asked = (ROUNDS + SINGLE) as f64;
    let micros = |part: usize| one_by_one[(SINGLE - 1) * part / 100].as_secs_f64() * 1e6;
    let mut out = std::io::stdout();
    writeln!(out, "{WINDOW} questions on their way  {:9.0} answers/s", ROUNDS as f64 / took.as_secs_f64()).unwrap();
    writeln!(
        out,
        "processor of the server     {:9.2} µs an answer, {:.0}/s",
        busy.as_secs_f64() * 1e6 / asked,
        asked / busy.as_secs_f64()
    )
    .unwrap();
    writeln!(out, "one after the other         {:9.1} µs p50, {:.1} µs p99", micros(50), micros(99)).unwrap();
}
