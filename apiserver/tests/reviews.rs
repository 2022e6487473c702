//! Questions that are answered and not kept: who asks, and who may do what.

mod common;

use common::{World, request, send};
use http::StatusCode;
use serde_json::{Value, json};
use skiff_client::Identity;

const ACCESS: &str = "/apis/authorization.k8s.io/v1";
const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// Asks as a user in these groups.
async fn ask(world: &World, groups: &[&str], path: &str, body: &Value) -> (StatusCode, Value) {
    let mut request = request("POST", path, "application/json", &body.to_string());
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    request.extensions_mut().insert(Identity { user: "u".to_owned(), groups, ..Identity::default() });
    send(world.server.router(), request).await
}

fn pods(verb: &str) -> Value {
    json!({"resourceAttributes": {"verb": verb, "resource": "pods", "namespace": "default"}})
}

#[tokio::test]
async fn who_asks_is_told() {
    let world = World::new().await;
    let (code, answer) = ask(&world, &["g"], WHO, &json!({"metadata": {"name": "x", "labels": {"a": "b"}}})).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    assert_eq!(answer["kind"], "SelfSubjectReview");
    assert_eq!(answer["status"]["userInfo"], json!({"username": "u", "groups": ["g", "system:authenticated"]}));
    assert!(answer["metadata"]["name"].is_null() && answer["metadata"]["creationTimestamp"].is_string(), "{answer}");
}

#[tokio::test]
async fn access_is_what_the_authorizer_says() {
    let world = World::new().await;
    let own = format!("{ACCESS}/selfsubjectaccessreviews");
    for (groups, spec, allowed) in [
        (&["system:masters"][..], pods("*"), true),
        (&["g"], pods("get"), false),
        (&["g"], json!({"nonResourceAttributes": {"verb": "get", "path": "/api"}}), true),
        (&["g"], json!({"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}), false),
    ] {
        let (code, answer) = ask(&world, groups, &own, &json!({ "spec": spec })).await;
        assert_eq!((code, &answer["status"]["allowed"]), (StatusCode::CREATED, &allowed.into()), "{answer}");
        assert_eq!(answer["spec"], spec);
    }
    for (group, allowed) in [("system:masters", true), ("g", false)] {
        for path in ["subjectaccessreviews", "namespaces/default/localsubjectaccessreviews"] {
            let mut spec = pods("get");
            spec["user"] = "v".into();
            spec["groups"] = json!([group]);
            let body = json!({ "spec": spec });
            let (code, answer) = ask(&world, &["system:masters"], &format!("{ACCESS}/{path}"), &body).await;
            assert_eq!((code, &answer["status"]["allowed"]), (StatusCode::CREATED, &allowed.into()), "{answer}");
            assert_eq!(ask(&world, &["g"], &format!("{ACCESS}/{path}"), &body).await.0, StatusCode::FORBIDDEN);
        }
    }
}

#[tokio::test]
async fn a_question_that_has_no_answer_is_refused() {
    let world = World::new().await;
    let both = json!({"resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"verb": "get", "path": "/x"}});
    let selector = json!({"resourceAttributes": {"verb": "get", "fieldSelector": {}}});
    for (path, spec, field) in [
        ("selfsubjectaccessreviews", json!({}), "spec.resourceAttributes"),
        ("selfsubjectaccessreviews", both, "spec.nonResourceAttributes"),
        ("selfsubjectaccessreviews", selector, "spec.resourceAttributes.fieldSelector.requirements"),
        ("subjectaccessreviews", pods("get"), "spec.user"),
        (
            "namespaces/a/localsubjectaccessreviews",
            json!({"user": "u", "resourceAttributes": {"namespace": "b"}}),
            "spec.resourceAttributes.namespace",
        ),
    ] {
        let (code, status) =
            ask(&world, &["system:masters"], &format!("{ACCESS}/{path}"), &json!({ "spec": spec })).await;
        assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{path} {status}");
        assert_eq!(status["details"]["causes"][0]["field"], field, "{status}");
        assert_eq!(status["details"]["group"], "authorization.k8s.io");
        assert!(
            status["message"].as_str().is_some_and(|text| text.starts_with(".authorization.k8s.io \"\" is invalid: "))
        );
    }
    let named = json!({"metadata": {"name": "x"}, "spec": pods("get")});
    let (code, status) = ask(&world, &["g"], &format!("{ACCESS}/selfsubjectaccessreviews"), &named).await;
    assert_eq!(
        (code, &status["details"]["causes"][0]["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &"metadata".into())
    );
}

#[tokio::test]
async fn rules_are_told_for_a_namespace() {
    let world = World::new().await;
    let path = format!("{ACCESS}/selfsubjectrulesreviews");
    let (code, status) = ask(&world, &["g"], &path, &json!({"spec": {}})).await;
    assert_eq!((code, &status["message"]), (StatusCode::BAD_REQUEST, &"no namespace on request".into()));
    let (code, answer) = ask(&world, &["system:masters"], &path, &json!({"spec": {"namespace": "a"}})).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    assert!(answer["status"]["resourceRules"].as_array().is_some_and(|rules| rules.contains(&all)), "{answer}");
    assert_eq!(answer["status"]["incomplete"], false);
    let (_, answer) = ask(&world, &["g"], &path, &json!({"spec": {"namespace": "a"}})).await;
    assert!(answer["status"]["resourceRules"].as_array().is_some_and(|rules| !rules.contains(&all)), "{answer}");
}

#[tokio::test]
async fn an_answer_that_is_not_kept_has_no_columns() {
    let world = World::new().await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for (accept, code) in
        [(table.to_owned(), StatusCode::NOT_ACCEPTABLE), (format!("{table},application/json"), StatusCode::CREATED)]
    {
        let body = json!({"spec": pods("get")}).to_string();
        let path = format!("{ACCESS}/selfsubjectaccessreviews");
        let mut request = request("POST", &path, "application/json", &body);
        request.extensions_mut().insert(Identity::component("u"));
        request.headers_mut().insert("accept", accept.parse().unwrap());
        let (got, answer) = send(world.server.router(), request).await;
        assert_eq!(got, code, "{answer}");
        assert_ne!(answer["kind"], "Table");
    }
}

/// What the answer to a good token says is in `tokens.rs`.
#[tokio::test]
async fn a_token_that_is_unknown_is_not_believed() {
    let world = World::new().await;
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let (code, answer) = ask(&world, &["system:masters"], path, &json!({"spec": {"token": "x"}})).await;
    assert_eq!((code, &answer["kind"]), (StatusCode::CREATED, &"TokenReview".into()), "{answer}");
    assert_eq!(answer["status"], json!({"user": {}, "error": "invalid bearer token"}));
}
