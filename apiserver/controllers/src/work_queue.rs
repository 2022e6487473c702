//! What Kubernetes calls the queue of each loop, in figures (`workqueue_*`).

/// Accounts of loops, and the names of their queues.
const NAMES: &[(&str, &str)] = &[
    ("bootstrap-signer", "bootstrap_signer_queue"),
    ("certificate-controller", "certificate"),
    ("clusterrole-aggregation-controller", "ClusterRoleAggregator"),
    ("cronjob-controller", "cronjob"),
    ("daemon-set-controller", "daemonset"),
    ("deployment-controller", "deployment"),
    ("disruption-controller", "disruption"),
    ("endpointslice-controller", "endpoint_slice"),
    ("endpointslicemirroring-controller", "endpoint_slice_mirroring"),
    ("ephemeral-volume-controller", "ephemeral_volume"),
    ("generic-garbage-collector", "garbage_collector_attempt_to_delete"),
    ("horizontal-pod-autoscaler", "horizontalpodautoscaler"),
    ("job-controller", "job"),
    ("namespace-controller", "namespace"),
    ("node-controller", "node_lifecycle_controller"),
    ("persistent-volume-binder", "claims"),
    ("pv-protection-controller", "pvprotection"),
    ("pvc-protection-controller", "pvcprotection"),
    ("replicaset-controller", "replicaset"),
    ("replication-controller", "replicationmanager"),
    ("resource-claim-controller", "resource_claim"),
    ("resourcequota-controller", "resourcequota_primary"),
    ("root-ca-cert-publisher", "root_ca_cert_publisher"),
    ("service-account-controller", "serviceaccount"),
    ("service-controller", "service"),
    ("statefulset-controller", "statefulset"),
    ("token-cleaner", "token_cleaner"),
    ("ttl-after-finished-controller", "ttl_jobs_to_delete"),
    ("validatingadmissionpolicy-status-controller", "validatingadmissionpolicy-status"),
];

/// The name of the queue of a loop; of one that Kubernetes has not, its account.
pub(crate) fn name(account: &'static str) -> &'static str {
    NAMES.iter().find(|(of, _)| *of == account).map_or(account, |(_, name)| name)
}
