//! Pods that deployments, rollouts and jobs make and take away again, many times over, on a node that only says what a kubelet would:
//! nothing is left of them, and the process does not grow.
//!
//! Ordinarily a thousand pods; with `SKIFF_LONG=1` ten thousand.

#[path = "common/cluster.rs"]
mod cluster; // a server with controllers on it
mod common;

use cluster::Cluster;
use common::World;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use skiff_client::{Caches, Key, Queue};
use std::cell::Cell;
use std::time::Duration;

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const MERGE: &str = "application/merge-patch+json";
/// Pods of a deployment, and of a job.
const REPLICAS: usize = 20;
const COMPLETIONS: usize = 60;
/// What a round makes: a deployment's pods, those of its next version, and a job's.
const OF_ROUND: usize = 2 * REPLICAS + COMPLETIONS;
/// By how much the process may grow after the first rounds, in which caches and buffers come to their sizes.
const GROWTH_KIB_MAX: u64 = 48 * 1024;

fn rounds() -> usize {
    let pods = if std::env::var_os("SKIFF_LONG").is_some() { 10_000 } else { 1000 };
    pods / OF_ROUND
}

/// What the kernel says of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A node that takes every pod, says that it runs, ends what is to end, and ends those of jobs by itself.
struct Hollow<'a> {
    world: &'a World,
    /// How many pods have run here.
    ran: Cell<usize>,
}

impl Hollow<'_> {
    async fn live(&self) {
        let pods = Caches::new(self.world.client()).all::<Pod>();
        let queue = Queue::named(Duration::ZERO, "hollow");
        let to = queue.clone();
        let _subscription = pods.subscribe(move |change| {
            if change.now.is_some() {
                to.add(Key::of(change.meta()));
            }
        });
        loop {
            let key = queue.next().await;
            if let Some(pod) = pods.get(&key.namespace, &key.name) {
                self.tend(&pod).await;
            }
            queue.done(&key, false);
        }
    }

    /// The next thing that a kubelet would write. What it was written for may be gone meanwhile: then a later change tells.
    async fn tend(&self, pod: &Pod) {
        let path = format!("{PODS}/{}", pod.metadata.name.as_deref().unwrap_or_default());
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        let is_bound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        let of_job = pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key("job-name"));
        if pod.metadata.deletion_timestamp.is_some() {
            let _code = self.world.delete(&path, &json!({"gracePeriodSeconds": 0})).await;
        } else if !is_bound {
            let name = pod.metadata.name.clone();
            let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "hollow"}});
            let _code = self.world.post(&format!("{path}/binding"), &binding).await;
        } else if phase == "Pending" {
            self.ran.set(self.ran.get() + 1);
            let number = self.ran.get();
            let ip = format!("10.{}.{}.{}", 64 + number / 65_536, number / 256 % 256, number % 256);
            let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
            let status = json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": ready});
            self.write(&path, &status).await;
        } else if phase == "Running" && of_job {
            self.write(&path, &json!({"phase": "Succeeded"})).await;
        }
    }

    async fn write(&self, path: &str, status: &Value) {
        let change = json!({ "status": status }).to_string();
        let _code = self.world.ask("PATCH", &format!("{path}/status"), MERGE, &change).await;
    }
}

fn template(version: usize, app: &str, policy: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}, "annotations": {"version": version.to_string()}},
        "spec": {"restartPolicy": policy, "terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "i"}]}})
}

/// One round: a rollout with a service before it, and a job; then all of it goes.
async fn round(cluster: &Cluster, number: usize) {
    let (name, app) = (format!("web-{number}"), format!("app-{number}"));
    let spec = json!({"replicas": REPLICAS, "selector": {"matchLabels": {"app": app}}, "template": template(0, &app, "Always")});
    cluster.world.must("POST", DEPLOYMENTS, &json!({"metadata": {"name": name}, "spec": spec})).await;
    let service = json!({"metadata": {"name": name}, "spec": {"selector": {"app": app}, "ports": [{"port": 80}]}});
    cluster.world.must("POST", SERVICES, &service).await;
    let spec = json!({"completions": COMPLETIONS, "parallelism": REPLICAS, "template": template(0, "job", "Never")});
    cluster.world.must("POST", JOBS, &json!({"metadata": {"name": name}, "spec": spec})).await;
    let path = format!("{DEPLOYMENTS}/{name}");
    let all = json!(REPLICAS);
    cluster.until(&path, "have all its pods", |one| one["status"]["availableReplicas"] == all).await;
    let next = cluster.patch(&path, json!({"spec": {"template": template(1, &app, "Always")}})).await;
    let generation = next["metadata"]["generation"].as_i64();
    let is_over = |one: &Value| {
        let status = &one["status"];
        let whole = ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|field| status[field] == all);
        // Annotations of its revision count as well.
        whole && status["observedGeneration"].as_i64() >= generation
    };
    cluster.until(&path, "roll out", is_over).await;
    let job = format!("{JOBS}/{name}");
    cluster.until(&job, "complete", |one| one["status"]["succeeded"] == json!(COMPLETIONS)).await;
    for path in [path, job, format!("{SERVICES}/{name}")] {
        cluster.world.must("DELETE", &path, &json!({"propagationPolicy": "Background"})).await;
    }
    for path in [PODS, SETS, JOBS, DEPLOYMENTS] {
        cluster.until(path, "be empty", |list| list["items"].as_array().is_some_and(Vec::is_empty)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_pods_that_come_and_go() {
    let cluster = Cluster::new().await;
    cluster.node("hollow", json!({})).await;
    let before = cluster.world.get(SLICES).await.1["items"].as_array().map_or(0, Vec::len);
    let hollow = Hollow { world: &cluster.world, ran: Cell::new(0) };
    let all = rounds();
    let soaked = async {
        let mut sizes = Vec::new();
        for number in 0..all {
            round(&cluster, number).await;
            sizes.push(resident());
            eprintln!("round {number}: {} KiB", resident());
        }
        sizes
    };
    let sizes = tokio::select! {
        sizes = soaked => sizes,
        () = hollow.live() => panic!("the node ended"),
    };
    assert!(hollow.ran.get() >= all * OF_ROUND, "{} pods ran", hollow.ran.get());
    let (settled, last) = (sizes[all / 3], sizes[all - 1]);
    assert!(last <= settled + GROWTH_KIB_MAX, "it grew from {settled} to {last} KiB: {sizes:?}");
    let slices = |list: &Value| list["items"].as_array().is_some_and(|all| all.len() == before);
    cluster.until(SLICES, "be as before", slices).await;
    let idle = |text: &Value| {
        let depths = text.as_str().unwrap_or_default().lines().filter(|line| line.starts_with("workqueue_depth{"));
        let depths: Vec<&str> = depths.filter_map(|line| line.rsplit_once(' ').map(|(_, depth)| depth)).collect();
        depths.len() > 20 && depths.iter().all(|depth| *depth == "0")
    };
    let figures = cluster.until("/metrics", "show that nothing is due", idle).await;
    let figures = figures.as_str().unwrap_or_default();
    let adds = figures.lines().find_map(|line| line.strip_prefix("workqueue_adds_total{name=\"job\"} "));
    assert!(adds.is_some_and(|adds| adds.parse::<usize>().is_ok_and(|adds| adds >= all)), "{adds:?}");
    cluster.end().await;
}
