//! Autoscalers on a server whose metrics come from a kubelet that only talks, and what machines read before they join.

#[path = "common/cluster.rs"]
mod cluster; // a server with controllers on it
mod common;

use cluster::Cluster;
use common::kubelet;
use serde_json::{Value, json};
use skiff_authn::bootstrap::signature;

const AUTOSCALERS: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const POLICIES: &str = "/apis/autoscaling.skiff.dev/v1alpha1/namespaces/default/scalingpolicies";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn autoscaler(target: &Value, metrics: &Value) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 5, "metrics": metrics}})
}

fn condition<'a>(autoscaler: &'a Value, kind: &str) -> &'a Value {
    let mut conditions = autoscaler["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|one| one["type"] == kind).unwrap_or(&Value::Null)
}

/// A replica set that has adopted the pod of the kubelet, which uses 300 thousandths of a processor.
async fn with_set(cluster: &Cluster) -> Value {
    let world = &cluster.world;
    let _same = world.server.clone().with_metrics().await.expect("what it needs is made");
    kubelet::start(world).await;
    cluster.patch(&format!("{PODS}/p"), json!({"metadata": {"labels": {"app": "web"}}})).await;
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    let status = json!({"status": {"startTime": "2026-01-01T00:00:00Z", "conditions": ready}});
    cluster.patch(&format!("{PODS}/p/status"), status).await;
    let labels = json!({"app": "web"});
    let set = json!({"metadata": {"name": "web"}, "spec": {"replicas": 1, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    world.must("POST", SETS, &set).await;
    cluster.until(&format!("{SETS}/web"), "count the pod", |set| set["status"]["readyReplicas"] == 1).await;
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"})
}

#[tokio::test]
async fn replicas_follow_what_pods_use() {
    let cluster = Cluster::new().await;
    let target = with_set(&cluster).await;
    let metric = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "100m"}}}]);
    cluster.world.must("POST", AUTOSCALERS, &autoscaler(&target, &metric)).await;
    let set = cluster.until(&format!("{SETS}/web"), "grow", |set| set["spec"]["replicas"] != 1).await;
    let replicas = set["spec"]["replicas"].as_i64().expect("a number");
    assert!((3..=4).contains(&replicas), "300 thousandths, 100 each: {replicas}");
    let path = format!("{AUTOSCALERS}/web");
    let done =
        cluster.until(&path, "say so", |one| condition(one, "AbleToScale")["reason"] == "SucceededRescale").await;
    assert_eq!(done["status"]["desiredReplicas"], replicas);
    assert_eq!(
        (&done["status"]["currentReplicas"], condition(&done, "ScalingActive")["reason"].as_str()),
        (&json!(1), Some("ValidMetricFound"))
    );
    assert_eq!(condition(&done, "ScalingLimited")["status"], "False", "{done}");
    assert!(done["status"]["currentMetrics"][0]["resource"]["current"]["averageValue"].is_string(), "{done}");
    assert!(done["status"]["lastScaleTime"].is_string());
    let said = |events: &Value| {
        let mut all = events["items"].as_array().into_iter().flatten();
        all.any(|event| {
            event["reason"] == "SuccessfulRescale"
                && event["message"] == format!("New size: {replicas}; reason: cpu resource above target")
        })
    };
    cluster.until("/api/v1/namespaces/default/events", "tell it", said).await;
    cluster.end().await;
}

#[tokio::test]
async fn what_cannot_be_measured_is_said_in_kubernetes_words() {
    let cluster = Cluster::new().await;
    let target = with_set(&cluster).await;
    let path = format!("{AUTOSCALERS}/web");
    let value = json!({"type": "AverageValue", "averageValue": "1"});
    for (metric, reason, message) in [
        (
            json!({"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": value}}),
            "FailedGetPodsMetric",
            "unable to get metric rps: unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered",
        ),
        (
            json!({"type": "External", "external": {"metric": {"name": "q"}, "target": value}}),
            "FailedGetExternalMetric",
            "failed to get q external metric: unable to get external metric default/q/nil: unable to fetch metrics from external metrics API: the server could not find the requested resource (get q.external.metrics.k8s.io)",
        ),
        (
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}),
            "FailedGetResourceMetric",
            "failed to get cpu utilization: missing request for cpu in container c of Pod p",
        ),
    ] {
        cluster.world.must("POST", AUTOSCALERS, &autoscaler(&target, &json!([metric]))).await;
        let said = cluster.until(&path, "say why", |one| condition(one, "ScalingActive")["reason"] == reason).await;
        let whole = format!("the HPA was unable to compute the replica count: {message}");
        assert_eq!(condition(&said, "ScalingActive")["message"], whole);
        assert_eq!(condition(&said, "AbleToScale")["reason"], "SucceededGetScale");
        cluster.world.must("DELETE", &path, &json!({})).await;
    }
    let gone = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "nope"});
    cluster.world.must("POST", AUTOSCALERS, &autoscaler(&gone, &json!([]))).await;
    let said = cluster.until(&path, "say why", |one| condition(one, "AbleToScale")["reason"] == "FailedGetScale").await;
    let message =
        "the HPA controller was unable to get the target's current scale: replicasets.apps \"nope\" not found";
    assert_eq!(condition(&said, "AbleToScale")["message"], message);
    cluster.end().await;
}

/// Applies the documents of a YAML text.
async fn apply(cluster: &Cluster, text: &str) {
    for document in text.split("\n---\n") {
        let word =
            |field: &str| document.lines().find_map(|line| line.trim_start().strip_prefix(field)).expect("a field");
        let name = word("name: ");
        let path = match word("kind: ") {
            "CustomResourceDefinition" => format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"),
            "ClusterRole" => format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}"),
            "ClusterRoleBinding" => format!("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{name}"),
            "ScalingPolicy" => format!("{POLICIES}/{name}"),
            other => panic!("{other}"),
        };
        let (path, form) = (format!("{path}?fieldManager=t"), "application/apply-patch+yaml");
        let (code, answer) = cluster.world.ask("PATCH", &path, form, document).await;
        assert!(code.is_success(), "{path}: {answer}");
    }
}

/// The example of the documentation is taken as it stands, and what it names is missed.
#[tokio::test]
async fn policies_step_and_keep_their_schedules_once_they_are_defined() {
    let cluster = Cluster::new().await;
    let target = with_set(&cluster).await;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("a file of the repository");
    apply(&cluster, &read("examples/scaling-policy.yaml")).await;
    let is_served = |list: &Value| list["items"].is_array();
    cluster.until(POLICIES, "be served", is_served).await;
    let page = read("docs/autoscaling.md");
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    apply(&cluster, example).await;
    let ready = |reason: &'static str| move |policy: &Value| condition(policy, "Ready")["reason"] == reason;
    cluster.until(&format!("{POLICIES}/shop"), "miss its target", ready("FailedGetScale")).await;
    let steps = json!([{"metric": {"type": "Resource", "resource": {"name": "cpu"}}, "measure": "AverageValue", "cooldownSeconds": 3600,
        "adjustments": [{"from": "200m", "add": 2}]}]);
    let policy = json!({"apiVersion": "autoscaling.skiff.dev/v1alpha1", "kind": "ScalingPolicy", "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 10, "steps": steps}});
    cluster.world.must("POST", POLICIES, &policy).await;
    cluster.until(&format!("{SETS}/web"), "grow by a step", |set| set["spec"]["replicas"] == 3).await;
    let path = format!("{POLICIES}/web");
    let stepped = cluster.until(&path, "say so", |policy| policy["status"]["desiredReplicas"] == 3).await;
    assert!(stepped["status"]["lastStepTime"].is_string(), "{stepped}");
    // The clock sets other bounds; a metric that would step again still cools down.
    let always = json!([{"name": "always", "schedule": "@yearly", "minReplicas": 4}]);
    cluster.patch(&path, json!({"spec": {"schedules": always}})).await;
    cluster.until(&format!("{SETS}/web"), "come within the bounds", |set| set["spec"]["replicas"] == 4).await;
    let bounded = cluster.until(&path, "say so", |policy| policy["status"]["schedule"]["name"] == "always").await;
    assert_eq!((&bounded["status"]["minReplicas"], &bounded["status"]["maxReplicas"]), (&json!(4), &json!(10)));
    let refused = json!({"spec": {"steps": [{"metric": {"type": "Pods"}, "adjustments": [{"add": 1, "set": 2}]}]}});
    let (code, answer) = cluster.world.ask("PATCH", &path, "application/merge-patch+json", &refused.to_string()).await;
    assert!(
        code == 422
            && answer["message"].as_str().is_some_and(|text| text.contains("want one of add, addPercent and set")),
        "{answer}"
    );
    cluster
        .world
        .must(
            "DELETE",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/scalingpolicies.autoscaling.skiff.dev",
            &json!({}),
        )
        .await;
    cluster.until(POLICIES, "go", |answer| answer["code"] == 404).await;
    cluster.end().await;
}

/// A machine that has a token and nothing else reads the config map as anybody may, and believes what is signed with its token.
#[tokio::test]
async fn what_machines_read_before_they_join_is_signed_with_their_tokens() {
    let cluster = Cluster::new().await;
    let maps = "/api/v1/namespaces/kube-public/configmaps";
    let info = json!({"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": "a kubeconfig"}});
    cluster.world.must("POST", maps, &info).await;
    let token = |id: &str, more: Value| {
        let mut secret = json!({"metadata": {"name": format!("bootstrap-token-{id}")}, "type": "bootstrap.kubernetes.io/token",
            "stringData": {"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true"}});
        for (key, value) in more.as_object().expect("fields") {
            secret["stringData"][key] = value.clone();
        }
        secret
    };
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    cluster.world.must("POST", secrets, &token("abcdef", json!({}))).await;
    cluster.world.must("POST", secrets, &token("silent", json!({"usage-bootstrap-signing": "false"}))).await;
    let path = format!("{maps}/cluster-info");
    let expected = signature("a kubeconfig", "abcdef", "0123456789abcdef");
    let signed = cluster.until(&path, "be signed", |map| map["data"]["jws-kubeconfig-abcdef"] == expected).await;
    assert_eq!(signed["data"].as_object().expect("data").len(), 2, "{signed}");
    cluster.patch(&path, json!({"data": {"kubeconfig": "another one"}})).await;
    let expected = signature("another one", "abcdef", "0123456789abcdef");
    cluster.until(&path, "be signed anew", |map| map["data"]["jws-kubeconfig-abcdef"] == expected).await;
    cluster.world.must("POST", secrets, &token("ending", json!({"expiration": "2020-01-01T00:00:00Z"}))).await;
    cluster.until_gone(&format!("{secrets}/bootstrap-token-ending")).await;
    cluster.world.must("DELETE", &format!("{secrets}/bootstrap-token-abcdef"), &json!({})).await;
    cluster.until(&path, "lose the signature", |map| map["data"].as_object().is_some_and(|data| data.len() == 1)).await;
    cluster.end().await;
}
