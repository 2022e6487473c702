//! PUT, kind by kind: what is not there yet is made or not found; a write without a revision is taken or refused. And the keys: a data
//! folder of the former version is served as it is.

mod common;

use common::World;
use http::StatusCode;
use serde_json::{Value, json};
use skiff_store::Backend;
use std::sync::Arc;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";

fn lease(metadata: &Value) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}})
}

async fn put(world: &World, path: &str, body: &Value) -> (StatusCode, Value) {
    world.ask("PUT", path, "application/json", &body.to_string()).await
}

#[tokio::test]
async fn some_kinds_are_made_by_a_put() {
    let world = World::new().await;
    let (code, tried) = put(&world, &format!("{LEASE}?dryRun=All"), &lease(&json!({"name": "l"}))).await;
    assert_eq!(code, StatusCode::CREATED, "{tried}");
    assert_eq!(world.get(LEASE).await.0, StatusCode::NOT_FOUND);
    // A revision of an object that is gone does not matter.
    let (code, made) = put(&world, LEASE, &lease(&json!({"name": "l", "resourceVersion": "5"}))).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!(world.get(LEASE).await, (StatusCode::OK, made));
    for (metadata, expected, why) in [
        (json!({"name": "m", "uid": "u"}), StatusCode::CONFLICT, "Precondition failed: UID in precondition: u"),
        (
            json!({}),
            StatusCode::BAD_REQUEST,
            "the name of the object (m based on URL) was undeterminable: name must be provided",
        ),
        (json!({"name": "n"}), StatusCode::BAD_REQUEST, "does not match the name on the URL (m)"),
    ] {
        let (code, status) = put(&world, &format!("{LEASES}/m"), &lease(&metadata)).await;
        assert_eq!(code, expected, "{status}");
        assert!(status["message"].as_str().is_some_and(|text| text.contains(why)), "{status}");
    }
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
    assert_eq!(put(&world, "/api/v1/namespaces/default/configmaps/c", &map).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn some_kinds_are_never_replaced_blindly() {
    let world = World::new().await;
    let made = world.must("POST", LEASES, &lease(&json!({"name": "l"}))).await;
    let (code, status) = put(&world, LEASE, &lease(&json!({"name": "l"}))).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{status}");
    assert_eq!(
        status["message"],
        "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
    assert_eq!((&status["details"]["kind"], &status["details"]["name"]), (&"leases".into(), &"l".into()));
    let (code, after) = put(
        &world,
        LEASE,
        &lease(&json!({"name": "l", "labels": {"a": "b"}, "resourceVersion": made["metadata"]["resourceVersion"]})),
    )
    .await;
    assert_eq!((code, &after["metadata"]["labels"]["a"]), (StatusCode::OK, &"b".into()));
}

/// Keys of the version before resources had folders of their own: they are those of today, so nothing has to be moved.
#[tokio::test]
async fn objects_of_the_former_version_are_found() {
    let world = World::new().await;
    let backend: Arc<dyn Backend> = world.store.backend();
    for (key, path, api_version, kind) in [
        ("configmaps/default/o", "/api/v1/namespaces/default/configmaps/o", "v1", "ConfigMap"),
        ("deployments/default/o", "/apis/apps/v1/namespaces/default/deployments/o", "apps/v1", "Deployment"),
        (
            "endpointslices/default/o",
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/o",
            "discovery.k8s.io/v1",
            "EndpointSlice",
        ),
        ("events/default/o", "/api/v1/namespaces/default/events/o", "v1", "Event"),
        ("jobs/default/o", "/apis/batch/v1/namespaces/default/jobs/o", "batch/v1", "Job"),
        ("leases/default/o", &format!("{LEASES}/o"), "coordination.k8s.io/v1", "Lease"),
        ("minions/o", "/api/v1/nodes/o", "v1", "Node"),
        ("namespaces/o", "/api/v1/namespaces/o", "v1", "Namespace"),
        ("pods/default/o", "/api/v1/namespaces/default/pods/o", "v1", "Pod"),
        ("replicasets/default/o", "/apis/apps/v1/namespaces/default/replicasets/o", "apps/v1", "ReplicaSet"),
        ("secrets/default/o", "/api/v1/namespaces/default/secrets/o", "v1", "Secret"),
        ("serviceaccounts/default/o", "/api/v1/namespaces/default/serviceaccounts/o", "v1", "ServiceAccount"),
        ("services/endpoints/default/o", "/api/v1/namespaces/default/endpoints/o", "v1", "Endpoints"),
        ("services/specs/default/o", "/api/v1/namespaces/default/services/o", "v1", "Service"),
    ] {
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "o", "uid": key}});
        let stored = object.to_string();
        backend.put(format!("/registry/{key}").into(), stored.into(), 0, 0).await.expect("put");
        let (code, found) = world.get(path).await;
        assert_eq!((code, &found["metadata"]["uid"]), (StatusCode::OK, &key.into()), "{path}: {found}");
    }
}
