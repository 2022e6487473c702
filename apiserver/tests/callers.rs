//! Who asks: tokens in a file, tokens with which nodes join, tokens of other issuers and of a webhook, nobody.

mod common;

use axum::Router;
use axum::body::Body;
use common::hook::Hook;
use common::{World, send};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use skiff_apiserver::{ApiServer, Authentication, TokenWebhook};
use skiff_authn::key::SigningKey;
use skiff_authn::oidc::{Anonymous, Issuer, Mapping, Source};
use skiff_authn::token_file::TokenFile;
use skiff_authn::{jwk, jws};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const REFUSED: Result<Value, StatusCode> = Err(StatusCode::UNAUTHORIZED);

/// Whom a request with this token is from, or the code of its refusal.
async fn whoami(router: Router, token: &str) -> Result<Value, StatusCode> {
    let request = Request::post(WHO).header("authorization", format!("Bearer {token}"));
    let request = request.header("content-type", "application/json").body(Body::from("{}")).expect("a request");
    let (code, answer) = send(router, request).await;
    if code == StatusCode::CREATED { Ok(answer["status"]["userInfo"].clone()) } else { Err(code) }
}

/// Why `token` is not believed, as a TokenReview tells it.
async fn why_not(server: &ApiServer, token: &str) -> String {
    let asked = json!({"spec": {"token": token}}).to_string();
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let (_, answer) = send(server.router(), common::request("POST", path, "application/json", &asked)).await;
    let status = &answer["status"];
    assert_ne!(status["authenticated"], true, "{status}");
    status["error"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn tokens_may_stand_in_a_file() {
    let world = World::new().await;
    let token_file = TokenFile::parse("secret,alice,7,\"dev,ops\"\n").expect("sound");
    let server = world.believing(Authentication { token_file, ..Authentication::default() }).await;
    let alice = whoami(server.router(), "secret").await.expect("believed");
    assert_eq!(alice, json!({"username": "alice", "uid": "7", "groups": ["dev", "ops", "system:authenticated"]}));
    assert_eq!(whoami(server.router(), "Secret").await, REFUSED);
    assert_eq!(whoami(world.server.router(), "secret").await, REFUSED, "the other server has no such file");
}

#[tokio::test]
async fn strangers_may_be_turned_away() {
    let world = World::new().await;
    let ask = async |anonymous: &Anonymous, path: &str| {
        let anonymous = Some(anonymous.clone());
        let server = world.believing(Authentication { anonymous, ..Authentication::default() }).await;
        let request = Request::get(path).body(Body::empty()).expect("a request");
        send(server.router(), request).await.0
    };
    let health = Anonymous { enabled: true, paths: vec!["/livez".to_owned()] };
    for (anonymous, path, code) in [
        (Anonymous::default(), "/livez", StatusCode::OK),
        (Anonymous::default(), "/api/v1/pods", StatusCode::FORBIDDEN),
        (health.clone(), "/livez", StatusCode::OK),
        (health.clone(), "/readyz", StatusCode::UNAUTHORIZED),
        (health.clone(), "/livez/", StatusCode::UNAUTHORIZED),
        (health, "/api/v1/pods", StatusCode::UNAUTHORIZED),
        (Anonymous { enabled: false, paths: Vec::new() }, "/livez", StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(ask(&anonymous, path).await, code, "{anonymous:?} {path}");
    }
}

/// A secret that holds a bootstrap token, with what differs from the usual one.
fn bootstrap(more: Value) -> Value {
    let mut data = json!({"token-id": "abcdef", "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true", "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token"});
    data.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "stringData": data})
}

#[tokio::test]
async fn a_bootstrap_token_is_believed_where_that_is_wanted() {
    const TOKEN: &str = "abcdef.0123456789abcdef";
    let world = World::new().await;
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    world.must("POST", secrets, &bootstrap(json!({}))).await;
    assert_eq!(whoami(world.server.router(), TOKEN).await, REFUSED, "nobody has asked for them");
    let server = world.believing(Authentication { bootstrap_tokens: true, ..Authentication::default() }).await;
    let user = whoami(server.router(), TOKEN).await.expect("believed");
    assert_eq!(user["username"], "system:bootstrap:abcdef");
    let groups = ["system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token", "system:authenticated"];
    assert_eq!(user["groups"], json!(groups));
    assert_eq!(whoami(server.router(), "abcdef.0123456789abcdeX").await, REFUSED);
    let own = format!("{secrets}/bootstrap-token-abcdef");
    for (more, is_believed) in [
        (json!({"expiration": "2999-01-01T00:00:00Z"}), true),
        (json!({"expiration": "2001-01-01T00:00:00Z"}), false),
        (json!({"expiration": "tomorrow"}), false),
        (json!({"usage-bootstrap-authentication": "false", "usage-bootstrap-signing": "true"}), false),
        (json!({"auth-extra-groups": "system:masters"}), false),
    ] {
        world.must("DELETE", &own, &json!({})).await;
        world.must("POST", secrets, &bootstrap(more.clone())).await;
        assert_eq!(whoami(server.router(), TOKEN).await.is_ok(), is_believed, "{more}");
    }
    world.must("DELETE", &own, &json!({})).await;
    assert_eq!(whoami(server.router(), TOKEN).await, REFUSED, "there is no such secret any more");
}

fn key() -> SigningKey {
    SigningKey::from_pem(&SigningKey::generate().expect("made")).expect("a key")
}

/// An issuer of tokens at an address of its own.
struct Provider {
    hook: Hook,
    key: SigningKey,
}

impl Provider {
    async fn new() -> Self {
        let provider = Self { hook: Hook::new("127.0.0.1").await, key: key() };
        let url = provider.url();
        let configuration = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        provider.hook.publish("/.well-known/openid-configuration", &configuration);
        provider.publish(&[&provider.key]);
        provider
    }

    fn url(&self) -> String {
        format!("https://{}", self.hook.address)
    }

    fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.public().clone()).collect();
        self.hook.publish("/keys", &jwk::set(&keys));
    }

    /// Claims that are believed, with what differs.
    fn claims(&self, more: Value) -> Value {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        let mut claims =
            json!({"iss": self.url(), "aud": "us", "sub": "alice", "iat": now, "exp": now + 600, "groups": ["dev"]});
        claims.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        claims
    }

    fn token(&self, more: Value) -> String {
        jws::sign(&self.key, &self.claims(more)).expect("signed")
    }

    fn believed(&self) -> Issuer {
        let claim =
            |claim: &str, prefix: &str| Source::Claim(Mapping { claim: claim.to_owned(), prefix: prefix.to_owned() });
        Issuer {
            url: self.url(),
            authority: Some(self.hook.authority.clone()),
            audiences: vec!["us".to_owned()],
            username: claim("sub", "oidc:"),
            groups: Some(claim("groups", "oidc:")),
            ..Issuer::default()
        }
    }
}

async fn with_issuer(world: &World, issuer: Issuer) -> ApiServer {
    world.believing(Authentication { issuers: vec![issuer], ..Authentication::default() }).await
}

#[tokio::test]
async fn tokens_of_another_issuer_are_believed() {
    let (world, provider) = (World::new().await, Provider::new().await);
    let server = with_issuer(&world, provider.believed()).await;
    assert_eq!(provider.hook.asked("/keys").len(), 0, "it is asked when it is needed");
    let alice = whoami(server.router(), &provider.token(json!({}))).await.expect("believed");
    assert_eq!(alice, json!({"username": "oidc:alice", "groups": ["oidc:dev", "system:authenticated"]}));
    assert_eq!(
        whoami(server.router(), &provider.token(json!({"sub": "bob"}))).await.expect("believed")["username"],
        "oidc:bob"
    );
    assert_eq!(provider.hook.asked("/keys").len(), 1, "and its keys are kept");
}

#[tokio::test]
async fn tokens_that_do_not_fit_are_refused() {
    let (world, provider) = (World::new().await, Provider::new().await);
    let issuer = Issuer { required: [("hd".to_owned(), "x".to_owned())].into(), ..provider.believed() };
    let server = with_issuer(&world, issuer).await;
    let fits = provider.token(json!({"hd": "x"}));
    assert!(whoami(server.router(), &fits).await.is_ok());
    let url = base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        json!({"alg": "none", "kid": provider.key.public().id()}).to_string(),
    );
    let unsigned = format!("{url}.{}.", fits.split('.').nth(1).expect("claims"));
    let forged = jws::sign(&key(), &provider.claims(json!({"hd": "x"}))).expect("signed");
    for (token, why) in [
        (provider.token(json!({"hd": "x", "exp": 1})), "oidc: verify token: oidc: token is expired"),
        (provider.token(json!({"hd": "x", "aud": "them"})), "expected audience in"),
        (provider.token(json!({"hd": "x", "sub": null})), "oidc: parse username claims \"sub\""),
        (provider.token(json!({"hd": "x", "groups": 1})), "oidc: parse groups claim"),
        (provider.token(json!({})), "oidc: required claim hd not present in ID token"),
        (provider.token(json!({"hd": "y"})), "value does not match. Got = y, want = x"),
        (unsigned, "failed to verify signature"),
        (forged, "failed to verify signature"),
    ] {
        assert_eq!(whoami(server.router(), &token).await, REFUSED, "{why}");
        let told = why_not(&server, &token).await;
        assert!(told.contains(why), "{told}");
    }
}

#[tokio::test]
async fn an_issuer_that_cannot_be_trusted_is_not() {
    let (world, provider, other) = (World::new().await, Provider::new().await, Provider::new().await);
    let token = provider.token(json!({}));
    let authority = Some(other.hook.authority.clone());
    let server = with_issuer(&world, Issuer { authority, ..provider.believed() }).await;
    let told = why_not(&server, &token).await;
    assert!(told.contains("oidc: authenticator not initialized") && told.contains("unknown authority"), "{told}");
    // It says that it is another.
    provider
        .hook
        .publish("/.well-known/openid-configuration", &json!({"issuer": other.url(), "jwks_uri": other.url()}));
    let told = why_not(&with_issuer(&world, provider.believed()).await, &token).await;
    assert!(told.contains("did not match the issuer URL returned by provider"), "{told}");
    provider
        .hook
        .publish("/.well-known/openid-configuration", &json!({"issuer": provider.url(), "jwks_uri": "http://x"}));
    let told = why_not(&with_issuer(&world, provider.believed()).await, &token).await;
    assert!(told.contains("it is no https URL"), "{told}");
}

#[tokio::test]
async fn keys_are_asked_for_again_within_bounds() {
    let (world, provider) = (World::new().await, Provider::new().await);
    let server = with_issuer(&world, provider.believed()).await;
    assert!(whoami(server.router(), &provider.token(json!({}))).await.is_ok());
    // The issuer signs with another key from now on.
    let next = key();
    provider.publish(&[&next]);
    let token = jws::sign(&next, &provider.claims(json!({}))).expect("signed");
    assert!(whoami(server.router(), &token).await.is_ok(), "the new key is fetched");
    assert_eq!(
        whoami(server.router(), &provider.token(json!({}))).await,
        REFUSED,
        "the old one is not believed any more"
    );
    let asked = provider.hook.asked("/keys").len();
    for _ in 0..50 {
        let forged = jws::sign(&key(), &provider.claims(json!({}))).expect("signed");
        assert_eq!(whoami(server.router(), &forged).await, REFUSED);
    }
    assert_eq!(provider.hook.asked("/keys").len(), asked, "nobody makes us ask by keys of his own");
    assert!(whoami(server.router(), &token).await.is_ok());
}

fn configuration(world: &World, jwt: &[Value], anonymous: &Value) -> PathBuf {
    let path = world.folder.path().join("authentication.yaml");
    let file = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": jwt,
        "anonymous": anonymous});
    std::fs::write(&path, file.to_string()).expect("written");
    path
}

#[tokio::test]
async fn a_file_names_issuers_and_what_their_users_are() {
    let (world, one, other) = (World::new().await, Provider::new().await, Provider::new().await);
    let issuer = |provider: &Provider| json!({"url": provider.url(), "audiences": ["us"], "certificateAuthority": provider.hook.authority});
    let jwt = [
        json!({"issuer": issuer(&one),
            "claimMappings": {"username": {"expression": "'one:' + claims.sub"}, "groups": {"expression": "claims.groups"},
                "extra": [{"key": "example.com/tenant", "valueExpression": "claims.?tenant.orValue('')"}]},
            "claimValidationRules": [{"expression": "claims.exp - claims.iat <= 3600.0", "message": "it lives for too long"}],
            "userValidationRules": [{"expression": "!user.groups.exists(g, g.startsWith('system:'))", "message": "no system groups"}]}),
        json!({"issuer": issuer(&other), "claimMappings": {"username": {"claim": "sub", "prefix": "other:"}}}),
    ];
    let anonymous = json!({"enabled": true, "conditions": [{"path": "/livez"}]});
    let file = Some(configuration(&world, &jwt, &anonymous));
    let server = world.believing(Authentication { configuration: file, ..Authentication::default() }).await;
    let alice = whoami(server.router(), &one.token(json!({"tenant": "t"}))).await.expect("believed");
    assert_eq!((&alice["username"], &alice["extra"]["example.com/tenant"]), (&json!("one:alice"), &json!(["t"])));
    assert_eq!(whoami(server.router(), &other.token(json!({}))).await.expect("believed")["username"], "other:alice");
    for (more, why) in [
        (json!({"iat": 0}), "failed: it lives for too long"),
        (json!({"groups": ["system:masters"]}), "failed: no system groups"),
        (json!({"groups": {"a": 1}}), "expression must return a string or a list of strings"),
    ] {
        let told = why_not(&server, &one.token(more)).await;
        assert!(told.contains(why), "{told}");
    }
    let impostor = jws::sign(&one.key, &other.claims(json!({}))).expect("signed");
    assert_eq!(whoami(server.router(), &impostor).await, REFUSED, "one issuer speaks for no other");
    for (path, code) in [("/livez", StatusCode::OK), ("/readyz", StatusCode::UNAUTHORIZED)] {
        assert_eq!(send(server.router(), Request::get(path).body(Body::empty()).expect("a request")).await.0, code);
    }
}

#[tokio::test]
async fn a_file_that_is_wrong_keeps_the_server_from_starting() {
    let world = World::new().await;
    let jwt = |url: &str, expression: &str| json!({"issuer": {"url": url, "audiences": ["us"]}, "claimMappings": {"username": {"expression": expression}}});
    for (jwt, why) in [
        (jwt("http://x", "claims.sub"), "jwt[0].issuer.url: Invalid value: \"http://x\": URL scheme must be https"),
        (
            jwt("https://kubernetes.default.svc.cluster.local", "claims.sub"),
            "URL must not overlap with disallowed issuers",
        ),
        (
            jwt("https://x", "claims."),
            "jwt[0].claimMappings.username.expression: Invalid value: \"claims.\": compilation failed",
        ),
    ] {
        let configuration = Some(configuration(&world, &[jwt], &Value::Null));
        let options = Authentication { configuration, ..Authentication::default() };
        let error = world.try_believing(options).await.err().expect("refused").to_string();
        assert!(error.contains("--authentication-config") && error.contains(why), "{error}");
    }
    let open = configuration(&world, &[], &json!({"enabled": false}));
    let anonymous = Some(Anonymous::default());
    let both = Authentication { configuration: Some(open), anonymous, ..Authentication::default() };
    let error = world.try_believing(both).await.err().expect("refused").to_string();
    assert!(error.contains("--anonymous-auth"), "{error}");
}

/// A server that asks the webhook at `path`.
async fn with_webhook(world: &World, hook: &Hook, path: &str, keep: Duration) -> ApiServer {
    let config = world.folder.path().join("webhook.kubeconfig");
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &hook.authority);
    let cluster = json!({"server": format!("https://{}{path}", hook.address), "certificate-authority-data": base64});
    let text = json!({"apiVersion": "v1", "kind": "Config", "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {}}], "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"});
    std::fs::write(&config, text.to_string()).expect("written");
    let webhook = Some(TokenWebhook { config, version: "v1".to_owned(), keep, timeout: Duration::from_millis(300) });
    world.believing(Authentication { webhook, ..Authentication::default() }).await
}

#[tokio::test]
async fn a_webhook_says_whose_a_token_is() {
    let (world, hook) = (World::new().await, Hook::new("127.0.0.1").await);
    let review =
        |status: Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status});
    let user = json!({"username": "alice", "uid": "7", "groups": ["dev"], "extra": {"k": ["v"]}});
    hook.publish("/yes", &review(json!({"authenticated": true, "user": user})));
    hook.publish("/no", &review(json!({"authenticated": false})));
    hook.publish("/error", &review(json!({"authenticated": false, "error": "it was revoked"})));
    hook.publish("/others", &review(json!({"authenticated": true, "user": user, "audiences": ["them"]})));
    hook.publish("/words", &json!({"status": {"authenticated": "true", "user": user}}));
    hook.publish("/nobody", &review(json!({"authenticated": true, "user": {"groups": ["system:masters"]}})));
    let server = with_webhook(&world, &hook, "/yes", Duration::from_secs(120)).await;
    for _ in 0..2 {
        let alice = whoami(server.router(), "t").await.expect("believed");
        let expected =
            json!({"username": "alice", "uid": "7", "groups": ["dev", "system:authenticated"], "extra": {"k": ["v"]}});
        assert_eq!(alice, expected);
    }
    let asked = hook.asked("/yes");
    assert_eq!(asked.len(), 1, "the answer is kept");
    let spec = json!({"token": "t", "audiences": ["https://kubernetes.default.svc.cluster.local"]});
    assert_eq!((&asked[0]["kind"], &asked[0]["spec"]), (&json!("TokenReview"), &spec));
    let forgetful = with_webhook(&world, &hook, "/no", Duration::ZERO).await;
    for _ in 0..2 {
        assert_eq!(whoami(forgetful.router(), "t").await, REFUSED);
    }
    assert_eq!(hook.asked("/no").len(), 2, "an answer that holds for no time is not kept");
    for (path, why) in [
        ("/error", "it was revoked"),
        ("/others", "invalid bearer token"),
        ("/words", "its answer has no status.authenticated"),
        ("/nobody", "its answer names no user"),
        ("/garbage", "authentication webhook: "),
        ("/hang", "authentication webhook: no answer within 300 ms"),
    ] {
        let server = with_webhook(&world, &hook, path, Duration::ZERO).await;
        assert_eq!(whoami(server.router(), "t").await, REFUSED, "{path}");
        let told = why_not(&server, "t").await;
        assert!(told.contains(why), "{path}: {told}");
    }
}
