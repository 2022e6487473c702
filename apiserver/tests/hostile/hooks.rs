//! Webhooks that hang, trickle, answer nonsense or without end: a request that must ask them is refused in their time, and every other is
//! served meanwhile.

use super::{MAPS, PATIENCE, Sent, ask, lives, refused};
use crate::common::World;
use crate::common::hook::{Hook, patching};
use serde_json::{Value, json};

async fn hooked(world: &World, hook: &Hook, kind: &str, path: &str) {
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]});
    let one = json!({"name": "hook.example.com", "clientConfig": hook.client(path), "rules": [rule], "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "timeoutSeconds": 1, "failurePolicy": "Fail"});
    let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations");
    let (code, answer) = world.delete(&format!("{path}/hook"), &json!({})).await;
    assert!(matches!(code.as_u16(), 200 | 404), "{answer}");
    world.must("POST", &path, &json!({"metadata": {"name": "hook"}, "webhooks": [one]})).await;
}

/// Until the hook is in force: it is read from a watch.
async fn in_force(world: &World) {
    let probing = async {
        for n in 0.. {
            let probe = json!({"metadata": {"name": format!("probe-{n}")}});
            if !world.post(&format!("{MAPS}?dryRun=All"), &probe).await.0.is_success() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, probing).await.expect("the hook is asked");
}

#[tokio::test]
async fn bad_hooks_are_bounded() {
    let world = World::new().await;
    let hook = Hook::new("127.0.0.1").await;
    let bomb: Vec<Value> =
        (0..60).map(|n| json!({"op": "copy", "from": "/metadata", "path": format!("/metadata/{n}")})).collect();
    let many = json!([{"op": "add", "path": "/data", "value": {}}, {"op": "copy", "from": "/nowhere", "path": "/x"}]);
    for path in
        ["/garbage", "/broken", "/huge", "/trickle", "/hang", "/gone", &patching(&json!(bomb)), &patching(&many)]
    {
        hooked(&world, &hook, "mutating", path).await;
        in_force(&world).await;
        let map = json!({"metadata": {"name": "m"}}).to_string();
        let what = format!("a hook at {:.20}", path);
        // What is read until a hook has answered too much, on both sides.
        refused(&world, &Sent::new(&what, "POST", MAPS, super::JSON, map), &[400, 403, 413, 422, 500], 4_000_000).await;
        lives(&world).await;
    }
}

/// A hundred requests wait for a hook that hangs; a read is not among them.
#[tokio::test]
async fn who_asks_no_hook_is_served() {
    let world = World::new().await;
    let hook = Hook::new("127.0.0.1").await;
    hooked(&world, &hook, "validating", "/hang").await;
    in_force(&world).await;
    let (server, map) = (world.server.clone(), json!({"metadata": {"name": "m"}}).to_string());
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn(crate::common::send(server.router(), crate::common::request("POST", MAPS, super::JSON, &map)))
        })
        .collect();
    let secret = json!({"metadata": {"name": "s"}});
    let other = Sent::new("a secret", "POST", "/api/v1/namespaces/default/secrets", super::JSON, secret.to_string());
    assert_eq!(ask(&world, &other).await.code, 201);
    lives(&world).await;
    for task in waiting {
        let (code, status) = task.await.expect("an answer");
        assert!(matches!(code.as_u16(), 429 | 500), "{code} {status}");
    }
}
