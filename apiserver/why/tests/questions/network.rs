//! Services, names, ports and ways out: questions 17 to 20 and 23.

use crate::world::{Case, World, ago, node, placed, running, with};
use serde_json::{Value, json};

fn web(more: &[(&str, Value)]) -> Value {
    with(
        with(
            placed("shop/web", "Running", running()),
            &[("/spec/containers/0/ports", json!([{"name": "http", "containerPort": 8080, "protocol": "TCP"}]))],
        ),
        more,
    )
}

fn service(more: &[(&str, Value)]) -> Value {
    let whole = json!({
        "kind": "Service", "metadata": {"name": "web", "namespace": "shop", "creationTimestamp": ago(600)},
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.3.3", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}]}, "status": {},
    });
    with(whole, more)
}

fn slice() -> Value {
    json!({"metadata": {"name": "web-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}}, "endpoints": [{"addresses": ["10.244.0.5"], "conditions": {"ready": true}}]})
}

fn on(pod: Value, service: Value) -> World {
    World::default().node(node("a")).pod(pod).object("v1", "services", service).object(
        "discovery.k8s.io/v1",
        "endpointslices",
        slice(),
    )
}

fn policy(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

pub(crate) fn cases() -> Vec<Case> {
    [services(), policies(), names(), ways()].into_iter().flatten().collect()
}

fn udp() -> Value {
    json!([{"name": "http", "containerPort": 8080, "protocol": "UDP"}])
}

fn services() -> Vec<Case> {
    let unready = with(
        web(&[]),
        &[
            ("/status/conditions/1/status", json!("False")),
            ("/status/containerStatuses/0/ready", json!(false)),
            ("/spec/containers/0/readinessProbe", json!({"tcpSocket": {"port": 8080}})),
        ],
    );
    vec![
        Case::new(
            "00-service-well",
            "service shop/web",
            on(web(&[]), service(&[])),
            &["1 of 1 pod ready", "exit code 0"],
        ),
        Case::new(
            "17-selector",
            "service shop/web",
            on(web(&[("/metadata/labels", json!({"app": "Web"}))]), service(&[])),
            &["selector app=web takes no pod of namespace shop", "app=Web"],
        ),
        Case::new(
            "17-not-ready",
            "service shop/web",
            on(unready, service(&[])).event(
                "Pod shop/web#main",
                "Unhealthy",
                "Readiness probe failed: dial tcp 10.244.0.5:8080: Connection refused (os error 111)",
                5,
                3,
            ),
            &["The only pod that its selector takes, web, is not ready", "Connection refused"],
        ),
        Case::new(
            "17-target-port",
            "service shop/web",
            on(web(&[]), service(&[("/spec/ports/0/targetPort", json!("web"))])),
            &["port named web", "declared are http 8080/TCP"],
        ),
        Case::new(
            "17-protocol",
            "service shop/web",
            on(web(&[("/spec/containers/0/ports", udp())]), service(&[])),
            &["is TCP, and its pods declare 8080 as UDP"],
        ),
        Case::new(
            "17-no-selector",
            "service shop/web",
            World::default().object("v1", "services", service(&[("/spec/selector", Value::Null)])),
            &["no selector, and nobody has written endpoints"],
        ),
        Case::new(
            "17-balancer",
            "service shop/web",
            on(web(&[]), service(&[("/spec/type", json!("LoadBalancer"))])),
            &["for 10m"],
        ),
    ]
}

fn policies() -> Vec<Case> {
    let closed = policy("closed", json!({"podSelector": {}, "policyTypes": ["Ingress"]}));
    let friends = policy(
        "friends",
        json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}], "ports": [{"port": "http"}]}]}),
    );
    let guest = with(placed("shop/guest", "Running", running()), &[("/status/podIP", json!("10.244.0.9"))]);
    let group = "networking.k8s.io/v1";
    vec![
        Case::new(
            "17-closed",
            "service shop/web",
            on(web(&[]), service(&[])).object(group, "networkpolicies", closed),
            &["NetworkPolicy closed of namespace shop drops everything", "closed lets through: nothing"],
        ),
        Case::new(
            "17-policy-between",
            "pod shop/guest to web:80",
            on(web(&[]), service(&[])).pod(guest.clone()).object(group, "networkpolicies", friends),
            &[
                "NetworkPolicy friends",
                "drops what pod shop/web gets from pod shop/guest at port 8080/TCP",
                "pods with app=friend at http/TCP",
            ],
        ),
        Case::new(
            "17-wrong-port",
            "pod shop/guest to web:8080",
            on(web(&[]), service(&[])).pod(guest),
            &["has no port 8080, only 80/TCP"],
        ),
    ]
}

fn names() -> Vec<Case> {
    let other = service(&[("/metadata/namespace", json!("data")), ("/metadata/name", json!("db"))]);
    let base = || {
        on(web(&[]), service(&[])).object("v1", "services", other.clone()).kubelet(
            "a",
            "configz",
            json!({"kubeletconfig": {"clusterDomain": "cluster.local"}}),
        )
    };
    let upstream = json!({"nameservers": ["192.0.2.53"], "resolve": {"error": "Name or service not known"}});
    vec![
        Case::new(
            "18-other-namespace",
            "pod shop/web to db",
            base(),
            &[
                "db.shop.svc.cluster.local, db.svc.cluster.local, db.cluster.local and db",
                "ndots 5",
                "there is data/db",
                "Ask for db.data",
                "what the resolvers of node a answer for db: its kubelet does not say",
            ],
        ),
        Case::new(
            "18-upstream",
            "pod shop/web to api.example.com",
            base().kubelet("a", "skiff/known?resolve=api.example.com", upstream),
            &[
                "api.example.com.shop.svc.cluster.local",
                "The node's resolvers (192.0.2.53) answer: Name or service not known",
            ],
        ),
        Case::new(
            "18-in-log",
            "pod shop/web",
            base().log("shop/web", "main", false, "dial tcp: lookup db on 10.96.0.10:53: no such host\n"),
            &["lookup db", "has no service db; there is data/db"],
        ),
    ]
}

fn ways() -> Vec<Case> {
    let network = json!({"network": {"forwarding": true, "masquerade": true, "defaultRoute": "via 192.0.2.254 dev eth0", "foreign": [{"table": "ip filter", "chain": "FORWARD", "rule": "policy drop"}]}});
    let off = json!({"network": {"forwarding": false, "masquerade": false, "defaultRoute": null, "foreign": []}});
    let held = json!({"listeners": [{"protocol": "TCP", "port": 30080, "process": "nginx", "pid": 77}]});
    let files = json!({"inotify": {"instances": 128, "instancesMax": 128, "watches": 900, "watchesMax": 65536, "most": [{"process": "kubelet", "pid": 5, "instances": 60}]}, "files": {"open": 3000, "max": 100_000}});
    let log = "E: inotify_init: too many open files\n";
    vec![
        Case::new(
            "19-node-port",
            "service shop/web",
            on(web(&[]), service(&[("/spec/type", json!("NodePort")), ("/spec/ports/0/nodePort", json!(30080))]))
                .kubelet("a", "skiff/known", held),
            &["30080/TCP on node a by nginx (pid 77)"],
        ),
        Case::new(
            "20-foreign-firewall",
            "pod shop/web to 203.0.113.9:443",
            on(web(&[]), service(&[])).kubelet("a", "skiff/known", network),
            &["table ip filter, chain FORWARD: policy drop", "nobody but the pod can try"],
        ),
        Case::new(
            "20-no-way",
            "pod shop/web to 203.0.113.9",
            on(web(&[]), service(&[])).kubelet("a", "skiff/known", off),
            &["ip_forward", "masquerade", "no default route"],
        ),
        Case::new(
            "20-unknown",
            "pod shop/web to 203.0.113.9",
            on(web(&[]), service(&[])),
            &["its kubelet does not say"],
        ),
        Case::new(
            "23-inotify",
            "pod shop/web",
            on(web(&[]), service(&[])).log("shop/web", "main", false, log).kubelet("a", "skiff/known", files),
            &[
                "128 of 128 inotify instances (fs.inotify.max_user_instances)",
                "kubelet (pid 5) 60",
                "max_user_instances=512",
            ],
        ),
        Case::new(
            "23-not-known",
            "pod shop/web",
            on(web(&[]), service(&[])).log("shop/web", "main", false, log),
            &["not known: its kubelet does not say"],
        ),
    ]
}
