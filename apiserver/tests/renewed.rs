//! A certificate takes the place of another while the server runs.

mod common;

use common::World;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams, WatchEvent, WatchParams};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use skiff_apiserver::Pki;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The certificate that a new connection is shown.
async fn shown(pki: &Pki, at: SocketAddr) -> Vec<u8> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pki.authority_certificate().as_bytes()).expect("PEM"))
        .expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(at).await.expect("it listens");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a certificate of ours");
    stream.get_ref().1.peer_certificates().expect("one").first().expect("one").to_vec()
}

fn of(pki: &Pki) -> Vec<u8> {
    CertificateDer::from_pem_slice(pki.server().certificate.as_bytes()).expect("PEM").to_vec()
}

#[tokio::test]
async fn connections_stay_and_those_that_come_see_the_new_certificate() {
    let mut world = World::new().await;
    let (stop, served) = world.serve();
    let kubeconfig = kube::config::Kubeconfig::read_from(world.kubeconfig()).expect("written");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("usable");
    let maps: Api<ConfigMap> = Api::default_namespaced(kube::Client::try_from(config).expect("a client"));
    let mut watched = maps.watch(&WatchParams::default(), "0").await.expect("a watch").boxed();
    assert_eq!(shown(&world.pki, world.address).await, of(&world.pki));

    let names = ["127.0.0.1".to_owned(), "192.0.2.9".to_owned()];
    let next = Pki::open_or_create(&world.folder.path().join("pki"), &names).expect("issued again");
    assert_ne!(of(&next), of(&world.pki));
    world.server.present(&next).expect("sound");
    assert_eq!(shown(&world.pki, world.address).await, of(&next));

    let mut map = ConfigMap::default();
    map.metadata.name = Some("after".to_owned());
    maps.create(&PostParams::default(), &map).await.expect("the connection from before");
    loop {
        match watched.next().await.expect("it goes on").expect("an event") {
            WatchEvent::Added(found) if found.metadata.name.as_deref() == Some("after") => break,
            WatchEvent::Error(error) => panic!("{error:?}"),
            _ => {}
        }
    }
    stop.cancel();
    served.await.expect("stopped");
}
