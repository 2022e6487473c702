//! The doors of the API server, and how they close.

mod listen; // connections

use crate::admission::Network;
use crate::admission::services::{Allocator, repair};
use crate::admission::{AdmissionFile, AdmissionPlugins, Chosen, configured};
use crate::aggregation::{self, Aggregation};
use crate::app::App;
use crate::audit::{Audit, AuditError, Auditor};
use crate::authority::{self, Authorization, ChainError};
use crate::bootstrap::{self, bootstrap};
use crate::caller::{self, Authentication, Callers};
use crate::definitions;
use crate::fairness::{self, Fairness, Limits};
use crate::kubelet::Kubelets;
use crate::metrics::Metrics;
use crate::pki::Pki;
use crate::registrations;
use crate::registry::Registry;
use crate::status::Status;
use crate::{grpc, rest, tls};
use axum::middleware::from_fn_with_state;
use axum::{Extension, Router};
use skiff_client::Presented;
use skiff_store::backend::Backend;
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What an API server is made of.
#[derive(Clone)]
pub struct Config {
    /// Where objects are kept.
    pub backend: Arc<dyn Backend>,
    /// Addresses for services, `10.96.0.0/16`; the first one is the API server's own.
    pub service_cidr: String,
    /// Ports for services of type NodePort, `30000..=32767`.
    pub node_port_range: RangeInclusive<u16>,
    /// Keys of the server.
    pub pki: Pki,
    /// Where clients reach the server: the endpoint of the `kubernetes` service.
    pub advertise: SocketAddr,
    /// Whom the server believes.
    pub authentication: Authentication,
    /// Records what is written about pods.
    pub engine: skiff_step::Engine,
}

/// Why the API server does not start or ended.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The service range is not an IPv4 network.
    #[error("service CIDR {0:?} is not an IPv4 network of at least four addresses, such as 10.96.0.0/16")]
    ServiceCidr(String),
    /// The range of node ports is empty.
    #[error("node port range {first}-{last} is empty")]
    NodePorts {
        /// Its first port.
        first: u16,
        /// Its last port.
        last: u16,
    },
    /// The objects that every cluster has could not be made or repaired.
    #[error("{operation} {object}: {problem}")]
    Bootstrap {
        /// `create`, `repair`.
        operation: &'static str,
        /// `namespaces/default`.
        object: String,
        /// Why.
        problem: String,
    },
    /// An option of authentication is not usable.
    #[error("{flag}: {problem}")]
    Authentication {
        /// `--service-account-issuer`.
        flag: &'static str,
        /// Why.
        problem: String,
    },
    /// The server's certificate or key is unusable.
    #[error("TLS: {0}")]
    Tls(String),
    /// Plugins of admission are named that there are not.
    #[error("{0}")]
    Plugins(String),
    /// What plugins of admission are told is not usable.
    #[error("--admission-control-config-file: {0}")]
    Admission(String),
    /// The listening socket failed.
    #[error("listen on {address}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
}

/// The API server. Cheap to clone; clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    app: Arc<App>,
    router: Router,
    own: Arc<Presented>,
    tls: (Arc<rustls::ServerConfig>, Arc<tls::Peers>),
    /// The last clone takes the server's own tasks with it.
    _tasks: Arc<DropGuard>,
}

/// What is to be said when `object`, which everything depends on, cannot be listed.
fn unlisted(object: &str) -> impl FnOnce(Status) -> ApiError {
    let object = object.to_owned();
    move |status| ApiError::Bootstrap { operation: "list", object, problem: status.to_string() }
}

impl ApiServer {
    /// Opens the registry over the store, repairs allocations and makes the objects that every cluster has.
    ///
    /// # Errors
    /// The store fails, or the configuration is not usable.
    pub async fn new(config: Config) -> Result<Self, ApiError> {
        let addresses: Network =
            config.service_cidr.parse().map_err(|()| ApiError::ServiceCidr(config.service_cidr.clone()))?;
        let (first, last) = (*config.node_port_range.start(), *config.node_port_range.end());
        if first == 0 || first > last {
            return Err(ApiError::NodePorts { first, last });
        }
        let allocator = Allocator::new(addresses, config.node_port_range);
        let callers = Callers::new(&config.authentication, &config.pki, config.advertise).await?;
        let registry = Registry::new(config.backend, config.engine, allocator);
        bootstrap(&registry, config.advertise).await.map_err(|(object, status)| ApiError::Bootstrap {
            operation: "create",
            object,
            problem: status.to_string(),
        })?;
        // After the service of our own is there: two servers that start together may both have claimed for it.
        let none = repair::Orphans::new();
        let (orphans, loaded) =
            tokio::join!(registry.services().repair(&registry, &none), definitions::load(&registry));
        let orphans = orphans.map_err(|status| ApiError::Bootstrap {
            operation: "repair",
            object: "services".to_owned(),
            problem: status.to_string(),
        })?;
        let known = loaded.map_err(unlisted("customresourcedefinitions"))?;
        configured::load(&registry).await.map_err(unlisted("what configures admission"))?;
        authority::load(&registry).await.map_err(unlisted("roles and bindings"))?;
        let fairness = Fairness::new();
        fairness::load(&registry, &fairness).await.map_err(unlisted("flow schemas and priority levels"))?;
        let kubelets = Kubelets::new(&config.pki)?;
        let peers = tls::Peers::new(&config.pki, &config.authentication)?;
        let own = tls::presented(config.pki.server())?;
        let tls = (Arc::new(tls::server_config(own.clone(), &peers)?), Arc::new(peers));
        let aggregation = Aggregation::new(&config.pki, &config.authentication)?;
        let app = Arc::new(App {
            registry,
            callers,
            kubelets,
            aggregation,
            metrics: Metrics::default(),
            auditor: OnceLock::new(),
            fairness,
            advertise: config.advertise,
            stopping: CancellationToken::new(),
        });
        let tasks = app.stopping.child_token();
        definitions::follow(&app, known, tasks.clone());
        configured::follow(&app, &tasks);
        authority::follow(&app, tasks.clone());
        fairness::follow(&app, &tasks);
        registrations::follow(&app, tasks.clone());
        aggregation::follow(&app, tasks.clone());
        repair::follow(&app, orphans, tasks.clone());
        bootstrap::keep(&app, tasks.clone());
        caller::follow(&app, &tasks);
        let router =
            rest::router(app.clone()).merge(grpc::router(&app)).layer(from_fn_with_state(app.clone(), caller::settle));
        let router = router.layer(Extension(app.registry.authority().clone())).layer(Extension(app.fairness.clone()));
        Ok(Self { router, app, own, tls, _tasks: Arc::new(tasks.drop_guard()) })
    }

    /// The same, speaking CBOR too (KEP-4222): `CBORServingAndStorage` is alpha in Kubernetes 1.36 and off there, so it is off here unless
    /// asked for. Objects are stored as JSON all the same.
    #[must_use]
    pub fn with_cbor(self) -> Self {
        Self { router: self.router.layer(Extension(rest::Cbor::On)), ..self }
    }

    /// The same, decided about by whom `authorization` names; a file is read again when it changes.
    ///
    /// # Errors
    /// It names somebody who cannot be asked.
    pub async fn authorized_by(self, authorization: &Authorization) -> Result<Self, ChainError> {
        let authority = self.app.registry.authority();
        authority::follow_chain(authority, authorization, self.app.stopping.child_token()).await?;
        Ok(self)
    }

    /// The same, recording what `audit` says where it says.
    ///
    /// # Errors
    /// A place where it is to be recorded is not usable.
    pub async fn audited(self, audit: &Audit) -> Result<Self, AuditError> {
        if let Some(auditor) = Auditor::open(audit).await? {
            self.app.auditor.get_or_init(|| auditor);
        }
        Ok(self)
    }

    /// The same, answering for `metrics.k8s.io` as a metrics server would, until an APIService names one.
    ///
    /// # Errors
    /// The store fails.
    pub async fn with_metrics(self) -> Result<Self, ApiError> {
        let made = bootstrap::of_metrics(&self.app.registry).await;
        made.map_err(|(object, status)| ApiError::Bootstrap {
            operation: "create",
            object,
            problem: status.to_string(),
        })?;
        Ok(self)
    }

    /// The same, with so many requests at the same time; without API priority and fairness those beyond are refused, whoever asks.
    #[must_use]
    pub fn limited_to(self, limits: Limits, fairly: bool) -> Self {
        self.app.fairness.limit(limits, fairly);
        self
    }

    /// The same, with these plugins of admission, and with what a file tells them.
    ///
    /// # Errors
    /// There is no such plugin, a file that it names is not usable, or the store fails.
    pub async fn with_admission(self, file: &AdmissionFile, plugins: &AdmissionPlugins) -> Result<Self, ApiError> {
        let chosen = Chosen::of(plugins).map_err(ApiError::Plugins)?;
        let told = self.app.registry.configured().introduce(file, chosen);
        told.map_err(|error| ApiError::Admission(error.to_string()))?;
        let loaded = configured::load(&self.app.registry).await;
        loaded.map_err(|status| ApiError::Admission(status.message))?;
        configured::follow_files(&self.app, file, self.app.stopping.child_token());
        Ok(self)
    }

    /// Shows the certificates of `pki`, which were issued again, from now on; connections that are open stay.
    ///
    /// # Errors
    /// One of them cannot be read: a sentence.
    pub fn present(&self, pki: &Pki) -> Result<(), String> {
        self.own.replace(&pki.server().certificate, &pki.server().private_key)?;
        self.app.kubelets.present(pki.apiserver_kubelet_client())?;
        self.app.aggregation.present(pki.front_proxy())
    }

    /// REST and gRPC as a tower service, for `skiff_client::in_process`: requests carry their `Identity` as an extension.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Serves TLS on `listener` until `shutdown`; open watches end within a second, those of [`ApiServer::router`] too.
    ///
    /// # Errors
    /// The listener or the TLS keys are not usable.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), ApiError> {
        let stopping = &self.app.stopping;
        let served = async {
            let served = listen::serve(listener, self.tls.clone(), self.router(), shutdown, stopping).await;
            stopping.cancel();
            served
        };
        let left = async {
            stopping.cancelled().await;
            bootstrap::leave(&self.app).await;
        };
        tokio::join!(served, left).0
    }
}
