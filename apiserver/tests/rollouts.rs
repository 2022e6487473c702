//! `kubectl rollout` of two Debian releases with our controllers, without a node: a task of the test writes what a kubelet would.

#[path = "common/cluster.rs"]
mod cluster; // a server with controllers on it
mod common;
#[path = "common/kubectl.rs"]
mod kubectl; // a kubectl, and where it works

use cluster::Cluster;
use common::peer;
use kubectl::Kubectl;
use serde_json::{Value, json};
use std::time::Duration;

impl Kubectl {
    fn shows(&self, arguments: &str, part: &str) {
        let text = self.run(arguments);
        assert!(text.contains(part), "{arguments}: no {part:?} in:\n{text}");
    }

    fn image(&self, set: &str) -> String {
        self.run(&format!("get {set} -o jsonpath={{.spec.template.spec.containers[0].image}}"))
    }
}

fn manifest() -> Value {
    let set = |kind: &str, replicas: Option<i32>| {
        let name = kind.to_lowercase();
        let labels = json!({ "app": name });
        let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
        let mut spec = json!({"selector": {"matchLabels": labels}, "template": template});
        if let Some(replicas) = replicas {
            spec["replicas"] = replicas.into();
        }
        let cause = json!({"kubernetes.io/change-cause": "the first"});
        json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web", "annotations": cause}, "spec": spec})
    };
    let items = [set("Deployment", Some(2)), set("DaemonSet", None), set("StatefulSet", Some(2))];
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// What works alike for all three kinds.
fn roll(kubectl: &Kubectl, set: &str, done: &str) {
    let status = format!("rollout status {set} --timeout=60s");
    kubectl.shows(&status, done);
    let change = json!({"metadata": {"annotations": {"kubernetes.io/change-cause": "the-second"}},
        "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}}});
    kubectl.run(&format!("patch {set} -p {change}"));
    kubectl.shows(&status, done);
    kubectl.shows(&format!("rollout history {set}"), "the first");
    kubectl.shows(&format!("rollout history {set}"), "the-second");
    kubectl.shows(&format!("rollout history {set} --revision=1"), "i:1");
    kubectl.shows(&format!("rollout undo {set}"), "rolled back");
    kubectl.shows(&status, done);
    assert_eq!(kubectl.image(set), "i:1");
    kubectl.shows(&format!("rollout undo {set} --to-revision=2"), "rolled back");
    kubectl.shows(&status, done);
    assert_eq!(kubectl.image(set), "i:2");
    kubectl.shows(&format!("rollout restart {set}"), "restarted");
    kubectl.shows(&status, done);
    kubectl.shows(&format!("rollout history {set}"), "5");
}

fn session(kubectl: &Kubectl) {
    let file = kubectl.home.join("sets.json");
    std::fs::write(&file, manifest().to_string()).expect("manifest");
    kubectl.run(&format!("apply -f {}", file.display()));
    roll(kubectl, "daemonset/web", "daemon set \"web\" successfully rolled out");
    roll(kubectl, "statefulset/web", "complete");
    roll(kubectl, "deployment/web", "deployment \"web\" successfully rolled out");
    kubectl.shows("rollout pause deployment/web", "paused");
    kubectl.run("set image deployment/web c=i:3");
    kubectl.run("wait --for=condition=Progressing=Unknown deployment/web --timeout=60s");
    assert_eq!(
        kubectl
            .run("get replicasets -o jsonpath={.items[*].spec.template.spec.containers[0].image}")
            .matches("i:3")
            .count(),
        0
    );
    kubectl.shows("rollout resume deployment/web", "resumed");
    kubectl.shows("rollout status deployment/web --timeout=60s", "successfully rolled out");
    for set in ["deployment/web", "statefulset/web"] {
        kubectl.shows(&format!("scale {set} --replicas=3"), "scaled");
        kubectl.run(&format!("rollout status {set} --timeout=60s"));
    }
    assert_eq!(kubectl.run("get pods -l app=statefulset -o name").lines().count(), 3);
}

/// Makes pods ready, for as long as it is polled.
async fn kubelet(cluster: &Cluster) {
    loop {
        cluster.run_pods().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn with(name: &str) {
    let Some(program) = peer(name) else { return };
    let mut cluster = Cluster::new().await;
    let (shutdown, served) = cluster.world.serve();
    let kubectl = Kubectl::new(&cluster.world, program);
    cluster.node("one", json!({})).await;
    let session = tokio::task::spawn_blocking(move || session(&kubectl));
    tokio::select! {
        done = session => done.expect("all as it should be"),
        () = kubelet(&cluster) => {}
    }
    shutdown.cancel();
    served.await.expect("served");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_1_20_rolls_out_and_back() {
    with("kubectl-1.20").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_1_32_rolls_out_and_back() {
    with("kubectl-1.32").await;
}
