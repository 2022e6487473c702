//! The controllers against our API server, without a node: the tests write what a kubelet would.

#[path = "common/cluster.rs"]
mod cluster; // a server with controllers on it
mod common;

use cluster::{AUTHORITY, Cluster};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// A pod that runs, has an address and is ready.
async fn ready_pod(cluster: &Cluster, name: &str, labels: Value, ip: &str) {
    cluster.world.must("POST", PODS, &pod(name, labels)).await;
    let conditions = json!([{"type": "Ready", "status": "True"}]);
    let status = json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions});
    cluster.patch(&format!("{PODS}/{name}/status"), json!({ "status": status })).await;
}

fn pod(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

/// Fault N5: a service with a selector has an Endpoints object, which follows its pods and goes with it.
#[tokio::test]
async fn a_service_has_endpoints() {
    let cluster = Cluster::new().await;
    ready_pod(&cluster, "a", json!({"app": "web"}), "10.244.0.7").await;
    cluster
        .world
        .must("POST", SERVICES, &service("web", json!({"selector": {"app": "web"}, "ports": [{"port": 80}]})))
        .await;
    let path = format!("{ENDPOINTS}/web");
    let made =
        cluster.until(&path, "lead to the pod", |one| one["subsets"][0]["addresses"][0]["ip"] == "10.244.0.7").await;
    assert_eq!(made["metadata"]["labels"]["endpoints.kubernetes.io/managed-by"], "endpoint-controller");
    assert_eq!(made["subsets"][0]["addresses"][0]["targetRef"]["name"], "a");
    assert_eq!(made["subsets"][0]["ports"], json!([{"port": 80, "protocol": "TCP"}]));
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    cluster.patch(&format!("{PODS}/a/status"), unready).await;
    cluster
        .until(&path, "say that it is not ready", |one| one["subsets"][0]["notReadyAddresses"][0]["ip"] == "10.244.0.7")
        .await;
    cluster.world.delete(&path, &json!({})).await;
    cluster.until(&path, "come back", |one| one["subsets"].is_array()).await;
    let (_, mirrored) = cluster.world.get(SLICES).await;
    let mirrors = mirrored["items"].as_array().expect("items").iter().filter(|slice| {
        slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
            == "endpointslicemirroring-controller.k8s.io"
    });
    assert_eq!(mirrors.count(), 0, "Endpoints made from a selector are not mirrored");
    cluster.world.delete(&format!("{SERVICES}/web"), &json!({})).await;
    cluster.until_gone(&path).await;
    cluster.end().await;
}

/// Fault N5: what a user writes for a service without selector becomes slices, follows changes and goes with the service.
#[tokio::test]
async fn endpoints_of_a_user_are_mirrored() {
    let cluster = Cluster::new().await;
    let endpoints = |ip: &str| {
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "db"},
            "subsets": [{"addresses": [{"ip": ip}], "ports": [{"port": 5432}]}]})
    };
    // The other order works too: the service comes later.
    cluster.world.must("POST", ENDPOINTS, &endpoints("192.0.2.7")).await;
    cluster.world.must("POST", SERVICES, &service("db", json!({"ports": [{"port": 5432}]}))).await;
    let slices = format!("{SLICES}?labelSelector=kubernetes.io/service-name=db");
    let leads_to = |ip: &'static str| move |list: &Value| list["items"][0]["endpoints"][0]["addresses"][0] == ip;
    let made = cluster.until(&slices, "lead to the address", leads_to("192.0.2.7")).await;
    assert_eq!(made["items"][0]["ports"], json!([{"name": "", "port": 5432, "protocol": "TCP"}]));
    cluster.world.must("PUT", &format!("{ENDPOINTS}/db"), &endpoints("192.0.2.8")).await;
    cluster.until(&slices, "follow the change", leads_to("192.0.2.8")).await;
    let skip = |value: Value| json!({"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": value}}});
    let empty = |list: &Value| list["items"].as_array().is_some_and(Vec::is_empty);
    cluster.patch(&format!("{ENDPOINTS}/db"), skip("true".into())).await;
    cluster.until(&slices, "go when they are not wanted", empty).await;
    cluster.patch(&format!("{ENDPOINTS}/db"), skip(Value::Null)).await;
    cluster.until(&slices, "come back", leads_to("192.0.2.8")).await;
    cluster.world.delete(&format!("{SERVICES}/db"), &json!({})).await;
    cluster.until_gone(&format!("{ENDPOINTS}/db")).await;
    cluster.until(&slices, "go with the service", empty).await;
    cluster.end().await;
}

/// Every namespace has the authority's certificate, which comes back when it is changed or deleted.
#[tokio::test]
async fn every_namespace_has_the_authority() {
    let cluster = Cluster::new().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "late"}});
    cluster.world.must("POST", "/api/v1/namespaces", &namespace).await;
    let right = |map: &Value| {
        let described = map["metadata"]["annotations"]["kubernetes.io/description"].as_str();
        map["data"] == json!({"ca.crt": AUTHORITY})
            && described.is_some_and(|text| text.starts_with("Contains a CA bundle"))
    };
    for namespace in ["default", "kube-system", "late"] {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt");
        cluster.until(&path, "be published", right).await;
        for change in [
            json!({"data": {"ca.crt": "wrong"}}),
            json!({"data": {"more": "x"}}),
            json!({"metadata": {"annotations": null}}),
        ] {
            cluster.patch(&path, change).await;
            cluster.until(&path, "be repaired", right).await;
        }
        cluster.world.delete(&path, &json!({})).await;
        cluster.until(&path, "come back", right).await;
    }
    cluster.world.delete("/api/v1/namespaces/late", &json!({})).await;
    cluster.until_gone("/api/v1/namespaces/late").await;
    cluster.end().await;
}

fn workload(kind: &str, name: &str, image: &str, annotations: Value) -> Value {
    let template =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}});
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "labels": {"app": "web"}, "annotations": annotations},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}})
}

/// Fault N29: replica sets that were there before their deployment become its own, with their revisions.
#[tokio::test]
async fn a_deployment_adopts_what_was_there() {
    let cluster = Cluster::new().await;
    let revision = "deployment.kubernetes.io/revision";
    let old = json!({revision: "3546343826724305832"});
    cluster.world.must("POST", SETS, &workload("ReplicaSet", "before", "i:1", old)).await;
    cluster.until(&format!("{SETS}/before"), "have a pod", |set| set["status"]["replicas"] == 1).await;
    cluster.world.must("POST", DEPLOYMENTS, &workload("Deployment", "web", "i:2", json!({}))).await;
    let owned = |set: &Value| set["metadata"]["ownerReferences"][0]["name"] == "web";
    cluster.until(&format!("{SETS}/before"), "be adopted", owned).await;
    let next = |deployment: &Value| deployment["metadata"]["annotations"][revision] == "3546343826724305833";
    cluster.until(&format!("{DEPLOYMENTS}/web"), "count on", next).await;
    cluster.end().await;
}

/// Fault N29, its sibling: a pod that is relabelled is released and replaced; an orphan that matches is adopted.
#[tokio::test]
async fn a_replica_set_adopts_and_releases() {
    let cluster = Cluster::new().await;
    cluster.world.must("POST", PODS, &pod("orphan", json!({"app": "web"}))).await;
    cluster.world.must("POST", SETS, &workload("ReplicaSet", "web", "i", json!({}))).await;
    let path = format!("{PODS}/orphan");
    cluster.until(&path, "be adopted", |pod| pod["metadata"]["ownerReferences"][0]["name"] == "web").await;
    cluster.patch(&path, json!({"metadata": {"labels": {"app": "other"}}})).await;
    cluster
        .until(&path, "be released", |pod| pod["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty))
        .await;
    let one = |list: &Value| list["items"].as_array().is_some_and(|all| all.len() == 1);
    cluster.until(&format!("{PODS}?labelSelector=app=web"), "be replaced", one).await;
    cluster.end().await;
}

/// A replication controller makes, adopts, releases and deletes pods as a replica set does, and says so.
#[tokio::test]
async fn a_replication_controller_keeps_its_pods() {
    const CONTROLLERS: &str = "/api/v1/namespaces/default/replicationcontrollers";
    let cluster = Cluster::new().await;
    cluster.world.must("POST", PODS, &pod("orphan", json!({"app": "web"}))).await;
    let template =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let controller = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "template": template}});
    cluster.world.must("POST", CONTROLLERS, &controller).await;
    let path = format!("{CONTROLLERS}/web");
    let counts =
        |all: i64| move |it: &Value| it["status"]["replicas"] == all && it["status"]["fullyLabeledReplicas"] == all;
    let made = cluster.until(&path, "have two pods", counts(2)).await;
    assert!(made["status"].get("terminatingReplicas").is_none(), "{made}");
    let orphan = format!("{PODS}/orphan");
    let owner = |pod: &Value| pod["metadata"]["ownerReferences"][0]["kind"] == "ReplicationController";
    cluster.until(&orphan, "be adopted", owner).await;
    cluster.patch(&orphan, json!({"metadata": {"labels": {"app": "other"}}})).await;
    cluster.until(&orphan, "be released", |pod| !owner(pod)).await;
    let pods = format!("{PODS}?labelSelector=app=web");
    let number = |all: usize| move |list: &Value| list["items"].as_array().is_some_and(|items| items.len() == all);
    cluster.until(&pods, "be two", number(2)).await;
    for (replicas, all) in [(5, 5), (1, 1)] {
        cluster.patch(&format!("{path}/scale"), json!({"spec": {"replicas": replicas}})).await;
        cluster.until(&path, "be scaled", counts(replicas)).await;
        cluster.until(&pods, "be as many", number(all)).await;
    }
    cluster.end().await;
}

/// However often a set is scaled, it never makes a pod too many: a cache that has not heard of the last ones is not believed.
#[tokio::test]
async fn no_pod_too_many() {
    let cluster = Cluster::new().await;
    cluster.world.must("POST", SETS, &workload("ReplicaSet", "web", "i", json!({}))).await;
    let path = format!("{SETS}/web");
    for replicas in [20, 40, 60] {
        cluster.patch(&path, json!({"spec": {"replicas": replicas}})).await;
        cluster.until(&path, "be scaled", |set| set["status"]["replicas"] == replicas).await;
        let label = json!({"metadata": {"labels": {"turn": replicas.to_string()}}});
        cluster.patch(&path, label).await;
    }
    let events = "/api/v1/namespaces/default/events";
    let of = |kind: &str, list: &Value| {
        list["items"].as_array().map_or(0, |items| items.iter().filter(|one| one["reason"] == kind).count())
    };
    let told = cluster.until(events, "be told", |list| of("SuccessfulCreate", list) >= 60).await;
    assert_eq!((of("SuccessfulCreate", &told), of("SuccessfulDelete", &told)), (60, 0));
    cluster.end().await;
}

/// A deployment that is scaled in the middle of a rollout keeps its proportions.
#[tokio::test]
async fn a_scale_in_the_middle_of_a_rollout_is_proportional() {
    let cluster = Cluster::new().await;
    let mut web = workload("Deployment", "web", "i:1", json!({}));
    web["spec"]["replicas"] = json!(4);
    let limits = json!({"maxSurge": 2, "maxUnavailable": 0});
    web["spec"]["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": limits});
    cluster.world.must("POST", DEPLOYMENTS, &web).await;
    let path = format!("{DEPLOYMENTS}/web");
    cluster.until(&path, "have its pods", |it| it["status"]["replicas"] == 4).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}}});
    cluster.patch(&path, image).await;
    // Nothing is ever ready here, so the old ones give way and the new ones stop at what maxSurge allows.
    let sizes = |list: &Value| {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let mut sizes: Vec<_> = items.iter().filter_map(|set| set["spec"]["replicas"].as_i64()).collect();
        sizes.sort_unstable();
        sizes
    };
    let list =
        cluster.until(SETS, "stop half way", |list| sizes(list).iter().sum::<i64>() == 6 && sizes(list).len() == 2);
    let before = sizes(&list.await);
    cluster.patch(&path, json!({"spec": {"paused": true, "replicas": 10}})).await;
    let after = cluster.until(SETS, "grow", |list| sizes(list).iter().sum::<i64>() == 12).await;
    assert_eq!(sizes(&after), before.iter().map(|size| size * 2).collect::<Vec<_>>());
    cluster.end().await;
}

/// Fault N29: a pod of an indexed job has the index in its host name, and is admitted by the server.
#[tokio::test]
async fn pods_of_an_indexed_job_are_hosts() {
    let cluster = Cluster::new().await;
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed", "template": template});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "sum"}, "spec": spec});
    cluster.world.must("POST", "/apis/batch/v1/namespaces/default/jobs", &job).await;
    let two = |list: &Value| list["items"].as_array().is_some_and(|all| all.len() == 2);
    let pods = cluster.until(&format!("{PODS}?labelSelector=job-name=sum"), "be two", two).await;
    let hosts: BTreeSet<&str> =
        pods["items"].as_array().expect("items").iter().filter_map(|pod| pod["spec"]["hostname"].as_str()).collect();
    assert_eq!(hosts, BTreeSet::from(["sum-0", "sum-1"]));
    assert_eq!(
        pods["items"][0]["spec"]["containers"][0]["env"][0]["valueFrom"]["fieldRef"]["fieldPath"],
        "metadata.labels['batch.kubernetes.io/job-completion-index']"
    );
    cluster.end().await;
}

/// Fault N25: a node gets and loses the taints of its conditions, those too that somebody else set before it was ready.
#[tokio::test]
async fn taints_of_a_node_follow_its_conditions() {
    let cluster = Cluster::new().await;
    let taints = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}, {"key": "own", "effect": "NoSchedule"}]);
    let condition = |status: &str| json!([{"type": "Ready", "status": status}]);
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {"taints": taints},
        "status": {"conditions": condition("True")}});
    cluster.world.must("POST", "/api/v1/nodes", &node).await;
    let path = "/api/v1/nodes/n";
    let keys = |node: &Value| {
        let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        taints.iter().map(|taint| format!("{}:{}", taint["key"], taint["effect"]).replace('"', "")).collect::<Vec<_>>()
    };
    cluster.until(path, "lose the taint", |node| keys(node) == ["own:NoSchedule"]).await;
    cluster.patch(&format!("{path}/status"), json!({"status": {"conditions": condition("False")}})).await;
    let not_ready =
        ["own:NoSchedule", "node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"];
    cluster.until(path, "get the taints", |node| keys(node) == not_ready).await;
    cluster.patch(&format!("{path}/status"), json!({"status": {"conditions": condition("True")}})).await;
    cluster.until(path, "lose the taints", |node| keys(node) == ["own:NoSchedule"]).await;
    cluster.end().await;
}

/// A quota is counted when it is made, charged by writes, and gets back what is deleted; kinds that are only counted come and go too.
#[tokio::test]
async fn a_quota_says_what_there_is() {
    let cluster = Cluster::new().await;
    let path = "/api/v1/namespaces/default/resourcequotas";
    let hard = json!({"pods": "2", "requests.cpu": "1", "count/configmaps": "9", "count/deployments.apps": "1"});
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}});
    cluster.world.must("POST", path, &quota).await;
    let path = format!("{path}/q");
    let says = |wanted: [&'static str; 4]| {
        move |quota: &Value| {
            let used = &quota["status"]["used"];
            [&used["pods"], &used["requests.cpu"], &used["count/configmaps"], &used["count/deployments.apps"]] == wanted
        }
    };
    // The namespace has the config map of the authority already.
    cluster.until(&path, "be counted", says(["0", "0", "1", "0"])).await;
    let mut one = pod("p", json!({}));
    one["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "600m"}});
    cluster.world.must("POST", PODS, &one).await;
    cluster.until(&path, "be charged", says(["1", "600m", "1", "0"])).await;
    one["metadata"]["name"] = "second".into();
    let (code, refused) = cluster.world.post(PODS, &one).await;
    assert_eq!((code.as_u16(), refused["reason"].as_str()), (403, Some("Forbidden")), "{refused}");
    let (code, _) = cluster.world.delete(&format!("{PODS}/p?gracePeriodSeconds=0"), &json!({})).await;
    assert!(code.is_success());
    cluster.until(&path, "get it back", says(["0", "0", "1", "0"])).await;
    cluster.world.must("POST", PODS, &one).await;
    cluster.until(&path, "be charged again", says(["1", "600m", "1", "0"])).await;
    cluster.end().await;
}

/// A budget allows what it can spare; the next eviction waits, and says why.
#[tokio::test]
async fn a_budget_stands_before_evictions() {
    let cluster = Cluster::new().await;
    for (name, ip) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        ready_pod(&cluster, name, json!({"app": "web"}), ip).await;
    }
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    let budget =
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}, "spec": spec});
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    cluster.world.must("POST", budgets, &budget).await;
    let one = format!("{budgets}/web");
    cluster.until(&one, "allow one", |it| it["status"]["disruptionsAllowed"] == 1).await;
    let evict = |name: &str| {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}).to_string();
        let path = format!("{PODS}/{name}/eviction");
        let world = &cluster.world;
        async move { world.ask("POST", &path, "application/json", &body).await }
    };
    let (code, answer) = evict("a").await;
    assert_eq!(code, 201, "{answer}");
    let (code, answer) = evict("b").await;
    assert_eq!(
        (code.as_u16(), &answer["details"]["causes"][0]["reason"]),
        (429, &json!("DisruptionBudget")),
        "{answer}"
    );
    let settled = |it: &Value| it["status"]["currentHealthy"] == 1 && it["status"]["disruptionsAllowed"] == 0;
    let seen = cluster.until(&one, "count the other", settled).await;
    assert_eq!(seen["status"]["conditions"][0]["reason"], "InsufficientPods");
    cluster.end().await;
}
