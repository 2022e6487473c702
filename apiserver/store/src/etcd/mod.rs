//! The etcd v3 protocol, from both sides: our store served over gRPC, and any etcd as a [`Backend`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{Backend, Store, StoreError};

/// The gRPC services KV, Watch, Lease, Maintenance, Cluster, Auth, Lock and Election over `store`.
pub fn routes(store: Store) -> Routes {
    let _ = store;
    Routes::default()
}

/// Where to listen, in the words of etcd's `--listen-client-urls`; parses from `http://ADDR:PORT`, `https://ADDR:PORT` and
/// `unix://PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// Plain TCP.
    Http(SocketAddr),
    /// TLS on TCP; needs [`ServeOptions::tls`].
    Https(SocketAddr),
    /// A unix socket, plain.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = StoreError;

    fn from_str(url: &str) -> Result<Self, StoreError> {
        let refuse =
            |what: &str| StoreError::Listen { operation: "parse", address: url.to_owned(), what: what.to_owned() };
        let address = |text: &str| {
            let text = text.trim_end_matches('/').replacen("localhost", "127.0.0.1", 1);
            text.parse().map_err(|_| refuse("want IP:PORT after the scheme"))
        };
        match url.split_once("://") {
            Some(("http", rest)) => address(rest).map(Listen::Http),
            Some(("https", rest)) => address(rest).map(Listen::Https),
            Some(("unix", rest)) if !rest.is_empty() => Ok(Listen::Unix(rest.into())),
            _ => Err(refuse("want http://, https:// or unix://")),
        }
    }
}

/// A server's side of TLS, all PEM.
#[derive(Clone)]
pub struct Tls {
    /// Certificate chain.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// Clients must show a certificate signed by one of these; `None`: no client certificate is asked for.
    pub client_ca: Option<Vec<u8>>,
}

/// A client's side of TLS, all PEM.
#[derive(Clone)]
pub struct ClientTls {
    /// The server's certificate must be signed by one of these.
    pub ca: Vec<u8>,
    /// Our own certificate chain and private key, if the server asks for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// What [`serve`] serves.
#[derive(Clone, Default)]
pub struct ServeOptions {
    /// Every address to listen on.
    pub listen: Vec<Listen>,
    /// For the `https` ones.
    pub tls: Option<Tls>,
}

/// Serves the gRPC services and the probes `/health`, `/livez`, `/readyz`, `/version`, `/metrics` on every address until
/// `shutdown` is cancelled.
pub async fn serve(store: Store, options: ServeOptions, shutdown: CancellationToken) -> Result<(), StoreError> {
    let _ = (store, options, shutdown);
    Err(StoreError::Listen { operation: "serve", address: String::new(), what: "not written yet".to_owned() })
}

/// Any etcd v3 endpoint as a [`Backend`].
pub struct Remote;

impl Remote {
    /// Connects to the first endpoint (`http(s)://host:port`, `unix://path`) that answers, and again whenever it is lost.
    pub async fn connect(endpoints: &[String], tls: Option<ClientTls>) -> Result<Arc<dyn Backend>, StoreError> {
        let _ = tls;
        Err(StoreError::Connect { endpoints: endpoints.join(","), what: "not written yet".to_owned() })
    }
}
