//! Two nodes in boxes of one host: their pods reach each other, and see each other's addresses.

mod support;

use skiff_net::{NetConfig, NodeRoute, PodNetwork, PodNetworks, join_hub, prepare_hub, prepare_own, set_node_routes};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use support::Namespace;

/// A box with pods.
struct Node {
    address: Ipv4Addr,
    namespace: Namespace,
    networks: PodNetworks,
    _state: tempfile::TempDir,
}

impl Node {
    fn new(number: u8) -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let networks = PodNetworks::new(NetConfig {
            state_dir: state.path().to_owned(),
            pod_cidr: format!("10.99.{number}.0/24"),
            cluster_cidr: Some("10.99.0.0/16".to_owned()),
            service_cidr: Some("10.98.0.0/16".to_owned()),
            bridge: "skt0".to_owned(),
            interface_prefix: "skt".to_owned(),
            cni: None,
            masquerade: true,
            table: "skiff-test".to_owned(),
            engine: skiff_step::Engine::off(),
        });
        let networks = networks.expect("the configuration is good");
        let (namespace, address) = (Namespace::new(), Ipv4Addr::new(172, 31, 255, number));
        namespace.run(move || prepare_own(address)).expect("the box has an address");
        Self { address, namespace, networks, _state: state }
    }

    fn pod(&self, name: &'static str) -> (Namespace, Ipv4Addr) {
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
        let attached = self.namespace.block_on(async move { networks.attach(&pod).await }).expect("attached");
        namespace.serve_tcp(name, 8080);
        let [IpAddr::V4(address)] = attached.ips[..] else { panic!("one IPv4 address") };
        (namespace, address)
    }

    fn leads_to(&self, others: &[(u8, Ipv4Addr)]) {
        let route = |(number, via): &(u8, Ipv4Addr)| NodeRoute::new(&format!("10.99.{number}.0/24"), *via);
        let routes: BTreeSet<_> = others.iter().map(route).collect::<Result<_, _>>().expect("ranges");
        self.namespace.run(move || set_node_routes(&routes)).expect("the routes are made");
    }

    fn routes(&self) -> Vec<String> {
        let text = self.namespace.command("ip -4 route show proto 115");
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

fn joined() -> (Node, Node) {
    let (one, two) = (Node::new(1), Node::new(2));
    let (hub, address) = (one.namespace.path(), one.address);
    for _ in 0..2 {
        one.namespace.run(move || prepare_hub(address)).expect("it is a hub");
    }
    let address = two.address;
    for _ in 0..2 {
        let hub = hub.clone();
        two.namespace.run(move || join_hub(&hub, address)).expect("it joins");
    }
    (one, two)
}

#[test]
fn pods_of_two_nodes_reach_each_other_with_their_own_addresses() {
    let (one, two) = joined();
    let ((near, near_address), (far, far_address)) = (one.pod("near"), two.pod("far"));
    one.leads_to(&[(2, two.address)]);
    two.leads_to(&[(1, one.address)]);
    assert_eq!(near.ask_tcp(&format!("{far_address}:8080")).expect("it answers"), format!("far {near_address}"));
    assert_eq!(far.ask_tcp(&format!("{near_address}:8080")).expect("it answers"), format!("near {far_address}"));
    // A node is no pod: it sees the other node's address.
    two.namespace.serve_tcp("node", 8081);
    assert_eq!(near.ask_tcp("172.31.255.2:8081").expect("it answers"), "node 172.31.255.1");
}

#[test]
fn routes_follow_the_nodes() {
    let (one, two) = joined();
    one.namespace.command("ip route add 10.97.0.0/24 via 172.31.255.2");
    one.leads_to(&[(2, two.address), (3, two.address)]);
    assert_eq!(
        one.routes(),
        ["10.99.2.0/24 via 172.31.255.2 dev skifflan", "10.99.3.0/24 via 172.31.255.2 dev skifflan"]
    );
    one.leads_to(&[(3, Ipv4Addr::new(172, 31, 255, 7))]);
    assert_eq!(one.routes(), ["10.99.3.0/24 via 172.31.255.7 dev skifflan"]);
    one.leads_to(&[]);
    assert_eq!(one.routes(), [""; 0]);
    assert!(one.namespace.command("ip route").contains("10.97.0.0/24"), "what others put there stays");
}

#[test]
fn a_node_that_is_on_no_network_is_named() {
    let (one, _two) = joined();
    let far = NodeRoute::new("10.99.9.0/24", Ipv4Addr::new(203, 0, 113, 9)).expect("a range");
    let refused = one.namespace.run(move || set_node_routes(&[far].into())).expect_err("nothing leads there");
    assert!(refused.to_string().starts_with("add route 10.99.9.0/24 via 203.0.113.9: "), "{refused}");
}
