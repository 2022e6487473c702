//! A connection to one endpoint of an etcd, in plain, with TLS, or over a unix socket.

use crate::StoreError;
use crate::etcd::ClientTls;
use std::time::Duration;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// How long to wait for a connection: kube-apiserver's dial timeout is 20 s, for data centres.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Finds out that the other side is gone although nothing is sent; the time in which a silent member loses our watches is
/// the sum of both. etcd closes connections that ping more often than every 5 s (`--grpc-keepalive-min-time`).
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to `url` (`http(s)://host:port`, `unix://path`), made when first used and again when it is lost.
///
/// # Errors
/// The address cannot be read, `https` came without an authority, or the keys do not fit.
pub fn channel(url: &str, tls: Option<&ClientTls>) -> Result<Channel, StoreError> {
    let refuse = |what: String| StoreError::Connect { endpoints: url.to_owned(), what };
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| refuse(chain(&error)))?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    match tls {
        Some(tls) if url.starts_with("https://") => {
            let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca));
            if let Some((certificate, key)) = &tls.identity {
                config = config.identity(Identity::from_pem(certificate, key));
            }
            Ok(endpoint.tls_config(config).map_err(|error| refuse(chain(&error)))?.connect_lazy())
        }
        None if url.starts_with("https://") => Err(refuse("https needs a CA certificate".to_owned())),
        _ => Ok(endpoint.connect_lazy()),
    }
}

/// tonic keeps what happened in the sources.
fn chain(error: &dyn std::error::Error) -> String {
    with_sources(error.to_string(), error)
}

/// `text` and the causes of `error`, each once.
pub(super) fn with_sources(text: String, error: &dyn std::error::Error) -> String {
    let mut texts = vec![text];
    for source in std::iter::successors(error.source(), |error| error.source()) {
        let text = source.to_string();
        // Some repeat their source.
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts.join(": ")
}
