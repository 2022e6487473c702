//! A whole kubelet against a pretended runtime and an API server in memory; with `SKIFF_TEST_CRI=unix:///…` the scenario
//! at the end also runs against a real runtime. Needs root, for cgroups; each test has a cgroup subtree of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "node/changes.rs"]
mod changes;
#[path = "node/pressure.rs"]
mod pressure;
mod support;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use skiff_client::{Identity, Presented};
use skiff_kubelet::{Kubelet, KubeletConfig, KubeletTls, PodCidr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::api::Api as Server;
use support::runtime::FakeRuntime;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test fails; ordinary runs take milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    /// As the kubelet.
    node_client: kube::Client,
    /// As everybody else.
    client: kube::Client,
    runtime: FakeRuntime,
    folder: tempfile::TempDir,
    cgroup: String,
    endpoint: String,
    pressure: skiff_kubelet::PressureLimits,
    /// What it knows of nodes and roles it learns only while it is held.
    _server: Option<skiff_apiserver::ApiServer>,
}

fn tls() -> KubeletTls {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let serving = Presented::new(&certificate.pem(), &key.serialize_pem()).expect("keys");
    KubeletTls { serving: Arc::new(serving), client_ca: certificate.pem() }
}

impl Bench {
    fn new() -> Self {
        let server = Server::new();
        Self::over(server.client(), server.client(), tempfile::tempdir().unwrap())
    }

    /// Over our own API server, on a store in the bench's folder.
    async fn with_our_server() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = skiff_apiserver::Pki::open_or_create(&folder.path().join("pki"), &["127.0.0.1".to_owned()]).unwrap();
        let store = skiff_store::Store::open(&folder.path().join("store"), skiff_store::Options::default()).unwrap();
        let config = skiff_apiserver::Config {
            backend: store.backend(),
            service_cidr: "10.96.0.0/24".to_owned(),
            node_port_range: 30000..=30010,
            pki,
            advertise: "127.0.0.1:6443".parse().unwrap(),
            authentication: skiff_apiserver::Authentication::default(),
            engine: skiff_step::Engine::off(),
        };
        let server = skiff_apiserver::ApiServer::new(config).await.unwrap();
        let client = |identity| skiff_client::in_process(server.router(), identity);
        // No controller makes it here, and nothing publishes what its token would be mounted with.
        let account = json!({"metadata": {"name": "default"}, "automountServiceAccountToken": false});
        let accounts: Api<ServiceAccount> = Api::namespaced(client(Identity::component("test")), "default");
        accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
        let mut bench = Self::over(client(Identity::component("test")), client(Identity::node("n1")), folder);
        bench._server = Some(server);
        bench
    }

    fn over(client: kube::Client, node_client: kube::Client, folder: tempfile::TempDir) -> Self {
        let runtime = FakeRuntime::new();
        let socket = folder.path().join("cri.sock");
        runtime.serve(&socket);
        let cgroup = format!("/skiff-test-kubelet-{}", uuid::Uuid::new_v4().simple());
        let endpoint = format!("unix://{}", socket.display());
        // However full the disk of this machine is.
        let thresholds = "memory.available<1Mi".parse().unwrap();
        let pressure = skiff_kubelet::PressureLimits { thresholds, ..Default::default() };
        Self { client, node_client, runtime, folder, cgroup, endpoint, pressure, _server: None }
    }

    fn config(&self) -> KubeletConfig {
        KubeletConfig {
            node_name: "n1".into(),
            client: self.node_client.clone(),
            container_runtime_endpoint: self.endpoint.clone(),
            root_dir: self.folder.path().join("pods"),
            cgroup_root: self.cgroup.clone(),
            node_ip: "192.0.2.1".parse().unwrap(),
            pod_cidr: PodCidr::Ours("10.244.0.0/24".into()),
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: tls(),
            cluster_dns: vec![],
            cluster_domain: "cluster.local".into(),
            max_pods: 110,
            static_pod_path: None,
            allowed_unsafe_sysctls: vec![],
            users: skiff_kubelet::UserSettings::default(),
            logs: skiff_kubelet::LogLimits::default(),
            pressure: self.pressure.clone(),
            pulls: skiff_kubelet::PullSettings::default(),
            on_addresses: None,
            engine: skiff_step::Engine::off(),
        }
    }

    async fn kubelet(&self) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let kubelet = Kubelet::start(self.config()).await.unwrap();
        let shutdown = CancellationToken::new();
        let until = shutdown.clone();
        (shutdown, tokio::spawn(async move { kubelet.run(until).await.unwrap() }))
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create(&self, name: &str, spec: serde_json::Value) -> Pod {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        pod["spec"]["nodeName"] = json!("n1");
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap()
    }

    async fn wait(&self, name: &str, what: &str, is: impl Fn(&Pod) -> bool) -> Pod {
        let started = Instant::now();
        let mut last = None;
        while started.elapsed() < PATIENCE {
            last = self.pods().get_opt(name).await.unwrap();
            if last.as_ref().is_some_and(&is) {
                return last.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{name} never {what}: {:#?}", last.and_then(|pod| pod.status));
    }

    async fn wait_gone(&self, name: &str) {
        let started = Instant::now();
        while self.pods().get_opt(name).await.unwrap().is_some() {
            assert!(started.elapsed() < PATIENCE, "{name} never went");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn reasons(&self) -> Vec<String> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), "default");
        let list = events.list(&ListParams::default()).await.unwrap();
        list.items.into_iter().filter_map(|event| event.reason).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        remove_cgroups(self.cgroup.trim_matches('/'));
    }
}

/// Removes the subtree, leaves first, in every hierarchy.
fn remove_cgroups(name: &str) {
    fn remove(path: &Path) {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                remove(&entry.path());
            }
        }
        let _busy_or_gone = std::fs::remove_dir(path);
    }
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        remove(&hierarchy.path().join(name));
    }
    remove(&Path::new("/sys/fs/cgroup").join(name));
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn waits_for(pod: &Pod, reason: &str) -> bool {
    let status = pod.status.clone().unwrap_or_default();
    let states = status.container_statuses.into_iter().flatten().filter_map(|status| status.state?.waiting?.reason);
    states.into_iter().any(|waiting| waiting == reason)
}

fn one(image: &str) -> serde_json::Value {
    json!({"containers": [{"name": "web", "image": image}], "terminationGracePeriodSeconds": 3})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_and_goes() {
    a_pod_runs_and_goes_on(Bench::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_and_goes_with_our_api_server() {
    a_pod_runs_and_goes_on(Bench::with_our_server().await).await;
}

async fn a_pod_runs_and_goes_on(bench: Bench) {
    let (_shutdown, _task) = bench.kubelet().await;
    let nodes: Api<Node> = Api::all(bench.client.clone());
    let node = nodes.get("n1").await.unwrap();
    assert!(node.status.unwrap().conditions.unwrap().iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    let uid = bench.create("web", one("img:1")).await.metadata.uid.unwrap();
    let pod = bench.wait("web", "ran", |pod| phase(pod) == "Running").await;
    assert_eq!(pod.status.unwrap().pod_ip.as_deref(), Some("127.0.0.1"));
    bench.pods().delete("web", &DeleteParams::default()).await.unwrap();
    bench.wait_gone("web").await;
    assert!(bench.runtime.table.lock().unwrap().sandboxes.is_empty());
    assert!(bench.runtime.table.lock().unwrap().calls.contains(&"stop 3".to_owned()));
    assert!(!bench.folder.path().join("pods").join(uid).exists());
    let leases: Api<Lease> = Api::namespaced(bench.client.clone(), "kube-node-lease");
    assert!(leases.get("n1").await.unwrap().spec.unwrap().renew_time.is_some());
    let reasons = bench.reasons().await;
    for expected in ["Pulled", "Created", "Started", "Killing"] {
        assert!(reasons.iter().any(|reason| reason == expected), "no {expected} in {reasons:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told() {
    failures_are_told_on(Bench::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_with_our_api_server() {
    failures_are_told_on(Bench::with_our_server().await).await;
}

async fn failures_are_told_on(bench: Bench) {
    let (_shutdown, _task) = bench.kubelet().await;
    bench.create("crash", one("exit-3")).await;
    bench.create("nopull", one("missing:1")).await;
    bench.create("refused", json!({"containers": [{"name": "web", "image": "i:1"}], "volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]})).await;
    let env = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "a"}}}]);
    bench.create("config", json!({"containers": [{"name": "web", "image": "i:1", "env": env}]})).await;
    let mut done = one("exit-0");
    done["restartPolicy"] = json!("Never");
    bench.create("done", done).await;
    bench.wait("crash", "backed off", |pod| waits_for(pod, "CrashLoopBackOff")).await;
    bench.wait("nopull", "failed its pull", |pod| waits_for(pod, "ErrImagePull")).await;
    let refused = bench.wait("refused", "was refused", |pod| phase(pod) == "Failed").await.status.unwrap();
    assert_eq!(refused.reason.as_deref(), Some("Unsupported"));
    let expected = "Pod was rejected: not implemented by this kubelet: spec.volumes[0] (nfs)";
    assert_eq!(refused.message.as_deref(), Some(expected));
    bench.wait("done", "succeeded", |pod| phase(pod) == "Succeeded").await;
    bench.wait("config", "failed", |pod| waits_for(pod, "CreateContainerConfigError")).await;
    let maps: Api<ConfigMap> = Api::namespaced(bench.client.clone(), "default");
    let map = json!({"metadata": {"name": "later"}, "data": {"a": "1"}});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    bench.wait("config", "healed", |pod| phase(pod) == "Running").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_kubelet_adopts_and_buries() {
    a_new_kubelet_adopts_and_buries_on(Bench::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_kubelet_adopts_and_buries_with_our_api_server() {
    a_new_kubelet_adopts_and_buries_on(Bench::with_our_server().await).await;
}

async fn a_new_kubelet_adopts_and_buries_on(bench: Bench) {
    let (shutdown, task) = bench.kubelet().await;
    for name in ["stays", "goes"] {
        bench.create(name, one("img:1")).await;
        bench.wait(name, "ran", |pod| phase(pod) == "Running").await;
    }
    let before = bench.wait("stays", "ran", |pod| phase(pod) == "Running").await;
    shutdown.cancel();
    task.await.unwrap();
    let now = DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
    bench.pods().delete("goes", &now).await.unwrap();
    bench.runtime.table.lock().unwrap().calls.clear();
    let (_shutdown, _task) = bench.kubelet().await;
    let started = Instant::now();
    while bench.runtime.table.lock().unwrap().sandboxes.len() > 1 {
        assert!(started.elapsed() < PATIENCE, "the orphan stays");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let after = bench.wait("stays", "ran", |pod| phase(pod) == "Running").await;
    assert_eq!(before.status, after.status);
    let calls = bench.runtime.table.lock().unwrap().calls.clone();
    assert!(!calls.iter().any(|call| call.starts_with("run") || call.starts_with("create")), "{calls:?}");
}

/// Fault N3: after its sandbox was lost, a pod has its new address and not the old one too.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_address_replaces_the_old_one() {
    for bench in [Bench::new(), Bench::with_our_server().await] {
        let (shutdown, task) = bench.kubelet().await;
        bench.create("web", one("img:1")).await;
        bench.wait("web", "ran", |pod| phase(pod) == "Running").await;
        shutdown.cancel();
        task.await.unwrap();
        bench.runtime.lose_sandboxes("127.0.0.7");
        let (_shutdown, _task) = bench.kubelet().await;
        let moved = |pod: &Pod| pod.status.as_ref().is_some_and(|status| status.pod_ip.as_deref() == Some("127.0.0.7"));
        let status = bench.wait("web", "moved", moved).await.status.unwrap();
        let ips: Vec<_> = status.pod_ips.into_iter().flatten().map(|ip| ip.ip).collect();
        assert_eq!(ips, ["127.0.0.7"]);
        let hosts: Vec<_> = status.host_ips.into_iter().flatten().map(|ip| ip.ip).collect();
        assert_eq!(hosts, ["192.0.2.1"]);
        let nodes: Api<Node> = Api::all(bench.client.clone());
        let addresses = nodes.get("n1").await.unwrap().status.unwrap().addresses.unwrap();
        assert_eq!(addresses.iter().map(|at| at.type_.as_str()).collect::<Vec<_>>(), ["InternalIP", "Hostname"]);
    }
}

/// Fault N19, its kind: whoever makes pods of which each is turned away is not answered ever faster.
#[tokio::test(flavor = "multi_thread")]
async fn pods_of_one_controller_are_turned_away_ever_slower() {
    let bench = Bench::new();
    let (_shutdown, _task) = bench.kubelet().await;
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u-1", "controller": true}]);
    for name in ["r-0", "r-1", "r-2"] {
        let spec = json!({"containers": [{"name": "web", "image": "i:1"}], "volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}], "nodeName": "n1"});
        let pod = json!({"metadata": {"name": name, "ownerReferences": owner}, "spec": spec});
        bench.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }
    bench.create("alone", json!({"containers": [{"name": "web", "image": "i:1"}], "volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]})).await;
    bench.wait("r-0", "was refused", |pod| phase(pod) == "Failed").await;
    bench.wait("alone", "was refused", |pod| phase(pod) == "Failed").await;
    // Told to go while it waits, a pod goes when its turn comes.
    bench.pods().delete("r-2", &DeleteParams::default()).await.unwrap();
    bench.wait("r-1", "was refused", |pod| phase(pod) == "Failed").await;
    bench.wait_gone("r-2").await;
}

/// Fault N24: the range of a node's pods is the control plane's to give, and the runtime is told it.
#[tokio::test(flavor = "multi_thread")]
async fn the_pod_range_comes_from_the_node_object() {
    let bench = Bench::new();
    let config = KubeletConfig { pod_cidr: PodCidr::FromNode(Some("10.9.0.0/24".into())), ..bench.config() };
    let kubelet = Kubelet::start(config).await.unwrap();
    let _task = tokio::spawn(kubelet.run(CancellationToken::new()));
    let nodes: Api<Node> = Api::all(bench.client.clone());
    assert_eq!(nodes.get("n1").await.unwrap().spec.unwrap_or_default().pod_cidr, None);
    let ranges = || bench.runtime.table.lock().unwrap().pod_ranges.clone();
    assert_eq!(ranges(), ["10.9.0.0/24"], "as long as nobody gives one");
    let patch = Patch::Merge(json!({"spec": {"podCIDR": "10.7.3.0/24", "podCIDRs": ["10.7.3.0/24", "fd00::/64"]}}));
    nodes.patch("n1", &PatchParams::default(), &patch).await.unwrap();
    let started = Instant::now();
    while ranges().last().map(String::as_str) != Some("10.7.3.0/24,fd00::/64") {
        assert!(started.elapsed() < PATIENCE, "never told: {:?}", ranges());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Another kubelet of this node finds the range there.
    let config = KubeletConfig { pod_cidr: PodCidr::FromNode(None), ..bench.config() };
    let _again = Kubelet::start(config).await.unwrap();
    assert_eq!(ranges().len(), 3);
    assert_eq!(nodes.get("n1").await.unwrap().spec.unwrap().pod_cidr.as_deref(), Some("10.7.3.0/24"));
    // Where nobody allocates, it is written.
    let alone = Bench::new();
    let (_shutdown, _task) = alone.kubelet().await;
    let nodes: Api<Node> = Api::all(alone.client.clone());
    assert_eq!(nodes.get("n1").await.unwrap().spec.unwrap().pod_cidr.as_deref(), Some("10.244.0.0/24"));
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_volumes_probes_and_hooks() {
    init_containers_volumes_probes_and_hooks_on(Bench::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_volumes_probes_and_hooks_with_our_api_server() {
    init_containers_volumes_probes_and_hooks_on(Bench::with_our_server().await).await;
}

async fn init_containers_volumes_probes_and_hooks_on(bench: Bench) {
    let (_shutdown, _task) = bench.kubelet().await;
    let maps: Api<ConfigMap> = Api::namespaced(bench.client.clone(), "default");
    let map = json!({"metadata": {"name": "conf"}, "data": {"key": "value"}});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    let web = json!({"name": "web", "image": "i:1", "volumeMounts": [{"name": "conf", "mountPath": "/conf"}, {"name": "tmp", "mountPath": "/tmp", "subPath": "a/b"},
        {"name": "conf", "mountPath": "/etc/app.conf", "subPath": "key"}],
        "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1},
        "lifecycle": {"postStart": {"exec": {"command": ["hello"]}}, "preStop": {"exec": {"command": ["bye"]}}}});
    let uid = bench
        .create(
            "full",
            json!({"initContainers": [{"name": "init", "image": "exit-0"}], "containers": [web],
        "volumes": [{"name": "conf", "configMap": {"name": "conf"}}, {"name": "tmp", "emptyDir": {"medium": "Memory"}}],
        "terminationGracePeriodSeconds": 1}),
        )
        .await
        .metadata
        .uid
        .unwrap();
    let is_ready = |pod: &Pod| {
        pod.status.iter().flat_map(|s| s.conditions.iter().flatten()).any(|c| c.type_ == "Ready" && c.status == "True")
    };
    bench.wait("full", "was ready", is_ready).await;
    let dir = bench.folder.path().join("pods").join(&uid);
    assert_eq!(std::fs::read_to_string(dir.join("volumes/conf/key")).unwrap(), "value");
    assert!(dir.join("volumes/tmp/a/b").is_dir());
    // Fault N1: a key is a link to `..data/key`.
    assert_eq!(std::fs::read_to_string(dir.join("subpaths/web/2")).unwrap(), "value");
    bench.pods().delete("full", &DeleteParams::default()).await.unwrap();
    bench.wait_gone("full").await;
    assert!(!dir.exists());
    let calls = bench.runtime.table.lock().unwrap().calls.clone();
    for expected in ["exec hello", "exec true", "exec bye"] {
        assert!(calls.iter().any(|call| call == expected), "{expected}: {calls:?}");
    }
}

/// The same pod on a real runtime, named by `SKIFF_TEST_CRI`, with the image `SKIFF_TEST_IMAGE`; prints what it took.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_real_runtime() {
    let Ok(endpoint) = std::env::var("SKIFF_TEST_CRI") else {
        return println!("skipped: SKIFF_TEST_CRI names no runtime");
    };
    let image = std::env::var("SKIFF_TEST_IMAGE").unwrap();
    let bench = {
        let mut bench = Bench::with_our_server().await;
        bench.endpoint = endpoint;
        bench
    };
    let (shutdown, task) = bench.kubelet().await;
    for turn in 0..5 {
        let name = format!("web{turn}");
        let started = Instant::now();
        bench.create(&name, json!({"hostNetwork": std::env::var("SKIFF_TEST_HOSTNET").is_ok(), "containers": [{"name": "web", "image": image, "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", "echo hello; trap 'exit 0' TERM; while :; do sleep 0.1; done"]}], "terminationGracePeriodSeconds": 5})).await;
        let pod = bench.wait(&name, "ran", |pod| phase(pod) == "Running").await;
        println!("{name}: Running after {:?}, {:?}", started.elapsed(), pod.status.unwrap().pod_ip);
    }
    shutdown.cancel();
    task.await.unwrap();
    let before = bench.pods().get("web0").await.unwrap().status;
    let (_shutdown, _task) = bench.kubelet().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.pods().get("web0").await.unwrap().status, before);
    for turn in 0..5 {
        let (name, started) = (format!("web{turn}"), Instant::now());
        bench.pods().delete(&name, &DeleteParams::default()).await.unwrap();
        bench.wait_gone(&name).await;
        println!("{name}: gone after {:?}", started.elapsed());
    }
    println!("events: {:?}", bench.reasons().await);
}
