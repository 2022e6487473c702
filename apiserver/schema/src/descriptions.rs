//! The sentences of the kinds, as `k8s-openapi` carries them: one map from definition name to JSON schema, descriptions included.
//!
//! What a field is stands in the table; only its sentence is taken from here. The map is several megabytes, so it is made when
//! something is derived from it and dropped afterwards.

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::{api, apiextensions_apiserver as extensions, kube_aggregator as aggregator};
use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value};

/// All definitions that the stable kinds reach, by name.
pub(crate) fn definitions() -> Map<String, Value> {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    add_core(&mut generator);
    add_workloads(&mut generator);
    add_access(&mut generator);
    add_cluster(&mut generator);
    add_extensions(&mut generator);
    generator.take_definitions(ACCURATE)
}

/// `take_definitions` asks whether transforms of the settings are to run; ours has none.
const ACCURATE: bool = false;

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

/// Adds kinds of one group and version.
macro_rules! add {
    ($generator:ident, $($group:ident)::+: $($kind:ident)+) => {
        {
            use $($group)::+ as group;
            $(add::<group::$kind>($generator);)+
        }
    };
}

fn add_core(generator: &mut SchemaGenerator) {
    add!(generator, api::core::v1: Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node);
    add!(generator, api::core::v1: PersistentVolume PersistentVolumeClaim Pod PodTemplate ReplicationController);
    add!(generator, api::core::v1: ResourceQuota Secret Service ServiceAccount);
    add!(generator, api::events::v1: Event);
    add!(generator, meta: DeleteOptions ListMeta Status APIResourceList);
}

fn add_workloads(generator: &mut SchemaGenerator) {
    add!(generator, api::apps::v1: ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet);
    add!(generator, api::autoscaling::v1: HorizontalPodAutoscaler Scale);
    add!(generator, api::autoscaling::v2: HorizontalPodAutoscaler);
    add!(generator, api::batch::v1: CronJob Job);
    add!(generator, api::policy::v1: Eviction PodDisruptionBudget);
    add!(generator, api::scheduling::v1: PriorityClass);
    add!(generator, api::resource::v1: DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice);
}

fn add_access(generator: &mut SchemaGenerator) {
    add!(generator, api::authentication::v1: SelfSubjectReview TokenRequest TokenReview);
    add!(generator, api::authorization::v1: LocalSubjectAccessReview SelfSubjectAccessReview);
    add!(generator, api::authorization::v1: SelfSubjectRulesReview SubjectAccessReview);
    add!(generator, api::certificates::v1: CertificateSigningRequest);
    add!(generator, api::flowcontrol::v1: FlowSchema PriorityLevelConfiguration);
    add!(generator, api::rbac::v1: ClusterRole ClusterRoleBinding Role RoleBinding);
}

fn add_cluster(generator: &mut SchemaGenerator) {
    add!(generator, api::coordination::v1: Lease);
    add!(generator, api::discovery::v1: EndpointSlice);
    add!(generator, api::networking::v1: IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR);
    add!(generator, api::node::v1: RuntimeClass);
    add!(generator, api::storage::v1: CSIDriver CSINode CSIStorageCapacity StorageClass);
    add!(generator, api::storage::v1: VolumeAttachment VolumeAttributesClass);
}

fn add_extensions(generator: &mut SchemaGenerator) {
    add!(generator, api::admissionregistration::v1: MutatingAdmissionPolicy MutatingAdmissionPolicyBinding);
    add!(generator, api::admissionregistration::v1: MutatingWebhookConfiguration ValidatingAdmissionPolicy);
    add!(generator, api::admissionregistration::v1: ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration);
    add!(generator, extensions::pkg::apis::apiextensions::v1: CustomResourceDefinition);
    add!(generator, aggregator::pkg::apis::apiregistration::v1: APIService);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has no sentence is said in general words, and that is meant for lists and the metadata of every kind only.
    #[test]
    fn every_stable_kind_has_its_sentences() {
        let definitions = definitions();
        let kinds = crate::builtin::rows().filter(|row| row.is_kind && !row.kind.ends_with("List"));
        let silent: Vec<String> =
            kinds.map(|row| row.definition).filter(|name| !definitions.contains_key(name)).collect();
        let partial = format!("{}PartialObjectMetadata", crate::builtin::META);
        assert!(silent.iter().all(|name| *name == partial || name.ends_with(".WatchEvent")), "{silent:?}");
    }
}
