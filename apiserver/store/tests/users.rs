//! Users and roles last: over a restart, a defragmentation, and the way into a snapshot and out of it. And whoever has shown a certificate is
//! known by its name.

#![allow(clippy::unwrap_used)]

#[path = "peers/mod.rs"]
mod peers;

use futures::StreamExt;
use peers::wait_for;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::auth_client::AuthClient;
use skiff_proto::etcd::etcdserverpb::kv_client::KvClient;
use skiff_store::etcd::{ServeOptions, Tls, serve};
use skiff_store::{Options, Store, snapshot};
use std::path::Path;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

/// Serves the store of a folder while `act` has a connection to it.
async fn served<T>(folder: &Path, act: impl AsyncFnOnce(Channel, Store) -> T) -> T {
    let store = Store::open(folder, Options::default()).unwrap();
    let url = format!("http://127.0.0.1:{}", skiff_harness::free_port());
    let shutdown = CancellationToken::new();
    let options = ServeOptions { bcrypt_cost: 4, ..ServeOptions::at([url.parse().unwrap()]) };
    let serving = tokio::spawn(serve(store.clone(), options, shutdown.clone()));
    wait_for(&url).await;
    let told = act(Endpoint::from_shared(url).unwrap().connect().await.unwrap(), store.clone()).await;
    shutdown.cancel();
    serving.await.unwrap().unwrap();
    store.close().await;
    told
}

async fn make_root(channel: Channel) {
    let mut auth = AuthClient::new(channel);
    let root = || "root".to_owned();
    auth.user_add(pb::AuthUserAddRequest { name: root(), password: "top".to_owned(), ..Default::default() })
        .await
        .unwrap();
    auth.user_grant_role(pb::AuthUserGrantRoleRequest { user: root(), role: root() }).await.unwrap();
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
}

async fn get(channel: Channel, token: Option<&str>) -> Result<i64, Status> {
    let mut request = Request::new(pb::RangeRequest { key: "a".into(), ..Default::default() });
    if let Some(token) = token {
        request.metadata_mut().insert("token", token.parse().unwrap());
    }
    KvClient::new(channel).range(request).await.map(|answer| answer.into_inner().count)
}

/// That nobody gets in without a password, and root does with it.
async fn is_closed(channel: Channel) {
    assert_eq!(get(channel.clone(), None).await.unwrap_err().message(), "etcdserver: user name is empty");
    let status = AuthClient::new(channel.clone()).auth_status(pb::AuthStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.enabled, status.auth_revision), (true, 3));
    let login = pb::AuthenticateRequest { name: "root".to_owned(), password: "top".to_owned() };
    let token = AuthClient::new(channel.clone()).authenticate(login).await.unwrap().into_inner().token;
    assert_eq!(get(channel.clone(), Some(&token)).await.unwrap(), 0);
    assert_eq!(get(channel, Some("other.7")).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_last() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second, file) =
        (folder.path().join("first"), folder.path().join("second"), folder.path().join("saved"));
    served(&first, async |channel, _| make_root(channel).await).await;
    served(&first, async |channel, store| {
        is_closed(channel.clone()).await;
        store.defragment().await.unwrap();
        let pieces: Vec<bytes::Bytes> = snapshot::write(&store).map(Result::unwrap).collect().await;
        std::fs::write(&file, pieces.concat()).unwrap();
    })
    .await;
    served(&first, async |channel, _| is_closed(channel).await).await;
    snapshot::restore(&file, &second).unwrap();
    served(&second, async |channel, _| is_closed(channel).await).await;
}

/// An authority, and what it has signed for a name: certificate and key.
fn signed(issuer: &Issuer<'_, KeyPair>, name: &str) -> (String, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_a_certificate_is_known_by_its_name() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let (certificate, key) = signed(&issuer, "localhost");
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("data"), Options::default()).unwrap();
    let port = skiff_harness::free_port();
    let url = format!("https://127.0.0.1:{port}");
    let tls = Tls {
        certificate: certificate.into_bytes(),
        key: key.into_bytes(),
        client_ca: Some(authority.clone().into_bytes()),
    };
    let options = ServeOptions { tls: Some(tls), bcrypt_cost: 4, ..ServeOptions::at([url.parse().unwrap()]) };
    tokio::spawn(serve(store, options, CancellationToken::new()));
    wait_for(&url).await;
    let connect = async |name: &str| {
        let (certificate, key) = signed(&issuer, name);
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority));
        let tls = tls.identity(Identity::from_pem(certificate, key));
        let endpoint = Endpoint::from_shared(format!("https://localhost:{port}")).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await.unwrap()
    };
    let root = connect("root").await;
    make_root(root.clone()).await;
    assert_eq!(get(root, None).await.unwrap(), 0);
    let refused = get(connect("ann").await, None).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, "etcdserver: permission denied"));
}

async fn peer_urls(channel: Channel) -> Vec<String> {
    let mut cluster = pb::cluster_client::ClusterClient::new(channel);
    let members = cluster.member_list(pb::MemberListRequest::default()).await.unwrap().into_inner().members;
    members[0].peer_ur_ls.clone()
}

/// What the member list says of this member is kept where users are, and counts as no change of theirs.
#[tokio::test(flavor = "multi_thread")]
async fn peer_urls_outlast_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let urls = || vec!["http://127.0.0.1:7001".to_owned(), "https://b.example:7002".to_owned()];
    served(&data, async |channel, _| {
        assert!(peer_urls(channel.clone()).await.is_empty());
        make_root(channel.clone()).await;
        let mut cluster = pb::cluster_client::ClusterClient::new(channel.clone());
        let id = pb::MemberUpdateRequest { id: 1, peer_ur_ls: urls() };
        let refused = cluster.member_update(id).await.unwrap_err();
        assert_eq!(refused.message(), "etcdserver: user name is empty", "the members are root's");
    })
    .await;
    let open = folder.path().join("open");
    served(&open, async |channel, store| {
        let mut cluster = pb::cluster_client::ClusterClient::new(channel.clone());
        let listed = cluster.member_list(pb::MemberListRequest::default()).await.unwrap().into_inner();
        let id = listed.members[0].id;
        let bad = pb::MemberUpdateRequest { id, peer_ur_ls: vec!["nonsense".to_owned()] };
        let refused = cluster.member_update(bad).await.unwrap_err();
        let invalid = (Code::InvalidArgument, "etcdserver: given member URLs are invalid");
        assert_eq!((refused.code(), refused.message()), invalid);
        let update = pb::MemberUpdateRequest { id, peer_ur_ls: urls() };
        let updated = cluster.member_update(update).await.unwrap().into_inner();
        assert_eq!(updated.members[0].peer_ur_ls, urls());
        let status = AuthClient::new(channel).auth_status(pb::AuthStatusRequest {}).await.unwrap().into_inner();
        assert_eq!((status.enabled, status.auth_revision), (false, 1));
        store.defragment().await.unwrap();
    })
    .await;
    served(&open, async |channel, _| assert_eq!(peer_urls(channel).await, urls())).await;
}
