//! What changes of a pod while it runs: containers that people add, resources; and pods that come from files.

use super::{Bench, phase};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use skiff_kubelet::{Kubelet, KubeletConfig};
use skiff_proto::cri::v1::NamespaceMode;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_container_looks_into_its_target() {
    let bench = Bench::with_our_server().await;
    let (_shutdown, _task) = bench.kubelet().await;
    bench.create("web", super::one("img:1")).await;
    bench.wait("web", "ran", |pod| phase(pod) == "Running").await;
    let added = json!([{"name": "look", "image": "tools:1", "targetContainerName": "web"}]);
    let patch = Patch::Strategic(json!({"spec": {"ephemeralContainers": added}}));
    bench.pods().patch_ephemeral_containers("web", &PatchParams::default(), &patch).await.unwrap();
    let runs = |pod: &Pod| {
        let all = pod.status.iter().flat_map(|status| status.ephemeral_container_statuses.iter().flatten());
        all.into_iter().any(|one| one.state.as_ref().is_some_and(|state| state.running.is_some()))
    };
    let pod = bench.wait("web", "got its ephemeral container", runs).await;
    assert_eq!(phase(&pod), "Running");
    let table = bench.runtime.table.lock().unwrap();
    let of = |name: &str| {
        let mut all = table.containers.iter();
        all.find(|(_, (config, ..))| config.metadata.as_ref().unwrap().name == name).unwrap()
    };
    let (target, _) = of("web");
    let (_, (config, ..)) = of("look");
    let security = config.linux.as_ref().unwrap().security_context.as_ref().unwrap();
    let options = security.namespace_options.as_ref().unwrap();
    assert_eq!((options.pid(), &options.target_id), (NamespaceMode::Target, target));
}

fn requests(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    Some(status.resources.as_ref()?.requests.as_ref()?.get("cpu")?.0.clone())
}

fn condition(pod: &Pod, kind: &str) -> Option<String> {
    let mut all = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    all.find(|one| one.type_ == kind).map(|one| one.reason.clone().unwrap_or_default())
}

async fn resize(bench: &Bench, cpu: &str) {
    let container = json!({"name": "web", "resources": {"requests": {"cpu": cpu}}});
    let patch = Patch::Strategic(json!({"spec": {"containers": [container]}}));
    bench.pods().patch_subresource("resize", "web", &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_change_while_the_pod_runs() {
    let bench = Bench::with_our_server().await;
    let (shutdown, task) = bench.kubelet().await;
    let container = json!({"name": "web", "image": "img:1", "resources": {"requests": {"cpu": "10m"}}});
    bench.create("web", json!({"containers": [container], "terminationGracePeriodSeconds": 3})).await;
    bench.wait("web", "ran", |pod| phase(pod) == "Running").await;
    resize(&bench, "20m").await;
    let done = |pod: &Pod| requests(pod).as_deref() == Some("20m") && condition(pod, "PodResizeInProgress").is_none();
    let pod = bench.wait("web", "was resized", done).await;
    assert_eq!(pod.status.unwrap().container_statuses.unwrap()[0].restart_count, 0);
    assert!(bench.runtime.table.lock().unwrap().calls.contains(&"update shares 20 memory -1".to_owned()));

    // What there is no room for now is told, and the pod goes on with what it has, whatever becomes of the kubelet.
    let nodes: kube::Api<Node> = kube::Api::all(bench.client.clone());
    let cpus: i64 = nodes.get("n1").await.unwrap().status.unwrap().allocatable.unwrap()["cpu"].0.parse().unwrap();
    let large = json!({"requests": {"cpu": format!("{}m", cpus * 1000 - 50)}});
    let container = json!({"name": "web", "image": "img:1", "resources": large});
    bench.create("large", json!({"containers": [container], "terminationGracePeriodSeconds": 1})).await;
    bench.wait("large", "ran", |pod| phase(pod) == "Running").await;
    resize(&bench, "100m").await;
    let deferred = |pod: &Pod| condition(pod, "PodResizePending").as_deref() == Some("Deferred");
    assert_eq!(requests(&bench.wait("web", "was told", deferred).await).as_deref(), Some("20m"));
    shutdown.cancel();
    task.await.unwrap();
    bench.runtime.table.lock().unwrap().calls.clear();
    let (_shutdown, _task) = bench.kubelet().await;
    assert_eq!(requests(&bench.wait("web", "was told again", deferred).await).as_deref(), Some("20m"));
    bench.pods().delete("large", &kube::api::DeleteParams::default()).await.unwrap();
    bench.wait("web", "was resized again", |pod| requests(pod).as_deref() == Some("100m")).await;
    let calls = bench.runtime.table.lock().unwrap().calls.clone();
    assert_eq!(calls.iter().filter(|call| call.starts_with("update")).count(), 1, "{calls:?}");
    assert!(!calls.iter().any(|call| call.starts_with("create")), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_a_file_has_a_mirror() {
    let bench = Bench::with_our_server().await;
    let folder = bench.folder.path().join("manifests");
    std::fs::create_dir(&folder).unwrap();
    let text = |image: &str| {
        let container = json!({"name": "web", "image": image});
        let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 1});
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "file"}, "spec": spec}).to_string()
    };
    std::fs::write(folder.join("file.json"), text("one:1")).unwrap();
    let config = KubeletConfig { static_pod_path: Some(folder.clone()), ..bench.config() };
    let kubelet = Kubelet::start(config).await.unwrap();
    let shutdown = CancellationToken::new();
    let until = shutdown.clone();
    let task = tokio::spawn(async move { kubelet.run(until).await.unwrap() });
    let first = bench.wait("file-n1", "ran", |pod| phase(pod) == "Running").await;
    assert!(first.metadata.annotations.as_ref().unwrap().contains_key("kubernetes.io/config.mirror"));

    // Whoever deletes the mirror deletes the mirror only.
    bench.pods().delete("file-n1", &kube::api::DeleteParams::default()).await.unwrap();
    let uid = first.metadata.uid.clone();
    let again = |pod: &Pod| pod.metadata.uid != uid && phase(pod) == "Running";
    bench.wait("file-n1", "was mirrored again", again).await;
    let starts = |bench: &Bench| {
        let table = bench.runtime.table.lock().unwrap();
        table.calls.iter().filter(|call| call.starts_with("create")).count()
    };
    assert_eq!(starts(&bench), 1);

    std::fs::write(folder.join("file.json"), text("another:1")).unwrap();
    let image =
        |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.containers[0].image.as_deref() == Some("another:1"));
    bench.wait("file-n1", "was replaced", |pod| image(pod) && phase(pod) == "Running").await;
    assert_eq!(starts(&bench), 2);
    std::fs::remove_file(folder.join("file.json")).unwrap();
    bench.wait_gone("file-n1").await;
    shutdown.cancel();
    task.await.unwrap();
}
