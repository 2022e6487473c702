//! Who may do what, as clients meet it: challenges, tokens, passwords, accounts of a cluster, and rules of repositories.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use skiff_authn::jws;
use skiff_authn::key::SigningKey;
use skiff_registry::config::Config;
use skiff_registry::htpasswd::{Htpasswd, line};
use skiff_registry::{Cluster, Listeners, Login, Registry, Remembered, Store, Terms, Tokens};
use skiff_step::Engine;
use std::path::Path;
use std::sync::Arc;
use support::*;

/// Ann may do everything, Bob may pull from `shared/…`, builders of the cluster may push to `ci/…`; `open/…` is public.
fn guarded(folder: &Path, key: &SigningKey) -> Arc<Registry> {
    let config: Config = serde_json::from_value(json!({
        "authentication": {},
        "policies": [
            {"users": ["ann"], "repositories": ["*"], "actions": ["*"]},
            {"users": ["bob"], "repositories": ["shared/*"], "actions": ["pull"]},
            {"groups": ["system:serviceaccounts:ci"], "repositories": ["ci/*"], "actions": ["pull", "push"]},
        ],
        "repositories": [
            {"name": "open/*", "public": true},
            {"name": "small", "quotaBytes": 100},
            {"name": "fixed", "immutableTags": ["v*"]},
        ],
    }))
    .unwrap();
    config.check().unwrap();
    let users = format!("{}\n{}\n", line("ann", "secret", [1; 16]), line("bob", "word", [2; 16]));
    let login = Login {
        passwords: Htpasswd::parse(&users).unwrap(),
        tokens: Tokens::from_pem(&SigningKey::generate().unwrap()).unwrap(),
        clusters: vec![
            Cluster::new("https://cluster", "registry", &skiff_authn::jwk::set(&[key.public().clone()])).unwrap(),
        ],
        review: None,
        realm: None,
        service: None,
        remembered: Remembered::new().unwrap(),
    };
    let listeners = Listeners::new(Some(&folder.join("audit")), vec![]).unwrap();
    let terms = Terms { config: Arc::new(config), login: Some(Arc::new(login)), listeners, ..Terms::default() };
    Arc::new(Registry::new(Store::open(folder, Engine::off()).unwrap(), terms))
}

fn basic(user: &str, password: &str) -> String {
    format!("authorization: Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

const HOST: &str = "host: registry.test:5000";

/// A token as a client gets it, and its header.
async fn token(registry: &Arc<Registry>, who: Option<&str>, scope: &str) -> String {
    let headers: Vec<&str> = [HOST].into_iter().chain(who).collect();
    let target = format!("GET /token?service=registry.test:5000&scope={}", scope.replace(" ", "+"));
    let said = ask(registry, &target, &headers, "").await.is(200).json();
    assert_eq!(said["token"], said["access_token"]);
    format!("authorization: Bearer {}", said["token"].as_str().unwrap())
}

#[tokio::test]
async fn a_client_is_told_where_tokens_are_and_they_work() {
    let (folder, key) = (tempfile::tempdir().unwrap(), SigningKey::from_pem(&SigningKey::generate().unwrap()).unwrap());
    let registry = guarded(folder.path(), &key);
    let said = ask(&registry, "GET /v2/", &[HOST], "").await.refuses(401, "UNAUTHORIZED");
    assert_eq!(
        said.header("www-authenticate"),
        "Bearer realm=\"http://registry.test:5000/token\",service=\"registry.test:5000\""
    );
    let said = ask(&registry, "POST /v2/app/blobs/uploads/", &[HOST], "").await.refuses(401, "UNAUTHORIZED");
    assert!(said.header("www-authenticate").ends_with(",scope=\"repository:app:pull,push\""));
    let ann = token(&registry, Some(&basic("ann", "secret")), "repository:app:pull,push").await;
    ask(&registry, "GET /v2/", &[HOST, &ann], "").await.is(200);
    ask(&registry, "POST /v2/app/blobs/uploads/", &[HOST, &ann], "").await.is(202);
    // The token is for one repository, and for two actions.
    ask(&registry, "POST /v2/other/blobs/uploads/", &[HOST, &ann], "").await.refuses(401, "UNAUTHORIZED");
    ask(&registry, "DELETE /v2/app/manifests/x", &[HOST, &ann], "").await.refuses(401, "UNAUTHORIZED");
    ask(&registry, "POST /v2/app/blobs/uploads/", &["host: elsewhere", &ann], "").await.is(401);
    let bob =
        token(&registry, Some(&basic("bob", "word")), "repository:app:pull,push repository:shared/a:pull,push").await;
    ask(&registry, "POST /v2/app/blobs/uploads/", &[HOST, &bob], "").await.is(401);
    ask(&registry, "GET /v2/shared/a/tags/list", &[HOST, &bob], "").await.refuses(404, "NAME_UNKNOWN");
    ask(&registry, "POST /v2/shared/a/blobs/uploads/", &[HOST, &bob], "").await.is(401);
    let form = "grant_type=password&username=ann&password=secret&service=x&scope=repository%3Aapp%3Apull";
    assert!(ask(&registry, "POST /token", &[HOST], form).await.is(200).json()["access_token"].is_string());
    ask(&registry, "POST /token", &[HOST], form.replace("secret", "wrong")).await.is(401);
}

#[tokio::test]
async fn passwords_are_taken_directly_and_wrong_ones_are_not() {
    let (folder, key) = (tempfile::tempdir().unwrap(), SigningKey::from_pem(&SigningKey::generate().unwrap()).unwrap());
    let registry = guarded(folder.path(), &key);
    let (ann, bob) = (basic("ann", "secret"), basic("bob", "word"));
    ask(&registry, "POST /v2/app/blobs/uploads/", &[&ann], "").await.is(202);
    ask(&registry, "POST /v2/app/blobs/uploads/", &[&bob], "").await.refuses(403, "DENIED");
    ask(&registry, "GET /v2/app/tags/list", &[&bob], "").await.refuses(403, "DENIED");
    for wrong in [basic("ann", "word"), basic("ann", ""), basic("eve", "secret"), "authorization: Bearer x.y.z".into()]
    {
        ask(&registry, "GET /v2/", &[&wrong], "").await.refuses(401, "UNAUTHORIZED");
        ask(&registry, "GET /v2/../x", &[&wrong], "").await.refuses(401, "UNAUTHORIZED");
        ask(&registry, "GET /v2/open/a/tags/list", &[&wrong], "").await.is(401);
    }
    let figures = registry.metrics();
    assert!(
        figures.contains("logins_total{outcome=\"bad\"} 12") && figures.contains("logins_total{outcome=\"good\"} 3"),
        "{figures}"
    );
    let record = std::fs::read_to_string(folder.path().join("audit")).unwrap();
    let first: Value = serde_json::from_str(record.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["user"], &first["call"], &first["status"]),
        (&json!("ann"), &json!("upload-start"), &json!(202))
    );
    assert_eq!(record.lines().count(), 15, "each call has a line");
    assert!(!record.contains("secret"));
}

#[tokio::test]
async fn accounts_of_a_cluster_are_users() {
    let (folder, key) = (tempfile::tempdir().unwrap(), SigningKey::from_pem(&SigningKey::generate().unwrap()).unwrap());
    let registry = guarded(folder.path(), &key);
    let far = 4_000_000_000_i64;
    let account = |subject: &str| {
        jws::sign(&key, &json!({"iss": "https://cluster", "aud": ["registry"], "sub": subject, "exp": far})).unwrap()
    };
    let builder = account("system:serviceaccount:ci:builder");
    for header in [basic("any", &builder), format!("authorization: Bearer {builder}")] {
        ask(&registry, "POST /v2/ci/app/blobs/uploads/", &[&header], "").await.is(202);
        ask(&registry, "POST /v2/app/blobs/uploads/", &[&header], "").await.refuses(403, "DENIED");
    }
    let other = basic("any", &account("system:serviceaccount:web:builder"));
    ask(&registry, "POST /v2/ci/app/blobs/uploads/", &[&other], "").await.refuses(403, "DENIED");
    let given = token(&registry, Some(&basic("any", &builder)), "repository:ci/app:pull,push").await;
    ask(&registry, "POST /v2/ci/app/blobs/uploads/", &[HOST, &given], "").await.is(202);
}

/// Pushes a blob as somebody.
async fn blob_as(registry: &Arc<Registry>, who: &str, name: &str, bytes: &str) -> Said {
    let digest = sha256(bytes);
    ask(registry, &format!("POST /v2/{name}/blobs/uploads/?digest={digest}"), &[who], bytes.to_owned()).await
}

#[tokio::test]
async fn public_repositories_are_read_by_all_and_others_are_not_seen() {
    let (folder, key) = (tempfile::tempdir().unwrap(), SigningKey::from_pem(&SigningKey::generate().unwrap()).unwrap());
    let registry = guarded(folder.path(), &key);
    let ann = basic("ann", "secret");
    for name in ["open/a", "shared/b", "private"] {
        blob_as(&registry, &ann, name, "content").await.is(201);
    }
    let digest = sha256("content");
    ask(&registry, &format!("GET /v2/open/a/blobs/{digest}"), &[], "").await.is(200);
    ask(&registry, &format!("DELETE /v2/open/a/blobs/{digest}"), &[], "").await.is(401);
    let anonymous = token(&registry, None, "repository:open/a:pull,push").await;
    ask(&registry, &format!("GET /v2/open/a/blobs/{digest}"), &[HOST, &anonymous], "").await.is(200);
    ask(&registry, "POST /v2/open/a/blobs/uploads/", &[HOST, &anonymous], "").await.is(401);
    let bob = basic("bob", "word");
    let seen = |said: Said| said.is(200).json()["repositories"].clone();
    assert_eq!(seen(ask(&registry, "GET /v2/_catalog", &[], "").await), json!(["open/a"]));
    assert_eq!(seen(ask(&registry, "GET /v2/_catalog", &[&bob], "").await), json!(["open/a", "shared/b"]));
    // What one may not read one may not mount, named or not.
    let robot = json!({"iss": "https://cluster", "aud": ["registry"], "sub": "system:serviceaccount:ci:x", "exp": 4_000_000_000_i64});
    let robot = basic("any", &jws::sign(&key, &robot).unwrap());
    let secret = sha256("only private");
    blob_as(&registry, &ann, "private", "only private").await.is(201);
    for from in ["&from=private", ""] {
        let mount = format!("POST /v2/ci/x/blobs/uploads/?mount={secret}{from}");
        ask(&registry, &mount, &[&robot], "").await.is(202);
    }
    ask(&registry, &format!("POST /v2/ci/x/blobs/uploads/?mount={digest}&from=open/a"), &[&robot], "").await.is(201);
}

#[tokio::test]
async fn quotas_and_immutable_tags_hold() {
    let (folder, key) = (tempfile::tempdir().unwrap(), SigningKey::from_pem(&SigningKey::generate().unwrap()).unwrap());
    let registry = guarded(folder.path(), &key);
    let ann = basic("ann", "secret");
    blob_as(&registry, &ann, "small", &"x".repeat(60)).await.is(201);
    blob_as(&registry, &ann, "small", &"y".repeat(60)).await.refuses(403, "DENIED");
    let at = ask(&registry, "POST /v2/small/blobs/uploads/", &[&ann], "").await.is(202).header("location").to_owned();
    ask(&registry, &format!("PATCH {at}"), &[&ann], vec![b'z'; 41]).await.refuses(403, "DENIED");
    blob_as(&registry, &ann, "small", &"z".repeat(40)).await.is(201);
    for layer in ["a", "b"] {
        blob_as(&registry, &ann, "fixed", "{}").await.is(201);
        blob_as(&registry, &ann, "fixed", layer).await.is(201);
    }
    let put = async |tag: &str, layer: &str| {
        let header = format!("content-type: {MANIFEST}");
        ask(&registry, &format!("PUT /v2/fixed/manifests/{tag}"), &[&ann, &header], image("{}", layer).to_string())
            .await
    };
    put("v1", "a").await.is(201);
    put("v1", "a").await.is(201);
    put("v1", "b").await.refuses(409, "TAG_INVALID");
    put("latest", "a").await.is(201);
    put("latest", "b").await.is(201);
}
