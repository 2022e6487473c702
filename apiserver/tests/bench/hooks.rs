//! Webhooks of the measurement's own: each lets everything pass, and is counted when it is asked.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// How many there are: half of them may change what is written, half only look.
pub(crate) const HOOKS: usize = 10;

/// What is read of a review.
#[derive(Deserialize)]
struct Review {
    request: Asked,
}

#[derive(Deserialize)]
struct Asked {
    uid: String,
}

/// All of them, at one address.
pub(crate) struct Hooks {
    address: SocketAddr,
    authority: String,
    asked: Arc<Counts>,
}

/// How often each was asked.
type Counts = Mutex<[usize; HOOKS]>;

impl Hooks {
    pub(crate) async fn start() -> Self {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let chain = vec![CertificateDer::from(own.der().to_vec())];
        let mut tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Counts> = Arc::default();
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&asked)));
        Self { address, authority: ca.pem(), asked }
    }

    /// Whether all have been asked since this was asked last.
    pub(crate) fn all_asked(&self) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let all = asked.iter().all(|count| *count > 0);
        if all {
            *asked = [0; HOOKS];
        }
        all
    }

    /// A configuration of each kind for creations of config maps in a namespace: where it is made, and what.
    pub(crate) fn configurations(&self, namespace: &str) -> [(&'static str, Value); 2] {
        let hook = |number: usize| {
            let url = format!("https://{}/{number}", self.address);
            json!({"name": format!("h{number}.bench.example.com"), "sideEffects": "None",
                "admissionReviewVersions": ["v1"], "timeoutSeconds": 10,
                "clientConfig": {"url": url, "caBundle": BASE64.encode(&self.authority)},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                    "resources": ["configmaps"]}]})
        };
        let configuration = |kind: &str, numbers: std::ops::Range<usize>| {
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "bench"},
                "webhooks": numbers.map(hook).collect::<Vec<_>>()})
        };
        [
            ("mutatingwebhookconfigurations", configuration("MutatingWebhookConfiguration", 0..HOOKS / 2)),
            ("validatingwebhookconfigurations", configuration("ValidatingWebhookConfiguration", HOOKS / 2..HOOKS)),
        ]
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, asked: Arc<Counts>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, asked) = (acceptor.clone(), Arc::clone(&asked));
        tokio::spawn(async move {
            stream.set_nodelay(true).unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| answer(request, Arc::clone(&asked)));
            let builder = auto::Builder::new(TokioExecutor::new());
            let _gone = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, asked: Arc<Counts>) -> Result<Response<Full<Bytes>>, Infallible> {
    let number: usize = request.uri().path().trim_start_matches('/').parse().unwrap();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Review = serde_json::from_slice(&body).unwrap();
    asked.lock().unwrap_or_else(PoisonError::into_inner)[number] += 1;
    let answer = format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{{"uid":"{}","allowed":true}}}}"#,
        review.request.uid
    );
    let response = Response::builder().header("content-type", "application/json").body(Full::new(answer.into()));
    Ok(response.unwrap())
}
