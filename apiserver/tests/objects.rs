//! The registry through its REST door: codes, sentences, selectors, concurrency, deletion.

mod common;

use common::World;
use http::StatusCode;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn pod(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": value}})
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().expect("a list").iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

#[tokio::test]
async fn a_new_pod_gets_what_the_server_decides() {
    let world = World::new().await;
    let created = world.must("POST", PODS, &pod("p", json!({}))).await;
    assert_eq!(created["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    assert_eq!(created["spec"]["serviceAccountName"], "default");
    assert_eq!(created["spec"]["restartPolicy"], "Always");
    assert_eq!(created["metadata"]["generation"], 1);
    assert!(created["metadata"]["uid"].as_str().is_some_and(|uid| uid.len() == 36), "{created}");
    let (code, read) = world.get(&format!("{PODS}/p")).await;
    assert_eq!((code, &read), (StatusCode::OK, &created));
}

#[tokio::test]
async fn refusals_are_kubernetes_statuses() {
    let world = World::new().await;
    let (code, status) = world.get(&format!("{PODS}/x")).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    assert_eq!(
        status,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404,
            "message": "pods \"x\" not found", "details": {"name": "x", "kind": "pods"}})
    );
}

#[tokio::test]
async fn every_refusal_has_its_code_and_sentence() {
    let world = World::new().await;
    let (one, other, same) = (format!("{CONFIG_MAPS}/c"), format!("{CONFIG_MAPS}/other"), config_map("c", "1"));
    world.must("POST", CONFIG_MAPS, &same).await;
    let nameless = "metadata.name: Required value: name or generateName is required";
    let misnamed = "ConfigMap \"A_b\" is invalid: metadata.name: Invalid value";
    let nowhere = "/api/v1/namespaces/no/configmaps";
    let kept = "namespaces \"default\" is forbidden: this namespace may not be deleted";
    for (method, path, body, code, reason, sentence) in [
        ("POST", CONFIG_MAPS, &same, 409, "AlreadyExists", "configmaps \"c\" already exists"),
        ("POST", CONFIG_MAPS, &config_map("", "1"), 422, "Invalid", nameless),
        ("POST", CONFIG_MAPS, &config_map("A_b", "1"), 422, "Invalid", misnamed),
        ("POST", CONFIG_MAPS, &pod("p", json!({})), 400, "BadRequest", "cannot be handled as a ConfigMap"),
        ("POST", nowhere, &same, 404, "NotFound", "namespaces \"no\" not found"),
        ("PUT", &other, &config_map("other", "1"), 404, "NotFound", "configmaps \"other\" not found"),
        ("PUT", &one, &config_map("other", "1"), 400, "BadRequest", "does not match the name on the URL"),
        ("GET", "/api/v1/widgets", &json!({}), 404, "NotFound", "the server could not find the requested resource"),
        ("DELETE", "/api/v1/namespaces/default", &json!({}), 403, "Forbidden", kept),
        ("POST", &one, &same, 405, "MethodNotAllowed", "does not allow this method"),
    ] {
        let (answered, status) = world.ask(method, path, "application/json", &body.to_string()).await;
        assert_eq!((answered.as_u16(), &status["reason"]), (code, &json!(reason)), "{method} {path}: {status}");
        assert!(status["message"].as_str().is_some_and(|text| text.contains(sentence)), "{status}");
    }
}

#[tokio::test]
async fn bodies_have_forms_and_limits() {
    let world = World::new().await;
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata: {a: b}\n";
    assert_eq!(world.ask("POST", CONFIG_MAPS, "application/yaml", yaml).await.0, StatusCode::CREATED);
    let json = config_map("plain", "1").to_string();
    assert_eq!(world.ask("POST", CONFIG_MAPS, "", &json).await.0, StatusCode::CREATED, "no Content-Type is JSON");
    let (code, status) = world.ask("POST", CONFIG_MAPS, "application/x-www-form-urlencoded", "a=b").await;
    assert_eq!((code, &status["reason"]), (StatusCode::UNSUPPORTED_MEDIA_TYPE, &json!("UnsupportedMediaType")));
    let (code, _) = world.ask("POST", CONFIG_MAPS, "application/json", &"x".repeat(3 * 1024 * 1024 + 1)).await;
    assert_eq!(code, StatusCode::PAYLOAD_TOO_LARGE);
    let (code, status) = world.ask("POST", CONFIG_MAPS, "application/json", "{").await;
    assert_eq!(code, StatusCode::BAD_REQUEST, "{status}");
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_about_or_dropped() {
    let world = World::new().await;
    let mut body = config_map("c", "1");
    body["datum"] = json!(1);
    let (code, status) = world.post(&format!("{CONFIG_MAPS}?fieldValidation=Strict"), &body).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert!(
        status["message"].as_str().is_some_and(|text| text.contains("strict decoding error: unknown field \"datum\"")),
        "{status}"
    );
    let created = world.must("POST", &format!("{CONFIG_MAPS}?fieldValidation=Ignore"), &body).await;
    assert!(created["datum"].is_null());
}

#[tokio::test]
async fn stale_writes_conflict_and_patches_do_not() {
    let world = World::new().await;
    let path = format!("{CONFIG_MAPS}/c");
    let mut first = world.must("POST", CONFIG_MAPS, &config_map("c", "1")).await;
    let second = world.must("PUT", &path, &config_map("c", "2")).await;
    assert_ne!(first["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
    first["data"]["a"] = "3".into();
    let (code, status) = world.put(&path, &first).await;
    assert_eq!(code, StatusCode::CONFLICT);
    assert_eq!(
        status["message"],
        "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to \
         the latest version and try again"
    );
    let tasks = (0..8).map(|index| {
        let router = world.server.router();
        let body = json!({"data": {format!("k{index}"): "v"}}).to_string();
        let request = common::request("PATCH", &path, "application/merge-patch+json", &body);
        tokio::spawn(async move { common::send(router, request).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert_eq!(task.await.expect("patched").0, StatusCode::OK);
    }
    let (_, last) = world.get(&path).await;
    assert_eq!(last["data"].as_object().map(serde_json::Map::len), Some(9), "{last}");
}

#[tokio::test]
async fn every_patch_type_does_its_own() {
    let world = World::new().await;
    world.must("POST", CONFIG_MAPS, &config_map("c", "1")).await;
    let path = format!("{CONFIG_MAPS}/c");
    for (kind, body, expected) in [
        ("application/json-patch+json", json!([{"op": "replace", "path": "/data/a", "value": "2"}]), "2"),
        ("application/merge-patch+json", json!({"data": {"a": "3"}}), "3"),
        ("application/strategic-merge-patch+json", json!({"data": {"a": "4"}}), "4"),
    ] {
        let (code, patched) = world.ask("PATCH", &path, kind, &body.to_string()).await;
        assert_eq!((code, &patched["data"]["a"]), (StatusCode::OK, &json!(expected)), "{kind} {patched}");
    }
    let failing = json!([{"op": "test", "path": "/data/a", "value": "9"}]).to_string();
    assert_eq!(
        world.ask("PATCH", &path, "application/json-patch+json", &failing).await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
}

#[tokio::test]
async fn a_write_that_wants_nothing_else_changes_nothing() {
    let world = World::new().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let wanted = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "creationTimestamp": null},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": 0.5}},
                "ports": [{"containerPort": 80}], "readinessProbe": {"tcpSocket": {"port": 80}}}]}}}});
    let created = world.must("POST", path, &wanted).await;
    let one = format!("{path}/web");
    for kind in ["application/merge-patch+json", "application/strategic-merge-patch+json"] {
        let (code, patched) = world.ask("PATCH", &one, kind, &wanted.to_string()).await;
        assert_eq!(
            (code, &patched),
            (StatusCode::OK, &created),
            "{kind}: the list of containers comes without defaults"
        );
    }
    assert_eq!(world.must("PUT", &one, &wanted).await, created);
    let (_, changed) = world.ask("PATCH", &one, "application/merge-patch+json", r#"{"spec":{"replicas":3}}"#).await;
    assert_eq!(changed["metadata"]["generation"], 2);
    assert_ne!(changed["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    let services = "/api/v1/namespaces/default/services";
    let wanted = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80}]}});
    let created = world.must("POST", services, &wanted).await;
    let patched =
        world.ask("PATCH", &format!("{services}/web"), "application/merge-patch+json", &wanted.to_string()).await;
    assert_eq!(patched, (StatusCode::OK, created), "the node port stays");
}

#[tokio::test]
async fn bodies_that_cannot_be_read_name_their_fields() {
    let world = World::new().await;
    let mut wanted = pod("p", json!({}));
    wanted["spec"]["containers"][0]["imag"] = "x".into();
    wanted["spec"]["prio"] = 1.into();
    // As a real kube-apiserver says it: in the message alone, without details.
    let told = async |wanted: &Value| {
        let (code, status) = world.post(&format!("{PODS}?fieldValidation=Strict"), wanted).await;
        assert_eq!((code, &status["details"]), (StatusCode::BAD_REQUEST, &Value::Null), "{status}");
        let message = status["message"].as_str().unwrap_or_default();
        message.strip_prefix("Pod in version \"v1\" cannot be handled as a Pod: ").unwrap_or(message).to_owned()
    };
    let strict = "strict decoding error: unknown field \"spec.containers[0].imag\", unknown field \"spec.prio\"";
    assert_eq!(told(&wanted).await, strict);
    let mut wanted = pod("p", json!({}));
    wanted["spec"]["hostNetwork"] = "yes".into();
    assert_eq!(told(&wanted).await, "spec.hostNetwork: expected true or false, got \"yes\"");
}

#[tokio::test]
async fn lists_are_selected_and_paged() {
    let world = World::new().await;
    for (index, tier) in ["front", "front", "back", "front"].iter().enumerate() {
        world.must("POST", PODS, &pod(&format!("p{index}"), json!({"tier": tier}))).await;
    }
    let check = async |query: &str, expected: &[&str]| {
        let (code, list) = world.get(&format!("{PODS}?{query}")).await;
        assert_eq!(code, StatusCode::OK, "{list}");
        assert_eq!(names(&list), expected, "{query}");
    };
    check("labelSelector=tier%3Dback", &["p2"]).await;
    check("labelSelector=tier+in+(back,front),tier!%3Dfront", &["p2"]).await;
    check("fieldSelector=metadata.name%3Dp1", &["p1"]).await;
    check("fieldSelector=metadata.name%3Dp", &[]).await;
    check("fieldSelector=status.phase!%3DPending", &[]).await;
    check("limit=3&labelSelector=tier%3Dfront", &["p0", "p1", "p3"]).await;
    assert_eq!(world.get(&format!("{PODS}?fieldSelector=spec.color%3Dred")).await.0, StatusCode::BAD_REQUEST);
    let (_, first) = world.get(&format!("{PODS}?limit=3")).await;
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["p0", "p1", "p2"], &json!(1)));
    world.must("POST", PODS, &pod("p9", json!({}))).await;
    let token = first["metadata"]["continue"].as_str().expect("more");
    let (_, rest) = world.get(&format!("{PODS}?limit=3&continue={token}")).await;
    assert_eq!(names(&rest), ["p3"], "the second page shows the revision of the first");
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(world.get(&format!("{PODS}?continue=nonsense")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.get(&format!("{PODS}?resourceVersion=999999")).await.0, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn status_and_spec_have_paths_of_their_own() {
    let world = World::new().await;
    world.must("POST", PODS, &pod("p", json!({}))).await;
    let merge = "application/merge-patch+json";
    let change = json!({"status": {"phase": "Running"}, "spec": {"nodeName": "n"}}).to_string();
    let (_, patched) = world.ask("PATCH", &format!("{PODS}/p/status"), merge, &change).await;
    assert_eq!((&patched["status"]["phase"], &patched["spec"]["nodeName"]), (&json!("Running"), &Value::Null));
    let change = json!({"status": {"phase": "Failed"}, "metadata": {"labels": {"a": "b"}}}).to_string();
    let (_, patched) = world.ask("PATCH", &format!("{PODS}/p"), merge, &change).await;
    assert_eq!((&patched["status"]["phase"], &patched["metadata"]["labels"]["a"]), (&json!("Running"), &json!("b")));
}

#[tokio::test]
async fn a_pod_is_bound_once_and_dies_with_grace() {
    let world = World::new().await;
    world.must("POST", PODS, &pod("p", json!({}))).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let bound = world.must("POST", &format!("{PODS}/p/binding"), &binding).await;
    assert_eq!((&bound["kind"], &bound["status"], &bound["code"]), (&json!("Status"), &json!("Success"), &json!(201)));
    let (code, status) = world.post(&format!("{PODS}/p/binding"), &binding).await;
    assert_eq!(code, StatusCode::CONFLICT);
    assert!(status["message"].as_str().is_some_and(|text| text.contains("already assigned to node \"n\"")), "{status}");
    let (_, read) = world.get(&format!("{PODS}/p")).await;
    assert_eq!(
        (&read["spec"]["nodeName"], &read["status"]["conditions"][0]["type"]),
        (&json!("n"), &json!("PodScheduled"))
    );

    let uid = read["metadata"]["uid"].clone();
    let wrong = json!({"preconditions": {"uid": "other"}});
    assert_eq!(world.delete(&format!("{PODS}/p"), &wrong).await.0, StatusCode::CONFLICT);
    let options = json!({"kind": "DeleteOptions", "apiVersion": "apps/v1", "gracePeriodSeconds": 5, "preconditions": {"uid": uid}});
    let (_, marked) = world.delete(&format!("{PODS}/p"), &options).await;
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 5, "{marked}");
    let (code, _) = world.delete(&format!("{PODS}/p"), &json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(world.get(&format!("{PODS}/p")).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn finalizers_hold_what_is_deleted() {
    let world = World::new().await;
    let mut object = config_map("c", "1");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.must("POST", CONFIG_MAPS, &object).await;
    let path = format!("{CONFIG_MAPS}/c");
    let (_, held) = world.delete(&path, &json!({})).await;
    assert!(held["metadata"]["deletionTimestamp"].is_string(), "{held}");
    let release = json!({"metadata": {"finalizers": null}}).to_string();
    let (code, _) = world.ask("PATCH", &path, "application/merge-patch+json", &release).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(world.get(&path).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_namespace_terminates_and_is_finalized() {
    let world = World::new().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    let created = world.must("POST", "/api/v1/namespaces", &namespace).await;
    assert_eq!(created["status"]["phase"], "Active");
    assert_eq!(created["metadata"]["labels"]["kubernetes.io/metadata.name"], "n");
    let (_, mut marked) = world.delete("/api/v1/namespaces/n", &json!({})).await;
    assert_eq!(marked["status"]["phase"], "Terminating");
    let (code, status) = world.post("/api/v1/namespaces/n/configmaps", &config_map("c", "1")).await;
    assert_eq!(
        (code, &status["details"]["causes"][0]["reason"]),
        (StatusCode::FORBIDDEN, &json!("NamespaceTerminating"))
    );
    marked["spec"]["finalizers"] = json!([]);
    assert_eq!(world.put("/api/v1/namespaces/n/finalize", &marked).await.0, StatusCode::OK);
    assert_eq!(world.get("/api/v1/namespaces/n").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn dry_runs_change_nothing() {
    let world = World::new().await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"clusterIP": "10.96.0.77", "ports": [{"port": 80}]}});
    let path = "/api/v1/namespaces/default/services";
    let shown = world.must("POST", &format!("{path}?dryRun=All"), &service).await;
    assert_eq!(shown["spec"]["clusterIP"], "10.96.0.77");
    assert_eq!(world.get(&format!("{path}/s")).await.0, StatusCode::NOT_FOUND);
    world.must("POST", path, &service).await;
    world.must("DELETE", &format!("{path}/s?dryRun=All"), &json!({})).await;
    assert_eq!(world.get(&format!("{path}/s")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let world = World::new().await;
    for (name, tier) in [("a", "x"), ("b", "y"), ("c", "x")] {
        world.must("POST", PODS, &pod(name, json!({"tier": tier}))).await;
    }
    let (code, deleted) = world.delete(&format!("{PODS}?labelSelector=tier%3Dx"), &json!({})).await;
    assert_eq!((code, names(&deleted)), (StatusCode::OK, vec!["a", "c"]));
    assert_eq!(names(&world.get(PODS).await.1), ["b"]);
}

#[tokio::test]
async fn strangers_are_kept_out() {
    let world = World::new().await;
    for (path, expected) in [("/readyz", 200), ("/version", 200), ("/api", 403), (PODS, 403)] {
        let mut request = common::request("GET", path, "", "");
        request.extensions_mut().clear();
        assert_eq!(common::send(world.server.router(), request).await.0.as_u16(), expected, "{path}");
    }
}

#[tokio::test]
async fn commits_of_pods_are_recorded_and_can_fail() {
    let (world, trace) = World::traced("api.commit:2=error(5)").await;
    let created = world.must("POST", PODS, &pod("p", json!({}))).await;
    let (code, status) = world.post(PODS, &pod("q", json!({}))).await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR, "{status}");
    assert_eq!(world.get(&format!("{PODS}/q")).await.0, StatusCode::NOT_FOUND, "a failed commit stores nothing");
    let text = std::fs::read_to_string(trace).expect("a trace");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!((&lines[0]["step"], &lines[0]["operand"]), (&json!("api.commit"), &json!("default/p")));
    assert_eq!(lines[0]["correlation"], created["metadata"]["uid"]);
}

#[tokio::test]
async fn limits_of_a_namespace_fill_in_and_refuse() {
    let world = World::new().await;
    let limits = json!([{"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}}]);
    let range = json!({"metadata": {"name": "l"}, "spec": {"limits": limits}});
    world.must("POST", "/api/v1/namespaces/default/limitranges", &range).await;
    let pod = |name: &str, limits: Value| {
        json!({"metadata": {"name": name}, "spec": {"containers": [
        {"name": "c", "image": "i", "resources": {"limits": limits}}]}})
    };
    let pods = "/api/v1/namespaces/default/pods";
    let made = world.must("POST", pods, &pod("a", json!({}))).await;
    let filled = json!({"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}});
    assert_eq!(made["spec"]["containers"][0]["resources"], filled);
    assert_eq!(made["status"]["qosClass"], "Burstable");
    let (code, status) = world.post(pods, &pod("b", json!({"cpu": "2"}))).await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert_eq!(status["message"], "pods \"b\" is forbidden: maximum cpu usage per Container is 1, but limit is 2");
}
