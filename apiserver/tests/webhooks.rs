//! Webhooks that are asked about writes: what they see, what comes of their answers, and of those that give none.

mod common;

use common::World;
use common::hook::{Hook, patching};
use http::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Far more than it takes: the test fails when it passes, and never waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

fn webhook(name: &str, client: &Value) -> Value {
    json!({"name": format!("{name}.hooks.example"), "clientConfig": client, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "timeoutSeconds": 30,
        // The server has config maps of its own elsewhere.
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]})
}

/// Registers webhooks of a kind under a name, and waits until a probe says that they are asked.
async fn register(world: &World, plural: &str, name: &str, hooks: &[Value]) {
    let configuration = json!({"metadata": {"name": name}, "webhooks": hooks});
    world.must("POST", &format!("{GROUP}/{plural}"), &configuration).await;
    let marker = json!({"metadata": {"name": format!("{name}-marker")}, "webhooks": [{
        "name": "marker.hooks.example", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://127.0.0.1:1"}, "timeoutSeconds": 1, "rules": [
            {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["serviceaccounts"]}]}]});
    world.must("POST", &format!("{GROUP}/{plural}"), &marker).await;
    let asked = async {
        loop {
            let probe = json!({"metadata": {"generateName": "probe-"}});
            let (code, _) = world.post("/api/v1/namespaces/default/serviceaccounts?dryRun=All", &probe).await;
            if code == StatusCode::INTERNAL_SERVER_ERROR {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("what is registered is asked");
    world.must("DELETE", &format!("{GROUP}/{plural}/{name}-marker"), &json!({})).await;
}

const MUTATING: &str = "mutatingwebhookconfigurations";
const VALIDATING: &str = "validatingwebhookconfigurations";

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "1"}})
}

#[tokio::test]
async fn a_hook_sees_what_is_written() {
    let (world, hook) = (World::new().await, Hook::new("127.0.0.1").await);
    register(&world, VALIDATING, "v", &[webhook("all", &hook.client("/allow"))]).await;
    world.must("POST", MAPS, &map("x")).await;
    let mut next = world.must("GET", &format!("{MAPS}/x"), &json!({})).await;
    next["data"]["a"] = "2".into();
    world.must("PUT", &format!("{MAPS}/x"), &next).await;
    world.must("DELETE", &format!("{MAPS}/x?dryRun=All"), &json!({})).await;
    let asked = hook.asked("/allow");
    let seen: Vec<_> = asked.iter().map(|review| &review["request"]).collect();
    let [created, updated, deleted] = &seen[..] else { panic!("{asked:?}") };
    let of_maps = json!({"group": "", "version": "v1", "resource": "configmaps"});
    for (request, operation) in [(created, "CREATE"), (updated, "UPDATE"), (deleted, "DELETE")] {
        assert_eq!(request["operation"], operation);
        assert_eq!((&request["resource"], &request["requestResource"]), (&of_maps, &of_maps));
        assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
        assert_eq!((&request["name"], &request["namespace"]), (&json!("x"), &json!("default")));
        assert_eq!(request["userInfo"]["username"], "system:test");
        assert_eq!(request["dryRun"], operation == "DELETE");
    }
    assert_eq!((&created["object"]["data"]["a"], &created["oldObject"]), (&json!("1"), &Value::Null));
    assert_eq!((&updated["object"]["data"]["a"], &updated["oldObject"]["data"]["a"]), (&json!("2"), &json!("1")));
    assert_eq!((&deleted["object"], &deleted["oldObject"]["data"]["a"]), (&Value::Null, &json!("2")));
    assert_eq!(deleted["options"]["kind"], "DeleteOptions");
    assert_eq!(hook.connections(), 1, "a connection stays open");
}

#[tokio::test]
async fn a_refusal_is_passed_on_in_the_hooks_words() {
    let (world, hook) = (World::new().await, Hook::new("127.0.0.1").await);
    register(&world, VALIDATING, "v", &[webhook("no", &hook.client("/deny"))]).await;
    let (code, answer) = world.post(MAPS, &map("x")).await;
    assert_eq!((code, &answer["reason"]), (StatusCode::FORBIDDEN, &json!("Forbidden")));
    assert_eq!(answer["message"], "admission webhook \"no.hooks.example\" denied the request: not here");
    let (code, _) = world.get(&format!("{MAPS}/x")).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn hooks_change_objects_in_order_and_see_what_others_changed() {
    let (world, hook) = (World::new().await, Hook::new("127.0.0.1").await);
    let patch = |key: &str| patching(&json!([{"op": "add", "path": format!("/data/{key}"), "value": "x"}]));
    let mut first = webhook("first", &hook.client(&patch("b")));
    first["reinvocationPolicy"] = "IfNeeded".into();
    let second = webhook("second", &hook.client(&patch("c")));
    register(&world, MUTATING, "m", &[first, second]).await;
    let made = world.must("POST", MAPS, &map("x")).await;
    assert_eq!(made["data"], json!({"a": "1", "b": "x", "c": "x"}));
    assert!(made["metadata"]["uid"].is_string() && made["metadata"]["creationTimestamp"].is_string(), "{made}");
    let (first, second) = (hook.asked(&patch("b")), hook.asked(&patch("c")));
    assert_eq!((first.len(), second.len()), (2, 1), "only the first one looks again");
    assert_eq!(second[0]["request"]["object"]["data"], json!({"a": "1", "b": "x"}));
    assert_eq!(first[1]["request"]["object"]["data"], json!({"a": "1", "b": "x", "c": "x"}));
    assert!(first[0]["request"]["object"]["metadata"]["uid"].is_null(), "nothing is made up yet");
}

#[tokio::test]
async fn a_deletion_cannot_be_changed() {
    let (world, hook) = (World::new().await, Hook::new("127.0.0.1").await);
    world.must("POST", MAPS, &map("x")).await;
    let path = patching(&json!([{"op": "add", "path": "/data/b", "value": "x"}]));
    register(&world, MUTATING, "m", &[webhook("m", &hook.client(&path))]).await;
    let (code, answer) = world.delete(&format!("{MAPS}/x"), &json!({})).await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        answer["message"],
        "Internal error occurred: admission webhook \"m.hooks.example\" attempted to modify the object, which is not \
         supported for this operation"
    );
}

#[tokio::test]
async fn a_dry_run_asks_no_hook_that_would_do_something() {
    let (world, hook) = (World::new().await, Hook::new("127.0.0.1").await);
    let mut some = webhook("some", &hook.client("/allow"));
    some["failurePolicy"] = "Ignore".into();
    register(&world, VALIDATING, "v", &[some]).await;
    // Since v1 a hook must say that it does nothing, or nothing in a dry run; one of old may still say otherwise.
    world.must("POST", &format!("{MAPS}?dryRun=All"), &map("x")).await;
    assert_eq!(hook.asked("/allow")[0]["request"]["dryRun"], true);
    assert_eq!(hook.asked("/allow")[0]["request"]["options"]["dryRun"], json!(["All"]));
}

#[tokio::test]
async fn the_kinds_that_configure_hooks_are_not_asked_about() {
    let (world, hook) = (World::new().await, Hook::new("127.0.0.1").await);
    let mut all = webhook("all", &hook.client("/deny"));
    all["rules"] = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]);
    world.must("POST", &format!("{GROUP}/{VALIDATING}"), &json!({"metadata": {"name": "v"}, "webhooks": [all]})).await;
    world.must("DELETE", &format!("{GROUP}/{VALIDATING}/v"), &json!({})).await;
}

/// What `path` of a hook makes of a creation, with either failure policy.
async fn failing(path: &str, name: &str) -> (StatusCode, String, StatusCode) {
    let (world, hook) = (World::new().await, Hook::new(name).await);
    let mut failing = webhook("bad", &hook.client(path));
    // Those that give no answer are waited for; the others have all the time that there is.
    if matches!(path, "/hang" | "/trickle") {
        failing["timeoutSeconds"] = 1.into();
    }
    register(&world, VALIDATING, "v", &[failing.clone()]).await;
    let (code, answer) = world.post(MAPS, &map("x")).await;
    world.must("DELETE", &format!("{GROUP}/{VALIDATING}/v"), &json!({})).await;
    failing["failurePolicy"] = "Ignore".into();
    register(&world, VALIDATING, "w", &[failing]).await;
    let (ignored, _) = world.post(MAPS, &map("y")).await;
    (code, answer["message"].as_str().unwrap_or_default().replace(&hook.address.to_string(), "HOOK"), ignored)
}

#[tokio::test]
async fn a_hook_that_misbehaves_is_bounded_and_named() {
    let call = |path: &str| {
        let seconds = if matches!(path, "/hang" | "/trickle") { 1 } else { 30 };
        format!(
            "Internal error occurred: failed calling webhook \"bad.hooks.example\": failed to call webhook: Post \"https://HOOK{path}?timeout={seconds}s\": "
        )
    };
    let ours = "127.0.0.1";
    let cases = [
        ("/hang", ours, format!("{}context deadline exceeded", call("/hang"))),
        ("/trickle", ours, format!("{}context deadline exceeded", call("/trickle"))),
        ("/huge", ours, format!("{}the answer is larger than 8388608 bytes", call("/huge")).replace("Post \"https://HOOK/huge?timeout=30s\": ", "")),
        ("/close", ours, call("/close")),
        (
            "/broken",
            ours,
            "Internal error occurred: failed calling webhook \"bad.hooks.example\": failed to call webhook: an error on the \
             server (\"it broke\") has prevented the request from succeeding"
                .to_owned(),
        ),
        (
            "/garbage",
            ours,
            "Internal error occurred: failed calling webhook \"bad.hooks.example\": failed to call webhook: couldn't get \
             version/kind; json parse error: "
                .to_owned(),
        ),
        (
            "/allow",
            "other.example",
            format!("{}tls: failed to verify certificate: x509: certificate is ", call("/allow")),
        ),
    ];
    let outcomes = cases.iter().map(|(path, name, _)| failing(path, name));
    let outcomes = futures::future::join_all(outcomes).await;
    for ((path, _, expected), (code, message, ignored)) in cases.iter().zip(outcomes) {
        assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR, "{path}: {message}");
        assert!(message.starts_with(expected), "{path}: {message}\n{expected}");
        assert_eq!(ignored, StatusCode::CREATED, "{path}, ignored");
    }
}

/// A hook that refuses whatever it is asked about, under one condition.
fn conditional(hook: &Hook, condition: &str, failure_policy: &str) -> Value {
    let mut conditional = webhook("c", &hook.client("/deny"));
    conditional["matchConditions"] = json!([{"name": "n", "expression": condition}]);
    conditional["failurePolicy"] = failure_policy.into();
    conditional
}

#[tokio::test]
async fn a_hook_is_asked_when_its_conditions_hold() {
    let (world, hook) = (World::new().await, Hook::new("127.0.0.1").await);
    let condition = "object.metadata.name == 'x' && request.operation == 'CREATE'";
    register(&world, VALIDATING, "v", &[conditional(&hook, condition, "Fail")]).await;
    world.must("POST", MAPS, &map("y")).await;
    assert!(hook.asked("/deny").is_empty(), "the condition is false");
    let (code, answer) = world.post(MAPS, &map("x")).await;
    assert_eq!(code, StatusCode::FORBIDDEN, "{answer}");
    assert_eq!(answer["message"], "admission webhook \"c.hooks.example\" denied the request: not here");
    assert_eq!(hook.asked("/deny").len(), 1, "the condition is true");
}

/// A condition that cannot be decided is a failure of its hook: the hook is not asked, its failure policy says what then.
#[tokio::test]
async fn a_condition_that_cannot_be_decided_is_up_to_the_failure_policy() {
    for (failure_policy, wanted) in [("Fail", StatusCode::FORBIDDEN), ("Ignore", StatusCode::CREATED)] {
        let (world, hook) = (World::new().await, Hook::new("127.0.0.1").await);
        register(&world, VALIDATING, "v", &[conditional(&hook, "object.data.nope == 'x'", failure_policy)]).await;
        let (code, answer) = world.post(MAPS, &map("x")).await;
        assert_eq!(code, wanted, "{failure_policy}: {answer}");
        if failure_policy == "Fail" {
            let why = "expression 'object.data.nope == 'x'' resulted in error: no such key: nope";
            assert_eq!(answer["message"], format!("configmaps \"x\" is forbidden: {why}"));
        }
        assert!(hook.asked("/deny").is_empty(), "{failure_policy}");
        let decided = json!({"metadata": {"name": "y"}, "data": {"nope": "x"}});
        let (code, answer) = world.post(MAPS, &decided).await;
        assert_eq!(code, StatusCode::FORBIDDEN, "{failure_policy}: {answer}");
        assert_eq!(hook.asked("/deny").len(), 1, "{failure_policy}: it is there and asked where its condition holds");
    }
}
