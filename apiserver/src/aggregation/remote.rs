//! One server behind this one, as its APIService says.

use crate::metrics;
use crate::registry::Registry;
use crate::remote::connect::Connector;
use crate::remote::place;
use crate::remote::trust::Trust;
use crate::status::Status;
use axum::body::Body;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use skiff_client::Presented;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a connection without a request is kept (Go's transport: 90 s).
const IDLE: Duration = Duration::from_secs(90);
/// The port of a service, if none is said.
const PORT: u16 = 443;

/// See the module.
#[derive(Debug)]
pub(crate) struct Remote {
    /// `v1alpha1.wardle.example.com`
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    /// How much it is preferred among all groups, and among the versions of its group.
    pub(super) priorities: (i64, i64),
    pub(super) namespace: String,
    pub(super) service: String,
    pub(super) port: u16,
    client: Result<Client<Connector, Body>, String>,
    spec: Value,
    /// Whether this server answers itself.
    own: bool,
    available: AtomicBool,
    learned: Mutex<Learned>,
}

/// What it last said about itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Learned {
    /// Its APIResourceList, if it has said one.
    pub(super) resources: Option<Arc<Value>>,
    /// Where its OpenAPI 3 document is, with its hash.
    pub(super) openapi_v3: Option<String>,
}

impl Remote {
    pub(super) fn read(service: &Value, front: &Arc<Presented>) -> Self {
        let spec = &service["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let number = |field: &str| spec[field].as_i64().unwrap_or_default();
        let to = &spec["service"];
        let (namespace, name) = (text(&to["namespace"]), text(&to["name"]));
        let port = to["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT);
        let own = Self::is_of_metrics(service);
        let is_available = own || available(service).is_some_and(|status| status == "True");
        let resources = own.then(|| Arc::new(metrics::resources()));
        Self {
            name: text(&service["metadata"]["name"]),
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            priorities: (number("groupPriorityMinimum"), number("versionPriority")),
            client: client(spec, format!("{name}.{namespace}.svc"), front),
            namespace,
            service: name,
            port,
            spec: spec.clone(),
            own,
            available: AtomicBool::new(is_available),
            learned: Mutex::new(Learned { resources, openapi_v3: None }),
        }
    }

    /// Whether this server answers for what a metrics server would answer for: the APIService names nobody else.
    pub(super) fn is_of_metrics(service: &Value) -> bool {
        let spec = &service["spec"];
        spec["service"].is_null() && spec["group"] == metrics::GROUP && spec["version"] == metrics::VERSION
    }

    /// Whether this server answers itself.
    pub(crate) fn is_own(&self) -> bool {
        self.own
    }

    pub(super) fn is(&self, service: &Value) -> bool {
        self.spec == service["spec"] && service["metadata"]["name"] == *self.name
    }

    pub(super) fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    pub(super) fn set_available(&self, available: bool) {
        self.available.store(available, Ordering::Relaxed);
    }

    pub(super) fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `address:port` of one that answers.
    pub(super) async fn resolved(&self, registry: &Registry) -> Result<String, Status> {
        place::of_service(registry, &self.namespace, &self.service, self.port).await
    }

    /// Sends a request whose URI has the address that was resolved.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, String> {
        let client = self.client.as_ref().map_err(Clone::clone)?;
        client.request(request).await.map_err(|error| crate::remote::why(&error))
    }
}

/// What its condition says.
pub(super) fn available(service: &Value) -> Option<&str> {
    let mut conditions = service["status"]["conditions"].as_array()?.iter();
    conditions.find(|condition| condition["type"] == "Available")?["status"].as_str()
}

fn client(spec: &Value, server: String, front: &Arc<Presented>) -> Result<Client<Connector, Body>, String> {
    let bundle = spec["caBundle"].as_str().unwrap_or_default();
    let bundle = BASE64.decode(bundle).map_err(|error| format!("caBundle is not base64: {error}"))?;
    let trust = if spec["insecureSkipTLSVerify"] == true { Trust::Anyone } else { Trust::of(&bundle) };
    let connector = Connector::new(trust.client_of(front.clone())?, Some(server));
    let mut builder = Client::builder(TokioExecutor::new());
    Ok(builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(connector))
}
