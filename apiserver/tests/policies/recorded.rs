//! What a real kube-apiserver 1.36.2 made of requests under policies, beside what ours makes.
//!
//! Each case is a policy and its binding in a namespace of its own, objects that are there before, and requests in dry run. `@9000x` stands for
//! 9,000 times `x`.

use crate::common::{World, request, send};
use serde_json::{Map, Value, json};
use std::time::Duration;

const RECORDED: &str = include_str!("recorded.json");
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
/// Far more than it takes: the test fails when it passes, and never waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

fn plurals(case: &Value) -> [&'static str; 2] {
    match case["kind"] == "v" {
        true => ["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
        false => ["mutatingadmissionpolicies", "mutatingadmissionpolicybindings"],
    }
}

/// Makes the namespace, the objects, the policy and its binding. What is wrong with the policy's answer.
async fn set_up(world: &World, index: usize, case: &Value) -> Option<String> {
    let (namespace, name) = (format!("c{index}"), format!("p{index}"));
    world.must("POST", "/api/v1/namespaces", &json!({"metadata": {"name": namespace}})).await;
    for before in case["pre"].as_array().into_iter().flatten() {
        let path = match before[0].as_str() {
            Some("deployments") => format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
            resource => format!("/api/v1/namespaces/{namespace}/{}", resource.unwrap_or_default()),
        };
        world.must("POST", &path, &before[1]).await;
    }
    let [policies, bindings] = plurals(case);
    let policy = json!({"metadata": {"name": name}, "spec": case["spec"]});
    let (code, answer) = world.post(&format!("{GROUP}/{policies}"), &policy).await;
    if code != case["accepted"].as_u64().map_or(0, |code| code as u16) {
        return Some(format!("{index}: {code} {}", answer["message"]));
    }
    if code != 201 {
        return wrong_causes(index, case, &answer);
    }
    let mut spec = case["binding"].clone();
    spec["policyName"] = name.as_str().into();
    spec["matchResources"]["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    world.must("POST", &format!("{GROUP}/{bindings}"), &json!({"metadata": {"name": name}, "spec": spec})).await;
    None
}

fn wrong_causes(index: usize, case: &Value, answer: &Value) -> Option<String> {
    let causes = answer["details"]["causes"].as_array().into_iter().flatten();
    let found: Vec<Value> = causes.map(|cause| json!([cause["field"], cause["message"]])).collect();
    (case["causes"] != Value::from(found.clone())).then(|| format!("{index}: {found:?}\n  wanted {}", case["causes"]))
}

/// Waits until policies and bindings of both kinds hold: the last ones that were written do.
async fn settle(world: &World) {
    world.must("POST", "/api/v1/namespaces", &json!({"metadata": {"name": "last"}})).await;
    let constraints = json!({"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "last"}}});
    let expression = "Object{metadata: Object.metadata{labels: {'last': 'yes'}}}";
    let mutating = json!({"matchConstraints": constraints, "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]});
    let validating = json!({"matchConstraints": constraints,
        "validations": [{"expression": "!has(object.metadata.labels)", "message": "settled"}]});
    for (kind, spec) in [("v", validating), ("m", mutating)] {
        let [policies, bindings] = plurals(&json!({"kind": kind}));
        world.must("POST", &format!("{GROUP}/{policies}"), &json!({"metadata": {"name": "zz"}, "spec": spec})).await;
        let mut spec = json!({"policyName": "zz"});
        if kind == "v" {
            spec["validationActions"] = json!(["Deny"]);
        }
        world.must("POST", &format!("{GROUP}/{bindings}"), &json!({"metadata": {"name": "zz"}, "spec": spec})).await;
    }
    let asked = async {
        while world.post("/api/v1/namespaces/last/configmaps?dryRun=All", &json!({"metadata": {"name": "a"}})).await.0
            != 422
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("policies hold");
}

fn long(value: &Value) -> Value {
    match value {
        Value::String(text) if text == "@9000x" => "x".repeat(9000).into(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), long(value))).collect::<Map<_, _>>().into(),
        other => other.clone(),
    }
}

/// What is compared of a message: Go's words about JSON, patches and types are its own, and its examples of names are left out here.
fn told(message: &Value) -> String {
    let message = message.as_str().unwrap_or_default();
    let ends = ["JSON Patch:", "typed object:", "Internal error occurred:", " (e.g."];
    let end = ends.iter().filter_map(|end| message.find(end)).min();
    message[..end.unwrap_or(message.len())].to_owned()
}

/// What is wrong with the answer to one request.
async fn ask(world: &World, index: usize, case: &Value, asked: &Value) -> Option<String> {
    let text = |key: &str| asked[key].as_str().unwrap_or_default();
    let base = match text("group") {
        "" => "/api/v1".to_owned(),
        group => format!("/apis/{group}"),
    };
    let resource = if text("res").is_empty() { "configmaps" } else { text("res") };
    let mut path = format!("{base}/namespaces/c{index}/{resource}");
    for part in [text("name"), text("sub")].into_iter().filter(|part| !part.is_empty()) {
        path = format!("{path}/{part}");
    }
    let query = if text("q").is_empty() { String::new() } else { format!("&{}", text("q")) };
    let form = if text("ct").is_empty() { "application/json" } else { text("ct") };
    let body = long(&asked["body"]).to_string();
    let sent = request(text("m"), &format!("{path}?dryRun=All{query}"), form, &body);
    let (code, answer) = send(world.server.router(), sent).await;
    let (wanted, said) = match answer["kind"] == "Status" && code.as_u16() >= 300 {
        true => {
            let causes = answer["details"]["causes"].as_array().into_iter().flatten();
            let causes: Vec<Value> = causes.map(|one| json!([one["reason"], one["field"], one["message"]])).collect();
            let found = json!([code.as_u16(), answer["reason"], told(&answer["message"])]);
            let mut wanted = json!([asked["code"], asked["reason"], told(&asked["message"])]);
            if code != 500 && asked["causes"].as_array().map(Vec::len) != Some(causes.len()) {
                wanted = json!([wanted, asked["causes"]]);
            }
            (wanted, found)
        }
        false if case["kind"] == "m" => {
            let meta = &answer["metadata"];
            let found = json!({"labels": meta["labels"], "annotations": meta["annotations"], "finalizers": meta["finalizers"],
                "data": answer["data"], "spec": answer["spec"]});
            (json!([asked["code"], asked["object"]]), json!([code.as_u16(), found]))
        }
        false => (json!([asked["code"]]), json!([code.as_u16()])),
    };
    (wanted != said).then(|| format!("{index} {} {}\n  found  {said}\n  wanted {wanted}", case["spec"], asked["body"]))
}

#[tokio::test]
async fn requests_are_answered_as_a_real_server_answered() {
    let world = World::new().await;
    let recorded: Value = serde_json::from_str(RECORDED).expect("the recording is JSON");
    let cases: Vec<&Value> = recorded.as_array().into_iter().flatten().collect();
    let mut wrong = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        wrong.extend(set_up(&world, index, case).await);
    }
    settle(&world).await;
    for (index, case) in cases.iter().enumerate().filter(|(_, case)| case["accepted"] == 201) {
        for asked in case["requests"].as_array().into_iter().flatten() {
            wrong.extend(ask(&world, index, case, asked).await);
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
