//! What every loop holds: the client, the caches, an event recorder; and what its errors are.

use crate::Autoscaling;
use kube::api::Api;
use kube::{Client, Resource};
pub(crate) use skiff_client::EventKind;
use skiff_client::{Accounts, Caches, event_about, record};

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
pub(crate) fn is_of_terminating_namespace(error: &kube::Error) -> bool {
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

/// As whom the loops write.
#[derive(Clone)]
pub struct Actor {
    client: Client,
    accounts: Option<Accounts>,
}

impl Actor {
    /// Each loop as a service account of its own, with the rights of that account.
    #[must_use]
    pub fn accounts(client: Client, accounts: Accounts) -> Self {
        Self { client, accounts: Some(accounts) }
    }

    fn client_of(&self, account: &'static str) -> Client {
        self.accounts.as_ref().map_or_else(|| self.client.clone(), |accounts| accounts.client(account))
    }
}

/// All loops as one user.
impl From<Client> for Actor {
    fn from(client: Client) -> Self {
        Self { client, accounts: None }
    }
}

/// Shared by all loops.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) caches: Caches,
    /// How fast autoscalers follow.
    pub(crate) autoscaling: Autoscaling,
    actor: Actor,
    reporter: &'static str,
    /// The account of its loop; the reporter as long as there is none.
    pub(crate) account: &'static str,
}

impl Context {
    pub(crate) fn new(actor: Actor, caches: Caches, reporter: &'static str) -> Self {
        Self {
            client: actor.client.clone(),
            caches,
            autoscaling: Autoscaling::default(),
            actor,
            reporter,
            account: reporter,
        }
    }

    /// The same, with autoscalers that follow so fast.
    pub(crate) fn scaling(self, autoscaling: Autoscaling) -> Self {
        Self { autoscaling, ..self }
    }

    /// The same, acting as this account if the loops have accounts.
    pub(crate) fn acting_as(&self, account: &'static str) -> Self {
        Self { client: self.actor.client_of(account), account, ..self.clone() }
    }

    /// The same, whose events say that they are from `reporter`: Kubernetes' name of the controller.
    pub(crate) fn reporting_as(self, reporter: &'static str) -> Self {
        Self { reporter, ..self }
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
