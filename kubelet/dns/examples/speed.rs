//! How many questions one core answers: bytes to bytes, without sockets. `cargo run --release -p skiff-dns --example speed`.
//!
//! The cluster has 10,000 services and a headless one with 1,000 endpoints; the questions are those that pods ask most. The last
//! line is the time of a change of one slice, which must not depend on how many there are.

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;
use skiff_dns::Zone;
use skiff_dns::pure::{Reply, Screened, UDP_BYTES_MAX, encode, reply, screen};
use std::io::Write;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 1_000;
const ROUNDS: u32 = 200_000;
const CHANGES: u32 = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut zone = Zone::new("cluster.local", Vec::new(), Vec::new(), 1)?;
    for number in 0..SERVICES {
        zone.change_service(
            None,
            Some(&service(&format!("s{number}"), &Ipv4Addr::from(0x0a60_0000 + number).to_string())?),
        );
    }
    zone.change_service(None, Some(&service("many", "None")?));
    for number in 0..ENDPOINTS / 100 {
        zone.change_slice(None, Some(&slice(number, 100)?));
    }
    zone.complete();
    let mut out = std::io::stdout();
    for (what, name, kind) in [
        ("a service's address", "s4711.default.svc.cluster.local.", "A"),
        ("its ports", "_http._tcp.s4711.default.svc.cluster.local.", "SRV"),
        ("a name that is not there", "s4711.default.svc.cluster.local.svc.cluster.local.", "A"),
        ("an address's name", "7.0.96.10.in-addr.arpa.", "PTR"),
        ("1,000 endpoints, cut", "many.default.svc.cluster.local.", "A"),
    ] {
        let took = answered(&zone, name, kind)?;
        writeln!(out, "{what:26} {:9.0} answers/s", f64::from(ROUNDS) / took.as_secs_f64())?;
    }
    let (before, after) = (slice(0, 100)?, slice(0, 99)?);
    let start = Instant::now();
    for _ in 0..CHANGES {
        zone.change_slice(Some(&before), Some(&after));
        zone.change_slice(Some(&after), Some(&before));
    }
    writeln!(
        out,
        "{:26} {:9.1} µs",
        "a slice of 100 changes",
        start.elapsed().as_secs_f64() * 1e6 / f64::from(2 * CHANGES)
    )?;
    Ok(())
}

fn service(name: &str, address: &str) -> Result<Service, serde_json::Error> {
    let spec = json!({"clusterIP": address, "ports": [{"name": "http", "port": 80}]});
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec}))
}

fn slice(number: u32, endpoints: u32) -> Result<EndpointSlice, serde_json::Error> {
    let address = |index: u32| Ipv4Addr::from(0x0af4_0000 + number * 100 + index).to_string();
    let endpoints: Vec<_> = (0..endpoints).map(|index| json!({"addresses": [address(index)]})).collect();
    let labels = json!({"kubernetes.io/service-name": "many"});
    serde_json::from_value(json!({
        "metadata": {"name": format!("many-{number}"), "namespace": "default", "labels": labels},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 80}],
    }))
}

fn answered(zone: &Zone, name: &str, kind: &str) -> Result<Duration, Box<dyn std::error::Error>> {
    let mut request = Message::new(7, MessageType::Query, OpCode::Query);
    request.add_query(Query::query(Name::from_ascii(name)?, kind.parse()?));
    let (question, mut answer) = (request.to_vec()?, Vec::new());
    let start = Instant::now();
    for turn in 0..ROUNDS {
        let Screened::Question(request) = screen(&question) else { return Err("no question".into()) };
        let Reply::Own(message) = reply(zone, &request, UDP_BYTES_MAX, usize::try_from(turn)?) else {
            return Err("not ours".into());
        };
        encode(&message, UDP_BYTES_MAX, &mut answer)?;
    }
    Ok(start.elapsed())
}
