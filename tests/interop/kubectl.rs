//! kubectl of both Debian releases against a whole node: what it shows, and what it writes.

use crate::support::{IMAGE, pod, shell, wanted, web};
use serde_json::Value;
use skiff_harness::{Peer, TestNode, eventually};

/// Runs `area` on a node of its own.
pub(crate) fn session(name: &str, area: impl FnOnce(&TestNode, &Peer)) {
    let Some(kubectl) = wanted(name) else { return };
    let node = TestNode::up(&[]);
    area(&node, &kubectl);
    node.down();
}

/// Runs kubectl, which has to succeed.
#[track_caller]
pub(crate) fn kubectl(node: &TestNode, kubectl: &Peer, line: &str) -> String {
    node.peer(kubectl, line.split_whitespace()).ok()
}

/// `kubectl apply -f` with a file of this content.
#[track_caller]
pub(crate) fn apply(node: &TestNode, kubectl: &Peer, manifest: &Value) -> String {
    let file = node.scratch().join("by-kubectl.json");
    std::fs::write(&file, manifest.to_string()).unwrap();
    node.peer(kubectl, ["apply".as_ref(), "-f".as_ref(), file.as_os_str()]).ok()
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

fn shows(node: &TestNode, peer: &Peer) {
    let run = |line: &str| kubectl(node, peer, line);
    contains(&run("version"), &["Server Version"]);
    contains(&run("api-resources"), &["deployments", "apps/v1", "endpointslices", "jobs"]);
    contains(&run("explain deployment.spec.replicas"), &["replicas", "integer"]);
    contains(&run("cluster-info"), &["is running at"]);
    apply(node, peer, &web(2));
    let pods = node.ready_pods("app=web", 2);
    let name = pods[0]["metadata"]["name"].as_str().unwrap();
    let ip = pods[0]["status"]["podIP"].as_str().unwrap();
    contains(&run("get nodes -o wide"), &["node", "Ready", "INTERNAL-IP", "172.31.255.1"]);
    contains(&run("get pods"), &["NAME", "READY", "STATUS", "RESTARTS", "AGE", "1/1", "Running"]);
    contains(&run("get pods -o wide"), &[name, ip, "NOMINATED NODE"]);
    contains(&run(&format!("get pod {name} -o yaml")), &["apiVersion: v1", "phase: Running", &format!("podIP: {ip}")]);
    assert_eq!(run(&format!("get pod {name} -o jsonpath={{.status.podIP}}")), ip);
    assert_eq!(run("get pods -l app=web -o name").lines().count(), 2);
    contains(
        &run("get deploy,rs,svc,endpointslices,events -A"),
        &["deployment.apps/web", "replicaset.apps/web-", "service/web", "Scheduled"],
    );
    contains(&run(&format!("describe pod {name}")), &["Scheduled", "Started", ip, "QoS Class"]);
    contains(&run("describe deployment web"), &["2 desired", "2 available", "NewReplicaSet", "ScalingReplicaSet"]);
    let service = run("describe service web");
    contains(&service, &["10.96.", "80/TCP"]);
    // Release 1.20 reads the Endpoints object, later ones read slices.
    contains(&service, &["Endpoints", ":8080"]);
    contains(&run("describe node node"), &["Allocatable", "Non-terminated Pods", "KubeletReady", name]);
    let missing = node.peer(peer, ["get", "pod", "nobody"]).refused();
    contains(&missing, &["Error from server (NotFound): pods \"nobody\" not found"]);
}

fn writes(node: &TestNode, peer: &Peer) {
    let run = |line: &str| kubectl(node, peer, line);
    contains(&apply(node, peer, &web(1)), &["deployment.apps/web created", "service/web created"]);
    contains(&apply(node, peer, &web(1)), &["deployment.apps/web unchanged", "service/web unchanged"]);
    contains(&run("wait --for=condition=Available --timeout=60s deployment/web"), &["condition met"]);
    contains(&run("scale deployment web --replicas=3"), &["scaled"]);
    contains(&run("rollout status deployment/web --timeout=60s"), &["successfully rolled out"]);
    node.ready_pods("app=web", 3);
    contains(&apply(node, peer, &web(2)), &["deployment.apps/web configured", "service/web unchanged"]);
    contains(&run("set env deployment/web VERSION=two"), &["env updated"]);
    contains(&run("rollout status deployment/web --timeout=60s"), &["successfully rolled out"]);
    contains(&run("rollout history deployment/web"), &["REVISION"]);
    contains(&run("rollout undo deployment/web"), &["rolled back"]);
    contains(&run("rollout status deployment/web --timeout=60s"), &["successfully rolled out"]);
    contains(&run("create configmap settings --from-literal=a=b"), &["configmap/settings created"]);
    assert_eq!(run("get configmap settings -o jsonpath={.data.a}"), "b");
    contains(&run("create secret generic keys --from-literal=token=s3cret"), &["secret/keys created"]);
    assert_eq!(run("get secret keys -o jsonpath={.data.token}"), "czNjcmV0");
    contains(&run("create namespace team"), &["namespace/team created"]);
    contains(&run(&format!("create deployment made --image={IMAGE} -n team")), &["deployment.apps/made created"]);
    contains(&run("rollout status deployment/made -n team --timeout=60s"), &["successfully rolled out"]);
    contains(&run("label configmap settings tier=back"), &["labeled"]);
    contains(&run("annotate configmap settings note=x"), &["annotated"]);
    contains(&run("patch configmap settings -p {\"data\":{\"c\":\"d\"}}"), &["patched"]);
    assert_eq!(run("get configmap settings -o jsonpath={.data.c}{.metadata.labels.tier}"), "dback");
    contains(&run("delete namespace team"), &["namespace \"team\" deleted"]);
    contains(&run("delete deployment web"), &["deleted"]);
    contains(&run("delete service web"), &["deleted"]);
    eventually("no pod is left", || match run("get pods -A -o name") {
        none if none.is_empty() => Ok(()),
        pods => Err(pods),
    });
}

fn deletes(node: &TestNode, peer: &Peer) {
    let slow = "trap 'sleep 2; exit 0' TERM; while :; do sleep 0.1; done";
    let mut patient = pod("patient", shell(slow));
    patient["spec"]["terminationGracePeriodSeconds"] = 20.into();
    apply(node, peer, &patient);
    apply(node, peer, &pod("quick", shell("exec sleep 1000")));
    node.ready_pods("app=patient", 1);
    node.ready_pods("app=quick", 1);
    contains(&kubectl(node, peer, "delete pod patient"), &["pod \"patient\" deleted"]);
    assert_eq!(kubectl(node, peer, "get pods -o name"), "pod/quick\n");
    contains(&kubectl(node, peer, "delete pod quick --grace-period=0 --force"), &["deleted"]);
    let manifest = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "wrong"}, "spec": {"containers": [
        {"name": "a", "image": "x", "ports": [{"containerPort": 70000}]}]}});
    let file = node.scratch().join("wrong.json");
    std::fs::write(&file, manifest.to_string()).unwrap();
    let said = node.peer(peer, ["apply".as_ref(), "-f".as_ref(), file.as_os_str()]).refused();
    contains(&said, &["is invalid", "spec.containers[0].ports[0].containerPort", "1"]);
}

/// One test for each kubectl and each function of this shape.
macro_rules! on_both {
    ($($test:ident: $area:ident),+ $(,)?) => {
        mod of_bookworm {
            $(#[test] fn $test() { $crate::kubectl::session("kubectl-1.20", super::$area); })+
        }
        mod of_trixie {
            $(#[test] fn $test() { $crate::kubectl::session("kubectl-1.32", super::$area); })+
        }
    };
}
pub(crate) use on_both;

on_both!(kubectl_shows: shows, kubectl_writes: writes, kubectl_deletes: deletes);
