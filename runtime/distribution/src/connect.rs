//! Connections to registries: TCP, TLS where it is asked for, HTTP/1.1, kept open for the next request.

use crate::error::{Kind, RegistryError, chain};
use crate::realm::{Origin, host};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long somebody may take to accept a connection, and to shake hands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections without a request that are kept for each server: as many as a pull has layers at once, and some.
const IDLE_MAX: usize = 8;

/// What is sent.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Whom we believe and as whom we come, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Certificates {
    /// Beside those of the machine (PEM files).
    pub(crate) authorities: Vec<PathBuf>,
    /// Certificate and key (PEM files, perhaps the same).
    pub(crate) own: Option<(PathBuf, PathBuf)>,
    /// Believe whoever answers.
    pub(crate) anyone: bool,
}

/// The same, read.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    /// For the endpoint itself.
    pub(crate) tls: Arc<ClientConfig>,
    /// For whom it sends us to: nobody else sees our certificate.
    pub(crate) others: Arc<ClientConfig>,
}

impl Trust {
    /// Reads the files; relative ones are beside `hosts.toml`.
    pub(crate) fn load(said: &Certificates, folder: &Path) -> Result<Self, String> {
        if *said == Certificates::default() {
            let machine = machine();
            return Ok(Self { tls: Arc::clone(&machine), others: machine });
        }
        let builder = || ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = || builder().map_err(|error| error.to_string());
        let mut roots = machine_roots().clone();
        for file in &said.authorities {
            let file = folder.join(file);
            for certificate in certificates(&file)? {
                roots.add(certificate).map_err(|error| format!("ca {}: {error}", file.display()))?;
            }
        }
        let with_roots = || -> Result<_, String> {
            let builder = builder()?;
            Ok(if said.anyone {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider())))
            } else {
                builder.with_root_certificates(roots.clone())
            })
        };
        let others = Arc::new(with_roots()?.with_no_client_auth());
        let Some((certificate, key)) = &said.own else { return Ok(Self { tls: Arc::clone(&others), others }) };
        let (certificate, key) = (folder.join(certificate), folder.join(key));
        let key_of = |error: rustls::pki_types::pem::Error| format!("client key {}: {error}", key.display());
        let private = PrivateKeyDer::from_pem_file(&key).map_err(key_of)?;
        let config = with_roots()?.with_client_auth_cert(certificates(&certificate)?, private);
        let config = config.map_err(|error| format!("client {}: {error}", certificate.display()))?;
        Ok(Self { tls: Arc::new(config), others })
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let named = |error: rustls::pki_types::pem::Error| format!("certificate {}: {error}", file.display());
    CertificateDer::pem_file_iter(file).map_err(named)?.collect::<Result<_, _>>().map_err(named)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What the machine believes, read once: the files are hundreds of kilobytes.
fn machine_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let (_added, ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if ignored > 0 {
            tracing::debug!("{ignored} certificates of this machine's authorities cannot be read");
        }
        roots
    })
}

fn machine() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let make = || {
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let config =
            config.map(|builder| builder.with_root_certificates(machine_roots().clone()).with_no_client_auth());
        // ring has every version that rustls asks for by default.
        Arc::new(config.unwrap_or_else(|error| unreachable!("TLS versions of ring: {error}")))
    };
    Arc::clone(CONFIG.get_or_init(make))
}

/// `skip_verify`: whoever has the key to the certificate that it shows.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A connection, encrypted or not: one type, so that HTTP is compiled once.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Who is connected, and with which trust: a connection that believed anyone serves no request that does not.
type Lane = (String, usize);

/// Makes and keeps connections.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    idle: Mutex<HashMap<Lane, Vec<SendRequest<Body>>>>,
}

impl Agent {
    /// Sends a request whose path is its URI, and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        origin: &Origin,
        tls: &Arc<ClientConfig>,
        mut request: Request<Body>,
        patience: Duration,
    ) -> Result<Response<Incoming>, RegistryError> {
        let lane = (origin.url(), Arc::as_ptr(tls) as usize);
        loop {
            let kept = self.take(&lane);
            let is_new = kept.is_none();
            let mut connection = match kept {
                Some(kept) => kept,
                None => dial(origin, tls).await?,
            };
            let answer = timeout(patience, connection.try_send_request(request)).await;
            let silent = || RegistryError::new(Kind::Unreachable, format!("{} does not answer", origin.url()));
            match answer.map_err(|_| silent())? {
                Ok(answer) => {
                    self.keep(lane, connection);
                    return Ok(answer);
                }
                Err(mut error) => match error.take_message() {
                    // The other side had closed it before our request left.
                    Some(unsent) if !is_new => request = unsent,
                    _ => return Err(RegistryError::new(Kind::Unreachable, chain(&error.into_error()))),
                },
            }
        }
    }

    fn take(&self, lane: &Lane) -> Option<SendRequest<Body>> {
        // A map of connections is whole whatever panicked while it was held.
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.get_mut(lane)?;
        kept.retain(|connection| !connection.is_closed());
        let ready = kept.iter().position(SendRequest::is_ready)?;
        Some(kept.swap_remove(ready))
    }

    /// Busy until its answer has been read; whoever takes connections looks for that.
    fn keep(&self, lane: Lane, connection: SendRequest<Body>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Of all lanes: one that nobody takes from again would stay for ever.
        idle.retain(|_, kept| {
            kept.retain(|connection| !connection.is_closed());
            !kept.is_empty()
        });
        let kept = idle.entry(lane).or_default();
        if kept.len() < IDLE_MAX {
            kept.push(connection);
        }
    }
}

async fn dial(origin: &Origin, tls: &Arc<ClientConfig>) -> Result<SendRequest<Body>, RegistryError> {
    let failed = |why: String| RegistryError::of_dial(format!("dial tcp {}: {why}", origin.authority));
    let name = host(&origin.authority);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let port = match origin.authority.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')) {
        Some(port) => port.parse::<u16>().map_err(|_| failed("the port is no number below 65536".to_owned()))?,
        None if origin.https => 443,
        None => 80,
    };
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect((bare, port))).await;
    let stream = stream.map_err(|_| failed("i/o timeout".to_owned()))?.map_err(|error| failed(of_dial(&error)))?;
    stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
    let stream: Box<dyn Stream> = if origin.https {
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| failed(error.to_string()))?;
        let shaken = timeout(CONNECT_TIMEOUT, TlsConnector::from(Arc::clone(tls)).connect(name, stream)).await;
        let shaken = shaken.map_err(|_| failed("TLS handshake timeout".to_owned()))?;
        Box::new(shaken.map_err(|error| failed(format!("tls: {error}")))?)
    } else {
        Box::new(stream)
    };
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.to_string()))?;
    tokio::spawn(async move {
        // Whoever waits for an answer is told why there is none.
        let _told_to_the_request = connection.await;
    });
    Ok(sender)
}

fn of_dial(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    }
}
