//! Refusals carry the details that Kubernetes gives them, and what is said in Protobuf or as somebody else is understood.

mod common;

use axum::body::Body;
use common::World;
use http::{HeaderName, Request, StatusCode, header};
use serde_json::{Value, json};
use skiff_client::Identity;
use tower::ServiceExt;

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn deployment(replicas: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

/// A request that is refused, its code and reason, and the details.
type Refused = (&'static str, String, &'static str, String, u16, &'static str, Value);

fn refusals_about_objects() -> Vec<Refused> {
    let w = format!("{DEPLOYMENTS}/w");
    let of_w = json!({"name": "w", "group": "apps", "kind": "deployments"});
    let of_x = json!({"name": "x", "group": "apps", "kind": "deployments"});
    let stale = json!({"metadata": {"resourceVersion": "1"}}).to_string();
    let uid = json!({"preconditions": {"uid": "x"}}).to_string();
    let again = deployment(json!(1)).to_string();
    let default = "/api/v1/namespaces/default".to_owned();
    let of_default = json!({"name": "default", "kind": "namespaces"});
    let none = String::new;
    vec![
        ("GET", format!("{PODS}/x"), "", none(), 404, "NotFound", json!({"name": "x", "kind": "pods"})),
        ("GET", format!("{DEPLOYMENTS}/x"), "", none(), 404, "NotFound", of_x),
        ("POST", DEPLOYMENTS.to_owned(), JSON, again, 409, "AlreadyExists", of_w.clone()),
        ("PATCH", w.clone(), MERGE, stale, 409, "Conflict", of_w),
        ("DELETE", w, JSON, uid, 409, "Conflict", json!({"name": "w", "group": "apps", "kind": "Deployment"})),
        ("DELETE", default, "", none(), 403, "Forbidden", of_default),
    ]
}

fn refusals_about_requests() -> Vec<Refused> {
    let (nothing, none) = (|| json!({}), String::new);
    let color = "/api/v1/namespaces/default/serviceaccounts/default/color".to_owned();
    let newer = json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1});
    let dry_run = json!({"group": "meta.k8s.io", "kind": "CreateOptions", "causes": [{"reason": "FieldValueNotSupported",
        "field": "dryRun", "message": "Unsupported value: [\"Some\"]: supported values: \"All\""}]});
    vec![
        ("GET", "/api/v1/widgets".to_owned(), "", none(), 404, "NotFound", nothing()),
        ("GET", "/apis/example.com/v1/widgets".to_owned(), "", none(), 404, "NotFound", nothing()),
        ("GET", "/color".to_owned(), "", none(), 404, "NotFound", nothing()),
        ("PATCH", format!("{PODS}/p/nothing"), MERGE, "{}".to_owned(), 404, "NotFound", nothing()),
        ("POST", color, JSON, "{}".to_owned(), 404, "NotFound", nothing()),
        ("POST", format!("{DEPLOYMENTS}/w"), JSON, "{}".to_owned(), 405, "MethodNotAllowed", nothing()),
        ("GET", format!("{PODS}?resourceVersion=999999"), "", none(), 504, "Timeout", newer),
        ("POST", format!("{PODS}?dryRun=Some"), JSON, pod().to_string(), 422, "Invalid", dry_run),
        // Of these Kubernetes says nothing more than their sentence.
        ("POST", PODS.to_owned(), JSON, "{".to_owned(), 400, "BadRequest", Value::Null),
        ("POST", PODS.to_owned(), "text/plain", "x".to_owned(), 415, "UnsupportedMediaType", Value::Null),
        ("GET", format!("{PODS}?limit=x"), "", none(), 400, "BadRequest", Value::Null),
    ]
}

/// Fault N7: clients read `details` of a refusal without asking whether they are there.
#[tokio::test]
async fn every_reason_has_its_details() {
    let world = World::new().await;
    world.must("POST", PODS, &pod()).await;
    world.must("POST", DEPLOYMENTS, &deployment(json!(1))).await;
    for (method, path, kind, body, code, reason, details) in
        refusals_about_objects().into_iter().chain(refusals_about_requests())
    {
        let (answered, status) = world.ask(method, &path, kind, &body).await;
        assert_eq!((answered.as_u16(), &status["reason"]), (code, &json!(reason)), "{method} {path}: {status}");
        assert_eq!(status["details"], details, "{method} {path}: {status}");
    }
    let (_, status) = world.ask("PATCH", &format!("{DEPLOYMENTS}/w"), MERGE, r#"{"spec": {"replicas": -1}}"#).await;
    assert_eq!(
        (&status["details"]["kind"], &status["details"]["causes"][0]["field"]),
        (&json!("Deployment"), &json!("spec.replicas"))
    );
}

#[tokio::test]
async fn who_shall_wait_is_told_in_a_header_too() {
    let world = World::new().await;
    let request = common::request("GET", &format!("{PODS}?resourceVersion=999999"), "", "");
    let response = tower::ServiceExt::oneshot(world.server.router(), request).await.expect("infallible");
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
}

/// Fault N28, siblings: what is unknown or repeated in a patch is neither passed over nor a plain bad request.
#[tokio::test]
async fn patches_are_decoded_strictly() {
    let world = World::new().await;
    world.must("POST", DEPLOYMENTS, &deployment(json!(1))).await;
    let path = format!("{DEPLOYMENTS}/w?fieldValidation=Strict");
    for (kind, body, sentence) in [
        (
            MERGE,
            r#"{"spec": {"replicas": 2, "replicas": 3, "color": 1}}"#,
            "strict decoding error: duplicate field \"spec.replicas\", unknown field \"spec.color\"",
        ),
        (
            "application/strategic-merge-patch+json",
            r#"{"spec": {"replicas": 2, "replicas": 3}}"#,
            "strict decoding error: duplicate field \"spec.replicas\"",
        ),
        (
            "application/json-patch+json",
            r#"[{"op": "replace", "path": "/spec/replicas", "value": 2, "note": "x"}]"#,
            "strict decoding error: json patch unknown field \"[0].note\"",
        ),
        (MERGE, r#"{"spec": {"replicas": "two"}}"#, "spec.replicas: expected an integer (32 bits), got \"two\""),
    ] {
        let (code, status) = world.ask("PATCH", &path, kind, body).await;
        assert_eq!((code.as_u16(), &status["reason"]), (422, &json!("Invalid")), "{body}: {status}");
        let message = status["message"].as_str().expect("a sentence");
        assert!(
            message.starts_with(" \"\" is invalid: patch: Invalid value: ") && message.ends_with(sentence),
            "{message}"
        );
    }
    let lax = format!("{DEPLOYMENTS}/w");
    let request = common::request("PATCH", &lax, MERGE, r#"{"spec": {"replicas": 2, "replicas": 3}}"#);
    let response = tower::ServiceExt::oneshot(world.server.router(), request).await.expect("infallible");
    assert_eq!(response.headers()[header::WARNING], r#"299 - "duplicate field \"spec.replicas\"""#);
}

/// A message field of protobuf.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).expect("short")], bytes].concat()
}

/// Fault N18: DeleteOptions as client-go's typed clients send them.
#[tokio::test]
async fn a_delete_may_come_in_protobuf_of_any_group() {
    let world = World::new().await;
    for (version, query) in [("apps/v1", "/w"), ("meta.k8s.io/v1", "/w"), ("v1", ""), ("apps/v1", "")] {
        world.must("POST", DEPLOYMENTS, &deployment(json!(1))).await;
        let kind = [field(1, version.as_bytes()), field(2, b"DeleteOptions")].concat();
        let policy = field(4, b"Background");
        let body = [b"k8s\0".to_vec(), field(1, &kind), field(2, &policy)].concat();
        let mut request = Request::builder().method("DELETE").uri(format!("{DEPLOYMENTS}{query}"));
        request = request.header("content-type", "application/vnd.kubernetes.protobuf");
        let mut request = request.body(Body::from(body)).expect("a request");
        request.extensions_mut().insert(Identity::component("test"));
        let (code, answer) = common::send(world.server.router(), request).await;
        assert_eq!(code, StatusCode::OK, "{version}: {answer}");
        assert_eq!(world.get(&format!("{DEPLOYMENTS}/w")).await.0, StatusCode::NOT_FOUND);
    }
    world.must("POST", DEPLOYMENTS, &deployment(json!(1))).await;
    let options = json!({"kind": "DeleteOptions", "apiVersion": "apps/v1", "preconditions": {"uid": "x"}});
    assert_eq!(world.delete(&format!("{DEPLOYMENTS}/w"), &options).await.0, StatusCode::CONFLICT);
    let (code, status) =
        world.delete(&format!("{DEPLOYMENTS}/w"), &json!({"kind": "Scale", "apiVersion": "autoscaling/v1"})).await;
    assert_eq!(code, StatusCode::BAD_REQUEST, "{status}");
}

/// Fault N4: `kubectl delete secret s --as=nobody` was done, as administrator.
#[tokio::test]
async fn who_acts_as_nobody_may_do_nothing() {
    let world = World::new().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    world.must("POST", secrets, &json!({"metadata": {"name": "s"}})).await;
    let ask = async |headers: &[(&str, &str)], identity: Identity| {
        let mut request = common::request("DELETE", &format!("{secrets}/s?dryRun=All"), "", "");
        request.extensions_mut().insert(identity);
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            request.headers_mut().append(name, value.parse().expect("a value"));
        }
        let (code, answer) = common::send(world.server.router(), request).await;
        (code.as_u16(), answer)
    };
    let administrator = || Identity::component("admin");
    let (code, status) = ask(&[("impersonate-user", "nobody")], administrator()).await;
    assert_eq!(
        (code, &status["message"]),
        (
            403,
            &json!(
                "secrets \"s\" is forbidden: User \"nobody\" cannot delete resource \"secrets\" in API group \"\" in the namespace \"default\""
            )
        )
    );
    assert_eq!(status["details"], json!({"name": "s", "kind": "secrets"}));
    let masters = [("impersonate-user", "somebody"), ("impersonate-group", "system:masters")];
    assert_eq!(ask(&masters, administrator()).await.0, 200);
    assert_eq!(ask(&[], Identity::node("n")).await.0, 403);
    let (code, status) = ask(&masters, Identity::node("n")).await;
    assert_eq!((code, &status["details"]), (403, &json!({"name": "somebody", "kind": "users"})));
    assert_eq!(ask(&[("impersonate-group", "system:masters")], administrator()).await.0, 400);
}

/// Clients print warnings whatever becomes of the request.
#[tokio::test]
async fn refusals_are_warned_of_too() {
    let world = World::new().await;
    let body = json!({"metadata": {"name": "a"}, "bogus": 1, "subsets": [{"addresses": [{"ip": "x"}]}]}).to_string();
    let mut request = common::request("POST", "/api/v1/namespaces/default/endpoints", "application/json", &body);
    request.extensions_mut().insert(Identity::component("test"));
    let answer = world.server.router().oneshot(request).await.expect("infallible");
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let told: Vec<&str> = answer.headers().get_all("warning").iter().map(|it| it.to_str().expect("text")).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("unknown field") && told[1].contains("Endpoints is deprecated"), "{told:?}");
}
