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

    /// This program itself, with every right.
    pub(crate) fn administrator(&self) -> kube::Client {
        self.of(Identity::component("admin"))
    }

    /// Whoever is meant.
    pub(crate) fn of(&self, identity: Identity) -> kube::Client {
        skiff_client::in_process(self.router.clone(), identity)
    }
}
