//! Policies and hooks from files: they hold from the start, for what configures admission too, and the API does not reach them.

#![allow(clippy::unwrap_used)]

mod common;

use common::World;
use common::hook::Hook;
use http::StatusCode;
use serde_json::{Value, json};
use skiff_apiserver::{AdmissionFile, AdmissionPlugins, ApiServer};
use std::path::Path;
use std::time::Duration;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn policy(name: &str, resources: &Value, expression: &str) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {"validations": [{"expression": expression}], "matchConstraints": {"resourceRules": [resources]}}})
}

fn binding(name: &str) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]}})
}

fn about(groups: &[&str], operations: &[&str], resources: &[&str]) -> Value {
    json!({"apiGroups": groups, "apiVersions": ["*"], "operations": operations, "resources": resources})
}

/// A file that tells plugins of folders.
fn told(folder: &Path, plugins: &[&str]) -> AdmissionFile {
    let plugin = |name: &&str| json!({"name": name, "configuration": {"staticManifestsDir": folder.join(name)}});
    let file = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": plugins.iter().map(plugin).collect::<Vec<_>>()});
    std::fs::write(folder.join("admission.json"), file.to_string()).unwrap();
    AdmissionFile::read(&folder.join("admission.json")).unwrap()
}

async fn ask(server: &ApiServer, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = common::request(method, path, "application/json", &body.to_string());
    common::send(server.router(), request).await
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

#[tokio::test]
async fn policies_of_files_hold_and_guard_what_configures_admission() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let plugin = "ValidatingAdmissionPolicy";
    std::fs::create_dir(folder.path().join(plugin)).unwrap();
    let (maps, guard) = ("maps.static.k8s.io", "guard.static.k8s.io");
    let of_maps = about(&[""], &["CREATE"], &["configmaps"]);
    let of_bindings = about(&["admissionregistration.k8s.io"], &["DELETE"], &["validatingadmissionpolicybindings"]);
    let write = |name: &str, objects: &[Value]| {
        let texts: Vec<String> = objects.iter().map(ToString::to_string).collect();
        std::fs::write(folder.path().join(plugin).join(name), texts.join("\n---\n")).unwrap();
    };
    write("maps.yaml", &[policy(maps, &of_maps, "object.metadata.name != 'no'"), binding(maps)]);
    write("guard.yaml", &[policy(guard, &of_bindings, "oldObject.metadata.name != 'kept'"), binding(guard)]);
    let file = told(folder.path(), &[plugin]);
    let server = world.server.clone().with_admission(&file, &AdmissionPlugins::default()).await.unwrap();
    assert_eq!(ask(&server, "POST", MAPS, &map("yes")).await.0, StatusCode::CREATED);
    let (code, answer) = ask(&server, "POST", MAPS, &map("no")).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("'maps.static.k8s.io' with binding 'maps.static.k8s.io' denied request"), "{message}");
    // What is stored neither shows them nor stands in for them.
    assert_eq!(ask(&server, "GET", &format!("{GROUP}/validatingadmissionpolicies/{maps}"), &Value::Null).await.0, 404);
    let bindings = format!("{GROUP}/validatingadmissionpolicybindings");
    let (code, answer) = ask(&server, "POST", &bindings, &binding("own.static.k8s.io")).await;
    assert_eq!((code, &answer["reason"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("Invalid")), "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("are reserved for static manifest-based configurations"));
    for (name, expected) in [("kept", 422), ("free", 200)] {
        assert_eq!(ask(&server, "POST", &bindings, &binding(name)).await.0, StatusCode::CREATED);
        let (code, answer) = ask(&server, "DELETE", &format!("{bindings}/{name}"), &json!({})).await;
        assert_eq!(code.as_u16(), expected, "{answer}");
    }
    // A file that cannot be used leaves what was there; one that can counts a while later.
    write("maps.yaml", &[json!({"kind": "Pod"})]);
    write("zz.yaml", &[json!({"kind": "Pod"})]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(ask(&server, "POST", MAPS, &map("no")).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    std::fs::remove_file(folder.path().join(plugin).join("zz.yaml")).unwrap();
    write("maps.yaml", &[]);
    let changing = async {
        while ask(&server, "POST", MAPS, &map("no")).await.0 != StatusCode::CREATED {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), changing).await.expect("the files are read again");
}

#[tokio::test]
async fn hooks_of_files_are_asked_about_what_configures_admission() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let plugin = "ValidatingAdmissionWebhook";
    std::fs::create_dir(folder.path().join(plugin)).unwrap();
    let hook = Hook::new("127.0.0.1").await;
    let rules = [about(&["admissionregistration.k8s.io"], &["CREATE"], &["*"])];
    let configuration = |name: &str, client: Value| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": name},
            "webhooks": [{"name": "h.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "rules": rules,
                "clientConfig": client}]})
    };
    let path = folder.path().join(plugin).join("hook.json");
    let file = || told(folder.path(), &[plugin]);
    std::fs::write(&path, configuration("h.static.k8s.io", hook.client("/deny")).to_string()).unwrap();
    let server = world.server.clone().with_admission(&file(), &AdmissionPlugins::default()).await.unwrap();
    let stored = configuration("stored", hook.client("/allow"));
    let (code, answer) = ask(&server, "POST", &format!("{GROUP}/validatingwebhookconfigurations"), &stored).await;
    assert_eq!(code, StatusCode::FORBIDDEN, "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("\"h.example.com\" denied the request"), "{answer}");
    assert_eq!(hook.asked("/deny").len(), 1);
    // A service is found through the API, which a file does not wait for.
    let service = json!({"service": {"namespace": "default", "name": "hook"}});
    std::fs::write(&path, configuration("h.static.k8s.io", service).to_string()).unwrap();
    let refused = World::new().await.server.with_admission(&file(), &AdmissionPlugins::default()).await;
    let why = refused.err().expect("a service is refused").to_string();
    assert!(why.contains("hook.json") && why.contains("clientConfig.service is not supported"), "{why}");
}
