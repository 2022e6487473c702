//! `skiff why`, of states that are brought about on a node: what it says holds the figures, and its exit code means something.

use crate::support::{apply, deployment, pod, ready_pod, service, shell, web, with};
use serde_json::{Value, json};
use skiff_harness::{TestNode, eventually};

/// Waits until `skiff why` of `words` ends with `code` and says all of `expected`.
#[track_caller]
fn says(node: &TestNode, words: &[&str], code: i32, expected: &[&str]) {
    eventually(&format!("skiff why {}", words.join(" ")), || {
        let ended = node.skiff(["why"].iter().chain(words));
        let missing = expected.iter().find(|text| !ended.out.contains(**text));
        match missing {
            None if ended.code == code => Ok(()),
            _ => Err(format!("{missing:?} {ended:?}")),
        }
    });
}

fn pod_with(name: &str, container: Value, spec: &Value) -> Value {
    let mut pod = pod(name, &[container]);
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    pod
}

/// Pods that get no node, or whose containers do not start.
fn that_do_not_start() -> Vec<Value> {
    let sleeper = || shell("exec sleep 1000");
    let env = json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "token", "key": "k"}}}]);
    let host_path = json!({"volumes": [{"name": "d", "hostPath": {"path": "/not/there", "type": "Directory"}}]});
    let claim = json!({"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "none"}}]});
    vec![
        pod("huge", &[with(sleeper(), json!({"resources": {"requests": {"cpu": "640"}}}))]),
        pod_with("choosy", sleeper(), &json!({"nodeSelector": {"disk": "ssd"}})),
        pod_with("gated", sleeper(), &json!({"schedulingGates": [{"name": "example.com/wait"}]})),
        pod_with("claims", sleeper(), &claim),
        pod("pulls", &[with(sleeper(), json!({"image": "registry.invalid/app:1"}))]),
        pod("refers", &[with(sleeper(), json!({ "env": env }))]),
        pod_with("mounts", sleeper(), &host_path),
        pod("root", &[with(sleeper(), json!({"securityContext": {"runAsNonRoot": true}}))]),
        pod("typo", &[with(sleeper(), json!({"command": ["srever"]}))]),
    ]
}

fn starts_are_explained(node: &TestNode) {
    apply(node, &that_do_not_start());
    for (name, expected) in [
        ("huge", &["InsufficientResources", "asks for 640 cpu", "allocatable"][..]),
        ("choosy", &["NodeSelector", "disk=ssd", "has no label disk"]),
        ("gated", &["SchedulingGated", "example.com/wait"]),
        ("claims", &["ClaimMissing", "The claim none does not exist in namespace default"]),
        ("pulls", &["ImagePull", "registry.invalid/app:1", "next try is due at", "No credentials"]),
        ("refers", &["SecretMissing", "The Secret token does not exist in namespace default", "variable A"]),
        ("mounts", &["VolumeMount", "hostPath /not/there", "could not be mounted"]),
        ("root", &["RunAsNonRoot"]),
        ("typo", &["CommandNotFound", "srever"]),
    ] {
        says(node, &[name], 1, expected);
    }
}

fn ends_are_explained(node: &TestNode) {
    let limit = json!({"resources": {"limits": {"memory": "32Mi"}}});
    let probe = json!({"readinessProbe": {"httpGet": {"path": "/ready", "port": 9999}, "periodSeconds": 1}});
    let mut guarded = pod("guarded", &[shell("exec sleep 1000")]);
    guarded["metadata"]["finalizers"] = json!(["example.com/guard"]);
    apply(
        node,
        &[
            pod("crash", &[shell("echo no database; exit 3")]),
            pod("hungry", &[with(shell("a=x; while :; do a=$a$a; done"), limit)]),
            pod("unready", &[with(web(), probe)]),
            service("unready", "unready", json!([{"port": 80, "targetPort": "http"}])),
            guarded,
        ],
    );
    says(node, &["crash"], 1, &["exit code 3", "no database", "the next start is due at"]);
    says(node, &["hungry"], 1, &["OOMKilled", "its own limit of 32Mi", "SIGKILL"]);
    says(node, &["unready"], 1, &["ReadinessProbe", ":9999/ready every 1s", "Connection refused"]);
    says(node, &["svc/unready"], 1, &["NoReadyPods", "ReadinessProbe"]);
    ready_pod(node, "guarded");
    drop(node.skiff(["delete", "pod", "guarded", "--wait", "false"]).ok());
    says(node, &["guarded"], 1, &["Finalizers", "example.com/guard"]);
    let mut free = node.json(&["pod", "guarded"]);
    free["metadata"]["finalizers"] = json!([]);
    apply(node, &[free]);
}

fn services_and_names_are_explained(node: &TestNode) {
    let ports = json!([{"port": 80, "targetPort": "http"}]);
    let closed = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "closed"},
        "spec": {"podSelector": {"matchLabels": {"app": "shut"}}, "policyTypes": ["Ingress"]},
    });
    let all = [
        pod("web", &[web()]),
        service("web", "web", ports.clone()),
        service("nobody", "Web", ports.clone()),
        service("misnamed", "web", json!([{"port": 80, "targetPort": "https"}])),
        pod("shut", &[web()]),
        service("shut", "shut", ports),
        closed,
    ];
    apply(node, &all);
    ready_pod(node, "web");
    ready_pod(node, "shut");
    says(node, &["pod/web"], 0, &["Running and ready"]);
    says(node, &["svc/web"], 0, &["1 of 1 pod ready"]);
    says(node, &["svc/nobody"], 1, &["selector app=Web takes no pod", "app=web"]);
    says(node, &["svc/misnamed"], 1, &["port named https", "http 8080/TCP"]);
    says(node, &["svc/shut"], 1, &["NetworkPolicy closed", "drops everything"]);
    says(node, &["pod/web", "--to", "shut:80"], 1, &["NetworkPolicy closed", "gets from pod default/web"]);
    says(
        node,
        &["pod/web", "--to", "db"],
        1,
        &["db.default.svc.cluster.local", "ndots 5", "no namespace has a service db"],
    );
    says(node, &["pod/web", "--to", "203.0.113.9"], 1, &["no default route"]);
}

fn workloads_and_nodes_are_explained(node: &TestNode) {
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small", "namespace": "tight"}, "spec": {"hard": {"pods": "1"}},
    });
    let mut many = deployment("many", 2, shell("exec sleep 1000"));
    many["metadata"]["namespace"] = "tight".into();
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "held"},
        "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [shell("true")]}}},
    });
    apply(node, &[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tight"}}), quota]);
    apply(node, &[many, job]);
    says(node, &["deploy/many", "-n", "tight"], 1, &["RolloutStuck", "exceeded quota: small", "limited: pods=1"]);
    says(node, &["job/held"], 1, &["Suspended"]);
    let name = node.json(&["nodes"])["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    says(node, &[&format!("node/{name}")], 0, &["Ready, for"]);
    says(node, &["pod/none"], 2, &["There is no such pod"]);
    let answer = node.skiff(["why", "pod/huge", "-o", "json"]);
    let answer: Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(
        (answer["verdict"].as_str(), answer["findings"][0]["reason"].as_str()),
        (Some("cause"), Some("InsufficientResources"))
    );
    assert!(!node.skiff(["why", "pod/huge"]).out.contains('\x1b'), "colours are for terminals");
}

#[test]
fn what_is_wrong_is_told_with_figures() {
    let node = TestNode::up(&[]);
    starts_are_explained(&node);
    ends_are_explained(&node);
    services_and_names_are_explained(&node);
    workloads_and_nodes_are_explained(&node);
    node.down();
}
