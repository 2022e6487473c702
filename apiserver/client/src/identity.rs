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
    /// A component of the control plane, with every right.
    #[must_use]
    pub fn component(name: &str) -> Self {
        Self { user: format!("system:{name}"), groups: vec!["system:masters".to_owned()], ..Self::default() }
    }

    /// The kubelet of `node` (KEP-279: `system:node:<name>` in `system:nodes`).
    #[must_use]
    pub fn node(node: &str) -> Self {
        Self { user: format!("system:node:{node}"), groups: vec!["system:nodes".to_owned()], ..Self::default() }
    }
}
