//! Two nodes in boxes of one host: what runs on the second is reached as what runs on the first.

use crate::support::{apply, cluster_ip, container_id, fetch_from, logs, pod, processes, service, shell, until, web};
use serde_json::{Value, json};
use skiff_harness::{Snapshot, TestNode, eventually};
use std::collections::BTreeSet;

const SECOND: &str = "node-2";

/// Waits until both are ready; answers the two-node cluster.
fn two_nodes() -> TestNode {
    let node = TestNode::up(&["--nodes", "2"]);
    until(&node, &["node", SECOND], "is ready", |node| {
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    });
    node
}

/// A pod of `app` on the named node.
fn on(name: &str, node: &str, app: &str, container: Value) -> Value {
    let mut pod = pod(name, &[container]);
    pod["spec"]["nodeName"] = node.into();
    pod["metadata"]["labels"]["app"] = app.into();
    pod
}

fn guest(name: &str, node: &str) -> Value {
    on(name, node, name, shell("echo here; exec sleep 1000"))
}

/// Who answers at `address` when asked often, seen from a pod's first process.
fn answered(pid: i64, address: &str) -> BTreeSet<String> {
    (0..24).map(|_| fetch_from(pid, &format!("http://{address}/")).unwrap()).collect()
}

fn hello(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| format!("hello from {name}")).collect()
}

fn spread() -> [Value; 4] {
    let ports = json!([{"port": 80, "targetPort": "http"}]);
    let mut all = service("all", "web", json!([{"port": 80, "targetPort": "http", "nodePort": 30080}]));
    all["spec"]["type"] = "NodePort".into();
    let mut local = service("local", "web", json!([{"port": 80, "targetPort": "http", "nodePort": 30081}]));
    local["spec"]["type"] = "NodePort".into();
    local["spec"]["externalTrafficPolicy"] = "Local".into();
    let mut inward = service("inward", "web", ports.clone());
    inward["spec"]["internalTrafficPolicy"] = "Local".into();
    let mut near = service("near", "web", ports);
    near["spec"]["trafficDistribution"] = "PreferSameNode".into();
    [all, local, inward, near]
}

#[test]
fn pods_and_services_of_two_nodes_are_one_cluster() {
    let node = two_nodes();
    let [all, local, inward, near] = spread();
    apply(&node, &[on("w1", "node", "web", web()), on("w2", SECOND, "web", web()), all, local, inward, near]);
    apply(&node, &[guest("g1", "node"), guest("g2", SECOND)]);
    node.ready_pods("app=web", 2);
    let (g1, g2) = (node.ready_pods("app=g1", 1).remove(0), node.ready_pods("app=g2", 1).remove(0));
    let first = |pod: &Value| i64::from(processes(&container_id(pod, 0))[0]);
    let (here, there) = (first(&g1), first(&g2));
    for (pid, own, other) in [(here, "w1", "w2"), (there, "w2", "w1")] {
        eventually("both answer", || {
            let found = answered(pid, &cluster_ip(&node, "all"));
            if found == hello(&[own, other]) { Ok(()) } else { Err(found) }
        });
        assert_eq!(answered(pid, &cluster_ip(&node, "inward")), hello(&[own]));
        assert_eq!(answered(pid, &cluster_ip(&node, "near")), hello(&[own]));
        // The other node's port is outside for this pod, its own is not.
        let ports = ["172.31.255.1:30081", "172.31.255.2:30081"];
        let (mine, theirs) = if own == "w1" { (ports[0], ports[1]) } else { (ports[1], ports[0]) };
        assert_eq!(answered(pid, theirs), hello(&[other]));
        assert_eq!(answered(pid, mine), hello(&[own, other]));
        assert_eq!(answered(pid, "172.31.255.1:30080"), hello(&[own, other]));
    }
    assert_eq!(logs(&node, "g2").trim(), "here");
    let said = node.skiff(["exec", "g2", "--", "sh", "-c", "echo $HOSTNAME"]).ok();
    assert_eq!(said.trim(), "g2");
    node.down();
}

#[test]
fn a_second_node_keeps_its_certificate_and_goes_with_the_first() {
    let before = Snapshot::take();
    let mut node = two_nodes();
    apply(&node, &[guest("g2", SECOND)]);
    let pod = node.ready_pods("app=g2", 1).remove(0);
    let requests = |node: &TestNode| node.json(&["certificatesigningrequests"])["items"].as_array().map_or(0, Vec::len);
    assert_eq!(requests(&node), 2, "one as a client, one as a server");
    node.kill();
    node.start();
    until(&node, &["node", SECOND], "reports", |node| node["status"]["nodeInfo"]["kubeletVersion"].is_string());
    let again = node.ready_pods("app=g2", 1).remove(0);
    assert_eq!(again["status"]["containerStatuses"], pod["status"]["containerStatuses"], "the pod went on");
    assert_eq!(requests(&node), 2, "it needs no other certificate");
    node.kill();
    drop(node.run_down(&[]).ok());
    drop(node.run_down(&[]).ok());
    before.assert_nothing_new_of(&node.mark());
    node.down();
}

#[test]
fn a_load_balancer_has_an_address_and_lets_in_whom_it_names() {
    let node = TestNode::up(&["--load-balancer-range", "192.0.2.16/30"]);
    let balanced = |name: &str, ranges: Value| {
        let mut one = service(name, "web", json!([{"port": 80, "targetPort": "http"}]));
        one["spec"]["type"] = "LoadBalancer".into();
        one["spec"]["externalTrafficPolicy"] = "Local".into();
        one["spec"]["loadBalancerSourceRanges"] = ranges;
        one
    };
    let closed = balanced("closed", json!(["198.51.100.0/24"]));
    apply(&node, &[pod("web", &[web()]), guest("guest", "node"), balanced("open", json!(["10.244.0.0/16"])), closed]);
    node.ready_pods("app=web", 1);
    let guest = node.ready_pods("app=guest", 1).remove(0);
    let pid = i64::from(processes(&container_id(&guest, 0))[0]);
    let given = |name: &str| {
        let found = until(&node, &["service", name], "has an address", |service| {
            service["status"]["loadBalancer"]["ingress"][0]["ip"].is_string()
        });
        let ip = found["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap().to_owned();
        assert!(ip.starts_with("192.0.2."), "{ip}");
        (ip, found["spec"]["healthCheckNodePort"].as_u64().unwrap())
    };
    let ((open, health), (closed, _)) = (given("open"), given("closed"));
    assert_ne!(open, closed);
    let answer = eventually("the address leads to the pod", || fetch_from(pid, &format!("http://{open}/")));
    assert_eq!(answer, "hello from web");
    assert!(fetch_from(pid, &format!("http://{closed}/")).is_err(), "a pod is not in the range");
    let told = fetch_from(node.holder(), &format!("http://172.31.255.1:{health}/")).unwrap();
    assert_eq!(told, "{", "balancers are told in JSON");
    node.down();
}
