//! Server-side apply and managed fields through the REST door and kubectl, with what a real server answers.

mod common;

use common::{World, peer};
use http::StatusCode;
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const APPLY: &str = "application/apply-patch+yaml";

fn deployment(replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "w"}}, "template": {"metadata":
            {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

/// Managers, each with its operation, its part and its fields.
fn owners(object: &Value) -> Vec<(String, String, String, Value)> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries
        .map(|entry| {
            assert!(entry["time"].is_string() && entry["fieldsType"] == "FieldsV1", "{entry}");
            (text(entry, "manager"), text(entry, "operation"), text(entry, "subresource"), entry["fieldsV1"].clone())
        })
        .collect()
}

#[tokio::test]
async fn an_application_makes_and_changes_an_object() {
    let world = World::new().await;
    let path = |query: &str| format!("{DEPLOYMENTS}/web?{query}");
    let apply = async |query: &str, body: &Value| world.ask("PATCH", &path(query), APPLY, &body.to_string()).await;
    let (code, made) = apply("fieldManager=m", &deployment(2)).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let fields = json!({"f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {"f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}}}}}}});
    assert_eq!(owners(&made), [("m".to_owned(), "Apply".to_owned(), String::new(), fields)]);
    let (code, again) = apply("fieldManager=m", &deployment(2)).await;
    assert_eq!((code, &again), (StatusCode::OK, &made), "applied twice is applied once");
    let (code, refused) = apply("fieldManager=n", &deployment(3)).await;
    let conflict = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Conflict",
        "message": "Apply failed with 1 conflict: conflict with \"m\": .spec.replicas", "code": 409,
        "details": {"causes": [{"reason": "FieldManagerConflict", "message": "conflict with \"m\"", "field": ".spec.replicas"}]}});
    assert_eq!((code, refused), (StatusCode::CONFLICT, conflict));
    let (code, forced) = apply("fieldManager=n&force=true", &deployment(3)).await;
    assert_eq!((code, &forced["spec"]["replicas"]), (StatusCode::OK, &json!(3)));
    assert_eq!(forced["metadata"]["generation"], 2);
    let (code, refused) = apply("force=true", &deployment(3)).await;
    let sentence =
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
    assert_eq!((code, &refused["message"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(sentence)));
    let mut unknown = deployment(3);
    unknown["spec"]["foo"] = 1.into();
    let (code, refused) = apply("fieldManager=m", &unknown).await;
    let failed = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 500,
        "message": "failed to create typed patch object (/web; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema"});
    assert_eq!((code, refused), (StatusCode::INTERNAL_SERVER_ERROR, failed));
}

#[tokio::test]
async fn every_write_has_its_manager() {
    let world = World::new().await;
    let path = format!("{DEPLOYMENTS}/web");
    let merge = "application/merge-patch+json";
    let created = world.must("POST", &format!("{DEPLOYMENTS}?fieldManager=maker"), &deployment(2)).await;
    let fields = json!({"f:spec": {
        "f:progressDeadlineSeconds": {}, "f:replicas": {}, "f:revisionHistoryLimit": {}, "f:selector": {},
        "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
        "f:template": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {
            "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {},
                "f:resources": {}, "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}}},
            "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {},
            "f:terminationGracePeriodSeconds": {}}}}});
    assert_eq!(owners(&created), [("maker".to_owned(), "Update".to_owned(), String::new(), fields)]);
    let status = json!({"spec": {"replicas": 9}, "status": {"replicas": 1}}).to_string();
    let (_, reported) = world.ask("PATCH", &format!("{path}/status?fieldManager=controller"), merge, &status).await;
    let scale = json!({"spec": {"replicas": 5}}).to_string();
    let (code, scaled) = world.ask("PATCH", &format!("{path}/scale?fieldManager=scaler"), merge, &scale).await;
    assert_eq!(code, StatusCode::OK, "{scaled}");
    let (_, now) = world.get(&path).await;
    let find = |name: &str| owners(&now).into_iter().find(|owner| owner.0 == name).expect("a manager");
    assert_eq!(find("controller").2, "status", "{reported}");
    assert_eq!(find("controller").3, json!({"f:status": {"f:replicas": {}}}));
    assert_eq!((find("scaler").2, find("scaler").3), ("scale".to_owned(), json!({"f:spec": {"f:replicas": {}}})));
    assert!(find("maker").3["f:spec"]["f:replicas"].is_null());
    let reset = json!({"metadata": {"managedFields": [{}]}}).to_string();
    let (_, cleared) = world.ask("PATCH", &path, merge, &reset).await;
    assert_eq!(owners(&cleared), []);
}

#[tokio::test]
async fn kubectl_applies_on_the_server() {
    let Some(program) = peer("kubectl-1.32") else { return };
    let mut world = World::new().await;
    let (shutdown, served) = world.serve();
    let (kubeconfig, home) = (world.kubeconfig(), world.folder.path().join("home"));
    fs::create_dir_all(&home).expect("home");
    let kubectl = move |arguments: &str| {
        let mut command = Command::new(&program);
        command.args(arguments.split_whitespace()).env_clear().env("HOME", &home).env("KUBECONFIG", &kubeconfig);
        let output = command.current_dir(&home).stdin(Stdio::null()).output().expect("kubectl starts");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let folder = world.folder.path().join("home");
    tokio::task::spawn_blocking(move || {
        let write = |replicas| fs::write(folder.join("d.json"), deployment(replicas).to_string()).expect("manifest");
        let must = |arguments: &str, part: &str| {
            let (success, text) = kubectl(arguments);
            assert!(success && text.contains(part), "{arguments}: {part:?} is missing in:\n{text}");
        };
        write(2);
        must("apply -f d.json", "deployment.apps/web created");
        write(3);
        must("apply --server-side -f d.json", "deployment.apps/web serverside-applied");
        must("get deployment web -o yaml --show-managed-fields", "operation: Apply");
        write(4);
        let (success, text) = kubectl("apply --server-side --field-manager=other -f d.json");
        assert!(!success && text.contains("conflict with \"kubectl\": .spec.replicas"), "{text}");
        must("apply --server-side --field-manager=other --force-conflicts -f d.json", "serverside-applied");
        must("get deployment web -o jsonpath={.spec.replicas}", "4");
    })
    .await
    .expect("checked");
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), served).await.expect("stops").expect("served");
}

#[tokio::test]
async fn a_scale_is_applied_and_owned_as_the_replicas_of_its_object() {
    let world = World::new().await;
    world.must("POST", &format!("{DEPLOYMENTS}?fieldManager=maker"), &deployment(2)).await;
    let scale = |replicas: u32| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": replicas}});
    let path = |query: &str| format!("{DEPLOYMENTS}/web/scale?{query}");
    let apply = async |query: &str, body: &Value| world.ask("PATCH", &path(query), APPLY, &body.to_string()).await;
    let (code, refused) = apply("fieldManager=scaler", &scale(5)).await;
    let sentence = "Apply failed with 1 conflict: conflict with \"maker\" using autoscaling/v1: .spec.replicas";
    assert_eq!((code, &refused["message"]), (StatusCode::CONFLICT, &json!(sentence)));
    let (code, scaled) = apply("fieldManager=scaler&force=true", &scale(5)).await;
    assert_eq!((code, &scaled["kind"], &scaled["spec"]["replicas"]), (StatusCode::OK, &json!("Scale"), &json!(5)));
    assert!(scaled["metadata"]["managedFields"].is_null(), "{scaled}");
    let (_, now) = world.get(&format!("{DEPLOYMENTS}/web")).await;
    let owned = owners(&now);
    let replicas = json!({"f:spec": {"f:replicas": {}}});
    assert_eq!(owned[0], ("scaler".to_owned(), "Apply".to_owned(), "scale".to_owned(), replicas));
    assert!(owned[1].3["f:spec"]["f:replicas"].is_null() && !owned[1].3["f:spec"]["f:selector"].is_null());
    let (code, refused) = apply("fieldManager=scaler", &deployment(2)).await;
    let sentence = "invalid object type: apps/v1, Kind=Deployment";
    assert_eq!((code, &refused["message"]), (StatusCode::BAD_REQUEST, &json!(sentence)));
    let wrong =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": -1}});
    assert_eq!(apply("fieldManager=scaler", &wrong).await.0, StatusCode::UNPROCESSABLE_ENTITY);
}
