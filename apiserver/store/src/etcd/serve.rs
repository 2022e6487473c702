//! Listens, and serves gRPC and HTTP on the same port.

use super::admit::{Names, is_call};
use super::cork::corked;
use super::direct::{self, Answer, Method};
use super::gone::notice_gone;
use super::together::{Begun, Together};
use super::who::CommonName;
use super::{Listen, Member, ServeOptions, Service, Tls, counted, probes, routes_of};
use crate::{Store, StoreError};
use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

/// Streams that a connection may open: as etcd 3.5 has it, practically as many as it likes.
const STREAMS_MAX: u32 = u32::MAX;
/// Bytes of an answer that are handed to the connection before the client has taken any. They are in memory anyway; handed over in small
/// parts, a list of 10 MiB waits for the client to be scheduled thirty times.
const SEND_BYTES_MAX: usize = 4 << 20;
/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);

pub(crate) async fn serve(store: Store, options: ServeOptions, shutdown: CancellationToken) -> Result<(), StoreError> {
    let tls = options.tls.as_ref().map(acceptor).transpose()?;
    let mut sockets = Vec::new();
    for listen in &options.listen {
        sockets.push(Socket::bind(listen, tls.as_ref()).await?);
    }
    let mut shown = options.member;
    if shown.client_urls.is_empty() {
        shown.client_urls = sockets.iter().map(|socket| socket.url.clone()).collect();
    }
    let service = Service { trusted: false, bcrypt_cost: options.bcrypt_cost, ..Service::of(store) };
    let (app, silence) = (App::of(service, shown), options.silence);
    let tracker = TaskTracker::new();
    for socket in sockets {
        tracker.spawn(socket.accept(app.clone(), silence, shutdown.clone()));
    }
    tracker.close();
    tracker.wait().await;
    Ok(())
}

/// What a connection serves.
#[derive(Clone)]
pub(super) struct App {
    service: Arc<Service>,
    /// Calls that do not go the direct way.
    general: Router,
    /// What is answered over plain HTTP.
    pages: Router,
    names: Names,
    /// Whose certificate the connection has shown.
    name: Option<CommonName>,
}

impl App {
    /// A store's calls and probes, of a member that a member list shows so.
    pub(super) fn of(service: Service, shown: Member) -> Self {
        let store = service.store.clone();
        let service = Arc::new(Service { shown: Arc::new(shown), ..service });
        let counted = axum::middleware::from_fn_with_state(store.clone(), counted::count);
        let calls = routes_of(service.clone()).into_axum_router().layer(counted);
        // Instead of the calls' own, which knows no services.
        let general = calls.fallback(probes::no_such_service);
        App { service, general, pages: probes::pages(store), names: Names::Any, name: None }
    }

    /// What a connection without TLS to this address of ours may ask for.
    fn plain(mut self, to: SocketAddr) -> Self {
        self.names = Names::of_plain(to, &self.service.shown);
        self
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

impl hyper::service::Service<Request<Incoming>> for App {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Answering {
        if let Some(name) = &self.name {
            request.extensions_mut().insert(name.clone());
        }
        if !is_call(&request) {
            if let Err(name) = self.names.admit(&request) {
                let refused = probes::misdirected(&name).map(Answer::General);
                return Box::pin(async { Ok(refused) });
            }
            let answer = self.pages.clone().call(request.map(Body::new));
            return Box::pin(async { Ok(answer.await?.map(Answer::General)) });
        }
        if let Some(method) = Method::of(&request) {
            let answer = direct::answer(self.service.clone(), method, request);
            return Box::pin(async { Ok(answer.await) });
        }
        let answer = self.general.clone().call(request.map(Body::new));
        Box::pin(async { Ok(answer.await?.map(Answer::General)) })
    }
}

enum Door {
    Tcp(TcpListener, Option<TlsAcceptor>),
    Unix(UnixListener),
}

struct Socket {
    door: Door,
    url: String,
}

impl Socket {
    async fn bind(listen: &Listen, tls: Option<&TlsAcceptor>) -> Result<Self, StoreError> {
        let url = listen.to_string();
        let refuse = |what: String| StoreError::Listen { operation: "listen on", address: url.clone(), what };
        let door = match listen {
            Listen::Http(address) => {
                Door::Tcp(TcpListener::bind(address).await.map_err(|error| refuse(error.to_string()))?, None)
            }
            Listen::Https(address) => {
                let tls = tls.ok_or_else(|| refuse("https needs a certificate and a key".to_owned()))?;
                let listener = TcpListener::bind(address).await.map_err(|error| refuse(error.to_string()))?;
                Door::Tcp(listener, Some(tls.clone()))
            }
            Listen::Unix(path) => {
                free(path).map_err(|error| refuse(error.to_string()))?;
                Door::Unix(UnixListener::bind(path).map_err(|error| refuse(error.to_string()))?)
            }
        };
        Ok(Socket { door, url })
    }

    async fn accept(self, app: App, silence: Duration, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = self.next(&app, silence, &shutdown) => if let Err(error) = accepted {
                    // Out of file descriptors, say: the next connection may fare better, but not at once.
                    tracing::warn!(url = self.url, %error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                },
            }
        }
    }

    async fn next(&self, app: &App, silence: Duration, shutdown: &CancellationToken) -> io::Result<()> {
        let (app, shutdown) = (app.clone(), shutdown.clone());
        match &self.door {
            Door::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(connection(stream, app, silence, shutdown));
            }
            Door::Tcp(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                // Answers are small and wait for nothing: Nagle would hold them back.
                stream.set_nodelay(true)?;
                notice_gone(&stream, silence)?;
                match tls.clone() {
                    None => {
                        let app = app.plain(stream.local_addr()?);
                        drop(tokio::spawn(connection(stream, app, silence, shutdown)));
                    }
                    Some(tls) => drop(tokio::spawn(async move {
                        match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                            Ok(Ok(stream)) => {
                                let shown = stream.get_ref().1.peer_certificates();
                                let name = shown.and_then(|shown| CommonName::of(shown.first()?));
                                connection(stream, App { name, ..app }, silence, shutdown).await;
                            }
                            Ok(Err(error)) => tracing::debug!(%error, "a client failed to shake hands"),
                            Err(_) => tracing::debug!("a client did not shake hands in time"),
                        }
                    })),
                }
            }
        }
        Ok(())
    }
}

/// Serves one connection until it ends or `shutdown` is cancelled.
pub(super) async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: App,
    silence: Duration,
    shutdown: CancellationToken,
) {
    let begun = Begun::default();
    let mut builder = Builder::new(begun.clone());
    // Like etcd we do not say what time it is.
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(silence)
        .keep_alive_timeout(silence)
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(SEND_BYTES_MAX)
        .auto_date_header(false);
    let (stream, cork) = corked(stream);
    let served = Together::new(builder.serve_connection(TokioIo::new(stream), app), begun, cork);
    tokio::select! {
        // Dropping the connection ends its streams: watches have no other end.
        () = shutdown.cancelled() => (),
        // A client that goes away without a word is nothing to report.
        _ = served => (),
    }
}

/// Removes the socket of a process that is gone; one that somebody still answers on is left for bind to refuse.
fn free(path: &std::path::Path) -> io::Result<()> {
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, StoreError> {
    let refuse = |what: String| StoreError::Listen { operation: "set up TLS for", address: "https".to_owned(), what };
    let chain = certificates(&tls.certificate).map_err(|what| refuse(format!("certificate: {what}")))?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key).map_err(|error| refuse(format!("key: {error}")))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(error.to_string()))?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(roots(ca).map_err(|what| refuse(format!("client CA: {what}")))?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| refuse(format!("client CA: {error}")))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| refuse(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err("holds no certificate".to_owned()),
        other => other.map_err(|error| error.to_string()),
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}
