//! Addresses, ports and names: what reaches a pod from inside the box.

use crate::support::{
    apply, cluster_ip, container_id, deployment, fetch, fetch_from, in_pod, pod, processes, ready_pod, service, shell,
    until, web, with,
};
use serde_json::{Value, json};
use skiff_harness::{TestNode, eventually, peer, skip};
use std::collections::BTreeSet;

/// Node ports of a box are at this address.
const NODE: &str = "172.31.255.1";

#[test]
fn a_service_spreads_connections_over_its_pods() {
    let node = TestNode::up(&[]);
    let ports = json!([{"port": 80, "targetPort": "http"}]);
    apply(
        &node,
        &[deployment("web", 3, web()), service("web", "web", ports), pod("guest", &[shell("exec sleep 1000")])],
    );
    let (pods, guest) = (node.ready_pods("app=web", 3), ready_pod(&node, "guest"));
    let url = format!("http://{}/", cluster_ip(&node, "web"));
    let mut answered = BTreeSet::new();
    eventually("all pods answer", || {
        answered.extend(fetch(&node, &url));
        if answered.len() == 3 { Ok(()) } else { Err(answered.clone()) }
    });
    let from_pod = fetch_from(first_process(&guest), &url).unwrap();
    assert!(from_pod.starts_with("hello from web-"), "{from_pod}");
    // A pod reaches itself through its service: the packet leaves and comes back by the same interface.
    let one = first_process(&pods[0]);
    let own: BTreeSet<String> = (0..40).map(|_| fetch_from(one, &url).unwrap()).collect();
    assert_eq!(own, answered);
    through_the_api(&node);
    drop(node.skiff(["delete", "deployment", "web"]).ok());
    eventually("the service refuses", || match fetch(&node, &url) {
        Err(said) if said.contains("refused") => Ok(()),
        other => Err(other),
    });
    node.down();
}

/// The same pods by the paths of a proxy.
fn through_the_api(node: &TestNode) {
    let Some(kubectl) = peer("kubectl-1.32") else { return skip("there is no kubectl-1.32") };
    let read = |path: &str| node.peer(&kubectl, ["get", "--raw", path]);
    for name in ["services/web/proxy/", "services/web:80/proxy/", "services/http:web:/proxy//"] {
        let said = read(&format!("/api/v1/namespaces/default/{name}")).ok();
        assert!(said.starts_with("hello from web-"), "{name}: {said}");
    }
    let pod = node.json(&["pods", "-l", "app=web"])["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    let said = read(&format!("/api/v1/namespaces/default/pods/{pod}:8080/proxy/")).ok();
    assert!(said.starts_with(&format!("hello from {pod}")), "{said}");
    let name = node.json(&["nodes"])["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!(read(&format!("/api/v1/nodes/{name}/proxy/healthz")).ok(), "ok");
    let refused = read("/api/v1/namespaces/default/services/web:81/proxy/").refused();
    assert!(refused.contains("no service port 81 found"), "{refused}");
}

#[test]
fn a_node_port_is_open_on_the_node() {
    let node = TestNode::up(&[]);
    let mut outside = service("web", "web", json!([{"port": 80, "targetPort": 8080, "nodePort": 30123}]));
    outside["spec"]["type"] = json!("NodePort");
    apply(&node, &[pod("web", &[web()]), outside]);
    ready_pod(&node, "web");
    let url = format!("http://{NODE}:30123/");
    let answer = eventually("the node port answers", || fetch(&node, &url));
    assert!(answer.starts_with("hello from web"), "{answer}");
    drop(node.skiff(["delete", "service", "web"]).ok());
    eventually("the node port is closed", || fetch(&node, &url).err().ok_or("still open"));
    node.down();
}

/// Fault N5: a service without selector leads where its Endpoints object says. Fault N8: what is not proxied is an event.
#[test]
fn a_service_leads_to_endpoints_that_a_user_wrote() {
    let node = TestNode::up(&["--allow-external-ips"]);
    let mut named = service("named", "nobody", json!([{"port": 80}]));
    named["spec"].as_object_mut().unwrap().remove("selector");
    named["spec"]["externalIPs"] = json!(["fd00::1"]);
    apply(&node, &[pod("web", &[web()]), service("web", "web", json!([{"port": 80, "targetPort": 8080}])), named]);
    let web = ready_pod(&node, "web");
    let subsets = json!([{"addresses": [{"ip": web["status"]["podIP"]}], "ports": [{"port": 8080}]}]);
    apply(
        &node,
        &[json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "named"}, "subsets": subsets})],
    );
    let url = format!("http://{}/", cluster_ip(&node, "named"));
    let answer = eventually("the service answers", || fetch(&node, &url));
    assert!(answer.starts_with("hello from web"), "{answer}");
    until(&node, &["endpoints", "web"], "lead to the pod", |one| {
        one["subsets"][0]["addresses"][0]["ip"] == web["status"]["podIP"]
    });
    until(&node, &["events"], "tell of the address that is not proxied", |list| {
        let told =
            |event: &Value| event["reason"] == "ServiceNotFullyProxied" && event["involvedObject"]["name"] == "named";
        list["items"].as_array().is_some_and(|all| all.iter().any(told))
    });
    node.down();
}

/// The host's id of the first process of a pod's first container.
fn first_process(pod: &Value) -> i64 {
    i64::from(processes(&container_id(pod, 0))[0])
}

/// Answers every datagram with itself in capitals.
const UDP_SERVER: &str = r#"use IO::Socket::INET; $| = 1;
my $s = IO::Socket::INET->new(LocalPort => 5353, Proto => "udp") or die $!;
print "serving\n"; my $m; while (defined $s->recv($m, 1500)) { $s->send(uc $m) }"#;

#[test]
fn datagrams_find_their_pod_and_back() {
    if !std::path::Path::new("/usr/bin/perl").exists() {
        return skiff_harness::skip("no perl on this machine to serve UDP with");
    }
    let node = TestNode::up(&[]);
    let server = json!({
        "name": "main", "image": crate::support::IMAGE, "command": ["/usr/bin/perl", "-e", UDP_SERVER],
        "volumeMounts": [{"name": "usr", "mountPath": "/usr", "readOnly": true}],
    });
    let mut echo = pod("echo", &[server]);
    echo["spec"]["volumes"] = json!([{"name": "usr", "hostPath": {"path": "/usr"}}]);
    let mut udp =
        service("echo", "echo", json!([{"port": 53, "targetPort": 5353, "protocol": "UDP", "nodePort": 30153}]));
    udp["spec"]["type"] = json!("NodePort");
    apply(&node, &[echo, udp]);
    ready_pod(&node, "echo");
    for address in [format!("{}/53", cluster_ip(&node, "echo")), format!("{NODE}/30153")] {
        let script = format!("exec 3<>/dev/udp/{address}; echo hello >&3; timeout 2 head -c 6 <&3");
        eventually(&format!("{address} answers"), || match node.inside(["bash", "-c", &script]) {
            ended if ended.out == "HELLO\n" => Ok(()),
            ended => Err(ended),
        });
    }
    node.down();
}

#[test]
fn a_pod_knows_its_name_and_the_api() {
    let node = TestNode::up(&[]);
    apply(&node, &[pod("named", &[web()])]);
    let pod = ready_pod(&node, "named");
    let ip = pod["status"]["podIP"].as_str().unwrap();
    let hosts = in_pod(&node, "named", "grep -w $(hostname) /etc/hosts").ok();
    assert!(hosts.starts_with(ip) && hosts.contains("named"), "{hosts}");
    let page = fetch_from(first_process(&pod), &format!("http://{ip}:8080/")).unwrap();
    assert!(page.starts_with("hello from named"), "{page}");
    let environment = in_pod(&node, "named", "env").ok();
    assert!(environment.contains("KUBERNETES_SERVICE_HOST=10.96.0.1\n"), "{environment}");
    // The service `kubernetes` leads to the API server, which asks for a certificate of its authority.
    let endpoints = until(&node, &["endpointslices"], "include the API", |list| {
        list["items"].as_array().is_some_and(|all| all.iter().any(|one| one["metadata"]["name"] == "kubernetes"))
    });
    drop(endpoints);
    let process = first_process(&pod);
    eventually("the API answers pods", || match fetch_from(process, "http://10.96.0.1:443/") {
        // What it says to somebody who does not speak TLS is its own affair.
        Err(said) if said.contains("refused") || said.contains("timed out") => Err(said),
        _answered => Ok(()),
    });
    node.down();
}

#[test]
fn pods_reach_each_other_and_host_ports_lead_to_them() {
    let node = TestNode::up(&[]);
    let container = with(web(), json!({"ports": [{"containerPort": 8080, "hostPort": 18080}]}));
    apply(&node, &[pod("server", &[container]), pod("guest", &[shell("exec sleep 1000")])]);
    let ip = ready_pod(&node, "server")["status"]["podIP"].as_str().unwrap().to_owned();
    let guest = ready_pod(&node, "guest");
    let page = fetch_from(first_process(&guest), &format!("http://{ip}:8080/")).unwrap();
    assert!(page.starts_with("hello from server"), "{page}");
    let page = eventually("the host port answers", || fetch(&node, &format!("http://{NODE}:18080/")));
    assert!(page.starts_with("hello from server"), "{page}");
    node.down();
}

#[test]
fn a_published_port_is_open_on_the_hosts_loopback() {
    let free = skiff_harness::free_port();
    let node = TestNode::up(&["--publish", &format!("{free}:30080")]);
    let mut outside = service("web", "web", json!([{"port": 80, "targetPort": "http", "nodePort": 30080}]));
    outside["spec"]["type"] = json!("NodePort");
    apply(&node, &[pod("web", &[web()]), outside]);
    ready_pod(&node, "web");
    let url = format!("http://127.0.0.1:{free}/");
    let page = eventually("the published port answers", || fetch_from(i64::from(std::process::id()), &url));
    assert!(page.starts_with("hello from web"), "{page}");
    node.down();
}
