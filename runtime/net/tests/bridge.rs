//! The built-in bridge in real network namespaces.

mod support;

use skiff_net::{NetConfig, NetError, PodNetwork, PodNetworks, PortMapping, Protocol};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;
use support::{Namespace, ask_udp};

fn config(state: &Path) -> NetConfig {
    NetConfig {
        state_dir: state.to_owned(),
        pod_cidr: "10.99.0.0/24".to_owned(),
        cluster_cidr: None,
        service_cidr: Some("10.98.0.0/16".to_owned()),
        bridge: "skt0".to_owned(),
        interface_prefix: "skt".to_owned(),
        cni: None,
        masquerade: true,
        table: "skiff-test".to_owned(),
        engine: skiff_step::Engine::off(),
    }
}

/// A node, its pod networks and a folder for them.
struct Node {
    namespace: Namespace,
    networks: PodNetworks,
    state: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let networks = PodNetworks::new(config(state.path())).expect("the configuration is good");
        Self { namespace: Namespace::new(), networks, state }
    }

    fn attach(&self, pod: &PodNetwork) -> Result<Ipv4Addr, NetError> {
        let (networks, pod) = (self.networks.clone(), pod.clone());
        let attached = self.namespace.block_on(async move { networks.attach(&pod).await })?;
        match attached.ips.as_slice() {
            [IpAddr::V4(address)] => Ok(*address),
            other => panic!("one IPv4 address, not {other:?}"),
        }
    }

    fn detach(&self, pod: &PodNetwork) {
        let (networks, pod) = (self.networks.clone(), pod.clone());
        self.namespace.block_on(async move { networks.detach(&pod).await }).expect("it detaches");
    }

    fn remove_all(&self) {
        let networks = self.networks.clone();
        self.namespace.block_on(async move { networks.remove_all().await }).expect("it is removed");
    }
}

fn pod(name: &str, namespace: &Namespace, port_mappings: Vec<PortMapping>) -> PodNetwork {
    PodNetwork {
        sandbox_id: format!("sandbox-{name}"),
        namespace: "default".to_owned(),
        name: name.to_owned(),
        uid: name.to_owned(),
        netns: namespace.path(),
        port_mappings,
    }
}

fn mapping(protocol: Protocol, host_port: u16, container_port: u16) -> PortMapping {
    PortMapping { protocol, container_port, host_port, host_ip: None }
}

#[test]
fn pods_reach_each_other_the_node_and_the_outside() {
    let (node, outside) = (Node::new(), Namespace::new());
    node.namespace.join(&outside, "192.0.2.1/24", "192.0.2.2/24");
    let (one, two) = (Namespace::new(), Namespace::new());
    let first = node.attach(&pod("one", &one, Vec::new())).expect("attached");
    let second = node.attach(&pod("two", &two, Vec::new())).expect("attached");
    assert_ne!(first, second);
    two.serve_tcp("two", 80);
    outside.serve_tcp("outside", 80);
    // Between pods the source stays; to the outside it is the node's.
    assert_eq!(one.ask_tcp(&format!("{second}:80")).expect("pod to pod"), format!("two {first}"));
    assert_eq!(node.namespace.ask_tcp(&format!("{second}:80")).expect("node to pod"), "two 10.99.0.1");
    assert_eq!(one.ask_tcp("192.0.2.2:80").expect("pod to outside"), "outside 192.0.2.1");
    // Loopback inside.
    assert_eq!(two.ask_tcp("127.0.0.1:80").expect("loopback"), "two 127.0.0.1");
}

#[test]
fn host_ports_lead_to_the_pod_from_everywhere() {
    let (node, outside, inside) = (Node::new(), Namespace::new(), Namespace::new());
    node.namespace.join(&outside, "192.0.2.1/24", "192.0.2.2/24");
    let mut bound = mapping(Protocol::Tcp, 8081, 80);
    bound.host_ip = Some("192.0.2.1".parse().expect("an address"));
    let ports = vec![mapping(Protocol::Tcp, 8080, 80), mapping(Protocol::Udp, 5353, 53), bound];
    let asked = pod("web", &inside, ports);
    let address = node.attach(&asked).expect("attached");
    inside.serve_tcp("web", 80);
    inside.serve_udp("dns", 53);
    assert_eq!(outside.ask_tcp("192.0.2.1:8080").expect("from outside"), "web 192.0.2.2");
    assert_eq!(outside.ask_tcp("192.0.2.1:8081").expect("from outside, bound"), "web 192.0.2.2");
    assert_eq!(node.namespace.ask_tcp("192.0.2.1:8080").expect("from the node"), "web 192.0.2.1");
    assert_eq!(inside.ask_tcp("192.0.2.1:8080").expect("from the pod itself"), "web 10.99.0.1");
    assert!(node.namespace.ask_tcp("10.99.0.1:8081").is_err(), "it is bound to another address");
    let flow = outside.udp("192.0.2.1:5353");
    assert_eq!(ask_udp(&flow).expect("UDP from outside"), "dns 192.0.2.2");

    let taken = node.attach(&pod("late", &Namespace::new(), vec![mapping(Protocol::Tcp, 8080, 80)]));
    assert!(matches!(taken, Err(NetError::PortTaken { .. })), "{taken:?}");

    node.detach(&asked);
    assert!(outside.ask_tcp("192.0.2.1:8080").is_err(), "the port is free again");
    // The same UDP flow now leads to the next pod that asks for the port.
    let next = Namespace::new();
    let other = node.attach(&pod("next", &next, vec![mapping(Protocol::Udp, 5353, 53)])).expect("attached");
    assert_ne!(address, other, "an address rests before it comes back");
    next.serve_udp("next", 53);
    assert_eq!(ask_udp(&flow).expect("UDP to the next pod"), "next 192.0.2.2");
}

/// Fault N15: as kubelet and containerd's plugins have it.
#[test]
fn host_ports_answer_at_the_nodes_loopback() {
    let (node, inside) = (Node::new(), Namespace::new());
    node.namespace.command("ip link set lo up");
    let mut bound = mapping(Protocol::Tcp, 8081, 80);
    bound.host_ip = Some(Ipv4Addr::LOCALHOST.into());
    let ports = vec![mapping(Protocol::Tcp, 8080, 80), mapping(Protocol::Udp, 5353, 53), bound];
    node.attach(&pod("web", &inside, ports)).expect("attached");
    inside.serve_tcp("web", 80);
    inside.serve_udp("dns", 53);
    assert_eq!(node.namespace.ask_tcp("127.0.0.1:8080").expect("at the loopback"), "web 10.99.0.1");
    assert_eq!(node.namespace.ask_tcp("127.0.0.1:8081").expect("bound to the loopback"), "web 10.99.0.1");
    assert!(node.namespace.ask_tcp("10.99.0.1:8081").is_err(), "it is bound to another address");
    assert_eq!(ask_udp(&node.namespace.udp("127.0.0.1:5353")).expect("UDP at the loopback"), "dns 10.99.0.1");
    // What listens there and is no host port is left alone.
    node.namespace.serve_tcp("node", 9090);
    assert_eq!(node.namespace.ask_tcp("127.0.0.1:9090").expect("the node's own"), "node 127.0.0.1");
}

/// CVE-2020-8558: what listens at the node's loopback is for the node alone, also while host ports answer there.
#[test]
fn pods_do_not_reach_the_nodes_loopback() {
    let (node, outside) = (Node::new(), Namespace::new());
    node.namespace.join(&outside, "192.0.2.1/24", "192.0.2.2/24");
    let (web, evil) = (Namespace::new(), Namespace::new());
    let mut bound = mapping(Protocol::Tcp, 8081, 80);
    bound.host_ip = Some(Ipv4Addr::LOCALHOST.into());
    node.attach(&pod("web", &web, vec![mapping(Protocol::Tcp, 8080, 80), bound])).expect("attached");
    let own = node.attach(&pod("evil", &evil, Vec::new())).expect("attached");
    web.serve_tcp("web", 80);
    node.namespace.serve_udp("secret", 9090);
    // A pod, and a neighbour, that send loopback addresses over the wire.
    for (namespace, link, gateway) in [(&evil, "eth0", "10.99.0.1"), (&outside, "up1", "192.0.2.1")] {
        namespace.command(&format!(
            "for i in all {link}; do echo 1 > /proc/sys/net/ipv4/conf/$i/route_localnet; done
             ip route del local 127.0.0.0/8 dev lo table local; ip route del local 127.0.0.1 dev lo table local
             ip route add 127.0.0.0/8 via {gateway} dev {link} onlink"
        ));
    }
    // Answers would not find back, so packets are counted where they would have arrived.
    node.namespace.command(
        "nft add table ip seen
         nft 'add chain ip seen in { type filter hook input priority 0; }'
         nft 'add rule ip seen in iifname != lo ip daddr 127.0.0.0/8 counter'
         nft 'add rule ip seen in iifname != lo ip saddr 127.0.0.0/8 counter'",
    );
    evil.command("ip addr add 127.0.0.9/32 dev eth0");
    for (namespace, from, to) in [
        (&evil, "0.0.0.0:0", "127.0.0.1:9090"),
        (&evil, "0.0.0.0:0", "127.0.0.1:8081"),
        (&evil, "127.0.0.9:0", "10.99.0.1:9090"),
        (&outside, "0.0.0.0:0", "127.0.0.1:9090"),
    ] {
        namespace.run(move || {
            let socket = std::net::UdpSocket::bind(from).expect("its address");
            socket.send_to(b"?", to).expect("it is sent")
        });
    }
    let answer = ask_udp(&evil.udp("10.99.0.1:9090")).expect("what is sent later has arrived");
    assert_eq!(answer, format!("secret {own}"));
    let counted = node.namespace.command("nft list table ip seen");
    assert_eq!(counted.matches("packets 0 ").count(), 2, "{counted}");
}

/// Fault N22: the node reaches services before there is a pod.
#[test]
fn the_bridge_is_made_before_the_first_pod() {
    let node = Node::new();
    let networks = node.networks.clone();
    let gateway = node.namespace.run(move || networks.prepare()).expect("prepared");
    assert_eq!(gateway, Some(Ipv4Addr::new(10, 99, 0, 1)));
    let routes = node.namespace.command("ip route get 10.98.0.1");
    assert!(routes.contains("dev skt0 src 10.99.0.1"), "{routes}");
    node.remove_all();
}

/// Fault N24: the range is the control plane's to give.
#[test]
fn a_pod_range_may_be_named_until_there_is_a_pod() {
    let node = Node::new();
    let choose = |range: &'static str| {
        let networks = node.networks.clone();
        node.namespace.block_on(async move { networks.use_pod_cidr(range).await })
    };
    choose("10.99.0.0/24").expect("it is the range already");
    choose("fd00::/64,10.97.3.0/24").expect("nobody has an address yet");
    let one = Namespace::new();
    let asked = pod("one", &one, Vec::new());
    assert_eq!(node.attach(&asked).expect("attached"), Ipv4Addr::new(10, 97, 3, 2));
    choose("10.97.3.0/24").expect("the same again");
    let refused = choose("10.96.0.0/24").expect_err("a pod has an address").to_string();
    let expected = "network configuration: pod_cidr \"10.96.0.0/24\": a sandbox has an address of 10.97.3.0/24";
    assert_eq!(refused, expected);
    // A restart finds the pod, and so its range; without a pod the configuration counts again.
    let (again, kept) = (PodNetworks::new(config(node.state.path())).expect("it opens again"), asked.clone());
    let same = node.namespace.block_on(async move { again.attach(&kept).await }).expect("attached already");
    assert_eq!(same.ips, [IpAddr::V4(Ipv4Addr::new(10, 97, 3, 2))]);
    node.detach(&asked);
    let fresh = PodNetworks::new(config(node.state.path())).expect("it opens again");
    let asked = asked.clone();
    let next = node.namespace.block_on(async move { fresh.attach(&asked).await }).expect("on a bridge of that range");
    assert_eq!(next.ips, [IpAddr::V4(Ipv4Addr::new(10, 99, 0, 2))]);
    assert!(one.command("ip route").contains("default via 10.99.0.1"));
    // With a pod on it, it stays as it is.
    let other = NetConfig { pod_cidr: "10.96.0.0/24".to_owned(), ..config(node.state.path()) };
    let other = PodNetworks::new(other).expect("it opens again");
    let refused = node.namespace.run(move || other.prepare()).expect_err("a pod is on the bridge").to_string();
    assert!(refused.ends_with("the bridge skt0 has another range, and a sandbox is on it"), "{refused}");
    node.remove_all();
}

#[test]
fn a_restart_keeps_the_living_and_frees_the_dead() {
    let node = Node::new();
    let (live, dead) = (Namespace::new(), Namespace::new());
    let (kept, lost) = (pod("live", &live, vec![mapping(Protocol::Tcp, 8080, 80)]), pod("dead", &dead, Vec::new()));
    let address = node.attach(&kept).expect("attached");
    node.attach(&lost).expect("attached");
    live.serve_tcp("live", 80);
    let networks = PodNetworks::new(config(node.state.path())).expect("it opens again");
    let again = networks.clone();
    node.namespace.block_on(async move { again.retain(&["sandbox-live".to_owned()]).await }).expect("it retains");
    let links = node.namespace.command("ip -br link");
    assert_eq!(links.matches("skt0a63").count(), 1, "{links}");
    let same = node.namespace.block_on(async move { networks.attach(&kept).await }).expect("attached already");
    assert_eq!(same.ips, [IpAddr::V4(address)]);
    assert_eq!(node.namespace.ask_tcp("10.99.0.1:8080").expect("the host port is there"), "live 10.99.0.1");
}

#[test]
fn nothing_is_left_and_the_pod_can_be_gone_first() {
    let node = Node::new();
    let before = (node.namespace.command("ip link; ip route show table all; nft list ruleset"), forwarding(&node));
    let inside = Namespace::new();
    let asked = pod("one", &inside, vec![mapping(Protocol::Tcp, 8080, 80)]);
    node.attach(&asked).expect("attached");
    assert_eq!(forwarding(&node), "1\n0\n");
    drop(inside);
    node.detach(&asked);
    node.detach(&asked);
    let mut gone = pod("two", &node.namespace, Vec::new());
    gone.netns = "/proc/0/ns/net".into();
    let error = node.attach(&gone).expect_err("there is no such namespace").to_string();
    assert!(error.contains("open network namespace /proc/0/ns/net"), "{error}");
    let other = Namespace::new();
    node.attach(&pod("three", &other, Vec::new())).expect("attached");
    node.remove_all();
    node.remove_all();
    let after = (node.namespace.command("ip link; ip route show table all; nft list ruleset"), forwarding(&node));
    assert_eq!(before, after);
    assert_eq!(std::fs::read_dir(node.state.path().join("addresses")).expect("it is there").count(), 0);
}

fn forwarding(node: &Node) -> String {
    node.namespace.command("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/all/send_redirects")
}

#[test]
fn a_flushed_ruleset_comes_back_with_the_next_pod() {
    let node = Node::new();
    let (one, two) = (Namespace::new(), Namespace::new());
    node.attach(&pod("one", &one, vec![mapping(Protocol::Tcp, 8080, 80)])).expect("attached");
    one.serve_tcp("one", 80);
    let rules = node.namespace.command("nft list ruleset");
    node.namespace.command("nft flush ruleset");
    node.attach(&pod("two", &two, Vec::new())).expect("attached");
    assert_eq!(node.namespace.command("nft list ruleset"), rules);
    assert_eq!(node.namespace.ask_tcp("10.99.0.1:8080").expect("the host port is back"), "one 10.99.0.1");
}

#[test]
fn a_hundred_pods_at_once_have_a_hundred_addresses() {
    let node = Node::new();
    let pods: Vec<(Namespace, PodNetwork)> = (0..100)
        .map(|number| {
            let namespace = Namespace::new();
            let pod = pod(&number.to_string(), &namespace, Vec::new());
            (namespace, pod)
        })
        .collect();
    let asked: Vec<PodNetwork> = pods.iter().map(|(_, pod)| pod.clone()).collect();
    let networks = node.networks.clone();
    let start = std::time::Instant::now();
    let addresses = node.namespace.block_on(async move {
        let tasks: Vec<_> = asked
            .into_iter()
            .map(|pod| {
                let networks = networks.clone();
                tokio::spawn(async move { networks.attach(&pod).await.expect("attached").ips })
            })
            .collect();
        let mut addresses = std::collections::BTreeSet::new();
        for task in tasks {
            addresses.extend(task.await.expect("it does not panic"));
        }
        addresses
    });
    eprintln!("100 pods at once: {:?}", start.elapsed());
    assert_eq!(addresses.len(), 100);
    let late = Namespace::new();
    let start = std::time::Instant::now();
    node.attach(&pod("late", &late, Vec::new())).expect("attached");
    eprintln!("one more: {:?}", start.elapsed());
    node.remove_all();
    assert!(!node.namespace.command("ip -br link").contains("skt"));
}

#[test]
fn a_missing_right_is_one_sentence() {
    let (node, inside) = (Node::new(), Namespace::new());
    let networks = node.networks.clone();
    let (ready, error) = node.namespace.run(move || {
        drop_net_admin();
        let ready = networks.ready().expect_err("a right is missing").to_string();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let asked = pod("one", &inside, Vec::new());
        (ready, runtime.block_on(networks.attach(&asked)).expect_err("a right is missing").to_string())
    });
    assert_eq!(ready, "change the pod network on skt0: it needs CAP_NET_ADMIN in its network namespace");
    assert_eq!(error, "write /proc/sys/net/ipv4/ip_forward: it needs CAP_NET_ADMIN in its network namespace");
}

/// Takes CAP_NET_ADMIN from this thread and those it starts.
fn drop_net_admin() {
    caps::drop(None, caps::CapSet::Effective, caps::Capability::CAP_NET_ADMIN).expect("dropping is always allowed");
    caps::drop(None, caps::CapSet::Permitted, caps::Capability::CAP_NET_ADMIN).expect("dropping is always allowed");
}

/// Network policies are where the node passes packets on (decision 33): whatever went from port to port would go around them.
#[test]
fn no_frame_goes_from_pod_to_pod_around_the_node() {
    let node = Node::new();
    let ((one, two), both) = ((Namespace::new(), Namespace::new()), ["one", "two"]);
    for (name, namespace) in both.iter().zip([&one, &two]) {
        node.attach(&pod(name, namespace, Vec::new())).expect("attached");
    }
    let link_local = |namespace: &Namespace| {
        let text = namespace.command("ip -6 -o addr show dev eth0 scope link");
        let address = text.split_whitespace().skip_while(|word| *word != "inet6").nth(1).map(str::to_owned);
        address.and_then(|address| address.split('/').next().map(str::to_owned))
    };
    let Some(address) = link_local(&two) else { return };
    // IPv6 between pods is bridged; the bridge's table is all that keeps it.
    let link = one.command("ip -o link show dev eth0");
    let index: u32 = link.split(':').next().and_then(|index| index.trim().parse().ok()).expect("an index");
    let to = std::net::SocketAddrV6::new(address.parse().expect("an address"), 8081, 0, index);
    let reached = || {
        let asked = one.run(move || TcpStream::connect_timeout(&to.into(), Duration::from_millis(500)));
        // Nobody listens there: a refusal is an answer.
        asked.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    node.namespace.command("nft delete table bridge skiff-test");
    // An address of IPv6 is looked for on its link before it may be used.
    let reached_soon = (0..100).any(|_| {
        let answered = reached();
        std::thread::sleep(Duration::from_millis(if answered { 0 } else { 100 }));
        answered
    });
    assert!(reached_soon, "without the table the other pod answers");
    let networks = node.networks.clone();
    node.namespace.run(move || networks.ready()).expect("it is ready");
    assert!(!reached(), "IPv6 went around the node");
    // A neighbour that a pod writes into its own table by hand: the frame goes to the other's hardware address.
    let link = two.command("ip -o link show dev eth0");
    let hardware =
        link.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).expect("it has one").to_owned();
    let at = two.command("ip -4 -o addr show dev eth0");
    let at = at.split_whitespace().nth(3).and_then(|text| text.split('/').next()).expect("an address").to_owned();
    one.command(&format!("ip route add {at}/32 dev eth0 && ip neigh replace {at} lladdr {hardware} dev eth0"));
    two.serve_tcp("two", 8080);
    if !std::path::Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists() {
        assert!(one.ask_tcp(&format!("{at}:8080")).is_err(), "a frame went around the node");
    }
    node.namespace.command("sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true");
    let networks = node.networks.clone();
    node.namespace.run(move || networks.ready()).expect("it is ready");
    assert!(one.ask_tcp(&format!("{at}:8080")).is_err(), "a frame went around the node");
    node.remove_all();
    assert!(!node.namespace.command("nft list ruleset").contains("between-ports"));
}
