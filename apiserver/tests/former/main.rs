//! A data folder of a former version is opened, and everything is there.
//!
//! `data.tar.gz` was made by the program of the commit that `COMMIT` names, from before resources had identities with groups, owners of
//! fields, and kinds beyond the first fifteen. `make` beside this file makes it anew: it builds that commit's API server, has it write what
//! `objects.rs` lists, and packs its folder.

#[path = "../common/mod.rs"]
mod common;
mod objects; // what is in it

use common::World;
use http::StatusCode;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// What of the folder of a [`World`] is packed: keys are made anew.
const LASTING: [&str; 1] = ["store"];

fn tar(arguments: &[&str], folder: &Path) {
    let done = Command::new("tar").args(arguments).arg("-C").arg(folder).args(packed(arguments)).status();
    assert!(done.expect("tar runs").success(), "tar {arguments:?}");
}

/// What follows the folder: names, when it is packed.
fn packed(arguments: &[&str]) -> &'static [&'static str] {
    if arguments[0].starts_with("-c") { &LASTING } else { &[] }
}

/// Whether everything that `wanted` says stands in `found`, however much more does.
fn contains(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| found.get(key).is_some_and(|found| contains(found, wanted)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| contains(found, wanted))
        }
        _ => found == wanted,
    }
}

/// The world whose folder the former program wrote.
async fn former() -> World {
    let folder = tempfile::Builder::new().prefix("skiff-former").tempdir().expect("scratch folder");
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/former/data.tar.gz");
    tar(&["-xzf", data], folder.path());
    World::in_folder(folder).await
}

#[tokio::test]
async fn every_object_is_there() {
    let world = former().await;
    for written in objects::all() {
        let (code, found) = world.get(&written.path()).await;
        // An event lives for an hour, and whoever made the folder did so longer ago.
        if written.collection.ends_with("/events") {
            continue;
        }
        assert_eq!(code, StatusCode::OK, "{}: {found}", written.path());
        assert!(contains(&found, &written.object), "{}: {found}", written.path());
        assert!(found["metadata"]["uid"].is_string() && found["metadata"]["creationTimestamp"].is_string(), "{found}");
    }
}

/// What was claimed then is claimed now, and what was free is.
#[tokio::test]
async fn addresses_and_ports_stay_with_their_services() {
    let world = former().await;
    let services = "/api/v1/namespaces/former/services";
    let ports = json!([{"port": 80, "nodePort": 30001}]);
    for (name, spec) in [
        ("second-address", json!({"clusterIP": "10.96.0.77", "ports": [{"port": 80}]})),
        ("second-port", json!({"type": "NodePort", "ports": ports})),
    ] {
        let (code, said) = world.post(services, &json!({"metadata": {"name": name}, "spec": spec})).await;
        assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{said}");
    }
    let freed = world.delete(&format!("{services}/fixed"), &json!({})).await;
    assert_eq!(freed.0, StatusCode::OK, "{}", freed.1);
    let again = json!({"metadata": {"name": "again"}, "spec": {"clusterIP": "10.96.0.77", "ports": [{"port": 80}]}});
    assert_eq!(world.post(services, &again).await.0, StatusCode::CREATED);
}

/// What was stored without owners of fields is patched and deleted like everything else.
#[tokio::test]
async fn former_objects_are_written_on() {
    let world = former().await;
    let pods = "/api/v1/namespaces/former/pods?labelSelector=app%3Dweb";
    assert_eq!(world.get(pods).await.1["items"].as_array().map(Vec::len), Some(1));
    for written in objects::all().into_iter().rev().filter(|written| !written.collection.ends_with("/events")) {
        let label = json!({"metadata": {"labels": {"touched": "yes"}}}).to_string();
        let (code, said) = world.ask("PATCH", &written.path(), "application/merge-patch+json", &label).await;
        assert_eq!((code, &said["metadata"]["labels"]["touched"]), (StatusCode::OK, &json!("yes")), "{said}");
        // Whose fields are nobody's has owners only when somebody applies it (Kubernetes does the same).
        assert!(said["metadata"]["managedFields"].is_null(), "{said}");
        let (code, said) = world.delete(&written.path(), &json!({})).await;
        assert!(code.is_success(), "{}: {code} {said}", written.path());
    }
}

/// Not a check: what `make` runs in the tree of the former commit.
#[tokio::test]
async fn write_the_folder() {
    let Ok(out) = std::env::var("SKIFF_FORMER") else {
        skiff_harness::skip("SKIFF_FORMER names no archive to be written; `make` beside this file does");
        return;
    };
    let world = World::new().await;
    for written in objects::all() {
        let mut object = written.object.clone();
        object["metadata"]["name"] = written.name.into();
        world.must("POST", &written.collection, &object).await;
    }
    let World { server, folder, store, .. } = world;
    drop(server);
    store.close().await;
    tar(&["-czf", &out, "--sort=name", "--owner=0", "--group=0", "--numeric-owner"], folder.path());
}
