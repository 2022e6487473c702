//! Daemon sets and stateful sets against our API server, without a node: the tests write what a kubelet would.

#[path = "common/cluster.rs"]
mod cluster; // a server with controllers on it
mod common;

use cluster::Cluster;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const REVISIONS: &str = "/apis/apps/v1/namespaces/default/controllerrevisions";
const DAEMON_SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const STATEFUL_SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";

fn set(kind: &str, spec: &Value) -> Value {
    let template =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let mut it = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template}});
    it["spec"].as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
    it
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

/// The names of the items of a list.
fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<_> =
        items.iter().map(|one| one["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect();
    names.sort();
    names
}

/// Makes all pods ready that are not, and waits until `wanted` is content with the object at `path`.
async fn run(cluster: &Cluster, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..2000 {
        cluster.run_pods().await;
        let it = cluster.world.get(path).await.1;
        if wanted(&it) {
            return it;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{path}: does not {what}: {}", cluster.world.get(path).await.1);
}

/// Sends the patch that a revision keeps, as `kubectl rollout undo` does.
async fn undo(cluster: &Cluster, path: &str, number: i64) {
    let all = cluster.world.get(REVISIONS).await.1;
    let items = all["items"].as_array().expect("revisions");
    let kept = items.iter().find(|one| one["revision"] == number).expect("the revision");
    let strategic = "application/strategic-merge-patch+json";
    let (code, answer) = cluster.world.ask("PATCH", path, strategic, &kept["data"].to_string()).await;
    assert!(code.is_success(), "{answer}");
}

fn numbers(list: &Value) -> Vec<i64> {
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let mut numbers: Vec<_> = items.iter().filter_map(|one| one["revision"].as_i64()).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn a_stateful_set_makes_changes_and_scales_in_order() {
    let cluster = Cluster::new().await;
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let keep = json!({"whenDeleted": "Retain", "whenScaled": "Delete"});
    let spec = json!({"replicas": 3, "serviceName": "web", "volumeClaimTemplates": [claim], "persistentVolumeClaimRetentionPolicy": keep});
    cluster.world.must("POST", STATEFUL_SETS, &set("StatefulSet", &spec)).await;
    let path = format!("{STATEFUL_SETS}/web");
    cluster.until(PODS, "begin with one", |list| names(list) == ["web-0"]).await;
    let made = run(&cluster, &path, "have three", |it| it["status"]["availableReplicas"] == 3).await;
    assert_eq!(names(&cluster.world.get(PODS).await.1), ["web-0", "web-1", "web-2"]);
    assert_eq!(names(&cluster.world.get(CLAIMS).await.1), ["data-web-0", "data-web-1", "data-web-2"]);
    let pod = cluster.world.get(&format!("{PODS}/web-1")).await.1;
    let (labels, first) = (&pod["metadata"]["labels"], made["status"]["currentRevision"].clone());
    assert_eq!(
        (&labels["statefulset.kubernetes.io/pod-name"], &labels["apps.kubernetes.io/pod-index"]),
        (&"web-1".into(), &"1".into())
    );
    assert_eq!(labels["controller-revision-hash"], first);
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&"web-1".into(), &"web".into()));

    cluster.patch(&path, image("i:2")).await;
    let done = |it: &Value| {
        it["status"]["updatedReplicas"] == 3 && it["status"]["currentRevision"] == it["status"]["updateRevision"]
    };
    let changed =
        run(&cluster, &path, "be of the second version", |it| done(it) && it["status"]["currentRevision"] != first)
            .await;
    assert_eq!(changed["status"]["readyReplicas"], 3, "{changed}");
    assert_eq!(numbers(&cluster.world.get(REVISIONS).await.1), [1, 2]);
    undo(&cluster, &path, 1).await;
    run(&cluster, &path, "be of the first version", |it| done(it) && it["status"]["currentRevision"] == first).await;
    assert_eq!(numbers(&cluster.world.get(REVISIONS).await.1), [2, 3], "what was the first is the third");

    cluster.patch(&format!("{path}/scale"), json!({"spec": {"replicas": 1}})).await;
    run(&cluster, &path, "have one", |it| it["status"]["replicas"] == 1).await;
    cluster.until(CLAIMS, "go with their pods", |list| names(list) == ["data-web-0"]).await;
    let events = cluster.until("/api/v1/namespaces/default/events", "be told", |list| names(list).len() >= 12).await;
    let told: Vec<_> = events["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| one["message"].as_str().unwrap_or_default())
        .collect();
    for message in [
        "Create Pod web-2 in StatefulSet web successful",
        "Delete Pod web-2 in StatefulSet web successful",
        "Create Claim data-web-0 Pod web-0 in StatefulSet web success",
    ] {
        assert!(told.contains(&message), "{message} in {told:#?}");
    }
    cluster.end().await;
}

/// The nodes to which pods are tied.
fn places(list: &Value) -> Vec<String> {
    let place = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0";
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let mut places: Vec<_> = items.iter().filter_map(|pod| pod.pointer(place)?.as_str().map(str::to_owned)).collect();
    places.sort();
    places
}

#[tokio::test]
async fn a_daemon_set_is_on_every_node_it_fits() {
    let cluster = Cluster::new().await;
    cluster.node("one", json!({"daemon": "yes"})).await;
    cluster.node("two", json!({})).await;
    cluster.world.must("POST", DAEMON_SETS, &set("DaemonSet", &json!({}))).await;
    let path = format!("{DAEMON_SETS}/web");
    let on = |all: i64| {
        move |it: &Value| {
            let status = &it["status"];
            let fields =
                ["desiredNumberScheduled", "currentNumberScheduled", "numberAvailable", "updatedNumberScheduled"];
            fields.iter().all(|field| status[*field] == all)
                && status["observedGeneration"] == it["metadata"]["generation"]
        }
    };
    run(&cluster, &path, "be on both", on(2)).await;
    assert_eq!(places(&cluster.world.get(PODS).await.1), ["one", "two"]);
    cluster.node("three", json!({"daemon": "yes"})).await;
    run(&cluster, &path, "be on the third", on(3)).await;
    cluster.patch(&path, json!({"spec": {"template": {"spec": {"nodeSelector": {"daemon": "yes"}}}}})).await;
    run(&cluster, &path, "leave the second", on(2)).await;
    cluster.until(PODS, "be on those", |list| places(list) == ["one", "three"]).await;
    cluster.patch("/api/v1/nodes/one", json!({"metadata": {"labels": {"daemon": "no"}}})).await;
    run(&cluster, &path, "leave the first", on(1)).await;

    let hash = |list: &Value| list["items"][0]["metadata"]["labels"]["controller-revision-hash"].clone();
    let before = hash(&cluster.world.get(PODS).await.1);
    cluster.patch(&path, image("i:2")).await;
    run(&cluster, &path, "change", on(1)).await;
    assert_ne!(hash(&cluster.world.get(PODS).await.1), before);
    undo(&cluster, &path, 2).await;
    run(&cluster, &path, "change back", on(1)).await;
    assert_eq!(hash(&cluster.world.get(PODS).await.1), before);
    assert_eq!(numbers(&cluster.world.get(REVISIONS).await.1), [1, 3, 4]);

    let failed = names(&cluster.world.get(PODS).await.1).remove(0);
    cluster.patch(&format!("{PODS}/{failed}/status"), json!({"status": {"phase": "Failed"}})).await;
    cluster.until_gone(&format!("{PODS}/{failed}")).await;
    run(&cluster, &path, "be replaced", on(1)).await;
    let message = format!("Found failed daemon pod default/{failed} on node three, will try to kill it");
    let told = move |list: &Value| {
        list["items"].as_array().into_iter().flatten().any(|one| one["message"] == message.as_str())
    };
    cluster.until("/api/v1/namespaces/default/events", "tell", told).await;
    cluster.world.must("DELETE", &path, &json!({"propagationPolicy": "Foreground"})).await;
    cluster.until_gone(&path).await;
    cluster.until(REVISIONS, "go with it", |list| names(list).is_empty()).await;
    cluster.end().await;
}

/// How often everything is made and deleted; more by hand.
const ROUNDS: usize = 3;

/// Everything that controllers of sets keep something about.
const KEPT: &[&str] = &[
    PODS,
    CLAIMS,
    REVISIONS,
    DAEMON_SETS,
    STATEFUL_SETS,
    "/apis/apps/v1/namespaces/default/replicasets",
    "/apis/apps/v1/namespaces/default/deployments",
    "/api/v1/namespaces/default/replicationcontrollers",
];

fn of_kind(kind: &str, name: &str) -> (String, Value) {
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let gone = json!({"whenDeleted": "Delete", "whenScaled": "Delete"});
    let spec = match kind {
        "DaemonSet" => json!({}),
        "StatefulSet" => json!({"replicas": 3, "podManagementPolicy": "Parallel", "volumeClaimTemplates": [claim],
            "persistentVolumeClaimRetentionPolicy": gone}),
        _ => json!({"replicas": 5}),
    };
    let mut it = set(kind, &spec);
    it["metadata"]["name"] = name.into();
    it["spec"]["selector"]["matchLabels"]["app"] = name.into();
    it["spec"]["template"]["metadata"]["labels"]["app"] = name.into();
    let list = match kind {
        "ReplicationController" => {
            it["apiVersion"] = "v1".into();
            it["spec"]["selector"] = json!({ "app": name });
            KEPT[7].to_owned()
        }
        kind => format!("/apis/apps/v1/namespaces/default/{}s", kind.to_lowercase()),
    };
    (list, it)
}

/// Made, rolled out, scaled and deleted again and again, sets leave nothing behind.
#[tokio::test]
async fn sets_leave_nothing() {
    const KINDS: [&str; 5] = ["Deployment", "ReplicaSet", "ReplicationController", "DaemonSet", "StatefulSet"];
    let rounds = std::env::var("SKIFF_SOAK_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let cluster = Cluster::new().await;
    cluster.node("one", json!({})).await;
    cluster.node("two", json!({})).await;
    let ready = |it: &Value| {
        let status = &it["status"];
        let seen = status["observedGeneration"] == it["metadata"]["generation"];
        let wanted = it["spec"]["replicas"].as_i64().unwrap_or(2);
        let (all, new) = match it["kind"].as_str() {
            Some("DaemonSet") => (&status["numberAvailable"], &status["updatedNumberScheduled"]),
            Some("Deployment" | "StatefulSet") => (&status["availableReplicas"], &status["updatedReplicas"]),
            _ => (&status["availableReplicas"], &status["replicas"]),
        };
        seen && (all, new) == (&json!(wanted), &json!(wanted))
    };
    for round in 0..rounds {
        for kind in KINDS {
            let name = format!("{}-{round}", kind.to_lowercase());
            let (list, it) = of_kind(kind, &name);
            cluster.world.must("POST", &list, &it).await;
            let path = format!("{list}/{name}");
            run(&cluster, &path, "be ready", ready).await;
            cluster.patch(&path, image("i:2")).await;
            run(&cluster, &path, "be ready again", ready).await;
            if kind != "DaemonSet" {
                cluster.patch(&format!("{path}/scale"), json!({"spec": {"replicas": 1}})).await;
                run(&cluster, &path, "be scaled", ready).await;
            }
            cluster.world.must("DELETE", &path, &json!({"propagationPolicy": "Background"})).await;
        }
    }
    for list in KEPT {
        cluster.until(list, "be empty", |all| names(all).is_empty()).await;
    }
    cluster.end().await;
}
