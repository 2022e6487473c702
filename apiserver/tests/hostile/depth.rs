//! What the server has accepted it can read again: an object that nests as deep as the parser permits has its fields' names stored beside it,
//! deeper still.

use super::{JSON, PATIENCE, Sent, ask};
use crate::common::World;
use serde_json::{Value, json};

const GROUP: &str = "/apis/deep.example.com/v1/namespaces/default/things";

async fn defined(world: &World) {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.deep.example.com"},
        "spec": {"group": "deep.example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    world.must("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    let served = async {
        while world.get(GROUP).await.0 != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("the resource is served");
}

/// A spec of so many levels.
fn deep(levels: usize) -> Value {
    (0..levels).fold(json!("end"), |inner, _| json!({ "f": inner }))
}

#[tokio::test]
async fn whatever_was_accepted_can_be_read_and_changed() {
    let world = World::new().await;
    defined(&world).await;
    for levels in 90..=130 {
        let name = format!("deep-{levels}");
        let thing = json!({"apiVersion": "deep.example.com/v1", "kind": "Thing", "metadata": {"name": name}, "spec": deep(levels)});
        let sent = Sent::new(&name, "POST", &format!("{GROUP}?fieldManager=m"), JSON, thing.to_string());
        let made = ask(&world, &sent).await;
        if made.code != 201 {
            assert!(matches!(made.code.as_u16(), 400 | 422), "{name}: {} {}", made.code, made.body);
            continue;
        }
        let path = format!("{GROUP}/{name}");
        let read = world.must("GET", &path, &Value::Null).await;
        assert_eq!(read["spec"], thing["spec"], "{name}");
        let label = json!({"metadata": {"labels": {"a": "b"}}}).to_string();
        let (code, patched) = world.ask("PATCH", &path, "application/merge-patch+json", &label).await;
        assert_eq!(code, 200, "{name}: {patched}");
        let (code, status) = world.ask("PATCH", &path, "application/apply-patch+yaml", &thing.to_string()).await;
        assert_ne!(code, 200, "a manager is needed: {status}");
        let (code, applied) = world
            .ask(
                "PATCH",
                &format!("{path}?fieldManager=other&force=true"),
                "application/apply-patch+yaml",
                &thing.to_string(),
            )
            .await;
        assert!(matches!(code.as_u16(), 200 | 400 | 422), "{name}: {code} {applied}");
        world.must("GET", &path, &Value::Null).await;
    }
    // A server that comes later reads them all.
    let listed = world.must("GET", GROUP, &Value::Null).await;
    assert!(listed["items"].as_array().is_some_and(|items| items.len() >= 10), "{listed}");
    let again = world.another(world.store.backend(), crate::common::NODE_PORTS).await;
    let request = crate::common::request("GET", GROUP, "", "");
    let (code, listed_again) = crate::common::send(again.router(), request).await;
    assert_eq!((code.as_u16(), &listed_again["items"]), (200, &listed["items"]));
}
