//! Who sends a request, as the API server's authentication established it.

use std::collections::BTreeMap;

/// A user and the groups it is in; KEP-free, as in a client certificate's CN and O (Kubernetes "X.509 client
/// certificates").
///
/// The server finds it in the request's extensions: the TLS listener puts it there from the certificate, the in-process
/// client from its constructor. A request without one is anonymous.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// User name: `kubernetes-admin`, `system:node:skiff`.
    pub user: String,
    /// Groups: `system:masters`, `system:nodes`.
    pub groups: Vec<String>,
    /// The user's id, where one was given; certificates have none.
    pub uid: String,
    /// What else is known of the user, by lower-case key; certificates say nothing.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// Somebody with every right (`system:masters`), under a name of ours: an administrator, a test.
    #[must_use]
    pub fn component(name: &str) -> Self {
        Self { user: format!("system:{name}"), groups: vec!["system:masters".to_owned()], ..Self::default() }
    }

    /// The scheduler, as Kubernetes' installers name it.
    #[must_use]
    pub fn scheduler() -> Self {
        Self::only("system:kube-scheduler")
    }

    /// The controllers: all of them are one user, as without `--use-service-account-credentials`.
    #[must_use]
    pub fn controller_manager() -> Self {
        Self::only("system:kube-controller-manager")
    }

    /// The service proxy of any node.
    #[must_use]
    pub fn proxy() -> Self {
        Self::only("system:kube-proxy")
    }

    fn only(user: &str) -> Self {
        Self { user: user.to_owned(), ..Self::default() }
    }

    /// The kubelet of `node` (KEP-279: `system:node:<name>` in `system:nodes`).
    #[must_use]
    pub fn node(node: &str) -> Self {
        Self { user: format!("system:node:{node}"), groups: vec!["system:nodes".to_owned()], ..Self::default() }
    }
}
