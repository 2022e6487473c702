//! An API server behind this one: requests go on to it on behalf of who asks, and what it serves is listed with what is served here.

mod common;

use axum::Router;
use axum::extract::Request;
use axum::response::Json;
use axum::routing::any;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use common::{World, request, send};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
/// Far more than it takes: the test fails when it passes, and never waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells what it was asked.
async fn echo(request: Request) -> Json<Value> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/apis/behind.example/v1" => Json(json!({"kind": "APIResourceList", "groupVersion": "behind.example/v1",
            "resources": [{"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get"]}]})),
        "/openapi/v3" => Json(
            json!({"paths": {"apis/behind.example/v1": {"serverRelativeURL": "/openapi/v3/apis/behind.example/v1?hash=1"}}}),
        ),
        _ => {
            let said = request.headers().iter().filter(|(name, _)| name.as_str().starts_with("x-remote-"));
            let said: Vec<String> =
                said.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or_default())).collect();
            Json(json!({"method": request.method().as_str(), "path": path, "said": said}))
        }
    }
}

/// Serves TLS for clients with a certificate of `front`; answers its address and its authority.
async fn behind(front: &str) -> (SocketAddr, String) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let own = CertificateParams::new(vec!["behind.default.svc".to_owned()]).expect("a name");
    let own = own.signed_by(&key, &ca).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(front.as_bytes()).expect("PEM")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(clients.expect("a verifier"))
        .with_single_cert(vec![CertificateDer::from(own.der().to_vec())], key)
        .expect("a certificate");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let router = Router::new().fallback(any(echo));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                drop(server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await);
            });
        }
    });
    (address, ca.pem())
}

async fn until(world: &World, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let asked = async {
        loop {
            let (_, answer) = world.get(path).await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{path} never answered as it should"))
}

fn condition(service: &Value) -> [Option<&str>; 2] {
    let condition = &service["status"]["conditions"][0];
    [condition["status"].as_str(), condition["reason"].as_str()]
}

/// A server behind this one, registered and found available.
async fn registered() -> World {
    let world = World::new().await;
    let published = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let published = until(&world, published, |map| map["data"].is_object()).await;
    let front = published["data"]["requestheader-client-ca-file"].as_str().expect("an authority");
    let (address, authority) = behind(front).await;
    let service = json!({"metadata": {"name": "v1.behind.example"}, "spec": {"group": "behind.example", "version": "v1",
        "groupPriorityMinimum": 1000, "versionPriority": 10, "caBundle": BASE64.encode(authority),
        "service": {"namespace": "default", "name": "behind", "port": address.port()}}});
    world.must("POST", SERVICES, &service).await;
    let at = format!("{SERVICES}/v1.behind.example");
    until(&world, &at, |service| condition(service) == [Some("False"), Some("ServiceNotFound")]).await;
    // Endpoints lead to no loopback, but a name may.
    let name = json!({"metadata": {"name": "behind"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
    world.must("POST", "/api/v1/namespaces/default/services", &name).await;
    until(&world, &at, |service| condition(service) == [Some("True"), Some("Passed")]).await;
    world
}

#[tokio::test]
async fn requests_go_on_on_behalf_of_who_asks() {
    let world = registered().await;
    let path = "/apis/behind.example/v1/namespaces/default/things/x";
    let answer = world.must("PUT", path, &json!({})).await;
    assert_eq!((&answer["method"], &answer["path"]), (&json!("PUT"), &json!(path)));
    let said = answer["said"].as_array().expect("headers");
    assert!(said.contains(&json!("x-remote-user: system:test")), "{answer}");
    assert!(said.contains(&json!("x-remote-group: system:masters")), "{answer}");
    let mut stranger = request("GET", path, "", "");
    stranger.extensions_mut().clear();
    let (code, _) = send(world.server.router(), stranger).await;
    assert_eq!(code.as_u16(), 403, "who may not ask here may not ask there");
}

#[tokio::test]
async fn what_it_serves_is_listed() {
    let world = registered().await;
    let groups = world.must("GET", "/apis", &json!({})).await;
    let of_it = |list: &Value| {
        let mut groups = list["groups"].as_array().expect("groups").iter();
        groups.any(|group| group["name"] == "behind.example" && group["versions"][0]["version"] == "v1")
    };
    assert!(of_it(&groups), "{groups}");
    let group = world.must("GET", "/apis/behind.example", &json!({})).await;
    assert_eq!((&group["kind"], &group["preferredVersion"]["version"]), (&json!("APIGroup"), &json!("v1")));
    let list = world.must("GET", "/apis/behind.example/v1", &json!({})).await;
    assert_eq!(list["resources"][0]["name"], "things");
    let mut aggregated = request("GET", "/apis", "", "");
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList".parse().expect("a header");
    aggregated.headers_mut().insert("accept", accept);
    let (_, list) = send(world.server.router(), aggregated).await;
    let mut items = list["items"].as_array().expect("items").iter();
    let item = items.find(|item| item["metadata"]["name"] == "behind.example").expect("the group");
    assert_eq!(item["versions"][0]["freshness"], "Current");
    assert_eq!(item["versions"][0]["resources"][0]["resource"], "things");
    let index = world.must("GET", "/openapi/v3", &json!({})).await;
    assert!(index["paths"]["apis/behind.example/v1"]["serverRelativeURL"].is_string(), "{index}");
    let document = world.must("GET", "/openapi/v3/apis/behind.example/v1?hash=1", &json!({})).await;
    assert_eq!(document["path"], "/openapi/v3/apis/behind.example/v1");
}

#[tokio::test]
async fn a_server_that_is_not_available_is_not_asked() {
    let world = World::new().await;
    let service = json!({"metadata": {"name": "v1.behind.example"}, "spec": {"group": "behind.example", "version": "v1",
        "groupPriorityMinimum": 1000, "versionPriority": 10, "service": {"namespace": "default", "name": "behind"}}});
    world.must("POST", SERVICES, &service).await;
    let answer = until(&world, "/apis/behind.example/v1/things", |answer| answer.is_string()).await;
    assert_eq!(answer, "service unavailable\n");
    world.must("DELETE", &format!("{SERVICES}/v1.behind.example"), &json!({})).await;
    until(&world, "/apis/behind.example/v1/things", |answer| answer["code"] == 404).await;
}
