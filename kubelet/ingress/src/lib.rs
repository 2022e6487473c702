//! HTTP from outside to services: an Ingress controller that serves what it reads.
//!
//! Objects are read into rules ([`route`]), rules stand in a table for each port ([`table`]), and a table is never changed: another one takes its
//! place, while requests that are under way end with the one they began with. Endpoints come straight from endpoint slices.
//!
//! ```text
//! watch ─► follow ─► plan ─► live ─► serve ◄─ clients
//!             │       ▲                └─ forward ─► upstream ─► endpoints
//!             └─► report (status, events)
//! ```
//!
//! What it leaves to others: leading packets to the node, and addresses of services (the service proxy's work).

mod access; // the access log
mod body; // bodies on their way through
mod certificates; // which certificate is shown to whom
mod endpoints; // which addresses stand behind a backend; no I/O
mod error; // why not
mod finish; // the end of a request
mod follow; // the cluster to doors
mod forward; // a request from head to answer
mod gateway; // Gateway API to rules; no I/O
mod heads; // headers on their way through; no I/O
mod health; // health and metrics
mod ingress; // Ingress to rules; no I/O
mod live; // a plan as it can be done
mod metrics; // what is counted
mod objects; // the kinds that are read
mod plan; // what all objects ask for; no I/O
mod pool; // whose turn it is
mod report; // what is written into the cluster
pub mod route; // the words of rules; no I/O
mod serve; // sockets
mod stream; // a connection, encrypted or not
pub mod table; // all rules of a port; no I/O
mod upstream; // connections to endpoints

pub use error::IngressError;
pub use ingress::{CONTROLLER, Ports};

use access::AccessLog;
use follow::Follower;
use forward::Core;
use kube::Client;
use metrics::Metrics;
use objects::IngressClass;
use report::{Report, Reporter, make_class};
use serve::Server;
use skiff_client::Caches;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the controller needs to know.
pub struct IngressConfig {
    /// Writes statuses, events and the class.
    pub client: Client,
    /// Where objects are followed.
    pub caches: Caches,
    /// Where to listen. Ports are opened when the first object needs them.
    pub listen: Vec<IpAddr>,
    /// The ports of ingresses.
    pub ports: Ports,
    /// Where clients reach them: what the status says.
    pub addresses: Vec<IpAddr>,
    /// Where health and metrics are told, if anywhere.
    pub health: Option<SocketAddr>,
    /// The file to which a line is appended for each request, if any.
    pub access_log: Option<PathBuf>,
}

/// Serves until `shutdown`.
///
/// # Errors
/// The access log or the address for health cannot be opened.
pub async fn run(config: IngressConfig, shutdown: CancellationToken) -> Result<(), IngressError> {
    let IngressConfig { client, caches, listen, ports, addresses, health, access_log } = config;
    let log = match access_log {
        None => AccessLog::none(),
        Some(path) => {
            let opened = AccessLog::open(&path).await;
            opened.map_err(|source| IngressError::AccessLog { path, source })?
        }
    };
    let (metrics, is_ready) = (Arc::new(Metrics::default()), Arc::new(AtomicBool::new(false)));
    let told = match health {
        None => None,
        Some(address) => {
            let listener = TcpListener::bind(address).await;
            Some(listener.map_err(|source| IngressError::Health { address, source })?)
        }
    };
    let health = async {
        match told {
            Some(listener) => health::serve(listener, Arc::clone(&metrics), Arc::clone(&is_ready)).await,
            None => std::future::pending().await,
        }
    };
    let core = Arc::new(Core { metrics: Arc::clone(&metrics), log });
    let (report, reports) = watch::channel(Report::default());
    let shown = addresses.iter().map(ToString::to_string).collect();
    let noted = (Arc::clone(&metrics), Arc::clone(&is_ready));
    let mut follower = Follower::new(&caches, (ports, shown), noted, Server::new(core, listen), report);
    let classes = caches.all::<IngressClass>();
    let mut reporter = Reporter { client: client.clone(), addresses, told: Default::default() };
    let writing = async {
        if let Err(error) = make_class(&client, &classes).await {
            tracing::warn!(error = skiff_client::sentence(&error), "make the class of ingresses");
        }
        reporter.run(reports).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = follower.run() => {}
        () = writing => {}
        () = health => {}
    }
    follower.close().await;
    Ok(())
}
