//! What our own components ask of an API server: every resource and verb.
//!
//! Tests hold this list against what the API server serves, against the components' sources, and against what the control
//! loops really send. A component whose request gets a 404 looks as if it worked, until somebody misses what it never said.

/// One component's use of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The crate that sends it, without `skiff-`.
    pub by: &'static str,
    /// API group; empty for the core group, `*` for every one that discovery names.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// Kind of the object, e.g. `Pod`; `*` for every one.
    pub kind: &'static str,
    /// Plural and subresource: `pods`, `pods/status`.
    pub resource: &'static str,
    /// Verbs, as authorization has them.
    pub verbs: &'static [&'static str],
    /// Why it is sent although our API server does not serve it; empty: it does.
    pub unserved: &'static str,
}

/// A use of the core group in `v1`.
const fn on(by: &'static str, kind: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Use {
    Use { by, group: "", version: "v1", kind, resource, verbs, unserved: "" }
}

/// A use of Gateway API by who serves ingresses.
const fn gateway(kind: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Use {
    let unserved = "users install the definitions, and nothing is sent before they have";
    Use { group: "gateway.networking.k8s.io", unserved, ..on(INGRESS, kind, resource, verbs) }
}

/// A use of policies that scale, by the controllers.
const fn policy(resource: &'static str, verbs: &'static [&'static str]) -> Use {
    let unserved = "users install the definition, and nothing is sent before they have";
    let one = on(CONTROLLERS, "ScalingPolicy", resource, verbs);
    Use { group: "autoscaling.skiff.dev", version: "v1alpha1", unserved, ..one }
}

/// The same of another group.
const fn of(group: &'static str, one: Use) -> Use {
    Use { group, ..one }
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";
const REQUEST: &str = "CertificateSigningRequest";
const AUTOSCALER: &str = "HorizontalPodAutoscaler";
const ATTACHMENT: &str = "VolumeAttachment";
const CLAIM: &str = "PersistentVolumeClaim";
const CLAIM_OF_DEVICES: &str = "ResourceClaim";
const DEFINITION: &str = "CustomResourceDefinition";
const DEFINITIONS: &str = "apiextensions.k8s.io";
const DEVICES: &str = "resource.k8s.io";
const VOLUME: &str = "PersistentVolume";
const LEASES: &str = "coordination.k8s.io";
const ROLES: &str = "rbac.authorization.k8s.io";
const SLICES: &str = "discovery.k8s.io";
const STORAGE: &str = "storage.k8s.io";
/// What a cache sends.
const WATCH: &[&str] = &["list", "watch"];
/// What a cache sends, and a look at one object.
const FOLLOW: &[&str] = &["get", "list", "watch"];
const KEEP: &[&str] = &["create", "delete", "get", "list", "patch", "watch"];
/// What an autoscaler sends.
const SCALE: &[&str] = &["get", "update"];
/// What a candidate for leadership sends.
const ELECT: &[&str] = &["create", "get", "update"];
const CONTROLLERS: &str = "controllers";
const SCHEDULER: &str = "scheduler";
const KUBELET: &str = "kubelet";
const PROXY: &str = "proxy";
const DNS: &str = "dns";
const NETPOL: &str = "netpol";
const INGRESS: &str = "ingress";
const NETWORKING: &str = "networking.k8s.io";

/// The list.
pub const USES: &[Use] = &[
    on(SCHEDULER, "Node", "nodes", WATCH),
    on(SCHEDULER, "Pod", "pods", &["delete", "list", "watch"]),
    on(SCHEDULER, "Namespace", "namespaces", WATCH),
    on(SCHEDULER, "Service", "services", WATCH),
    on(SCHEDULER, "ReplicationController", "replicationcontrollers", WATCH),
    of("apps", on(SCHEDULER, "ReplicaSet", "replicasets", WATCH)),
    of("apps", on(SCHEDULER, "StatefulSet", "statefulsets", WATCH)),
    of("policy", on(SCHEDULER, "PodDisruptionBudget", "poddisruptionbudgets", WATCH)),
    on(SCHEDULER, "PersistentVolumeClaim", "persistentvolumeclaims", &["list", "patch", "watch"]),
    on(SCHEDULER, "PersistentVolume", "persistentvolumes", &["list", "patch", "watch"]),
    of(STORAGE, on(SCHEDULER, "StorageClass", "storageclasses", WATCH)),
    of(STORAGE, on(SCHEDULER, "CSINode", "csinodes", WATCH)),
    of(STORAGE, on(SCHEDULER, "CSIDriver", "csidrivers", WATCH)),
    of(STORAGE, on(SCHEDULER, "CSIStorageCapacity", "csistoragecapacities", WATCH)),
    of(STORAGE, on(SCHEDULER, "VolumeAttachment", "volumeattachments", WATCH)),
    of(DEVICES, on(SCHEDULER, CLAIM_OF_DEVICES, "resourceclaims", &["list", "patch", "watch"])),
    of(DEVICES, on(SCHEDULER, CLAIM_OF_DEVICES, "resourceclaims/status", &["patch"])),
    of(DEVICES, on(SCHEDULER, "DeviceClass", "deviceclasses", WATCH)),
    of(DEVICES, on(SCHEDULER, "ResourceSlice", "resourceslices", WATCH)),
    on(SCHEDULER, "Pod", "pods/binding", &["create"]),
    on(SCHEDULER, "Pod", "pods/status", &["patch"]),
    on(SCHEDULER, "Event", "events", &["create"]),
    of(LEASES, on(SCHEDULER, "Lease", "leases", ELECT)),
    of(DEVICES, on(CONTROLLERS, CLAIM_OF_DEVICES, "resourceclaims", &["create", "delete", "list", "patch", "watch"])),
    of(DEVICES, on(CONTROLLERS, CLAIM_OF_DEVICES, "resourceclaims/status", &["patch"])),
    of(DEVICES, on(CONTROLLERS, "ResourceClaimTemplate", "resourceclaimtemplates", WATCH)),
    of("apps", on(CONTROLLERS, "Deployment", "deployments", &["get", "list", "patch", "watch"])),
    of("apps", on(CONTROLLERS, "Deployment", "deployments/status", &["patch"])),
    of("apps", on(CONTROLLERS, "Deployment", "deployments/scale", SCALE)),
    of("apps", on(CONTROLLERS, "ReplicaSet", "replicasets/scale", SCALE)),
    of("apps", on(CONTROLLERS, "StatefulSet", "statefulsets/scale", SCALE)),
    on(CONTROLLERS, "ReplicationController", "replicationcontrollers/scale", SCALE),
    of("apps", on(CONTROLLERS, "ReplicaSet", "replicasets", KEEP)),
    of("apps", on(CONTROLLERS, "ReplicaSet", "replicasets/status", &["patch"])),
    on(CONTROLLERS, "ReplicationController", "replicationcontrollers", FOLLOW),
    on(CONTROLLERS, "ReplicationController", "replicationcontrollers/status", &["patch"]),
    of("batch", on(CONTROLLERS, "Job", "jobs", &["create", "delete", "get", "list", "watch"])),
    of("apps", on(CONTROLLERS, "DaemonSet", "daemonsets", FOLLOW)),
    of("apps", on(CONTROLLERS, "DaemonSet", "daemonsets/status", &["patch"])),
    of("apps", on(CONTROLLERS, "StatefulSet", "statefulsets", FOLLOW)),
    of("apps", on(CONTROLLERS, "StatefulSet", "statefulsets/status", &["patch"])),
    of("apps", on(CONTROLLERS, "ControllerRevision", "controllerrevisions", KEEP)),
    of("batch", on(CONTROLLERS, "Job", "jobs/status", &["update"])),
    of("batch", on(CONTROLLERS, "CronJob", "cronjobs", WATCH)),
    of("policy", on(CONTROLLERS, "PodDisruptionBudget", "poddisruptionbudgets", WATCH)),
    of("policy", on(CONTROLLERS, "PodDisruptionBudget", "poddisruptionbudgets/status", &["update"])),
    of("autoscaling", on(CONTROLLERS, AUTOSCALER, "horizontalpodautoscalers", WATCH)),
    of("autoscaling", on(CONTROLLERS, AUTOSCALER, "horizontalpodautoscalers/status", &["update"])),
    of(DEFINITIONS, on(CONTROLLERS, DEFINITION, "customresourcedefinitions", WATCH)),
    policy("scalingpolicies", WATCH),
    policy("scalingpolicies/status", &["get", "update"]),
    on(CONTROLLERS, "Pod", "pods/status", &["patch"]),
    of("batch", on(CONTROLLERS, "CronJob", "cronjobs/status", &["update"])),
    on(CONTROLLERS, "Pod", "pods", &["create", "delete", "list", "patch", "watch"]),
    on(CONTROLLERS, "Node", "nodes", &["get", "list", "patch", "watch"]),
    on(CONTROLLERS, "Node", "nodes/status", &["patch"]),
    on(CONTROLLERS, "Service", "services", WATCH),
    on(CONTROLLERS, "Endpoints", "endpoints", &["create", "delete", "list", "update", "watch"]),
    of(SLICES, on(CONTROLLERS, "EndpointSlice", "endpointslices", &["create", "delete", "list", "update", "watch"])),
    on(CONTROLLERS, "Namespace", "namespaces", FOLLOW),
    on(CONTROLLERS, "Namespace", "namespaces/finalize", &["update"]),
    on(CONTROLLERS, "Namespace", "namespaces/status", &["update"]),
    on(CONTROLLERS, "ConfigMap", "configmaps", &["create", "list", "update", "watch"]),
    on(CONTROLLERS, "ServiceAccount", "serviceaccounts", &["create", "get", "list", "watch"]),
    on(CONTROLLERS, "Secret", "secrets", &["delete", "list", "update", "watch"]),
    on(CONTROLLERS, CLAIM, "persistentvolumeclaims", &["create", "get", "list", "patch", "watch"]),
    on(CONTROLLERS, CLAIM, "persistentvolumeclaims/status", &["patch"]),
    on(CONTROLLERS, VOLUME, "persistentvolumes", &["create", "delete", "list", "patch", "watch"]),
    on(CONTROLLERS, VOLUME, "persistentvolumes/status", &["patch"]),
    of(STORAGE, on(CONTROLLERS, "StorageClass", "storageclasses", &["create", "list", "watch"])),
    of(STORAGE, on(CONTROLLERS, "CSIDriver", "csidrivers", &["create", "list", "watch"])),
    of(STORAGE, on(CONTROLLERS, "CSINode", "csinodes", WATCH)),
    of(STORAGE, on(CONTROLLERS, ATTACHMENT, "volumeattachments", &["create", "delete", "list", "watch"])),
    of(STORAGE, on(CONTROLLERS, "VolumeAttributesClass", "volumeattributesclasses", &["list", "patch", "watch"])),
    on(CONTROLLERS, "ResourceQuota", "resourcequotas", WATCH),
    on(CONTROLLERS, "ResourceQuota", "resourcequotas/status", &["update"]),
    of(CERTIFICATES, on(CONTROLLERS, REQUEST, "certificatesigningrequests", &["delete", "list", "watch"])),
    of(CERTIFICATES, on(CONTROLLERS, REQUEST, "certificatesigningrequests/approval", &["update"])),
    of(CERTIFICATES, on(CONTROLLERS, REQUEST, "certificatesigningrequests/status", &["update"])),
    of("node.k8s.io", on(KUBELET, "RuntimeClass", "runtimeclasses", &["get"])),
    of("authentication.k8s.io", on(KUBELET, "TokenReview", "tokenreviews", &["create"])),
    of("authorization.k8s.io", on(KUBELET, "SubjectAccessReview", "subjectaccessreviews", &["create"])),
    of("authorization.k8s.io", on(CONTROLLERS, "SubjectAccessReview", "subjectaccessreviews", &["create"])),
    on(CONTROLLERS, "Event", "events", &["create"]),
    of(ROLES, on(CONTROLLERS, "ClusterRole", "clusterroles", &["list", "patch", "watch"])),
    of(LEASES, on(CONTROLLERS, "Lease", "leases", &["create", "get", "list", "update", "watch"])),
    of(ADMISSION, on(CONTROLLERS, "ValidatingAdmissionPolicy", "validatingadmissionpolicies", WATCH)),
    of(ADMISSION, on(CONTROLLERS, "ValidatingAdmissionPolicy", "validatingadmissionpolicies/status", &["patch"])),
    // Garbage and the content of namespaces: whatever discovery says can be listed, watched and deleted.
    of("*", on(CONTROLLERS, "*", "*", &["delete", "get", "list", "patch", "watch"])),
    on(KUBELET, "Node", "nodes", &["create", "get", "list", "patch", "watch"]),
    on(KUBELET, "Node", "nodes/status", &["patch"]),
    of(LEASES, on(KUBELET, "Lease", "leases", &["create", "get", "patch"])),
    on(KUBELET, "Pod", "pods", &["delete", "get", "list", "watch"]),
    on(KUBELET, "Pod", "pods/status", &["patch"]),
    of(DEVICES, on(KUBELET, CLAIM_OF_DEVICES, "resourceclaims", &["get"])),
    on(KUBELET, "ConfigMap", "configmaps", FOLLOW),
    on(KUBELET, "Secret", "secrets", FOLLOW),
    on(KUBELET, "Service", "services", WATCH),
    on(KUBELET, "Event", "events", &["create", "patch"]),
    on(KUBELET, "ServiceAccount", "serviceaccounts/token", &["create"]),
    on(KUBELET, CLAIM, "persistentvolumeclaims", &["get"]),
    on(KUBELET, CLAIM, "persistentvolumeclaims/status", &["patch"]),
    on(KUBELET, VOLUME, "persistentvolumes", &["get"]),
    of(STORAGE, on(KUBELET, "CSIDriver", "csidrivers", WATCH)),
    of(STORAGE, on(KUBELET, "CSINode", "csinodes", &["create", "get", "patch"])),
    of(STORAGE, on(KUBELET, ATTACHMENT, "volumeattachments", &["get"])),
    on(PROXY, "Service", "services", WATCH),
    of(SLICES, on(PROXY, "EndpointSlice", "endpointslices", WATCH)),
    on(PROXY, "Event", "events", &["create"]),
    on(PROXY, "Node", "nodes", WATCH),
    on(DNS, "Service", "services", &["get", "list", "patch", "watch"]),
    of(SLICES, on(DNS, "EndpointSlice", "endpointslices", &["delete", "list", "patch", "watch"])),
    on(DNS, "Node", "nodes", &["get"]),
    of(NETWORKING, on(NETPOL, "NetworkPolicy", "networkpolicies", WATCH)),
    on(NETPOL, "Pod", "pods", WATCH),
    on(NETPOL, "Namespace", "namespaces", WATCH),
    of(NETWORKING, on(INGRESS, "Ingress", "ingresses", WATCH)),
    of(NETWORKING, on(INGRESS, "Ingress", "ingresses/status", &["patch"])),
    of(NETWORKING, on(INGRESS, "IngressClass", "ingressclasses", &["create", "list", "watch"])),
    on(INGRESS, "Service", "services", WATCH),
    of(SLICES, on(INGRESS, "EndpointSlice", "endpointslices", WATCH)),
    on(INGRESS, "Secret", "secrets", WATCH),
    on(INGRESS, "Event", "events", &["create"]),
    on(INGRESS, "Namespace", "namespaces", WATCH),
    gateway("GatewayClass", "gatewayclasses", WATCH),
    gateway("GatewayClass", "gatewayclasses/status", &["patch"]),
    gateway("Gateway", "gateways", WATCH),
    gateway("Gateway", "gateways/status", &["patch"]),
    gateway("HTTPRoute", "httproutes", WATCH),
    gateway("HTTPRoute", "httproutes/status", &["patch"]),
    gateway("GRPCRoute", "grpcroutes", WATCH),
    gateway("GRPCRoute", "grpcroutes/status", &["patch"]),
    Use { version: "v1beta1", ..gateway("ReferenceGrant", "referencegrants", WATCH) },
];
