//! One reconciling loop per file: deployments, replica sets, jobs, endpoint slices, namespaces, garbage.
//!
//! Each loop takes the *name* of an object, reads what there is from caches that show its own last writes, plans, and writes
//! the difference. None acts on the payload of an event, so a lost or repeated event costs a look, never a mistake. The decisions are pure
//! functions in `*/plan.rs`; the files beside them only read and write.
//!
//! Left to others: binding pods to nodes (the scheduler), everything on a node (the kubelet). Never here: the store, a
//! node's kernel, or a private word with another controller; they meet in the API only.

mod claim; // whose an object is
mod context; // what every loop holds: client, caches, events; its errors
mod history; // versions of a template, to roll back to
mod looking; // one loop: a queue of names, and no look before the last write shows
mod owned; // owner references, pod readiness
mod pods; // pods that are made and deleted on behalf of an object
mod shares; // numbers or percentages of a whole

mod account_token; // tokens of accounts in secrets
mod bootstrap_token; // what nodes read before they join, signed
mod certificate_request; // certificates on request
mod cluster_role_aggregation; // roles that gather the rules of others
mod cron_job; // jobs that begin at their times
mod daemon_set; // a pod on every node that it fits
mod deployment; // rollouts: a replica set for each version of a template
mod disruption; // how many pods may be evicted
mod endpoint_mirror; // endpoints that a user wrote, as slices
mod endpoint_slice; // which addresses stand behind a service
mod garbage; // objects whose owners are gone
mod horizontal_autoscaler; // as many replicas as metrics ask for
mod job; // pods that must succeed a number of times
mod namespace; // emptying a namespace that is being deleted
mod node_ipam; // ranges of addresses for the pods of each node
mod node_lifecycle; // what follows from a node's conditions, or its silence
mod pod_gc; // pods that nobody will end
mod policy_status; // whether the expressions of policies fit what they will see
mod replica_set; // so many pods of one template: ReplicaSet and ReplicationController
mod resource_claim; // claims of devices
mod resource_quota; // what a namespace's objects take of its quotas
mod root_ca; // what pods trust, in every namespace
mod scaling_policy; // as many replicas as schedules and steps say
mod service_account; // the default account of every namespace
mod service_balancer; // addresses for services of the type LoadBalancer
mod stateful_set; // pods with names, and claims of their own
mod storage; // volumes, claims and who holds them
mod taint_eviction; // pods that do not tolerate the taints of their node
mod ttl_after_finished; // jobs that finished long ago
mod work_queue; // what Kubernetes calls the queue of each loop

pub use certificate_request::Signer;
pub use context::{Actor, ControllerError};
pub use horizontal_autoscaler::Autoscaling;
pub use node_ipam::{NodeRanges, allocate_node_ranges};
pub use service_balancer::{BalancerRange, balance_services};
pub use storage::Provisioner;

use context::Context;
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use kube::Client;
use skiff_authn::key::SigningKey;
use skiff_client::Caches;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Starts one loop. Boxed, so that what awaits the loops is compiled without their insides.
type Start = fn(Context, CancellationToken) -> BoxFuture<'static, Result<(), ControllerError>>;

/// The loops that need nothing but an API server, each with the service account that it acts as if there are such.
const LOOPS: &[(&str, Start)] = &[
    ("deployment-controller", |context, shutdown| deployment::run(context, shutdown).map(Ok).boxed()),
    ("replicaset-controller", |context, shutdown| replica_set::run::<ReplicaSet>(context, shutdown).map(Ok).boxed()),
    ("replication-controller", |context, shutdown| {
        replica_set::run::<ReplicationController>(context, shutdown).map(Ok).boxed()
    }),
    ("daemon-set-controller", |context, shutdown| daemon_set::run(context, shutdown).map(Ok).boxed()),
    ("statefulset-controller", |context, shutdown| stateful_set::run(context, shutdown).map(Ok).boxed()),
    ("job-controller", |context, shutdown| job::run(context, shutdown).map(Ok).boxed()),
    ("job-controller", |context, shutdown| job::run_strays(context, shutdown).map(Ok).boxed()),
    ("cronjob-controller", |context, shutdown| cron_job::run(context, shutdown).map(Ok).boxed()),
    ("bootstrap-signer", |context, shutdown| bootstrap_token::sign(context, shutdown).map(Ok).boxed()),
    ("token-cleaner", |context, shutdown| bootstrap_token::clean(context, shutdown).map(Ok).boxed()),
    ("horizontal-pod-autoscaler", |context, shutdown| horizontal_autoscaler::run(context, shutdown).map(Ok).boxed()),
    ("scaling-policy-controller", |context, shutdown| scaling_policy::run(context, shutdown).map(Ok).boxed()),
    ("disruption-controller", |context, shutdown| disruption::run(context, shutdown).map(Ok).boxed()),
    ("disruption-controller", |context, shutdown| disruption::run_stale(context, shutdown).map(Ok).boxed()),
    ("pod-garbage-collector", |context, shutdown| pod_gc::run(context, shutdown).map(Ok).boxed()),
    ("ttl-after-finished-controller", |context, shutdown| ttl_after_finished::run(context, shutdown).map(Ok).boxed()),
    ("endpointslice-controller", |context, shutdown| endpoint_slice::run(context, shutdown).map(Ok).boxed()),
    ("endpointslicemirroring-controller", |context, shutdown| endpoint_mirror::run(context, shutdown).map(Ok).boxed()),
    ("namespace-controller", |context, shutdown| namespace::run(context, shutdown).map(Ok).boxed()),
    ("validatingadmissionpolicy-status-controller", |context, shutdown| {
        policy_status::run(context, shutdown).map(Ok).boxed()
    }),
    ("node-controller", |context, shutdown| node_lifecycle::run(context, shutdown).map(Ok).boxed()),
    ("node-controller", |context, shutdown| taint_eviction::run(context, shutdown).map(Ok).boxed()),
    ("service-account-controller", |context, shutdown| service_account::run(context, shutdown).map(Ok).boxed()),
    ("clusterrole-aggregation-controller", |context, shutdown| {
        cluster_role_aggregation::run(context, shutdown).map(Ok).boxed()
    }),
    ("resourcequota-controller", |context, shutdown| resource_quota::run(context, shutdown).map(Ok).boxed()),
    ("resource-claim-controller", |context, shutdown| resource_claim::claims(context, shutdown).map(Ok).boxed()),
    ("resource-claim-controller", |context, shutdown| resource_claim::templates(context, shutdown).map(Ok).boxed()),
    ("persistent-volume-binder", |context, shutdown| storage::bind(context, shutdown).map(Ok).boxed()),
    ("attachdetach-controller", |context, shutdown| storage::attach(context, shutdown).map(Ok).boxed()),
    ("ephemeral-volume-controller", |context, shutdown| storage::ephemeral(context, shutdown).map(Ok).boxed()),
    ("pvc-protection-controller", |context, shutdown| storage::protect_claims(context, shutdown).map(Ok).boxed()),
    ("pv-protection-controller", |context, shutdown| storage::protect_volumes(context, shutdown).map(Ok).boxed()),
    ("volumeattributesclass-protection-controller", |context, shutdown| {
        storage::protect_attributes(context, shutdown).map(Ok).boxed()
    }),
    ("generic-garbage-collector", |context, shutdown| garbage::run(context, shutdown).boxed()),
];

/// What pods and secrets are given of the cluster's keys; the default is nothing.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The certificate authority of the API server as PEM, which is published in every namespace.
    pub authority: Option<Arc<str>>,
    /// The key that signs tokens of service accounts that are kept in secrets.
    pub signer: Option<Arc<SigningKey>>,
    /// Signs certificates on request.
    pub certificates: Option<Signer>,
}

/// What controllers are told; [`Trust`] alone is told with the defaults of the rest.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What pods and secrets are given of the cluster's keys.
    pub trust: Trust,
    /// How fast autoscalers follow.
    pub autoscaling: Autoscaling,
}

impl From<Trust> for Options {
    fn from(trust: Trust) -> Self {
        Self { trust, ..Self::default() }
    }
}

/// Runs every controller against the API server of `actor` until `shutdown`; `caches` show what that server has.
///
/// What of that server's keys `options` lack is not given to pods and secrets.
///
/// # Errors
/// Discovery fails: the garbage collector has to know which resources there are before it may call anything garbage.
///
/// # Panics
/// A loop panics.
pub async fn run(
    actor: Actor,
    caches: Caches,
    options: impl Into<Options>,
    shutdown: CancellationToken,
) -> Result<(), ControllerError> {
    let Options { trust, autoscaling } = options.into();
    let context = Context::new(actor, caches, "skiff-controllers").scaling(autoscaling);
    let mut loops = JoinSet::new();
    for (account, start) in LOOPS {
        loops.spawn(start(context.acting_as(account), shutdown.clone()));
    }
    let certifying = context.acting_as("certificate-controller");
    loops.spawn(certificate_request::run(certifying, trust.clone(), shutdown.clone()).map(Ok));
    // Which secrets hold which tokens is the manager's own affair.
    loops.spawn(account_token::run(context.clone(), trust.clone(), shutdown.clone()).map(Ok));
    let publishing = context.acting_as("root-ca-cert-publisher");
    loops.spawn(root_ca::run(publishing, trust.authority, shutdown).map(Ok));
    let mut outcome = Ok(());
    while let Some(ended) = loops.join_next().await {
        match ended {
            Ok(ended) => outcome = outcome.and(ended),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => continue,
            },
        }
    }
    outcome
}

/// Has a driver make, grow and remove the volumes of claims, until `shutdown`; what it makes [`run`] binds.
pub async fn provision(client: Client, caches: Caches, driver: Provisioner, shutdown: CancellationToken) {
    storage::provision(Context::new(client.into(), caches, "skiff-provisioner"), driver, shutdown).await;
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
        let client = Client::new(silent, "default");
        let caches = Caches::new(client.clone());
        let running = tokio::spawn(run(
            client.into(),
            caches,
            Trust { authority: Some("pem".into()), ..Trust::default() },
            shutdown.clone(),
        ));
        tokio::task::yield_now().await;
        shutdown.cancel();
        running.await.unwrap().unwrap();
    }
}
