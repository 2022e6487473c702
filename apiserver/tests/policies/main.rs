//! Admission policies from their objects to what becomes of requests.

#[path = "../common/mod.rs"]
mod common;
mod recorded;

use common::World;
use http::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Far more than it takes: the test fails when it passes, and never waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

fn rule(operations: &[&str]) -> Value {
    json!({"resourceRules": [{"operations": operations, "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]})
}

fn validating(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["matchConstraints"] = rule(&["CREATE", "UPDATE", "DELETE"]);
    json!({"metadata": {"name": name}, "spec": spec})
}

fn binding(name: &str, policy: &str, actions: &[&str]) -> Value {
    json!({"metadata": {"name": name}, "spec": {"policyName": policy, "validationActions": actions}})
}

fn map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

/// Asks until the answer is as it should be: policies hold a moment after they are written.
async fn until(world: &World, body: &Value, wanted: impl Fn(StatusCode, &Value) -> bool) -> Value {
    let asked = async {
        loop {
            let (code, answer) = world.post(&format!("{MAPS}?dryRun=All"), body).await;
            if wanted(code, &answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{body} was never answered as it should be"))
}

#[tokio::test]
async fn what_a_policy_denies_is_refused_in_its_words() {
    let world = World::new().await;
    let policy = validating(
        "limits",
        json!({"variables": [{"name": "count", "expression": "size(object.?data.orValue({}))"}],
            "matchConditions": [{"name": "named", "expression": "request.operation != 'DELETE' && !object.metadata.name.startsWith('free')"}],
            "validations": [{"expression": "variables.count < 2", "messageExpression": "'has ' + string(variables.count)",
                "reason": "Forbidden"}, {"expression": "!('secret' in object.?data.orValue({}))", "message": "no secrets"}]}),
    );
    world.must("POST", &format!("{GROUP}/validatingadmissionpolicies"), &policy).await;
    world.must("POST", &format!("{GROUP}/validatingadmissionpolicybindings"), &binding("b", "limits", &["Deny"])).await;
    let refused = until(&world, &map("a", json!({"a": "1", "b": "2"})), |code, _| code == 403).await;
    let message = "ValidatingAdmissionPolicy 'limits' with binding 'b' denied request: has 2";
    assert_eq!(refused["message"], format!("configmaps \"a\" is forbidden: {message}"));
    assert_eq!(
        (&refused["reason"], &refused["details"]["causes"]),
        (&"Forbidden".into(), &json!([{"message": message}]))
    );
    let (code, refused) = world.post(MAPS, &map("a", json!({"secret": "x"}))).await;
    assert_eq!((code, &refused["reason"]), (StatusCode::UNPROCESSABLE_ENTITY, &"Invalid".into()));
    world.must("POST", MAPS, &map("free", json!({"a": "1", "b": "2"}))).await;
    world.must("DELETE", &format!("{MAPS}/free"), &json!({})).await;
}

#[tokio::test]
async fn parameters_are_those_of_the_binding() {
    let world = World::new().await;
    let policy = validating(
        "params",
        json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConditions": [{"name": "not-the-params", "expression": "object.metadata.name != 'limits'"}],
            "validations": [{"expression": "params == null || size(object.data) <= int(params.data.most)"}]}),
    );
    let bound = json!({"metadata": {"name": "b"}, "spec": {"policyName": "params", "validationActions": ["Deny"],
        "paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}}});
    world.must("POST", &format!("{GROUP}/validatingadmissionpolicies"), &policy).await;
    world.must("POST", &format!("{GROUP}/validatingadmissionpolicybindings"), &bound).await;
    let refused = until(&world, &map("a", json!({"a": "1"})), |code, _| code != 201).await;
    let why = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert!(refused["message"].as_str().is_some_and(|message| message.ends_with(why)), "{refused}");
    // The parameters themselves would need parameters: another binding lets everything pass that is there.
    world.must("DELETE", &format!("{GROUP}/validatingadmissionpolicybindings/b"), &json!({})).await;
    until(&world, &map("limits", json!({})), |code, _| code == 201).await;
    world.must("POST", MAPS, &map("limits", json!({"most": "1"}))).await;
    world.must("POST", &format!("{GROUP}/validatingadmissionpolicybindings"), &bound).await;
    until(&world, &map("a", json!({"a": "1", "b": "2"})), |code, _| code == 422).await;
    world.must("POST", MAPS, &map("a", json!({"a": "1"}))).await;
}

#[tokio::test]
async fn expressions_that_do_not_compile_are_refused_with_their_policy() {
    let world = World::new().await;
    let policy = validating("broken", json!({"validations": [{"expression": "object.x +"}, {"expression": "1"}]}));
    let (code, refused) = world.post(&format!("{GROUP}/validatingadmissionpolicies"), &policy).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let fields: Vec<&Value> =
        refused["details"]["causes"].as_array().into_iter().flatten().map(|one| &one["field"]).collect();
    assert_eq!(fields, ["spec.validations[0].expression", "spec.validations[1].expression"]);
    let message = refused["details"]["causes"][1]["message"].as_str().unwrap_or_default();
    assert_eq!(message, "Invalid value: \"1\": must evaluate to bool but got int");
}

#[tokio::test]
async fn mutating_policies_change_what_is_written_and_look_again() {
    let world = World::new().await;
    let mutating = |name: &str, mutation: Value, again: &str| {
        json!({"metadata": {"name": name}, "spec": {"matchConstraints": rule(&["CREATE"]), "reinvocationPolicy": again,
            "mutations": [mutation]}})
    };
    let apply = json!({"patchType": "ApplyConfiguration", "applyConfiguration": {
        "expression": "Object{metadata: Object.metadata{labels: {'seen': string(size(object.?data.orValue({})))}}}"}});
    let patch = json!({"patchType": "JSONPatch", "jsonPatch": {
        "expression": "[JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('added'), value: 'added'}]"}});
    for (name, mutation, again) in [("1-labels", apply, "IfNeeded"), ("2-data", patch, "Never")] {
        let policy = mutating(name, mutation, again);
        world.must("POST", &format!("{GROUP}/mutatingadmissionpolicies"), &policy).await;
        let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name}});
        world.must("POST", &format!("{GROUP}/mutatingadmissionpolicybindings"), &binding).await;
    }
    let made = until(&world, &map("a", json!({"x": "1"})), |_, answer| answer["data"]["added"] == "added").await;
    assert_eq!(made["metadata"]["labels"]["seen"], "2", "the first policy looks again at what the second one made");
}
