//! The etcd v3 protocol, from both sides: our store served over gRPC, and any etcd as a [`crate::Backend`].

mod admit; // what a web page cannot ask
mod answer; // refusals in etcd's words
mod auth;
mod check; // does a request make sense
mod cluster;
mod cork; // small writes become large
mod counted; // every call
mod direct; // the calls that come most
mod election;
#[cfg(test)]
mod fields; // of requests, and what becomes of each
mod figures; // for Prometheus
mod gone; // clients without a word
mod hash; // of history, as etcd hashes its own
mod health; // gRPC's own protocol
mod kv;
mod lease;
mod line; // who comes first
mod local; // without a server
mod lock;
mod maintenance;
mod pieces; // of a long range
mod probes; // over plain HTTP
mod remote; // the other side: any etcd as a backend
mod serve; // sockets
mod together; // a connection and its calls
mod watch;
mod who; // is asking
pub(crate) mod words; // etcd's messages and ours

use crate::{Limits, Store, StoreError};
use skiff_proto::etcd::etcdserverpb::ResponseHeader;
use skiff_proto::health::v1::health_server::HealthServer;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use admit::is_call;
pub use cork::{Cork, Corked, corked};
pub(crate) use counted::Calls;
pub use gone::notice_gone;
pub use local::channel_to;
pub use remote::{Compactor, REQUEST_TIMEOUT, Remote, RemoteOptions, channel};

/// The version that we claim: API servers enable what they use of us by it (progress requests since 3.5.13).
pub(crate) const SERVED_VERSION: &str = "3.5.16";
/// What a message may have beyond the request's limit, as in etcd. Larger ones are refused by gRPC itself.
const DECODED_BYTES_SLACK: usize = 1 << 19;

/// The gRPC services KV, Watch, Lease, Maintenance, Cluster, Auth, Lock and Election over `store`.
pub fn routes(store: Store) -> Routes {
    routes_of(Arc::new(Service { trusted: false, ..Service::of(store) }))
}

fn routes_of(service: Arc<Service>) -> Routes {
    use skiff_proto::etcd::etcdserverpb as pb;
    use skiff_proto::etcd::{v3electionpb, v3lockpb};
    let decoded_bytes_max = service.limits().request_bytes.saturating_add(DECODED_BYTES_SLACK);
    let kv = pb::kv_server::KvServer::from_arc(service.clone());
    Routes::new(kv.max_decoding_message_size(decoded_bytes_max))
        .add_service(pb::watch_server::WatchServer::from_arc(service.clone()))
        .add_service(pb::lease_server::LeaseServer::from_arc(service.clone()))
        .add_service(pb::cluster_server::ClusterServer::from_arc(service.clone()))
        .add_service(pb::maintenance_server::MaintenanceServer::from_arc(service.clone()))
        .add_service(pb::auth_server::AuthServer::from_arc(service.clone()))
        .add_service(v3lockpb::lock_server::LockServer::from_arc(service.clone()))
        .add_service(v3electionpb::election_server::ElectionServer::from_arc(service.clone()))
        .add_service(HealthServer::from_arc(service))
}

/// What every gRPC service of ours needs.
#[derive(Clone)]
pub(crate) struct Service {
    store: Store,
    /// What a member list should show.
    shown: Arc<Member>,
    /// Whoever asks may do everything: the store is asked in its own process.
    trusted: bool,
    /// What passwords are hashed with (etcd's `--bcrypt-cost`).
    bcrypt_cost: u32,
    /// So many passwords are looked at at once: each takes a processor for as long as guessing should take.
    passwords: Arc<Semaphore>,
}

/// See [`Service::passwords`].
const PASSWORDS_MAX: usize = 2;

impl Service {
    /// Of a store that trusts whoever asks.
    fn of(store: Store) -> Self {
        Service {
            store,
            shown: Arc::default(),
            trusted: true,
            bcrypt_cost: BCRYPT_COST,
            passwords: Arc::new(Semaphore::new(PASSWORDS_MAX)),
        }
    }

    /// What a request may ask for.
    fn limits(&self) -> Limits {
        self.store.core().options.limits
    }

    /// Makes headers.
    fn header(&self) -> impl Fn(i64) -> Option<ResponseHeader> + use<> {
        let core = self.store.core();
        let (cluster_id, member_id) = (core.cluster, core.member);
        move |revision| Some(ResponseHeader { cluster_id, member_id, revision, raft_term: 1 })
    }

    fn header_now(&self) -> Option<ResponseHeader> {
        self.header()(self.store.revision())
    }

    fn header_of_no_revision(&self) -> Option<ResponseHeader> {
        self.header()(0)
    }
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

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Http(address) => write!(out, "http://{address}"),
            Listen::Https(address) => write!(out, "https://{address}"),
            Listen::Unix(path) => write!(out, "unix://{}", path.display()),
        }
    }
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

/// What a member list says of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Of this member; etcd's default is `default`.
    pub name: String,
    /// Where clients are to connect.
    pub client_urls: Vec<String>,
}

impl Default for Member {
    fn default() -> Self {
        Member { name: "default".to_owned(), client_urls: Vec::new() }
    }
}

/// What [`serve`] serves.
#[derive(Clone)]
pub struct ServeOptions {
    /// Every address to listen on.
    pub listen: Vec<Listen>,
    /// For the `https` ones.
    pub tls: Option<Tls>,
    /// What the member list shows; without client URLs, the addresses that we listen on.
    pub member: Member,
    /// A client that was silent for so long is asked whether it is there; if it does not say so within as much again, it is gone.
    pub silence: Duration,
    /// What passwords of users are hashed with (`--bcrypt-cost`), 4 to 31; each more doubles the time.
    pub bcrypt_cost: u32,
}

/// etcd's.
const BCRYPT_COST: u32 = crate::users::COST;

impl Default for ServeOptions {
    fn default() -> Self {
        // With etcd a client that vanished is gone after three minutes.
        let silence = Duration::from_secs(60);
        ServeOptions { listen: Vec::new(), tls: None, member: Member::default(), silence, bcrypt_cost: BCRYPT_COST }
    }
}

impl ServeOptions {
    /// These addresses, without TLS, under the default name.
    pub fn at(listen: impl Into<Vec<Listen>>) -> Self {
        ServeOptions { listen: listen.into(), ..ServeOptions::default() }
    }
}

/// Serves the gRPC services and the probes `/health`, `/livez`, `/readyz`, `/version`, `/metrics` on every address until
/// `shutdown` is cancelled.
pub async fn serve(store: Store, options: ServeOptions, shutdown: CancellationToken) -> Result<(), StoreError> {
    serve::serve(store, options, shutdown).await
}
