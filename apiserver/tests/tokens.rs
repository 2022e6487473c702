//! Tokens of service accounts: asked for, believed, and no longer believed.

mod common;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::{World, send};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use skiff_authn::jws::sign;
use skiff_authn::key::SigningKey;
use skiff_client::Identity;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const PODS: &str = "/api/v1/namespaces/default/pods";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const INVALIDATED: &str = "service account token has been invalidated";

async fn world() -> World {
    let world = World::new().await;
    world.must("POST", ACCOUNTS, &json!({"metadata": {"name": "a"}})).await;
    world
}

/// The answer to a TokenRequest for the account `a`.
async fn ask(world: &World, spec: Value) -> Value {
    world.must("POST", &format!("{ACCOUNTS}/a/token"), &json!({ "spec": spec })).await
}

async fn token(world: &World, spec: Value) -> String {
    ask(world, spec).await["status"]["token"].as_str().expect("a token").to_owned()
}

/// The status of a TokenReview.
async fn review(world: &World, token: &str, audiences: &[&str]) -> Value {
    let asked = json!({"spec": {"token": token, "audiences": audiences}});
    world.must("POST", REVIEWS, &asked).await["status"].clone()
}

/// Whom a request with this token is from, or the code of its refusal.
async fn whoami(world: &World, token: &str) -> Result<Value, StatusCode> {
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let request = Request::post(path).header("authorization", format!("Bearer {token}"));
    let request = request.header("content-type", "application/json").body(Body::from("{}")).expect("a request");
    let (code, answer) = send(world.server.router(), request).await;
    if code == StatusCode::CREATED { Ok(answer["status"]["userInfo"].clone()) } else { Err(code) }
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("claims");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"serviceAccountName": "a", "automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 0}})
}

fn bound(kind: &str, name: &str) -> Value {
    json!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name}})
}

#[tokio::test]
async fn a_token_is_asked_for_and_believed() {
    let world = world().await;
    let made = world.must("POST", PODS, &pod("p")).await;
    let answer = ask(&world, bound("Pod", "p")).await;
    assert_eq!((&answer["kind"], &answer["spec"]["expirationSeconds"]), (&"TokenRequest".into(), &3600.into()));
    assert_eq!(answer["spec"]["audiences"], json!([ISSUER]));
    let token = answer["status"]["token"].as_str().expect("a token");
    let said = claims(token);
    assert_eq!((&said["iss"], &said["sub"]), (&ISSUER.into(), &"system:serviceaccount:default:a".into()));
    assert_eq!(said["kubernetes.io"]["pod"], json!({"name": "p", "uid": made["metadata"]["uid"]}));
    let user = whoami(&world, token).await.expect("believed");
    assert_eq!(user["username"], "system:serviceaccount:default:a");
    let groups = ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"];
    assert_eq!(user["groups"], json!(groups));
    assert_eq!(user["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    let id = format!("JTI={}", said["jti"].as_str().expect("an id"));
    assert_eq!(user["extra"]["authentication.kubernetes.io/credential-id"], json!([id]));
    let reviewed = review(&world, token, &[]).await;
    assert_eq!(reviewed, json!({"authenticated": true, "user": user, "audiences": [ISSUER]}));
}

/// A kubelet that names no audience asks for what the volumes of its pod ask for; it gets nothing for pods of others.
#[tokio::test]
async fn a_kubelet_gets_tokens_for_its_own_pods() {
    let world = world().await;
    let mut mounted = pod("p");
    mounted["spec"]["nodeName"] = "n".into();
    mounted["spec"]["volumes"] =
        json!([{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]);
    let made = world.must("POST", PODS, &mounted).await;
    let mut spec = bound("Pod", "p");
    spec["boundObjectRef"]["uid"] = made["metadata"]["uid"].clone();
    let asked = async |node: &str, spec: &Value| {
        let request = Request::post(format!("{ACCOUNTS}/a/token")).header("content-type", "application/json");
        let mut request = request.body(Body::from(json!({ "spec": spec }).to_string())).expect("a request");
        let (user, groups) = (format!("system:node:{node}"), vec!["system:nodes".to_owned()]);
        request.extensions_mut().insert(Identity { user, groups, ..Identity::default() });
        send(world.server.router(), request).await
    };
    let (code, answer) = asked("n", &spec).await;
    assert_eq!((code, &answer["spec"]["audiences"]), (StatusCode::CREATED, &json!([ISSUER])), "{answer}");
    assert_eq!(asked("m", &spec).await.0, StatusCode::FORBIDDEN);
    spec["audiences"] = json!(["others"]);
    assert_eq!(asked("n", &spec).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused() {
    let world = world().await;
    world
        .must(
            "POST",
            PODS,
            &json!({"metadata": {"name": "other"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
        )
        .await;
    for (account, body, code, message) in [
        ("b", json!({}), 404, "serviceaccounts \"b\" not found"),
        (
            "a",
            json!({"spec": {"expirationSeconds": 10}}),
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: \
            spec.expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes",
        ),
        (
            "a",
            json!({"metadata": {"name": "q"}}),
            422,
            "TokenRequest.authentication.k8s.io \"a\" is invalid: metadata.name: \
            Invalid value: \"q\": must match the service account name if specified",
        ),
        (
            "a",
            json!({"metadata": {"uid": "q"}}),
            409,
            "Operation cannot be fulfilled on TokenRequest.authentication.k8s.io \
            \"a\": the UID in the token request (q) does not match the UID of the service account",
        ),
        ("a", json!({"spec": bound("ConfigMap", "q")}), 400, "cannot bind token to object of type /v1, Kind=ConfigMap"),
        ("a", json!({"spec": bound("Secret", "q")}), 404, "secrets \"q\" not found"),
        (
            "a",
            json!({"spec": bound("Pod", "other")}),
            400,
            "cannot bind token for serviceaccount \"a\" to pod running with",
        ),
    ] {
        let (got, answer) = world.post(&format!("{ACCOUNTS}/{account}/token"), &body).await;
        assert_eq!(got.as_u16(), code, "{body}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|text| text.starts_with(message)), "{body}: {answer}");
    }
    let (code, answer) = world.post(REVIEWS, &json!({"spec": {}})).await;
    assert_eq!(
        (code.as_u16(), &answer["message"]),
        (400, &"token is required for TokenReview in authentication".into())
    );
}

#[tokio::test]
async fn a_token_is_for_whom_it_says() {
    let world = world().await;
    let vault = token(&world, json!({"audiences": ["vault"]})).await;
    assert_eq!(whoami(&world, &vault).await, Err(StatusCode::UNAUTHORIZED));
    let refused = review(&world, &vault, &[]).await;
    let error =
        format!("[invalid bearer token, token audiences [\"vault\"] is invalid for the target audiences [{ISSUER:?}]]");
    assert_eq!(refused, json!({"user": {}, "error": error}));
    let believed = review(&world, &vault, &["x", "vault"]).await;
    assert_eq!((&believed["authenticated"], &believed["audiences"]), (&true.into(), &json!(["vault"])));
}

/// Attacks by name: tokens that were never issued.
#[tokio::test]
async fn no_forged_token_is_believed() {
    let world = world().await;
    let good = token(&world, json!({})).await;
    let parts: Vec<&str> = good.split('.').collect();
    let key = SigningKey::from_pem(world.pki.service_account_key()).expect("a key");
    let header = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let with = |name: &str, value: Value| {
        let mut said = claims(&good);
        said[name] = value;
        sign(&key, &said).expect("signed")
    };
    let foreign = SigningKey::from_pem(&SigningKey::generate().expect("made")).expect("a key");
    let crypto = "go-jose/go-jose: error in cryptographic primitive";
    let none = "invalid signature, no keys found";
    for (name, token, error) in [
        ("alg none", format!("{}.{}.", header(json!({"alg": "none"})), parts[1]), crypto),
        ("HS256", format!("{}.{}.AAAA", header(json!({"alg": "HS256"})), parts[1]), crypto),
        ("wrong kid", format!("{}.{}.{}", header(json!({"alg": "ES256", "kid": "x"})), parts[1], parts[2]), none),
        ("another's key", sign(&foreign, &claims(&good)).expect("signed"), none),
        ("changed claims", format!("{}.{}.{}", parts[0], header(json!({"iss": ISSUER})), parts[2]), crypto),
        ("expired", with("exp", 1000.into()), "service account token has expired"),
        ("not yet", with("nbf", 9_999_999_999_i64.into()), "service account token is not valid yet"),
        ("from the future", with("iat", 9_999_999_999_i64.into()), "service account token is issued in the future"),
        ("another issuer", with("iss", "https://other".into()), ""),
        ("no issuer", with("iss", Value::Null), ""),
        ("truncated", good[..good.len() - 6].to_owned(), crypto),
        ("no token", "x".to_owned(), ""),
        ("huge", "a".repeat(1 << 20), ""),
    ] {
        let error = if error.is_empty() {
            "invalid bearer token".to_owned()
        } else {
            format!("[invalid bearer token, {error}]")
        };
        assert_eq!(review(&world, &token, &[]).await, json!({"user": {}, "error": error}), "{name}");
        assert_eq!(whoami(&world, &token).await, Err(StatusCode::UNAUTHORIZED), "{name}");
    }
    assert!(whoami(&world, &good).await.is_ok());
}

#[tokio::test]
async fn a_token_ends_with_what_it_is_bound_to() {
    let world = world().await;
    let node = json!({"metadata": {"name": "n"}});
    world.must("POST", "/api/v1/nodes", &node).await;
    world.must("POST", SECRETS, &json!({"metadata": {"name": "s"}})).await;
    world.must("POST", PODS, &pod("p")).await;
    for (kind, path, body) in [
        ("Pod", format!("{PODS}/p"), pod("p")),
        ("Secret", format!("{SECRETS}/s"), json!({"metadata": {"name": "s"}})),
        ("Node", "/api/v1/nodes/n".to_owned(), node),
    ] {
        let token = token(&world, bound(kind, path.rsplit('/').next().expect("a name"))).await;
        assert!(whoami(&world, &token).await.is_ok(), "{kind}");
        world.must("DELETE", &path, &json!({})).await;
        let error = format!("[invalid bearer token, {INVALIDATED}]");
        assert_eq!(review(&world, &token, &[]).await["error"], error.as_str(), "{kind} is gone");
        assert_eq!(whoami(&world, &token).await, Err(StatusCode::UNAUTHORIZED), "{kind} is gone");
        let collection = path.rsplit_once('/').expect("a name").0;
        world.must("POST", collection, &body).await;
        let error = review(&world, &token, &[]).await["error"].to_string();
        assert!(error.contains("does not match service account"), "{kind} is another of that name: {error}");
    }
    let token = token(&world, json!({})).await;
    world.must("DELETE", &format!("{ACCOUNTS}/a"), &json!({})).await;
    assert_eq!(whoami(&world, &token).await, Err(StatusCode::UNAUTHORIZED), "the account is gone");
    world.must("POST", ACCOUNTS, &json!({"metadata": {"name": "a"}})).await;
    let error = review(&world, &token, &[]).await["error"].to_string();
    assert!(error.contains("service account UID"), "the account is another one: {error}");
}

#[tokio::test]
async fn thousands_of_tokens_do_no_harm() {
    let world = world().await;
    let good = token(&world, json!({})).await;
    let key = SigningKey::from_pem(world.pki.service_account_key()).expect("a key");
    for number in 0..5000 {
        let mut said = claims(&good);
        said["jti"] = number.to_string().into();
        let token = sign(&key, &said).expect("signed");
        assert!(whoami(&world, &token).await.is_ok());
    }
    assert!(whoami(&world, &good).await.is_ok());
}

#[tokio::test]
async fn the_issuer_says_where_its_keys_are() {
    let world = world().await;
    let (_, configuration) = world.get("/.well-known/openid-configuration").await;
    assert_eq!(
        (&configuration["issuer"], &configuration["id_token_signing_alg_values_supported"]),
        (&ISSUER.into(), &json!(["ES256"]))
    );
    let uri = configuration["jwks_uri"].as_str().expect("a URL");
    assert!(uri.starts_with("https://192.0.2.1:") && uri.ends_with("/openid/v1/jwks"), "{uri}");
    let (_, keys) = world.get("/openid/v1/jwks").await;
    let (keys, left_out) = skiff_authn::jwk::read(&keys).expect("a set");
    let token = token(&world, json!({})).await;
    let unverified = skiff_authn::jws::Unverified::parse(&token).expect("a token");
    let all = skiff_authn::key::Algorithm::ALL;
    unverified.verified(&keys, |one| (&one.id, &one.key), &all).expect("whoever reads the keys believes the token");
    assert_eq!(left_out, [""; 0]);
}

#[tokio::test]
async fn a_token_in_a_secret_is_believed_as_long_as_it_is_there() {
    let world = world().await;
    let account = world.must("GET", &format!("{ACCOUNTS}/a"), &Value::Null).await;
    let reference = skiff_authn::account::Ref {
        name: "a".to_owned(),
        uid: account["metadata"]["uid"].as_str().expect("a uid").to_owned(),
    };
    let legacy = skiff_authn::account::Legacy::new("default", reference, "s");
    let key = SigningKey::from_pem(world.pki.service_account_key()).expect("a key");
    let token = sign(&key, &legacy.claims()).expect("signed");
    assert_eq!(whoami(&world, &token).await, Err(StatusCode::UNAUTHORIZED), "no secret holds it");
    let secret = json!({"metadata": {"name": "s", "annotations": {"kubernetes.io/service-account.name": "a"}},
        "type": "kubernetes.io/service-account-token", "data": {"token": STANDARD.encode(&token)}});
    world.must("POST", SECRETS, &secret).await;
    let user = whoami(&world, &token).await.expect("believed");
    assert_eq!((&user["username"], &user["extra"]), (&"system:serviceaccount:default:a".into(), &Value::Null));
    let (_, secret) = world.get(&format!("{SECRETS}/s")).await;
    let day = &secret["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"];
    assert!(day.as_str().is_some_and(|day| day.len() == 10), "its use is noted: {secret}");
    world.must("DELETE", &format!("{SECRETS}/s"), &json!({})).await;
    assert_eq!(whoami(&world, &token).await, Err(StatusCode::UNAUTHORIZED), "its secret is gone");
}

#[tokio::test]
async fn a_certificate_counts_before_a_token() {
    let world = world().await;
    let mut request = Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .header("authorization", "Bearer nonsense")
        .body(Body::from("{}"))
        .expect("a request");
    request.extensions_mut().insert(Identity::node("n"));
    let (_, answer) = send(world.server.router(), request).await;
    assert_eq!(answer["status"]["userInfo"]["username"], "system:node:n");
}
