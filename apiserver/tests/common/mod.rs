//! A whole API server over a store in a scratch folder, for tests.
#![allow(dead_code, reason = "every test file uses its own part of this")]

pub(crate) mod hook;
pub(crate) mod kubelet;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use skiff_apiserver::{ApiError, ApiServer, Authentication, Config, Pki};
use skiff_client::Identity;
use skiff_store::{Backend, Options, Store};
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// A server, and everything that must live as long as it does.
pub(crate) struct World {
    pub(crate) server: ApiServer,
    pub(crate) pki: Pki,
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
    pub(crate) store: Store,
    listener: Option<TcpListener>,
}

/// A node port range that a test can fill.
pub(crate) const NODE_PORTS: RangeInclusive<u16> = 30000..=30002;

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("skiff-apiserver").tempdir().expect("scratch folder");
        Self::in_folder(folder).await
    }

    /// A server that records its steps, and may be made to fail at them.
    pub(crate) async fn traced(faults: &str) -> (Self, PathBuf) {
        let folder = tempfile::Builder::new().prefix("skiff-apiserver").tempdir().expect("scratch folder");
        let trace = folder.path().join("trace");
        let faults = faults.parse().expect("a fault plan");
        let engine = skiff_step::Engine::new("apiserver", Some(&trace), faults).expect("an engine");
        (Self::with(folder, engine).await, trace)
    }

    pub(crate) async fn in_folder(folder: TempDir) -> Self {
        Self::with(folder, skiff_step::Engine::off()).await
    }

    async fn with(folder: TempDir, engine: skiff_step::Engine) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let pki = Pki::open_or_create(&folder.path().join("pki"), &["127.0.0.1".to_owned()]).expect("keys");
        let store = Store::open(&folder.path().join("store"), Options::default()).expect("store");
        let config = Config { engine, ..config(store.backend(), &pki, address.port()) };
        let server = ApiServer::new(config).await.expect("server");
        let world = Self { server, pki, address, folder, store, listener: Some(listener) };
        world.account("default").await;
        world
    }

    /// The account that pods in `namespace` run as. No controller makes it here, and no pod gets its token.
    pub(crate) async fn account(&self, namespace: &str) {
        let account = serde_json::json!({"metadata": {"name": "default"}, "automountServiceAccountToken": false});
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        let (code, answer) = self.post(&path, &account).await;
        assert!(matches!(code.as_u16(), 201 | 409), "{code} {answer}");
    }

    /// Another server on the same store, or on what stands before it.
    pub(crate) async fn another(&self, backend: Arc<dyn Backend>, node_port_range: RangeInclusive<u16>) -> ApiServer {
        let config = Config { node_port_range, ..config(backend, &self.pki, self.address.port()) };
        ApiServer::new(config).await.expect("another server")
    }

    /// Another server on the same store, with an address of its own.
    pub(crate) async fn beside(&self, advertise: [u8; 4]) -> ApiServer {
        let same = config(self.store.backend(), &self.pki, self.address.port());
        let config = Config { advertise: SocketAddr::from((advertise, self.address.port())), ..same };
        ApiServer::new(config).await.expect("another server")
    }

    /// Another server on the same store that believes others.
    pub(crate) async fn believing(&self, authentication: Authentication) -> ApiServer {
        self.try_believing(authentication).await.expect("another server")
    }

    /// The same, if it can be.
    pub(crate) async fn try_believing(&self, authentication: Authentication) -> Result<ApiServer, ApiError> {
        let config = Config { authentication, ..config(self.store.backend(), &self.pki, self.address.port()) };
        ApiServer::new(config).await
    }

    /// Serves TLS until the token is cancelled.
    pub(crate) fn serve(&mut self) -> (CancellationToken, JoinHandle<()>) {
        let (listener, server) = (self.listener.take().expect("served once"), self.server.clone());
        let shutdown = CancellationToken::new();
        let until = shutdown.clone();
        let served = tokio::spawn(async move { server.serve(listener, until).await.expect("serves") });
        (shutdown, served)
    }

    pub(crate) fn client(&self) -> kube::Client {
        skiff_client::in_process(self.server.router(), Identity::component("test"))
    }

    /// A connection of the administrator's to the server that [`Self::serve`] runs.
    pub(crate) async fn dial(&self) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.pki.authority_certificate().as_bytes()).expect("PEM");
        roots.add(authority).expect("an authority");
        let admin = self.pki.admin();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(admin.certificate.as_bytes()).expect("PEM")],
                PrivateKeyDer::from_pem_slice(admin.private_key.as_bytes()).expect("PEM"),
            )
            .expect("a pair");
        let socket = TcpStream::connect(self.address).await.expect("connects");
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, socket).await.expect("TLS")
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        let path = self.folder.path().join("admin.kubeconfig");
        self.pki.write_kubeconfig(&path, &format!("https://{}", self.address)).expect("kubeconfig");
        path
    }

    /// One request as an administrator; the answer's code and JSON (or text as a JSON string).
    pub(crate) async fn ask(&self, method: &str, path: &str, content_type: &str, body: &str) -> (StatusCode, Value) {
        let request = request(method, path, content_type, body);
        send(self.server.router(), request).await
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.ask("GET", path, "", "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.ask("POST", path, "application/json", &body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.ask("PUT", path, "application/json", &body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.ask("DELETE", path, "application/json", &body.to_string()).await
    }

    /// What the test expects to work, with the answer in the failure's message.
    pub(crate) async fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        let (code, answer) = self.ask(method, path, "application/json", &body.to_string()).await;
        assert!(code.is_success(), "{method} {path}: {code} {answer}");
        answer
    }
}

fn config(backend: Arc<dyn Backend>, pki: &Pki, port: u16) -> Config {
    Config {
        backend,
        service_cidr: "10.96.0.0/24".to_owned(),
        node_port_range: NODE_PORTS,
        pki: pki.clone(),
        // Services lead to no loopback, so none is announced: an address for documentation (RFC 5737) instead.
        advertise: SocketAddr::from(([192, 0, 2, 1], port)),
        authentication: Authentication::default(),
        engine: skiff_step::Engine::off(),
    }
}

pub(crate) fn request(method: &str, path: &str, content_type: &str, body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !content_type.is_empty() {
        request = request.header("content-type", content_type);
    }
    let mut request = request.body(Body::from(body.to_owned())).expect("a request");
    request.extensions_mut().insert(Identity::component("test"));
    request
}

pub(crate) async fn send(router: Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = router.oneshot(request).await.expect("infallible");
    let code = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("body");
    let text = String::from_utf8_lossy(&body).into_owned();
    (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A program of another project that the tests talk to; `None`, with the reason on stderr, if it is not installed.
pub(crate) fn peer(name: &str) -> Option<PathBuf> {
    let found = skiff_harness::peer(name).map(|peer| peer.path().to_owned());
    if found.is_none() {
        skiff_harness::skip(&format!("{name} is not installed (tests/run installs it)"));
    }
    found
}
