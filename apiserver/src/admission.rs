//! What is decided about a write with more in sight than the object: plugins, in Kubernetes' order and under its names.
//!
//! A plugin sees the request, the old object, the new one, and what is stored; it owns nothing and writes nothing but the new object.
//! First all that change the object run, then, when its kind has nothing against it any more, all that only look. Addresses and ports of
//! services are claimed last, because claiming writes (`services`).

mod chosen; // which plugins are asked
pub(crate) mod configured; // what administrators have configured
mod file; // what plugins are told at a start
pub(crate) mod manifests; // policies and hooks from files
pub(crate) mod matching; // which requests that is about
mod policies; // expressions that requests must satisfy, or that change them
pub(crate) mod resource_quota; // what a namespace may have
mod rounds; // who looks again
pub(crate) mod services; // addresses and ports that belong to one service at a time
pub(crate) mod webhooks; // servers of others that are asked

mod reading; // looking into objects
mod tolerations; // what tolerations have to do with each other

mod always; // everything, or nothing
mod always_pull_images; // nobody runs what only others may pull
mod certificate_approval; // who approves and signs for whom
mod certificate_subject_restriction; // nobody asks to be able to do everything
mod default_class; // who names no class
mod default_toleration_seconds; // how long a pod stays on a node that stopped answering
mod deny_service_external_ips; // whose traffic a service takes
mod event_rate_limit; // how fast events come
mod extended_resource_toleration; // who may come to a node with devices
mod limit_pod_hard_anti_affinity_topology; // how far pods keep others away
mod limit_ranger; // how much pods and claims may ask for
mod namespace_exists; // is there such a place
mod namespace_lifecycle; // is this place open
mod network; // addresses of a network
mod node_restriction; // kubelets write what is theirs
mod owner_references_permission_enforcement; // who may have what deleted
mod persistent_volume_claim_resize; // which claims grow
mod pod_node_selector; // where pods of a namespace go
mod pod_resize_validator; // no pod becomes larger than its node
mod pod_security; // what pods may have of the host
mod pod_toleration_restriction; // what pods of a namespace tolerate
mod pod_topology_labels; // where a pod's node is
mod priority; // who goes first
mod runtime_class; // what a class of runtimes needs for itself
mod service_account; // as whom a pod runs
mod storage_object_in_use_protection; // what is used stays
mod taint_nodes_by_condition; // a new node takes no pods yet

pub use chosen::AdmissionPlugins;
pub(crate) use chosen::Chosen;
pub(crate) use configured::Configured;
pub use file::{AdmissionFile, AdmissionFileError};
pub(crate) use network::Network;

use crate::authority::Authority;
use crate::registry::{Target, built_in};
use crate::request::Request;
use crate::status::Status;
use futures::future::{BoxFuture, Either, Ready, ready};
use rounds::Rounds;
use serde_json::Value;
use skiff_schema::{Catalog, Resource};
use std::sync::Arc;

/// What a write does to its object. An object that PUT or apply makes is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    /// Something else is done with it: a command in a pod, a request through a service.
    Connect,
}

impl Operation {
    /// Of a write that is no deletion. A part that is posted is created, whatever becomes of the object (`pods/binding`).
    pub(crate) fn of(request: &Request, old: Option<&Value>) -> Self {
        if old.is_none() || request.verb == "create" { Self::Create } else { Self::Update }
    }
}

/// Something that is known at once, nearly always, or has to be waited for.
pub(crate) type Soon<'a, T> = Either<Ready<Result<T, Status>>, BoxFuture<'a, Result<T, Status>>>;

/// What is known.
pub(crate) fn known<'a, T>(outcome: Result<T, Status>) -> Soon<'a, T> {
    Either::Left(ready(outcome))
}

/// What has to be waited for.
pub(crate) fn later<'a, T>(outcome: impl Future<Output = Result<T, Status>> + Send + 'a) -> Soon<'a, T> {
    Either::Right(Box::pin(outcome))
}

/// What is stored, to be looked at: parsed once for all who look.
pub(crate) trait Stored: Send + Sync {
    /// One object.
    fn get<'a>(&'a self, target: Target<'a>) -> Soon<'a, Arc<Value>>;

    /// All of a resource in `namespace`; empty: everywhere.
    fn list<'a>(&'a self, resource: &'a Arc<Resource>, namespace: &'a str) -> Soon<'a, Vec<Arc<Value>>>;

    /// Makes an object, unless it is there already.
    fn make<'a>(&'a self, resource: &'a Arc<Resource>, object: Value) -> Soon<'a, ()>;

    /// An object of a custom resource that a webhook converts, in the version `wanted`.
    fn convert<'a>(
        &'a self,
        resource: &'a Resource,
        wanted: &'a str,
        object: Value,
    ) -> BoxFuture<'a, Result<Value, Status>>;
}

/// What a plugin sees of a write, beside the new object.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a> {
    pub(crate) request: &'a Request,
    pub(crate) operation: Operation,
    /// Of the object, which a creation says in the object only.
    pub(crate) name: &'a str,
    pub(crate) old: Option<&'a Value>,
    pub(crate) stored: &'a dyn Stored,
    pub(crate) setting: &'a Setting,
}

/// What a write takes once, so that nothing changes under it.
#[derive(Debug)]
pub(crate) struct Setting {
    /// What is served.
    pub(crate) catalog: Arc<Catalog>,
    /// What administrators have configured.
    pub(crate) configured: Arc<Configured>,
    /// Who decides what may be done, for expressions that ask.
    pub(crate) authority: Arc<Authority>,
    /// How often its object has been looked at.
    pub(crate) rounds: Rounds,
}

impl Setting {
    pub(crate) fn new(catalog: Arc<Catalog>, configured: Arc<Configured>, authority: Arc<Authority>) -> Self {
        Self { catalog, configured, authority, rounds: Rounds::default() }
    }
}

impl Attributes<'_> {
    /// The object before, as hooks and policies see it: what is created through a part (a binding) was not there before.
    pub(crate) fn before(&self) -> Option<&Value> {
        self.old.filter(|_| self.operation != Operation::Create)
    }

    /// The namespace that it is about: of a namespace, itself.
    pub(crate) fn namespace(&self) -> &str {
        if self.request.resource.is("", "namespaces") { self.name } else { &self.request.namespace }
    }

    /// Whether the object itself of this resource is written.
    fn is_about(&self, group: &str, plural: &str) -> bool {
        self.request.part.is_empty() && self.request.resource.is(group, plural)
    }

    fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(&self.request.resource, self.name, why)
    }
}

type Admitted<'a> = Soon<'a, ()>;

/// Changes the new object, or refuses it. A deletion has none: it is `null`.
type Mutate = for<'a> fn(&'a Attributes<'a>, &'a mut Value) -> Admitted<'a>;
/// Refuses the new object, or warns of it.
type Validate = for<'a> fn(&'a Attributes<'a>, &'a Value) -> Admitted<'a>;

/// One decision.
#[derive(Debug)]
pub(crate) struct Plugin {
    /// As `--enable-admission-plugins` calls it.
    name: &'static str,
    /// What it is asked about.
    handles: &'static [Operation],
    mutate: Option<Mutate>,
    validate: Option<Validate>,
}

/// All of them, in the order of Kubernetes' `AllOrderedPlugins`.
static PLUGINS: [Plugin; 34] = [
    always::ADMIT,
    namespace_exists::AUTO_PROVISION,
    namespace_lifecycle::PLUGIN,
    namespace_exists::EXISTS,
    limit_pod_hard_anti_affinity_topology::PLUGIN,
    limit_ranger::PLUGIN,
    service_account::PLUGIN,
    node_restriction::PLUGIN,
    taint_nodes_by_condition::PLUGIN,
    always_pull_images::PLUGIN,
    pod_security::PLUGIN,
    pod_node_selector::PLUGIN,
    priority::PLUGIN,
    default_toleration_seconds::PLUGIN,
    pod_toleration_restriction::PLUGIN,
    event_rate_limit::PLUGIN,
    extended_resource_toleration::PLUGIN,
    default_class::STORAGE,
    storage_object_in_use_protection::PLUGIN,
    owner_references_permission_enforcement::PLUGIN,
    persistent_volume_claim_resize::PLUGIN,
    runtime_class::PLUGIN,
    certificate_approval::APPROVAL,
    certificate_approval::SIGNING,
    certificate_subject_restriction::PLUGIN,
    default_class::INGRESS,
    deny_service_external_ips::PLUGIN,
    pod_topology_labels::PLUGIN,
    pod_resize_validator::PLUGIN,
    policies::mutating::PLUGIN,
    webhooks::MUTATING,
    policies::validating::PLUGIN,
    webhooks::VALIDATING,
    always::DENY,
];

/// Lets every plugin change `object` that has something to add, or refuse it; once more, if one that was configured changes it.
pub(crate) async fn mutate(seen: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    mutate_once(seen, object).await?;
    if seen.setting.rounds.next() {
        mutate_once(seen, object).await?;
    }
    Ok(())
}

async fn mutate_once(seen: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    for plugin in seen.setting.configured.chosen.asked(seen.operation) {
        if let Some(mutate) = plugin.mutate {
            tracing::trace!(plugin = plugin.name, verb = seen.request.verb, "mutating admission");
            mutate(seen, object).await?;
        }
    }
    Ok(())
}

/// Lets every plugin refuse `object`, or warn of it.
pub(crate) async fn validate(seen: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    manifests::check_name(seen, object)?;
    for plugin in seen.setting.configured.chosen.asked(seen.operation) {
        if let Some(validate) = plugin.validate {
            tracing::trace!(plugin = plugin.name, verb = seen.request.verb, "validating admission");
            validate(seen, object).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod testing; // a few objects, and what plugins make of them

#[cfg(test)]
mod cases; // what plugins of a real server do

#[cfg(test)]
mod tests {
    use super::*;

    /// The order matters: what one plugin writes the next one sees.
    #[test]
    fn plugins_have_kubernetes_names_and_order() {
        let names: Vec<&str> = PLUGINS.iter().map(|plugin| plugin.name).collect();
        assert_eq!(
            names,
            [
                "AlwaysAdmit",
                "NamespaceAutoProvision",
                "NamespaceLifecycle",
                "NamespaceExists",
                "LimitPodHardAntiAffinityTopology",
                "LimitRanger",
                "ServiceAccount",
                "NodeRestriction",
                "TaintNodesByCondition",
                "AlwaysPullImages",
                "PodSecurity",
                "PodNodeSelector",
                "Priority",
                "DefaultTolerationSeconds",
                "PodTolerationRestriction",
                "EventRateLimit",
                "ExtendedResourceToleration",
                "DefaultStorageClass",
                "StorageObjectInUseProtection",
                "OwnerReferencesPermissionEnforcement",
                "PersistentVolumeClaimResize",
                "RuntimeClass",
                "CertificateApproval",
                "CertificateSigning",
                "CertificateSubjectRestriction",
                "DefaultIngressClass",
                "DenyServiceExternalIPs",
                "PodTopologyLabels",
                "PodResizeValidator",
                "MutatingAdmissionPolicy",
                "MutatingAdmissionWebhook",
                "ValidatingAdmissionPolicy",
                "ValidatingAdmissionWebhook",
                "AlwaysDeny",
            ]
        );
        assert!(PLUGINS.iter().all(|plugin| plugin.mutate.is_some() || plugin.validate.is_some()));
    }
}
