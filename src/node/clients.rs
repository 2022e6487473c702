//! Who talks to the API server as whom, in the same process.

use axum::Router;
use skiff_client::Identity;

/// Clients of one API server.
pub(crate) struct Clients {
    router: Router,
}

impl Clients {
    pub(crate) fn new(router: Router) -> Self {
        Self { router }
    }

    /// A component of the control plane.
    pub(crate) fn component(&self, name: &str) -> kube::Client {
        skiff_client::in_process(self.router.clone(), Identity::component(name))
    }

    /// The kubelet of a node.
    pub(crate) fn node(&self, node: &str) -> kube::Client {
        skiff_client::in_process(self.router.clone(), Identity::node(node))
    }
}
