//! A KMS plugin of the test's own on a Unix socket: well, unwell, with another key, and gone.

use super::plugin::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse};
use super::*;
use bytes::Bytes;
use serde_json::json;
use skiff_store::backend::BackendError;
use skiff_store::{Options, Store};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Mutex;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::server::{Grpc, UnaryService};
use tonic::transport::Server;
use tonic_prost::ProstCodec;

const PACE: Pace = Pace {
    healthy: Duration::from_millis(20),
    failing: Duration::from_millis(20),
    write_for: Duration::from_millis(200),
};
const KEY: &[u8] = b"/registry/secrets/a/b";

/// What the plugin is, which a test changes.
struct State {
    key: &'static str,
    health: &'static str,
}

#[derive(Clone)]
struct Kms(Arc<Mutex<State>>);

impl tonic::server::NamedService for Kms {
    const NAME: &'static str = "v2.KeyManagementService";
}

/// A method of the plugin.
struct Method<F>(F);

impl<Q, A, F> UnaryService<Q> for Method<F>
where
    F: Fn(Q) -> Result<A, tonic::Status>,
{
    type Response = A;
    type Future = std::future::Ready<Result<tonic::Response<A>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        std::future::ready((self.0)(request.into_inner()).map(tonic::Response::new))
    }
}

/// What stands for a cipher: the key's name, and the bytes turned over.
fn turned(key: &str, plain: &[u8]) -> Vec<u8> {
    key.bytes().chain([b':']).chain(plain.iter().map(|byte| !byte)).collect()
}

impl Kms {
    fn key(&self) -> &'static str {
        self.0.lock().unwrap().key
    }

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        match request.uri().path() {
            "/v2.KeyManagementService/Status" => {
                let status = |_: StatusRequest| {
                    let State { key, health } = *self.0.lock().unwrap();
                    Ok(StatusResponse { version: "v2".to_owned(), healthz: health.to_owned(), key_id: key.to_owned() })
                };
                Grpc::new(ProstCodec::default()).unary(Method(status), request).await
            }
            "/v2.KeyManagementService/Encrypt" => {
                let encrypt = |asked: EncryptRequest| {
                    let ciphertext = turned(self.key(), &asked.plaintext);
                    let annotations = [("kms.example".to_owned(), b"x".to_vec())].into();
                    Ok(EncryptResponse { ciphertext, key_id: self.key().to_owned(), annotations })
                };
                Grpc::new(ProstCodec::default()).unary(Method(encrypt), request).await
            }
            _ => {
                let decrypt = |asked: DecryptRequest| {
                    let sealed = asked.ciphertext.strip_prefix(format!("{}:", asked.key_id).as_bytes());
                    let sealed = sealed.ok_or_else(|| tonic::Status::invalid_argument("another key"))?;
                    assert_eq!(asked.annotations.get("kms.example").map(Vec::as_slice), Some(&b"x"[..]));
                    Ok(DecryptResponse { plaintext: sealed.iter().map(|byte| !byte).collect() })
                };
                Grpc::new(ProstCodec::default()).unary(Method(decrypt), request).await
            }
        }
    }
}

impl tower::Service<Request<Body>> for Kms {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = futures::future::BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let kms = self.clone();
        Box::pin(async move { Ok(kms.answer(request).await) })
    }
}

/// A plugin that serves until the token is cancelled.
fn plugin(socket: &Path) -> (Arc<Mutex<State>>, CancellationToken) {
    let state = Arc::new(Mutex::new(State { key: "k1", health: "ok" }));
    let (listener, until) = (UnixListener::bind(socket).unwrap(), CancellationToken::new());
    let serving = Server::builder().add_service(Kms(Arc::clone(&state)));
    tokio::spawn(
        serving.serve_with_incoming_shutdown(UnixListenerStream::new(listener), until.clone().cancelled_owned()),
    );
    (state, until)
}

fn configuration(folder: &Path) -> Encryption {
    let endpoint = format!("unix://{}", folder.join("kms.sock").display());
    let kms = json!({"apiVersion": "v2", "name": "p", "endpoint": endpoint, "timeout": "500ms"});
    let rules = json!([{"resources": ["secrets"], "providers": [{"kms": kms}, {"identity": {}}]}]);
    let file =
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": rules});
    let path = folder.join("providers.json");
    std::fs::write(&path, file.to_string()).unwrap();
    Encryption::read(&path).unwrap()
}

async fn soon<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..1000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

async fn value(store: &dyn Backend) -> Result<Bytes, BackendError> {
    Ok(store.get(Bytes::from_static(KEY)).await?.entry.unwrap().value)
}

/// The life of a plugin: what is written before it answers is refused with a reason; its key changes, and what is stored follows; it goes,
/// and what is known is read, and after a while nothing is written.
#[tokio::test]
async fn values_are_sealed_with_the_help_of_a_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let raw = Store::open(&folder.path().join("store"), Options::default()).unwrap().backend();
    let until = CancellationToken::new();
    let store = started(Arc::clone(&raw), configuration(folder.path()), PACE, until.clone()).await;
    let put =
        |value: &'static [u8], expected| store.put(Bytes::from_static(KEY), Bytes::from_static(value), expected, 0);
    let refused = put(b"{planted}", 0).await.expect_err("nobody answers").to_string();
    assert!(
        refused.contains("unable to transform key") && refused.contains("kmsv2 Provider p is not healthy"),
        "{refused}"
    );
    assert!(store.health().await.is_err());

    let (state, plugin_until) = plugin(&folder.path().join("kms.sock"));
    soon("the plugin is well", || async { store.health().await.is_ok() }).await;
    put(b"{planted}", 0).await.unwrap();
    let first = value(raw.as_ref()).await.unwrap();
    assert!(first.starts_with(b"k8s:enc:kms:v2:p:") && !first.windows(7).any(|part| part == b"planted"));
    assert_eq!(value(&store).await.unwrap(), "{planted}");

    // Another server, which has never seen the seed.
    let other = started(Arc::clone(&raw), configuration(folder.path()), PACE, until.clone()).await;
    assert_eq!(value(&other).await.unwrap(), "{planted}");

    state.lock().unwrap().key = "k2";
    soon("what is stored has the other key", || async { value(raw.as_ref()).await.unwrap() != first }).await;
    assert_eq!(value(&store).await.unwrap(), "{planted}");

    state.lock().unwrap().health = "tired";
    soon("it is not well", || async { store.health().await.is_err() }).await;
    let told = store.health().await.expect_err("it is not well").to_string();
    assert!(told.contains("got unexpected healthz status: tired"), "{told}");
    plugin_until.cancel();
    let revision = || async { store.get(Bytes::from_static(KEY)).await.unwrap().entry.unwrap().mod_revision };
    soon("nothing is written any more", || async {
        put(b"{more}", revision().await).await.is_err_and(|error| error.to_string().contains("has expired"))
    })
    .await;
    assert!(value(&store).await.is_ok(), "what is known is read");
    until.cancel();
}
