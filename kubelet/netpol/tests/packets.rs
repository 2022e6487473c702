//! Policies in real network namespaces: pods on the built-in bridge, the enforcer's table, real connections.

#[path = "../../../runtime/net/tests/support/mod.rs"]
mod support;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::routing::{MethodRouter, get};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use skiff_net::{NetConfig, PodNetwork, PodNetworks};
use skiff_netpol::{Gate, NetpolConfig, enforcer};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use support::Namespace;
use tokio_util::sync::CancellationToken;

const TABLE: &str = "skiff-test-policy";
/// What is dropped is not answered; what passes is answered in far less.
const SILENCE: Duration = Duration::from_secs(1);
const ALL: [&str; 3] = ["web", "shop", "bot"];

/// A node with three pods, which all serve two ports.
struct Node {
    node: Namespace,
    pods: Vec<(&'static str, Namespace, Ipv4Addr)>,
    _networks: PodNetworks,
    _state: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let (node, state) = (Namespace::new(), tempfile::tempdir().expect("a folder"));
        let config = NetConfig {
            state_dir: state.path().to_owned(),
            pod_cidr: "10.97.0.0/24".to_owned(),
            cluster_cidr: None,
            service_cidr: None,
            bridge: "skp0".to_owned(),
            interface_prefix: "skp".to_owned(),
            cni: None,
            masquerade: true,
            table: "skiff-test".to_owned(),
            engine: skiff_step::Engine::off(),
        };
        let networks = PodNetworks::new(config).expect("the configuration is good");
        let pods = ALL.map(|name| attach(&node, &networks, name)).into();
        Self { node, pods, _networks: networks, _state: state }
    }

    fn pod(&self, name: &str) -> &(&'static str, Namespace, Ipv4Addr) {
        self.pods.iter().find(|pod| pod.0 == name).expect("there is such a pod")
    }

    /// Whether `from` gets through to `to`; `node` is the node itself.
    fn reaches(&self, from: &str, to: &str, port: u16) -> bool {
        let to = (self.pod(to).2, port).into();
        let place = if from == "node" { &self.node } else { &self.pod(from).1 };
        place.run(move || TcpStream::connect_timeout(&to, SILENCE).is_ok())
    }

    fn object(&self, name: &str) -> Value {
        json!({
            "metadata": {"namespace": "n", "name": name, "uid": name, "labels": {"app": name}},
            "spec": {"nodeName": "node", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": self.pod(name).2.to_string()}]},
        })
    }

    /// Enforces `policies` over the pods of these names, while `work` looks. Who asks at the gate goes first, as a kubelet does.
    fn enforcing(&self, pods: &[&str], policies: &[Value], work: impl FnOnce(Gate)) {
        let (pods, policies) = (pods.iter().map(|name| self.object(name)).collect(), policies.to_vec());
        let ((gate, enforcer), shutdown, inside) = (enforcer(), CancellationToken::new(), self.node.again());
        let token = shutdown.clone();
        let thread = std::thread::spawn(move || {
            inside.block_on(async move {
                let caches = skiff_client::Caches::new(api(pods, policies));
                let engine = skiff_step::Engine::off();
                let config = NetpolConfig { node_name: "node".into(), caches, table: TABLE.into(), engine };
                enforcer.run(config, token).await.expect("it runs");
            });
        });
        // A pod of nobody: when its turn has come, the table stands.
        wait(&gate, json!({}), Ipv4Addr::new(192, 0, 2, 99));
        work(gate);
        std::thread::sleep(Duration::from_millis(50));
        shutdown.cancel();
        thread.join().expect("it ends well");
    }
}

fn attach(node: &Namespace, networks: &PodNetworks, name: &'static str) -> (&'static str, Namespace, Ipv4Addr) {
    let (namespace, networks) = (Namespace::new(), networks.clone());
    let pod = PodNetwork {
        sandbox_id: name.to_owned(),
        namespace: "n".to_owned(),
        name: name.to_owned(),
        uid: name.to_owned(),
        netns: namespace.path(),
        port_mappings: Vec::new(),
    };
    let attached = node.block_on(async move { networks.attach(&pod).await }).expect("attached");
    namespace.serve_tcp(name, 8080);
    namespace.serve_tcp(name, 9090);
    let [IpAddr::V4(address)] = attached.ips[..] else { panic!("one IPv4 address") };
    (name, namespace, address)
}

fn wait(gate: &Gate, pod: Value, address: Ipv4Addr) {
    let pod: Arc<Pod> = Arc::new(serde_json::from_value(pod).expect("a pod"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(gate.wait(pod, vec![address.to_string()]));
}

/// As much of an API server as this needs: lists, and watches on which nothing happens.
fn api(pods: Vec<Value>, policies: Vec<Value>) -> kube::Client {
    let namespaces = vec![json!({"metadata": {"name": "n"}})];
    let networking = "networking.k8s.io/v1";
    let router = Router::new()
        .route("/api/v1/pods", list("Pod", "v1", pods))
        .route("/api/v1/namespaces", list("Namespace", "v1", namespaces))
        .route("/apis/networking.k8s.io/v1/networkpolicies", list("NetworkPolicy", networking, policies));
    kube::Client::new(router, "default")
}

fn list(kind: &str, version: &str, mut items: Vec<Value>) -> MethodRouter {
    for item in &mut items {
        item["kind"] = kind.into();
        item["apiVersion"] = version.into();
        item["metadata"]["resourceVersion"] = "1".into();
    }
    let meta = json!({"resourceVersion": "1"});
    let all = json!({"kind": format!("{kind}List"), "apiVersion": version, "metadata": meta, "items": items});
    let answer = |State(text): State<String>, Query(query): Query<HashMap<String, String>>| async move {
        if query.contains_key("watch") {
            std::future::pending::<()>().await;
        }
        Body::from(text)
    };
    get(answer).with_state(all.to_string())
}

fn policy(name: &str, spec: Value) -> Value {
    json!({"metadata": {"namespace": "n", "name": name}, "spec": spec})
}

fn only_from_shop(ports: Value) -> Value {
    let peer = json!({"podSelector": {"matchLabels": {"app": "shop"}}});
    let rule = json!({"from": [peer], "ports": ports});
    policy("from-shop", json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [rule]}))
}

#[test]
fn only_who_is_let_in_comes_in() {
    let node = Node::new();
    node.enforcing(&ALL, &[], |_| assert!(node.reaches("bot", "web", 8080)));
    node.enforcing(&ALL, &[only_from_shop(json!([{"port": "http"}]))], |_| {
        assert!(node.reaches("shop", "web", 8080));
        assert!(!node.reaches("shop", "web", 9090) && !node.reaches("bot", "web", 8080));
        // The node's own probes, the other direction, and pods that no policy is about.
        assert!(node.reaches("node", "web", 9090) && node.reaches("web", "bot", 8080));
        assert!(node.reaches("bot", "shop", 8080));
    });
    // The rules stay when nobody watches over them, and go with the policies.
    assert!(!node.reaches("bot", "web", 8080));
    node.enforcing(&ALL, &[], |_| assert!(node.reaches("bot", "web", 8080)));
}

#[test]
fn a_pod_goes_only_where_it_may() {
    let node = Node::new();
    let except = format!("{}/32", node.pod("web").2);
    let to = json!([{"ipBlock": {"cidr": "10.97.0.0/16", "except": [except]}}]);
    let rule = json!({"to": to, "ports": [{"port": 8000, "endPort": 8099}]});
    let bot = json!({"matchLabels": {"app": "bot"}});
    let out = policy("out", json!({"podSelector": bot, "policyTypes": ["Egress"], "egress": [rule]}));
    node.enforcing(&ALL, &[out], |_| {
        assert!(node.reaches("bot", "shop", 8080) && node.reaches("web", "bot", 9090));
        assert!(!node.reaches("bot", "shop", 9090) && !node.reaches("bot", "web", 8080));
    });
}

/// The API shows neither pod's address yet.
#[test]
fn rules_are_in_force_before_a_pods_first_packet() {
    let node = Node::new();
    node.enforcing(&["bot"], &[only_from_shop(json!([]))], |gate| {
        assert!(node.reaches("bot", "web", 8080), "nobody knows of it yet");
        wait(&gate, node.object("web"), node.pod("web").2);
        assert!(!node.reaches("bot", "web", 8080) && !node.reaches("shop", "web", 8080));
        wait(&gate, node.object("shop"), node.pod("shop").2);
        assert!(node.reaches("shop", "web", 8080) && !node.reaches("bot", "web", 8080));
    });
}

#[test]
fn what_was_let_through_goes_on() {
    let node = Node::new();
    let (web, address) = (&node.pod("web").1, node.pod("web").2);
    let listener = web.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 7070)).expect("the port is free"));
    let to = (address, 7070).into();
    let mut client = node.pod("shop").1.run(move || TcpStream::connect_timeout(&to, SILENCE).expect("it is open"));
    let (mut server, _) = listener.accept().expect("it came");
    node.enforcing(&ALL, &[policy("closed", json!({"podSelector": {}}))], |_| {
        assert!(!node.reaches("shop", "web", 7070));
        server.write_all(b"still here").expect("it is open");
        let mut text = [0; 10];
        client.set_read_timeout(Some(SILENCE)).expect("it is not zero");
        client.read_exact(&mut text).expect("the connection goes on");
        assert_eq!(&text, b"still here");
    });
}
