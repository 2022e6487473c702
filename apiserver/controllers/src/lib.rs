//! One reconciling loop per file: deployments, replica sets, jobs, endpoint slices, namespaces, garbage.
//!
//! Each loop takes the *name* of an object, reads the present from the API server, plans, and writes the difference. None
//! acts on the payload of an event, so a lost or repeated event costs a look, never a mistake. The decisions are pure
//! functions in `*/plan.rs`; the files beside them only read and write.
//!
//! Left to others: binding pods to nodes (the scheduler), everything on a node (the kubelet). Never here: the store, a
//! node's kernel, or a private word with another controller; they meet in the API only.

mod claim; // whose an object is
mod context; // what every loop holds: client, events, how long to wait after an error
mod owned; // owner references, pod readiness, label selectors

mod deployment; // rollouts: a replica set for each version of a template
mod endpoint_mirror; // endpoints that a user wrote, as slices
mod endpoint_slice; // which addresses stand behind a service
mod garbage; // objects whose owners are gone
mod job; // pods that must succeed a number of times
mod namespace; // emptying a namespace that is being deleted
mod node_lifecycle; // what follows from a node's conditions, or its silence
mod replica_set; // so many pods of one template
mod service_account; // the default account of every namespace

pub use context::ControllerError;

use context::Context;
use kube::Client;
use tokio_util::sync::CancellationToken;

/// Runs every controller against the API server behind `client` until `shutdown`.
///
/// # Errors
/// Discovery fails: the garbage collector has to know which resources there are before it may call anything garbage.
pub async fn run(client: Client, shutdown: CancellationToken) -> Result<(), ControllerError> {
    let context = Context::new(client, "skiff-controllers");
    let loops = tokio::join!(
        deployment::run(context.clone(), shutdown.clone()),
        replica_set::run(context.clone(), shutdown.clone()),
        job::run(context.clone(), shutdown.clone()),
        endpoint_slice::run(context.clone(), shutdown.clone()),
        endpoint_mirror::run(context.clone(), shutdown.clone()),
        namespace::run(context.clone(), shutdown.clone()),
        node_lifecycle::run(context.clone(), shutdown.clone()),
        service_account::run(context.clone(), shutdown.clone()),
        garbage::run(context, shutdown),
    );
    loops.8
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use std::convert::Infallible;

    /// Stopped before the API server has answered anything, every loop ends all the same.
    #[tokio::test]
    async fn a_silent_server_does_not_keep_them_from_ending() {
        let silent = tower::service_fn(|_: http::Request<Body>| {
            std::future::pending::<Result<http::Response<Body>, Infallible>>()
        });
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(run(Client::new(silent, "default"), shutdown.clone()));
        tokio::task::yield_now().await;
        shutdown.cancel();
        running.await.unwrap().unwrap();
    }
}
