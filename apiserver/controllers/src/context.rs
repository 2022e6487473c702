//! What every loop holds: the client, an event recorder, and how long to wait after an error.

use futures::{FutureExt, StreamExt};
use kube::api::Api;
use kube::runtime::controller::{self, Action, Controller};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
pub(crate) use skiff_client::EventKind;
use skiff_client::{event_about, record};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a failed reconciliation waits before the next try. Conflicts (somebody else wrote first) are the usual cause
/// and are over at once, so the first wait is short; kube's runner spreads repeats.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// A burst of pod events becomes one reconciliation. Longer would show in how fast a deployment settles.
const DEBOUNCE: Duration = Duration::from_millis(5);
/// How many objects of one kind are reconciled at the same time.
const CONCURRENCY: u16 = 8;

/// Why a reconciliation did not finish.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// A call to the API server failed.
    #[error("{operation}")]
    Api {
        /// What was being done to what.
        operation: String,
        /// The server's answer.
        source: kube::Error,
    },
    /// An object lacks what its kind requires; admission does not let such objects in.
    #[error("{0}")]
    Malformed(String),
}

/// Adds the operation to an API error.
pub(crate) trait On<T> {
    fn on(self, operation: impl FnOnce() -> String) -> Result<T, ControllerError>;
}

impl<T> On<T> for Result<T, kube::Error> {
    fn on(self, operation: impl FnOnce() -> String) -> Result<T, ControllerError> {
        self.map_err(|source| ControllerError::Api { operation: operation(), source })
    }
}

/// Whether the server answered with this HTTP status.
pub(crate) fn is_status(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// Whether nothing could be made because its namespace is going: there is nothing left to do there.
fn is_of_terminating_namespace(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// `Ok(None)` instead of the error when the object is not there (404).
pub(crate) fn absent_is_none<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_status(&error, 404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Shared by all loops.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: Client,
    reporter: &'static str,
}

impl Context {
    pub(crate) fn new(client: Client, reporter: &'static str) -> Self {
        Self { client, reporter }
    }

    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Tells the user about `object` (core/v1 Event). Written in the background: an event must not hold up its cause.
    pub(crate) fn tell<K>(&self, object: &K, kind: EventKind, reason: &str, message: String)
    where
        K: Resource<DynamicType = ()>,
    {
        record(&self.client, event_about(object, self.reporter, kind, reason, message));
    }
}

/// Runs `controller` until `shutdown`, reconciling with `reconcile`; errors are logged here, once, and tried again.
pub(crate) async fn drive<K, F, Fut>(
    controller: Controller<K>,
    context: Context,
    shutdown: CancellationToken,
    reconcile: F,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    F: Fn(Arc<K>, Arc<Context>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Action, ControllerError>> + Send + 'static,
    K::DynamicType: Eq + Hash,
{
    let config = controller::Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY);
    let (objects, told) = (controller.store(), shutdown.clone());
    let reconciling = controller
        .with_config(config)
        .graceful_shutdown_on(async move { told.cancelled().await })
        .run(reconcile, |_object, error, _context| after_error(error), Arc::new(context))
        .for_each(|outcome| async move {
            if let Err(error) = outcome {
                log(&error);
            }
        });
    // kube's runner waits for its first list before it does anything, and once told to stop it no longer reads that list:
    // it would wait for ever.
    let stopped_unlisted = async {
        shutdown.cancelled().await;
        if objects.wait_until_ready().now_or_never().is_none() {
            return;
        }
        std::future::pending().await
    };
    tokio::select! {
        () = reconciling => {}
        () = stopped_unlisted => {}
    }
}

fn after_error(error: &ControllerError) -> Action {
    match error {
        // The object changed or went away under us: its own event brings us back.
        ControllerError::Api { source, .. } if is_status(source, 409) || is_status(source, 404) => {
            Action::requeue(Duration::from_millis(20))
        }
        ControllerError::Api { source, .. } if is_of_terminating_namespace(source) => Action::await_change(),
        _ => Action::requeue(RETRY_AFTER),
    }
}

fn log<Q: std::error::Error>(error: &controller::Error<ControllerError, Q>) {
    match error {
        controller::Error::ReconcilerFailed(ControllerError::Api { source, operation }, object) => {
            if is_status(source, 409) || is_status(source, 404) || is_of_terminating_namespace(source) {
                tracing::debug!(%object, %operation, error = skiff_client::sentence(source), "will look again");
            } else {
                tracing::warn!(%object, %operation, error = skiff_client::sentence(source), "reconciliation failed");
            }
        }
        controller::Error::ReconcilerFailed(error, object) => {
            tracing::warn!(%object, error = skiff_client::sentence(error), "reconciliation failed")
        }
        // The object was deleted between its event and our turn.
        controller::Error::ObjectNotFound(_) => {}
        other => tracing::warn!(error = skiff_client::sentence(other), "controller"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Fault N5, its sibling: what cannot be made because its namespace is going is not tried again and again.
    #[test]
    fn a_terminating_namespace_is_no_error() {
        let refusal = |reason: &str| {
            let status = json!({"status": "Failure", "message": "", "reason": "Forbidden", "code": 403,
                "details": {"causes": [{"reason": reason, "message": "", "field": "metadata.namespace"}]}});
            kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))
        };
        assert!(is_of_terminating_namespace(&refusal("NamespaceTerminating")));
        assert!(!is_of_terminating_namespace(&refusal("Other")));
        let error = ControllerError::Api { operation: String::new(), source: refusal("NamespaceTerminating") };
        assert_eq!(after_error(&error), Action::await_change());
    }
}
