//! The promises of a backend over gRPC: on our own server, in plain, on a unix socket and with TLS, and on real etcds.

#![allow(clippy::unwrap_used)]

#[path = "peers/keys.rs"]
mod keys;
mod peers;
mod promises;

use futures::StreamExt;
use keys::authority;
use peers::{ours, ours_over, peer, real_etcd, wait_for};
use promises::{bytes, create, done, keeps_backend_promises, next_changes};
use skiff_harness::free_port;
use skiff_store::etcd::{ClientTls, Remote, ServeOptions, Tls, serve};
use skiff_store::{BackendError, Options, Store};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn over_our_own_server() {
    let ours = ours(Options::default()).await;
    keeps_backend_promises(Remote::connect(&[ours.url], None).await.unwrap()).await;
    ours.shutdown.cancel();
    ours.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn over_etcd_3_5() {
    let Some(program) = peer("etcd-3.5", "/nonexistent") else { return };
    let etcd = real_etcd(&program).await;
    keeps_backend_promises(Remote::connect(std::slice::from_ref(&etcd.url), None).await.unwrap()).await;
}

#[tokio::test]
async fn over_etcd_3_4() {
    let Some(program) = peer("etcd-3.4", "/usr/bin/etcd") else { return };
    let etcd = real_etcd(&program).await;
    keeps_backend_promises(Remote::connect(std::slice::from_ref(&etcd.url), None).await.unwrap()).await;
}

#[tokio::test]
async fn over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("data"), Options::default()).unwrap();
    let url = format!("unix://{}", folder.path().join("etcd.sock").display());
    let shutdown = CancellationToken::new();
    let options = ServeOptions::at([url.parse().unwrap()]);
    let serving = tokio::spawn(serve(store, options, shutdown.clone()));
    while !folder.path().join("etcd.sock").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let remote = Remote::connect(&[url], None).await.unwrap();
    create(&remote, "/a", "1").await;
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn client_certificates_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Options::default()).unwrap();
    let authority = authority();
    let ca: Vec<u8> = authority.pem.clone().into();
    let (certificate, key) = authority.issued();
    let url = format!("https://127.0.0.1:{}", free_port());
    let tls = Tls { certificate, key, client_ca: Some(ca.clone()) };
    let options = ServeOptions { tls: Some(tls), ..ServeOptions::at([url.parse().unwrap()]) };
    tokio::spawn(serve(store, options, CancellationToken::new()));
    wait_for(&url).await;
    let known = ClientTls { ca: ca.clone(), identity: Some(authority.issued()) };
    create(&Remote::connect(std::slice::from_ref(&url), Some(known)).await.unwrap(), "/a", "1").await;
    let unknown = ClientTls { ca, identity: None };
    assert!(Remote::connect(&[url], Some(unknown)).await.is_err());
}

#[tokio::test]
async fn a_watch_survives_its_server() {
    let first = ours(Options::default()).await;
    let url = first.url.clone();
    let remote = Remote::connect(std::slice::from_ref(&url), None).await.unwrap();
    let one = create(&remote, "/a", "1").await;
    let mut watch = remote.watch(bytes("/"), one);
    let two = done(remote.put(bytes("/a"), bytes("2"), one, 0).await.unwrap());
    assert_eq!(next_changes(&mut watch, 1).await.len(), 1);
    first.shutdown.cancel();
    first.serving.await.unwrap().unwrap();
    first.store.close().await;
    let error = remote.put(bytes("/a"), bytes("3"), two, 0).await.unwrap_err();
    assert!(matches!(error, BackendError::Unavailable(_)), "{error}");
    let store = Store::open(&first.folder.path().join("data"), Options::default()).unwrap();
    let options = ServeOptions::at([url.parse().unwrap()]);
    tokio::spawn(serve(store, options, CancellationToken::new()));
    wait_for(&url).await;
    let got = remote.get(bytes("/a")).await.unwrap().entry.unwrap();
    assert_eq!(got.value, bytes("2"));
    done(remote.put(bytes("/a"), bytes("4"), got.mod_revision, 0).await.unwrap());
    assert_eq!(next_changes(&mut watch, 1).await.len(), 1, "nothing lost, nothing twice");
}

#[tokio::test]
async fn a_compacted_watch_says_so() {
    let ours = ours(Options::default()).await;
    for (which, backend) in
        [Remote::connect(&[ours.url], None).await.unwrap(), ours.store.backend()].into_iter().enumerate()
    {
        let first = create(&backend, &format!("/{which}"), "1").await;
        create(&backend, &format!("/{which}/more"), "1").await;
        let last = create(&backend, &format!("/{which}/most"), "1").await;
        ours.store.compact(last, true).await.unwrap();
        let mut watch = backend.watch(bytes("/"), first - 1);
        let error = watch.next().await.unwrap().unwrap_err();
        assert!(matches!(error, BackendError::Compacted { oldest } if oldest == last), "{error}");
        assert!(watch.next().await.is_none());
    }
}

#[tokio::test]
async fn probes_answer_on_the_same_port() {
    let folder = tempfile::tempdir().unwrap();
    let ours = ours_over(tempfile::tempdir().unwrap(), Store::open(folder.path(), Options::default()).unwrap()).await;
    assert!(http_get(&ours.url, "/health").await.ends_with(r#"{"health":"true","reason":""}"#));
    assert!(http_get(&ours.url, "/readyz").await.ends_with("ok\n"));
    assert!(http_get(&ours.url, "/version").await.contains(r#""etcdserver":"3.5.16""#));
    assert!(http_get(&ours.url, "/metrics").await.contains("etcd_debugging_mvcc_current_revision 1\n"));
    ours.store.close().await;
    assert!(http_get(&ours.url, "/health").await.starts_with("HTTP/1.1 503"));
}

async fn http_get(url: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let error = Remote::connect(std::slice::from_ref(&url), None).await.err().unwrap().to_string();
    assert!(error.contains(&url) && error.contains("refused"), "{error}");
}

#[tokio::test]
async fn an_endpoint_that_answers_is_found_behind_those_that_do_not() {
    let ours = ours(Options::default()).await;
    // Takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let urls = [format!("http://127.0.0.1:{}", free_port()), silent_url, ours.url.clone()];
    let remote = Remote::connect(&urls, None).await.unwrap();
    assert_eq!(create(&remote, "/a", "1").await, ours.store.revision());
}
