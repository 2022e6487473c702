//! Who asks, over TLS: front proxies that speak for others, clients that try to, and certificates that nobody vouches for.

mod common;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::World;
use http::{HeaderName, HeaderValue, Request};
use kube::config::Kubeconfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use skiff_apiserver::pki::CertKey;
use skiff_apiserver::{ApiServer, Authentication, FrontProxy};
use std::net::{SocketAddr, TcpListener};
use tokio_util::sync::CancellationToken;

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const ALICE: [(&str, &str); 4] = [
    ("X-Remote-User", "alice"),
    ("X-Remote-Group", "dev"),
    ("X-Remote-Group", "ops"),
    ("X-Remote-Extra-Scopes", "view"),
];

/// A server behind TLS, until it is dropped.
struct Served {
    address: SocketAddr,
    _until: tokio_util::sync::DropGuard,
}

fn serve(server: ApiServer) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (address, until) = (listener.local_addr().expect("bound"), CancellationToken::new());
    let shutdown = until.clone();
    tokio::spawn(async move { server.serve(listener, shutdown).await });
    Served { address, _until: until.drop_guard() }
}

/// Whom a request is from that comes with this certificate and these headers, or why it is refused.
async fn whoami(world: &World, at: SocketAddr, pair: &CertKey, headers: &[(&str, &str)]) -> Result<Value, String> {
    let kubeconfig = Kubeconfig::read_from(world.kubeconfig()).expect("written");
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("usable");
    config.cluster_url = format!("https://{at}").parse().expect("a URL");
    config.auth_info.client_certificate_data = Some(STANDARD.encode(&pair.certificate));
    config.auth_info.client_key_data = Some(STANDARD.encode(&pair.private_key).into());
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        config.headers.push((name, HeaderValue::from_str(value).expect("a value")));
    }
    let client = kube::Client::try_from(config).expect("a client");
    let request =
        Request::post(WHO).header("content-type", "application/json").body(b"{}".to_vec()).expect("a request");
    let answer = client.request::<Value>(request).await.map_err(|error| format!("{error:?}"))?;
    Ok(answer["status"]["userInfo"].clone())
}

/// An authority, and a client of that name that it vouches for.
fn client_of_another(name: &str) -> (String, CertKey) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("an authority");
    let (key, mut own) = (KeyPair::generate().expect("a key"), CertificateParams::default());
    own.distinguished_name.push(DnType::CommonName, name);
    let certificate = own.signed_by(&key, &authority).expect("a certificate").pem();
    (authority.pem(), CertKey { certificate, private_key: key.serialize_pem() })
}

#[tokio::test]
async fn a_front_proxy_says_who_asks() {
    let world = World::new().await;
    let served = serve(world.server.clone());
    let proxy = world.pki.front_proxy().clone();
    let alice = whoami(&world, served.address, &proxy, &ALICE).await.expect("believed");
    let groups = ["dev", "ops", "system:authenticated"];
    assert_eq!(alice, json!({"username": "alice", "groups": groups, "extra": {"scopes": ["view"]}}));
    let named = [("x-remote-user", "jürgen"), ("X-Remote-Uid", "7"), ("X-Remote-Extra-Acme.Com%2fproject", "p")];
    let named = whoami(&world, served.address, &proxy, &named).await.expect("believed");
    assert_eq!((&named["username"], &named["uid"]), (&json!("jürgen"), &json!("7")));
    assert_eq!(named["extra"], json!({"acme.com/project": ["p"]}));
}

/// Attacks by name.
#[tokio::test]
async fn nobody_else_says_who_asks() {
    let world = World::new().await;
    let served = serve(world.server.clone());
    let proxy = world.pki.front_proxy().clone();
    let masters = [("X-Remote-User", "root"), ("X-Remote-Group", "system:masters")];
    let node = world.pki.kubelet_client("n").expect("keys");
    let user = whoami(&world, served.address, &node, &masters).await.expect("a client");
    assert_eq!(user["username"], "system:node:n", "the headers of a client are its own affair");
    assert_eq!(user["groups"], json!(["system:nodes", "system:authenticated"]));
    for (attack, headers) in [
        ("a front proxy for nobody", &[][..]),
        ("groups without a user", &[("X-Remote-Group", "system:masters")]),
        ("an empty user", &[("X-Remote-User", "")]),
        ("an empty user, and one behind it", &[("X-Remote-User", ""), ("X-Remote-User", "root")]),
        ("underscores", &[("X_Remote_User", "root"), ("X_Remote_Group", "system:masters")]),
    ] {
        let refused = whoami(&world, served.address, &proxy, headers).await.expect_err(attack);
        assert!(refused.contains("401"), "{attack}: {refused}");
    }
    let doubled = [("X-Remote-User", "u"), ("X-Remote-User", "root"), ("X_Remote_Group", "system:masters")];
    let user = whoami(&world, served.address, &proxy, &doubled).await.expect("believed");
    assert_eq!(user, json!({"username": "u", "groups": ["system:authenticated"]}), "the first line counts");
}

/// Who acts as somebody else over a front proxy needs the right to, and the front proxy none.
#[tokio::test]
async fn a_front_proxy_gives_its_users_no_more_than_they_have() {
    let world = World::new().await;
    let served = serve(world.server.clone());
    let proxy = world.pki.front_proxy().clone();
    let smuggled = [("X-Remote-User", "alice"), ("Impersonate-User", "root"), ("Impersonate-Group", "system:masters")];
    let refused = whoami(&world, served.address, &proxy, &smuggled).await.expect_err("she may not");
    assert!(refused.contains("alice") && refused.contains("cannot impersonate"), "{refused}");
    let admin = [("X-Remote-User", "admin"), ("X-Remote-Group", "system:masters"), ("Impersonate-User", "bob")];
    let bob = whoami(&world, served.address, &proxy, &admin).await.expect("an administrator may");
    assert_eq!(bob["username"], "bob");
}

#[tokio::test]
async fn front_proxies_may_be_others() {
    let world = World::new().await;
    let (authority, gate) = client_of_another("gate");
    let served = serve(world.server.clone());
    let refused = whoami(&world, served.address, &gate, &ALICE).await;
    assert!(refused.is_err(), "nobody knows its authority: {refused:?}");
    let with = async |names: &[&str], client_authority: Option<&String>| {
        let front_proxy = FrontProxy {
            authority: Some(authority.clone()),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            user: vec!["X-User".to_owned()],
            ..FrontProxy::default()
        };
        let client_authority = client_authority.cloned();
        serve(world.believing(Authentication { front_proxy, client_authority, ..Authentication::default() }).await)
    };
    let said = [("X-User", "alice")];
    // One that stops takes its name out of the store, and another that starts meanwhile misses its own.
    let mut all = Vec::new();
    for (names, is_believed) in [(&[][..], true), (&["gate"], true), (&["other"], false)] {
        let served = with(names, None).await;
        let found = whoami(&world, served.address, &gate, &said).await;
        assert_eq!(found.is_ok(), is_believed, "{names:?}: {found:?}");
        let usual = whoami(&world, served.address, &gate, &[("X-Remote-User", "alice")]).await;
        assert!(usual.is_err_and(|error| error.contains("401")), "the header has another name");
        let own = world.pki.front_proxy().clone();
        assert!(
            whoami(&world, served.address, &own, &said).await.is_err(),
            "another authority takes the place of ours"
        );
        all.push(served);
    }
    let served = with(&["other"], Some(&authority)).await;
    let itself = whoami(&world, served.address, &gate, &said).await.expect("a client, then");
    assert_eq!(itself["username"], "gate");
}

#[tokio::test]
async fn servers_behind_this_one_are_told_whom_to_believe() {
    let world = World::new().await;
    let (authority, _) = client_of_another("gate");
    let options = Authentication { client_authority: Some(authority.clone()), ..Authentication::default() };
    let server = world.believing(options).await;
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    for _ in 0..200 {
        let request = common::request("GET", path, "", "");
        let (_, map) = common::send(server.router(), request).await;
        if map["data"]["client-ca-file"].as_str().is_some_and(|bundle| bundle.contains(authority.trim())) {
            assert_eq!(map["data"]["requestheader-allowed-names"], r#"["front-proxy-client"]"#);
            assert_eq!(map["data"]["requestheader-username-headers"], r#"["X-Remote-User"]"#);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the authority of clients is not published");
}

/// Requests of this process come from whom they say, and their headers count for nothing.
#[tokio::test]
async fn headers_alone_are_nobody() {
    let world = World::new().await;
    let mut request = Request::post(WHO).header("content-type", "application/json");
    for (name, value) in ALICE {
        request = request.header(name, value);
    }
    let request = request.body(Body::from("{}")).expect("a request");
    let (code, answer) = common::send(world.server.router(), request).await;
    assert_eq!(code, 403, "{answer}");
    assert!(answer.to_string().contains("system:anonymous"), "{answer}");
}
