//! Names in pods, and who may come to whom.

use crate::support::{apply, cluster_ip, in_pod, pod, ready_pod, service, web};
use serde_json::{Value, json};
use skiff_harness::{TestNode, eventually};

/// What `nslookup` of a pod finds: the addresses behind the one of the server.
fn found(node: &TestNode, from: &str, name: &str) -> Result<Vec<String>, String> {
    let ended = in_pod(node, from, &format!("busybox nslookup {name}"));
    let (_, answer) = ended.out.split_once("\n\n").unwrap_or_default();
    let addresses: Vec<String> =
        answer.lines().filter_map(|line| line.strip_prefix("Address: ").map(str::to_owned)).collect();
    if addresses.is_empty() { Err(ended.out + &ended.err) } else { Ok(addresses) }
}

/// Programs of this host that ask for names and for pages.
const TOOLS: &str = "skiff.local/tools:1";

fn build_tools(node: &TestNode) {
    let data = node.data().display().to_string();
    let programs = ["/usr/bin/getent", "/bin/busybox", "/bin/bash", "/bin/sh", "/bin/sleep", "/usr/bin/timeout"];
    let build = ["image", "from-host", "--tag", TOOLS].into_iter().chain(programs);
    let said = node.skiff(build.chain(["--data-dir", &data, "--", "/bin/sleep", "1000"])).ok();
    assert!(said.contains(TOOLS), "{said}");
}

fn tools(script: &str) -> Value {
    json!({"name": "main", "image": TOOLS, "command": ["sh", "-c", script]})
}

/// A shell's own look-ups, and those of the C library with its search path.
#[test]
fn pods_find_services_and_each_other_by_name() {
    let node = TestNode::up(&[]);
    build_tools(&node);
    let mut headless = service("db", "db-0", json!([{"name": "sql", "port": 8080}]));
    headless["spec"]["clusterIP"] = "None".into();
    let mut first = pod("db-0", &[web()]);
    (first["spec"]["hostname"], first["spec"]["subdomain"]) = ("first".into(), "db".into());
    let glibc = pod("glibc", &[json!({"name": "c", "image": TOOLS})]);
    let ports = json!([{"port": 80, "targetPort": "http"}]);
    let guest = pod("guest", &[tools("exec sleep 1000")]);
    apply(&node, &[pod("web", &[web()]), service("web", "web", ports), headless, first, glibc, guest]);
    let (db, _) = (ready_pod(&node, "db-0"), ready_pod(&node, "web"));
    ready_pod(&node, "guest");
    ready_pod(&node, "glibc");
    let (web, db) = (cluster_ip(&node, "web"), db["status"]["podIP"].as_str().unwrap().to_owned());
    for (name, address) in [
        ("web.default.svc.cluster.local", &web),
        ("db.default.svc.cluster.local", &db),
        ("first.db.default.svc.cluster.local", &db),
    ] {
        let all = eventually(name, || found(&node, "guest", name));
        assert_eq!(all, std::slice::from_ref(address), "{name}");
    }
    for name in ["web", "web.default", "kubernetes.default.svc"] {
        let said = node.skiff(["exec", "glibc", "--", "getent", "ahostsv4", name]).ok();
        assert!(said.contains("STREAM") && said.contains(".svc.cluster.local"), "{name}: {said}");
    }
    let back = node.skiff(["exec", "glibc", "--", "getent", "hosts", &web]).ok();
    assert!(back.trim_end().ends_with("web.default.svc.cluster.local"), "{back}");
    let gone = node.skiff(["exec", "glibc", "--", "getent", "ahostsv4", "gone.default.svc.cluster.local"]);
    assert_eq!(gone.code, 2, "getent: the key is not found");
    node.down();
}

/// The first thing that a closed pod does is to ask another one.
#[test]
fn a_policy_holds_for_a_pods_first_packet() {
    let node = TestNode::up(&[]);
    build_tools(&node);
    let policy = |name: &str, spec: Value| {
        let meta = json!({"name": name});
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec})
    };
    let ports = json!([{"port": 80, "targetPort": "http"}]);
    apply(&node, &[pod("web", &[web()]), service("web", "web", ports)]);
    ready_pod(&node, "web");
    let closed = json!({"podSelector": {"matchLabels": {"app": "closed"}}, "policyTypes": ["Egress"]});
    let friends = json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
        {"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}], "ports": [{"port": "http"}]},
    ]});
    apply(&node, &[policy("closed", closed), policy("friends", friends)]);
    // What comes before anything else in a container: one try, and no second one.
    let ask = format!(
        "timeout 2 bash -c ': < /dev/tcp/{}/80' && echo reached || echo not; exec sleep 1000",
        cluster_ip(&node, "web")
    );
    let asking = |name: &str| pod(name, &[tools(&ask)]);
    apply(&node, &[asking("closed"), asking("friend"), asking("stranger")]);
    for (name, expected) in [("friend", "reached\n"), ("closed", "not\n"), ("stranger", "not\n")] {
        ready_pod(&node, name);
        let said = eventually("it has asked", || match crate::support::logs(&node, name) {
            said if said.is_empty() => Err(format!("nothing yet of {name}")),
            said => Ok(said),
        });
        assert!(said.starts_with(expected), "{name}: {said}");
    }
    node.down();
}
