//! Services in real network namespaces: pods on the built-in bridge, the proxy's table, real connections.

#[path = "support/api.rs"]
mod api;
#[path = "../../../runtime/net/tests/support/mod.rs"]
mod support;

use api::FakeApi;
use serde_json::{Value, json};
use skiff_net::{NetConfig, PodNetwork, PodNetworks};
use skiff_proxy::ProxyConfig;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use support::{Namespace, ask_udp};
use tokio_util::sync::CancellationToken;

const TABLE: &str = "skiff-test-proxy";
const VIP: &str = "10.98.0.5";

/// A node with pods, a fake API server and a proxy.
struct Cluster {
    node: Namespace,
    outside: Namespace,
    networks: PodNetworks,
    api: FakeApi,
    proxy: Option<(CancellationToken, std::thread::JoinHandle<()>)>,
    _state: tempfile::TempDir,
}

impl Cluster {
    fn new() -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let config = NetConfig {
            state_dir: state.path().to_owned(),
            pod_cidr: "10.99.0.0/24".to_owned(),
            cluster_cidr: None,
            service_cidr: Some("10.98.0.0/16".to_owned()),
            bridge: "skt0".to_owned(),
            interface_prefix: "skt".to_owned(),
            cni: None,
            masquerade: true,
            table: "skiff-test".to_owned(),
            engine: skiff_step::Engine::off(),
        };
        let networks = PodNetworks::new(config).expect("the configuration is good");
        let (node, outside) = (Namespace::new(), Namespace::new());
        node.join(&outside, "192.0.2.1/24", "192.0.2.2/24");
        let mut cluster = Self { node, outside, networks, api: FakeApi::new(), proxy: None, _state: state };
        cluster.start();
        cluster
    }

    fn start(&mut self) {
        let (shutdown, inside) = (CancellationToken::new(), self.node.again());
        let (api, token) = (self.api.clone(), shutdown.clone());
        let thread = std::thread::spawn(move || {
            inside.block_on(async move {
                let client = api.client();
                let config = ProxyConfig {
                    node_name: "node".to_owned(),
                    caches: skiff_client::Caches::new(client.clone()),
                    client,
                    table: TABLE.to_owned(),
                    pod_cidr: "10.99.0.0/24".to_owned(),
                    engine: skiff_step::Engine::off(),
                };
                skiff_proxy::run(config, token).await.expect("the proxy runs");
            });
        });
        self.proxy = Some((shutdown, thread));
    }

    fn stop(&mut self) {
        let (shutdown, thread) = self.proxy.take().expect("it runs");
        shutdown.cancel();
        thread.join().expect("it ends well");
    }

    fn pod(&self, name: &'static str) -> (Namespace, String) {
        let namespace = Namespace::new();
        let pod = PodNetwork {
            sandbox_id: name.to_owned(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            uid: name.to_owned(),
            netns: namespace.path(),
            port_mappings: Vec::new(),
        };
        let networks = self.networks.clone();
        let attached = self.node.block_on(async move { networks.attach(&pod).await }).expect("attached");
        namespace.serve_tcp(name, 8080);
        namespace.serve_udp(name, 5353);
        let [IpAddr::V4(address)] = attached.ips[..] else { panic!("one IPv4 address") };
        (namespace, address.to_string())
    }

    /// The proxy's table as Debian's nft reads it, without handles and in one order.
    fn rules(&self) -> Value {
        let text = self.node.command(&format!("nft -j list table ip {TABLE}"));
        let mut rules: Value = serde_json::from_str(&text).expect("nft writes JSON");
        normalize(&mut rules);
        rules
    }

    /// Waits until the table has or has not `words`.
    fn await_rules(&self, words: &str, there: bool) {
        let start = Instant::now();
        while self.node.command(&format!("nft list table ip {TABLE} 2>&1 || true")).contains(words) != there {
            assert!(start.elapsed() < Duration::from_secs(60), "{words:?} (wanted: {there}) in:\n{}", self.rules());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn web(&self, endpoints: &[&String]) {
        let endpoints: Vec<String> = endpoints.iter().map(|text| (*text).clone()).collect();
        let ports = json!([{"name": "http", "port": 8080}, {"name": "dns", "port": 5353, "protocol": "UDP"}]);
        self.api.endpoints("web", ports, &endpoints);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.proxy.is_some() && !std::thread::panicking() {
            self.stop();
        }
    }
}

fn normalize(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("handle");
            map.remove("metainfo");
            map.values_mut().for_each(normalize);
        }
        Value::Array(list) => {
            list.iter_mut().for_each(normalize);
            list.sort_by_key(Value::to_string);
        }
        _ => {}
    }
}

fn web_spec() -> Value {
    json!({"type": "NodePort", "clusterIP": VIP, "ports": [
        {"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080},
        {"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP", "nodePort": 30053}]})
}

/// Who answers, without the address that they saw.
fn names(from: &Namespace, to: &str) -> BTreeSet<String> {
    let name = |text: String| text.split(' ').next().unwrap_or_default().to_owned();
    (0..40).map(|_| name(from.ask_tcp(to).expect("somebody answers"))).collect()
}

fn both() -> BTreeSet<String> {
    ["one".to_owned(), "two".to_owned()].into()
}

fn a_service_is_reached_from_everywhere(bridge_netfilter: &str) {
    let cluster = Cluster::new();
    cluster.node.command(&format!("sysctl -qw net.bridge.bridge-nf-call-iptables={bridge_netfilter} || true"));
    let ((one, first), (_two, second), (client, address)) =
        (cluster.pod("one"), cluster.pod("two"), cluster.pod("client"));
    cluster.api.service("web", web_spec());
    cluster.web(&[&first, &second]);
    cluster.await_rules(&second, true);

    let vip = format!("{VIP}:80");
    assert_eq!(names(&client, &vip), both());
    assert_eq!(names(&cluster.node, &vip), both());
    assert_eq!(names(&cluster.outside, "192.0.2.1:30080"), both());
    assert_eq!(names(&client, "192.0.2.1:30080"), both());
    assert_eq!(names(&one, &vip), both(), "an endpoint reaches its own service, itself too");
    let seen = client.ask_tcp(&vip).expect("it answers");
    assert!(seen.ends_with(&address), "between pods the source stays: {seen}");
    assert!(ask_udp(&client.udp(&format!("{VIP}:53"))).expect("UDP answers").ends_with(&address));
    assert!(ask_udp(&cluster.outside.udp("192.0.2.1:30053")).expect("UDP answers").ends_with("192.0.2.2"));
}

#[test]
fn a_service_is_reached_from_everywhere_with_bridge_netfilter() {
    a_service_is_reached_from_everywhere("1");
}

#[test]
fn a_service_is_reached_from_everywhere_without_bridge_netfilter() {
    a_service_is_reached_from_everywhere("0");
}

#[test]
fn an_endpoint_that_goes_is_not_asked_again_and_nobody_means_refused() {
    let cluster = Cluster::new();
    let ((_one, first), (_two, second), (client, _)) = (cluster.pod("one"), cluster.pod("two"), cluster.pod("client"));
    cluster.api.service("web", web_spec());
    cluster.web(&[&first]);
    cluster.await_rules(&first, true);
    let flow = client.udp(&format!("{VIP}:53"));
    assert!(ask_udp(&flow).expect("UDP answers").starts_with("one"));

    cluster.web(&[&second]);
    cluster.await_rules(&first, false);
    assert_eq!(names(&client, &format!("{VIP}:80")), ["two".to_owned()].into());
    // The kernel forgets the flow after it has the rules, so this datagram may still be early.
    let answers = (0..6000).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        ask_udp(&flow).expect("UDP answers")
    });
    assert!(answers.into_iter().any(|answer| answer.starts_with("two")), "the same flow leads to the new endpoint");

    cluster.web(&[]);
    cluster.await_rules(&second, false);
    for (from, to) in [
        (&client, format!("{VIP}:80")),
        (&client, format!("{VIP}:81")),
        (&cluster.node, format!("{VIP}:80")),
        (&cluster.outside, "192.0.2.1:30080".to_owned()),
    ] {
        let error = from.ask_tcp(&to).expect_err("nobody is there");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{to}: {error}");
    }
    let error = ask_udp(&client.udp(&format!("{VIP}:53"))).expect_err("nobody is there");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_restart_changes_nothing_and_breaks_nothing() {
    let mut cluster = Cluster::new();
    let ((_one, first), (_two, second), (client, _)) = (cluster.pod("one"), cluster.pod("two"), cluster.pod("client"));
    cluster.api.service("web", web_spec());
    cluster.web(&[&first]);
    cluster.await_rules(&first, true);
    // Reached by changes, not by the first transaction.
    cluster.web(&[&first, &second]);
    cluster.await_rules(&second, true);
    let rules = cluster.rules();
    cluster.stop();
    assert_eq!(cluster.rules(), rules, "the rules stay");
    assert_eq!(names(&client, &format!("{VIP}:80")), both());
    cluster.start();
    cluster.api.service("other", json!({"clusterIP": "10.98.0.6", "ports": [{"port": 80}]}));
    cluster.await_rules("10.98.0.6", true);
    cluster.stop();
    cluster.node.command(&format!("nft delete element ip {TABLE} cluster-addresses '{{ 10.98.0.6 }}'"));
    assert_eq!(cluster.rules(), rules, "the same services make the same rules");
    cluster.node.run(|| skiff_proxy::remove(TABLE).expect("it is removed"));
    cluster.node.run(|| skiff_proxy::remove(TABLE).expect("absent is fine"));
    assert!(!cluster.node.command("nft list ruleset").contains(TABLE));
}

#[test]
fn a_client_stays_with_its_endpoint_when_asked_to() {
    let cluster = Cluster::new();
    let ((_one, first), (_two, second), (client, _)) = (cluster.pod("one"), cluster.pod("two"), cluster.pod("client"));
    let mut spec = web_spec();
    spec["sessionAffinity"] = json!("ClientIP");
    cluster.api.service("web", spec);
    cluster.web(&[&first, &second]);
    cluster.await_rules(&second, true);
    let kept = names(&client, &format!("{VIP}:80"));
    assert_eq!(kept.len(), 1, "{kept:?}");
    let (gone, left) = if kept.contains("one") { (&first, &second) } else { (&second, &first) };
    cluster.web(&[left]);
    cluster.await_rules(gone, false);
    assert!(names(&client, &format!("{VIP}:80")).is_disjoint(&kept), "the other endpoint answers");
}

#[test]
fn a_flushed_ruleset_is_repaired_and_what_is_not_done_is_an_event() {
    let cluster = Cluster::new();
    let (_one, first) = cluster.pod("one");
    cluster.api.service("web", web_spec());
    cluster.web(&[&first]);
    cluster.await_rules(&first, true);
    cluster.node.command("nft flush ruleset");
    let mut spec = web_spec();
    spec["externalIPs"] = json!(["fd00::1"]);
    cluster.api.service("web", spec);
    cluster.await_rules(&first, true);
    let start = Instant::now();
    while cluster.api.events.lock().expect("not poisoned").is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60), "no event came");
        std::thread::sleep(Duration::from_millis(10));
    }
    let event = cluster.api.events.lock().expect("not poisoned")[0].clone();
    assert!(event["message"].as_str().is_some_and(|message| message.contains("fd00::1")), "{event}");
    assert_eq!(event["involvedObject"]["name"], "web", "{event}");
}

/// A firewall of a host, another proxy's table, and one of another family that is called like ours.
const FOREIGN: &str = "
table inet firewall {
    counter seen { }
    quota month { over 5000 mbytes }
    limit slow { rate 10/second }
    set blocked {
        type ipv4_addr
        flags interval, timeout
        auto-merge
        elements = { 203.0.113.0/24 }
    }
    map marks {
        type inet_service : mark
        elements = { 22 : 0x7 }
    }
    map verdicts {
        type inet_service : verdict
        elements = { 4444 : drop }
    }
    chain input {
        type filter hook input priority -5; policy accept;
        ip saddr @blocked counter name seen drop
        tcp dport vmap @verdicts
        ct state established,related accept
        meta l4proto { tcp, udp } th dport 9999 reject
    }
    chain nat {
        type nat hook prerouting priority dstnat - 10;
        tcp dport 8081 redirect to :8080
    }
}
table ip kube-proxy {
    chain services { }
}
table ip6 skiff-test-proxy {
    chain keep { }
}
";

/// Tables of others, with all that Debian's nft can write, stay as they are whatever becomes of ours.
#[test]
fn tables_of_others_stay_as_they_are() {
    let mut cluster = Cluster::new();
    let ((_one, first), (client, _)) = (cluster.pod("one"), cluster.pod("client"));
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), FOREIGN).expect("written");
    cluster.node.command(&format!("nft -f {}", file.path().display()));
    let theirs = |cluster: &Cluster| {
        let list = |table: &str| cluster.node.command(&format!("nft -s list table {table}"));
        ["inet firewall", "ip kube-proxy", "ip6 skiff-test-proxy"].map(list)
    };
    let before = theirs(&cluster);
    cluster.api.service("web", web_spec());
    cluster.web(&[&first]);
    cluster.await_rules(&first, true);
    assert!(client.ask_tcp(&format!("{VIP}:80")).expect("it answers").starts_with("one"));
    assert_eq!(theirs(&cluster), before);
    cluster.stop();
    cluster.start();
    cluster.web(&[]);
    cluster.await_rules(&first, false);
    assert_eq!(theirs(&cluster), before);
}

#[test]
fn a_thousand_services_are_one_transaction() {
    let mut cluster = Cluster::new();
    let (_one, first) = cluster.pod("one");
    cluster.stop();
    for number in 0..1000 {
        let (name, vip) = (format!("s{number}"), format!("10.98.{}.{}", 1 + number / 250, 1 + number % 250));
        cluster.api.service(&name, json!({"clusterIP": vip, "ports": [{"port": 80}]}));
        cluster.api.endpoints(&name, json!([{"port": 8080}]), &[first.clone(), "10.99.0.200".to_owned()]);
    }
    let start = Instant::now();
    cluster.start();
    cluster.await_rules("10.98.4.250", true);
    eprintln!("1,000 services from list to rules: {:?}", start.elapsed());
    let start = Instant::now();
    cluster.api.endpoints("s999", json!([{"port": 8080}]), std::slice::from_ref(&first));
    cluster.await_rules(&format!("dnat to {first}:8080"), true);
    eprintln!("one endpoint among 1,000 services: {:?}", start.elapsed());
    assert!(cluster.node.ask_tcp("10.98.4.250:80").expect("it answers").starts_with("one"));
}
