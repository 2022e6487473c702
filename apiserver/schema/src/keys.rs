//! How lists and maps merge: the patch strategies, merge keys and list types of Kubernetes' struct tags, field by field.
//!
//! A patch strategy and merge key rule strategic merge patches; list and map types rule server-side apply. A field that is not
//! here is replaced as a whole by the first and owned as a whole by the second (lists), or merged key by key (maps, structs).

/// How one list or map field merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListKeys {
    /// Strategic merge merges the elements (`x-kubernetes-patch-strategy: merge`).
    pub(crate) merge: bool,
    /// Strategic merge honours `$retainKeys` in the elements or the struct.
    pub(crate) retain_keys: bool,
    /// The field that identifies an element (`x-kubernetes-patch-merge-key`); `None` for scalars.
    pub(crate) merge_key: Option<&'static str>,
    /// `x-kubernetes-list-type`.
    pub(crate) list_type: Option<&'static str>,
    /// `x-kubernetes-list-map-keys`.
    pub(crate) map_keys: &'static [&'static str],
    /// `x-kubernetes-map-type: atomic`.
    pub(crate) atomic_map: bool,
}

impl ListKeys {
    /// `x-kubernetes-patch-strategy`, if there is one.
    pub(crate) fn patch_strategy(&self) -> Option<&'static str> {
        match (self.merge, self.retain_keys) {
            (true, true) => Some("merge,retainKeys"),
            (true, false) => Some("merge"),
            (false, true) => Some("retainKeys"),
            (false, false) => None,
        }
    }
}

type Row = (&'static str, &'static str, ListKeys);

/// How the field of a definition merges, if the struct tags say anything about it.
pub(crate) fn find(definition: &str, field: &str) -> Option<&'static ListKeys> {
    let (package, name) = definition.rsplit_once('.')?;
    let (_, rows) = PACKAGES.iter().find(|(prefix, _)| *prefix == package)?;
    rows.iter().find(|row| (row.0, row.1) == (name, field)).map(|row| &row.2)
}

/// Whether a struct is owned as a whole in server-side apply (`x-kubernetes-map-type: atomic`).
pub(crate) fn is_atomic(definition: &str) -> bool {
    ATOMIC_STRUCTS.contains(&definition)
}

/// Every (definition, field) the table names.
#[cfg(test)]
pub(crate) fn all_fields() -> impl Iterator<Item = (String, &'static str)> {
    let fields = |(package, rows): &(&'static str, &'static [Row])| {
        let package = *package;
        rows.iter().map(move |row| (format!("{package}.{}", row.0), row.1))
    };
    PACKAGES.iter().flat_map(fields)
}

const NOTHING: ListKeys =
    ListKeys { merge: false, retain_keys: false, merge_key: None, list_type: None, map_keys: &[], atomic_map: false };
const ATOMIC: ListKeys = ListKeys { list_type: Some("atomic"), ..NOTHING };
const ATOMIC_MAP: ListKeys = ListKeys { atomic_map: true, ..NOTHING };
const SET: ListKeys = ListKeys { list_type: Some("set"), ..NOTHING };
const MERGED_SET: ListKeys = ListKeys { merge: true, ..SET };
const RETAIN: ListKeys = ListKeys { retain_keys: true, ..NOTHING };

const fn keyed(map_keys: &'static [&'static str]) -> ListKeys {
    ListKeys { list_type: Some("map"), map_keys, ..NOTHING }
}

const fn by(merge_key: &'static str, map_keys: &'static [&'static str]) -> ListKeys {
    ListKeys { merge: true, merge_key: Some(merge_key), ..keyed(map_keys) }
}

const fn by_retaining(merge_key: &'static str, map_keys: &'static [&'static str]) -> ListKeys {
    ListKeys { retain_keys: true, ..by(merge_key, map_keys) }
}

static PACKAGES: &[(&str, &[Row])] = &[
    ("io.k8s.apimachinery.pkg.apis.meta.v1", META),
    ("io.k8s.api.apps.v1", APPS),
    ("io.k8s.api.batch.v1", BATCH),
    ("io.k8s.api.core.v1", CORE),
    ("io.k8s.api.discovery.v1", DISCOVERY),
];

static META: &[Row] = &[
    ("ObjectMeta", "finalizers", MERGED_SET),
    ("ObjectMeta", "ownerReferences", by("uid", &["uid"])),
    ("ObjectMeta", "managedFields", ATOMIC),
    ("LabelSelector", "matchExpressions", ATOMIC),
    ("LabelSelectorRequirement", "values", ATOMIC),
    ("DeleteOptions", "dryRun", ATOMIC),
    ("StatusDetails", "causes", ATOMIC),
];

static APPS: &[Row] = &[
    ("DeploymentSpec", "strategy", RETAIN),
    ("DeploymentStatus", "conditions", by("type", &["type"])),
    ("ReplicaSetStatus", "conditions", by("type", &["type"])),
];

static BATCH: &[Row] = &[
    ("PodFailurePolicyOnExitCodesRequirement", "values", SET),
    ("PodFailurePolicyRule", "onPodConditions", ATOMIC),
    ("PodFailurePolicy", "rules", ATOMIC),
    ("SuccessPolicy", "rules", ATOMIC),
    ("JobStatus", "conditions", ListKeys { list_type: Some("atomic"), ..by("type", &[]) }),
    ("UncountedTerminatedPods", "succeeded", SET),
    ("UncountedTerminatedPods", "failed", SET),
];

static CORE: &[Row] = &[
    ("RBDVolumeSource", "monitors", ATOMIC),
    ("CephFSVolumeSource", "monitors", ATOMIC),
    ("SecretVolumeSource", "items", ATOMIC),
    ("SecretProjection", "items", ATOMIC),
    ("ISCSIVolumeSource", "portals", ATOMIC),
    ("FCVolumeSource", "targetWWNs", ATOMIC),
    ("FCVolumeSource", "wwids", ATOMIC),
    ("ConfigMapVolumeSource", "items", ATOMIC),
    ("ConfigMapProjection", "items", ATOMIC),
    ("ProjectedVolumeSource", "sources", ATOMIC),
    ("HTTPGetAction", "httpHeaders", ATOMIC),
    ("ExecAction", "command", ATOMIC),
    ("Capabilities", "add", ATOMIC),
    ("Capabilities", "drop", ATOMIC),
    ("ResourceRequirements", "claims", keyed(&["name"])),
    ("Container", "command", ATOMIC),
    ("Container", "args", ATOMIC),
    ("Container", "ports", by("containerPort", &["containerPort", "protocol"])),
    ("Container", "envFrom", ATOMIC),
    ("Container", "env", by("name", &["name"])),
    ("Container", "resizePolicy", ATOMIC),
    ("Container", "restartPolicyRules", ATOMIC),
    ("Container", "volumeMounts", by("mountPath", &["mountPath"])),
    ("Container", "volumeDevices", by("devicePath", &["devicePath"])),
    ("ContainerStatus", "volumeMounts", by("mountPath", &["mountPath"])),
    ("ContainerStatus", "allocatedResourcesStatus", by("name", &["name"])),
    ("ResourceStatus", "resources", keyed(&["resourceID"])),
    ("LinuxContainerUser", "supplementalGroups", ATOMIC),
    ("ContainerRestartRuleOnExitCodes", "values", SET),
    ("NodeSelector", "nodeSelectorTerms", ATOMIC),
    ("NodeSelectorTerm", "matchExpressions", ATOMIC),
    ("NodeSelectorTerm", "matchFields", ATOMIC),
    ("NodeSelectorRequirement", "values", ATOMIC),
    ("PodAffinity", "requiredDuringSchedulingIgnoredDuringExecution", ATOMIC),
    ("PodAffinity", "preferredDuringSchedulingIgnoredDuringExecution", ATOMIC),
    ("PodAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution", ATOMIC),
    ("PodAntiAffinity", "preferredDuringSchedulingIgnoredDuringExecution", ATOMIC),
    ("PodAffinityTerm", "namespaces", ATOMIC),
    ("PodAffinityTerm", "matchLabelKeys", ATOMIC),
    ("PodAffinityTerm", "mismatchLabelKeys", ATOMIC),
    ("NodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution", ATOMIC),
    ("PodSpec", "volumes", by_retaining("name", &["name"])),
    ("PodSpec", "initContainers", by("name", &["name"])),
    ("PodSpec", "containers", by("name", &["name"])),
    ("PodSpec", "ephemeralContainers", by("name", &["name"])),
    ("PodSpec", "nodeSelector", ATOMIC_MAP),
    ("PodSpec", "imagePullSecrets", by("name", &["name"])),
    ("PodSpec", "tolerations", ATOMIC),
    ("PodSpec", "hostAliases", by("ip", &["ip"])),
    ("PodSpec", "readinessGates", ATOMIC),
    ("PodSpec", "topologySpreadConstraints", by("topologyKey", &["topologyKey", "whenUnsatisfiable"])),
    ("PodSpec", "schedulingGates", by("name", &["name"])),
    ("PodSpec", "resourceClaims", by_retaining("name", &["name"])),
    ("PodExtendedResourceClaimStatus", "requestMappings", ATOMIC),
    ("TopologySpreadConstraint", "matchLabelKeys", ATOMIC),
    ("HostAlias", "hostnames", ATOMIC),
    ("PodSecurityContext", "supplementalGroups", ATOMIC),
    ("PodSecurityContext", "sysctls", ATOMIC),
    ("PodDNSConfig", "nameservers", ATOMIC),
    ("PodDNSConfig", "searches", ATOMIC),
    ("PodDNSConfig", "options", ATOMIC),
    ("EphemeralContainer", "command", ATOMIC),
    ("EphemeralContainer", "args", ATOMIC),
    ("EphemeralContainer", "ports", by("containerPort", &["containerPort", "protocol"])),
    ("EphemeralContainer", "envFrom", ATOMIC),
    ("EphemeralContainer", "env", by("name", &["name"])),
    ("EphemeralContainer", "resizePolicy", ATOMIC),
    ("EphemeralContainer", "restartPolicyRules", ATOMIC),
    ("EphemeralContainer", "volumeMounts", by("mountPath", &["mountPath"])),
    ("EphemeralContainer", "volumeDevices", by("devicePath", &["devicePath"])),
    ("PodStatus", "conditions", by("type", &["type"])),
    ("PodStatus", "hostIPs", ListKeys { list_type: Some("atomic"), ..by("ip", &[]) }),
    ("PodStatus", "podIPs", by("ip", &["ip"])),
    ("PodStatus", "initContainerStatuses", ATOMIC),
    ("PodStatus", "containerStatuses", ATOMIC),
    ("PodStatus", "ephemeralContainerStatuses", ATOMIC),
    ("PodStatus", "resourceClaimStatuses", by_retaining("name", &["name"])),
    ("PodStatus", "nodeAllocatableResourceClaimStatuses", by("resourceClaimName", &["resourceClaimName"])),
    ("ServiceStatus", "conditions", by("type", &["type"])),
    ("LoadBalancerStatus", "ingress", ATOMIC),
    ("LoadBalancerIngress", "ports", ATOMIC),
    ("ServiceSpec", "ports", by("port", &["port", "protocol"])),
    ("ServiceSpec", "selector", ATOMIC_MAP),
    ("ServiceSpec", "clusterIPs", ATOMIC),
    ("ServiceSpec", "externalIPs", ATOMIC),
    ("ServiceSpec", "loadBalancerSourceRanges", ATOMIC),
    ("ServiceSpec", "ipFamilies", ATOMIC),
    ("ServiceAccount", "secrets", by("name", &["name"])),
    ("ServiceAccount", "imagePullSecrets", ATOMIC),
    ("Endpoints", "subsets", ATOMIC),
    ("EndpointSubset", "addresses", ATOMIC),
    ("EndpointSubset", "notReadyAddresses", ATOMIC),
    ("EndpointSubset", "ports", ATOMIC),
    ("NodeSpec", "podCIDRs", MERGED_SET),
    ("NodeSpec", "taints", ATOMIC),
    ("NodeStatus", "conditions", by("type", &["type"])),
    ("NodeStatus", "addresses", by("type", &["type"])),
    ("NodeStatus", "images", ATOMIC),
    ("NodeStatus", "volumesInUse", ATOMIC),
    ("NodeStatus", "volumesAttached", ATOMIC),
    ("NodeStatus", "runtimeHandlers", ATOMIC),
    ("NodeStatus", "declaredFeatures", ATOMIC),
    ("ContainerImage", "names", ATOMIC),
    ("NamespaceSpec", "finalizers", ATOMIC),
    ("NamespaceStatus", "conditions", by("type", &["type"])),
    ("DownwardAPIVolumeSource", "items", ATOMIC),
    ("DownwardAPIProjection", "items", ATOMIC),
    ("NodeAllocatableResourceClaimStatus", "containers", SET),
];

static DISCOVERY: &[Row] = &[
    ("EndpointSlice", "endpoints", ATOMIC),
    ("EndpointSlice", "ports", ATOMIC),
    ("Endpoint", "addresses", SET),
    ("EndpointHints", "forZones", ATOMIC),
    ("EndpointHints", "forNodes", ATOMIC),
];

static ATOMIC_STRUCTS: &[&str] = &[
    "io.k8s.api.core.v1.ConfigMapKeySelector",
    "io.k8s.api.core.v1.EndpointAddress",
    "io.k8s.api.core.v1.EndpointPort",
    "io.k8s.api.core.v1.FileKeySelector",
    "io.k8s.api.core.v1.LocalObjectReference",
    "io.k8s.api.core.v1.NodeSelector",
    "io.k8s.api.core.v1.NodeSelectorTerm",
    "io.k8s.api.core.v1.ObjectFieldSelector",
    "io.k8s.api.core.v1.ObjectReference",
    "io.k8s.api.core.v1.ResourceFieldSelector",
    "io.k8s.api.core.v1.SecretKeySelector",
    "io.k8s.api.core.v1.SecretReference",
    "io.k8s.api.core.v1.TypedLocalObjectReference",
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
    "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference",
];
