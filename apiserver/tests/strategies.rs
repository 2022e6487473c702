//! What a write changes, keeps and tells, kind by kind, as Kubernetes' strategies and admission plugins have it.

mod common;

use common::{World, request};
use http::StatusCode;
use serde_json::{Value, json};
use skiff_client::Identity;
use skiff_proto::api::v1::objects_client::ObjectsClient;
use skiff_proto::api::v1::{Address, Object, WriteRequest};
use tower::ServiceExt;

const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const MERGE: &str = "application/merge-patch+json";

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

/// The sentences of an answer's `Warning` headers.
async fn warnings(world: &World, method: &str, path: &str, media: &str, body: &Value) -> Vec<String> {
    let answer =
        world.server.router().oneshot(request(method, path, media, &body.to_string())).await.expect("infallible");
    assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
    let lines = answer.headers().get_all("warning").iter().map(|line| line.to_str().expect("text").to_owned());
    lines.map(|line| line.trim_start_matches("299 - \"").trim_end_matches('"').replace("\\\"", "\"")).collect()
}

/// Fault N20: an annotation in a write of the status is written.
#[tokio::test]
async fn a_status_write_carries_metadata() {
    let world = World::new().await;
    world.must("POST", PODS, &pod("p")).await;
    let change = json!({"metadata": {"annotations": {"a": "b"}, "labels": {"l": "m"}}}).to_string();
    let (code, after) = world.ask("PATCH", &format!("{PODS}/p/status"), MERGE, &change).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!((&after["metadata"]["annotations"]["a"], &after["metadata"]["labels"]["l"]), (&"b".into(), &"m".into()));
    let (_, again) = world.get(&format!("{PODS}/p")).await;
    assert_eq!(again, after);
}

/// Fault N29: a client that keeps its own manifest may write it back.
#[tokio::test]
async fn a_pod_may_be_replaced_by_its_manifest() {
    let world = World::new().await;
    let made = world.must("POST", PODS, &pod("p")).await;
    let mut own = made.clone();
    for field in ["tolerations", "priority", "preemptionPolicy", "serviceAccount"] {
        own["spec"].as_object_mut().expect("a spec").remove(field);
    }
    own["metadata"]["labels"] = json!({"a": "b"});
    let after = world.must("PUT", &format!("{PODS}/p"), &own).await;
    assert_eq!(after["spec"], made["spec"]);
    assert_eq!(after["metadata"]["labels"]["a"], "b");
}

/// Fault N29: a service may become an external name and a service again.
#[tokio::test]
async fn a_service_changes_its_type() {
    let world = World::new().await;
    let spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
    let body = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec});
    let mut service = world.must("POST", SERVICES, &body).await;
    let (address, port) = (service["spec"]["clusterIP"].clone(), service["spec"]["ports"][0]["nodePort"].clone());
    assert!(address.is_string() && port.is_number(), "{service}");
    let path = format!("{SERVICES}/s");
    service["spec"]["type"] = "ExternalName".into();
    service["spec"]["externalName"] = "example.org".into();
    let mut outside = world.must("PUT", &path, &service).await;
    for gone in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "externalTrafficPolicy"] {
        assert!(outside["spec"][gone].is_null(), "{gone}: {outside}");
    }
    assert!(outside["spec"]["ports"][0]["nodePort"].is_null(), "{outside}");
    outside["spec"]["type"] = "NodePort".into();
    outside["spec"]["externalName"] = "".into();
    let inside = world.must("PUT", &path, &outside).await;
    assert!(inside["spec"]["clusterIP"].is_string() && inside["spec"]["ports"][0]["nodePort"].is_number(), "{inside}");
    let patch = json!({"spec": {"type": "ExternalName", "externalName": "a.b"}}).to_string();
    let (code, patched) = world.ask("PATCH", &path, "application/strategic-merge-patch+json", &patch).await;
    assert_eq!(code, StatusCode::OK, "{patched}");
}

/// Fault N9: a label that asks for a standard has an effect, and what it says is told to whoever writes.
#[tokio::test]
async fn pod_security_labels_are_enforced() {
    let world = World::new().await;
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace = |name: &str, labels: &Value| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    let json = "application/json";
    world.must("POST", "/api/v1/namespaces", &namespace("a", &labels)).await;
    world.must("POST", "/api/v1/namespaces", &namespace("b", &json!({}))).await;
    world.account("a").await;
    world.account("b").await;
    let (code, refused) = world.ask("POST", "/api/v1/namespaces/a/pods", json, &pod("p").to_string()).await;
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(
        code == 403 && message.starts_with("pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": "),
        "{code} {message}"
    );
    let change = json!({"metadata": {"labels": {"pod-security.kubernetes.io/warn": "restricted"}}});
    assert!(warnings(&world, "PATCH", "/api/v1/namespaces/b", MERGE, &change).await.is_empty());
    let told = warnings(&world, "POST", "/api/v1/namespaces/b/pods", json, &pod("p")).await;
    assert!(told.len() == 1 && told[0].contains("would violate PodSecurity \"restricted:latest\": "), "{told:?}");
    let change = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    assert_eq!(warnings(&world, "PATCH", "/api/v1/namespaces/b", MERGE, &change).await.len(), 2);
}

/// Fault N9, at the other door: an answer over gRPC carries the same sentences.
#[tokio::test]
async fn warnings_come_over_grpc_too() {
    let world = World::new().await;
    let server = world.server.router().map_request(|mut request: http::Request<tonic::body::Body>| {
        request.extensions_mut().insert(Identity::component("test"));
        request
    });
    let mut objects = ObjectsClient::with_origin(server, "https://skiff".parse().expect("an origin"));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "a", "labels": {"pod-security.kubernetes.io/warn": "restricted"}}});
    world.must("POST", "/api/v1/namespaces", &namespace).await;
    world.account("a").await;
    let address =
        Address { version: "v1".into(), resource: "pods".into(), namespace: "a".into(), ..Address::default() };
    let object = Some(Object { json: pod("p").to_string().into() });
    let request = WriteRequest { address: Some(address), object, ..WriteRequest::default() };
    let made = objects.create(request).await.expect("created");
    let told = made.metadata().get_bin("warning-bin").expect("a warning").to_bytes().expect("base64");
    assert!(String::from_utf8_lossy(&told).contains("would violate PodSecurity"), "{told:?}");
}

/// Both doors do the same verbs: acts on a part, checks of names, and what cannot be asked.
#[tokio::test]
async fn grpc_binds_and_refuses_as_rest_does() {
    let world = World::new().await;
    world.must("POST", PODS, &pod("p")).await;
    let server = world.server.router().map_request(|mut request: http::Request<tonic::body::Body>| {
        request.extensions_mut().insert(Identity::component("test"));
        request
    });
    let mut objects = ObjectsClient::with_origin(server, "https://skiff".parse().expect("an origin"));
    let write = |name: &str, part: &str, body: Value| {
        let address = Address {
            version: "v1".into(),
            resource: "pods".into(),
            namespace: "default".into(),
            ..Address::default()
        };
        let address = Some(Address { name: name.into(), subresource: part.into(), ..address });
        WriteRequest { address, object: Some(Object { json: body.to_string().into() }), ..WriteRequest::default() }
    };
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let bound = objects.create(write("p", "binding", binding.clone())).await.expect("bound").into_inner();
    let bound: Value = serde_json::from_slice(&bound.json).expect("JSON");
    assert_eq!((&bound["kind"], &bound["status"]), (&"Status".into(), &"Success".into()));
    let (_, there) = world.get(&format!("{PODS}/p")).await;
    assert_eq!(there["spec"]["nodeName"], "n");
    let again = objects.create(write("p", "binding", binding)).await.expect_err("bound already");
    assert!(again.message().contains("is already assigned to node \"n\""), "{again}");
    let nameless = json!({"metadata": {}, "spec": there["spec"]});
    let (_, said) = world.put(&format!("{PODS}/p"), &nameless).await;
    let refused = objects.update(write("p", "", nameless)).await.expect_err("it has no name");
    assert_eq!(said["message"].as_str(), Some(refused.message()));
}
