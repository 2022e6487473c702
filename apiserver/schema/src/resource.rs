//! The resources the server knows: names, scope, verbs and subresources, as Kubernetes' discovery announces them.
//!
//! One static row per resource. [`find_auxiliary`] holds the kinds that are only ever bodies of subresources or of options
//! (Scale, Binding, Eviction, DeleteOptions): they have a schema but no path of their own.

/// A resource: what a path such as `/apis/apps/v1/namespaces/x/deployments` names.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Version within the group, e.g. `v1`.
    pub version: &'static str,
    /// Kind of one object, e.g. `Pod`.
    pub kind: &'static str,
    /// Kind of a list of them, e.g. `PodList`.
    pub list_kind: &'static str,
    /// Name in paths, e.g. `pods`; empty for auxiliary kinds.
    pub plural: &'static str,
    /// Name of one, e.g. `pod`.
    pub singular: &'static str,
    /// Short names kubectl accepts, e.g. `po`.
    pub short_names: &'static [&'static str],
    /// Groups of resources, e.g. `all` for `kubectl get all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Verbs served, in alphabetical order; empty for auxiliary kinds.
    pub verbs: &'static [&'static str],
    /// Subresources served, in alphabetical order.
    pub subresources: &'static [Subresource],
    /// Name of the schema's definition, e.g. `io.k8s.api.core.v1.Pod`.
    pub definition: &'static str,
}

/// A subresource such as `pods/status`; its kind may live in another group (`autoscaling/v1` Scale).
#[derive(Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Last segment of the path, e.g. `status`.
    pub name: &'static str,
    /// API group of the kind.
    pub group: &'static str,
    /// Version of the kind.
    pub version: &'static str,
    /// Kind of the body.
    pub kind: &'static str,
    /// Verbs served, in alphabetical order.
    pub verbs: &'static [&'static str],
}

impl Resource {
    /// `v1`, `apps/v1`: what objects carry as `apiVersion`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Group, version and plural: what a request path names.
    #[must_use]
    pub fn gvr(&self) -> (&'static str, &'static str, &'static str) {
        (self.group, self.version, self.plural)
    }

    /// `pods`, `deployments.apps`: how Kubernetes' error texts name a resource.
    #[must_use]
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The subresource of that name, if it is served.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// Whether `spec` and `status` are written through different paths, so that writes to one ignore the other.
    #[must_use]
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }
}

/// All resources, ordered by group (core first) and name.
#[must_use]
pub fn resources() -> &'static [Resource] {
    RESOURCES
}

/// The resource a path names: group (empty for core), version, plural.
#[must_use]
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|resource| resource.gvr() == (group, version, plural))
}

/// The resource an object names by its `apiVersion` and `kind`.
#[must_use]
pub fn find_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    RESOURCES.iter().find(|resource| (resource.group, resource.version, resource.kind) == (group, version, kind))
}

/// A kind that is only the body of a subresource or of options: `autoscaling/v1` Scale, `v1` Binding, `policy/v1` Eviction,
/// DeleteOptions. Give it to [`crate::decode`] like any resource.
///
/// DeleteOptions belong to `meta.k8s.io/v1`, but typed clients send them as `apps/v1` or whatever group they are about, so any
/// version will do, as in Kubernetes' own scheme.
#[must_use]
pub fn find_auxiliary(api_version: &str, kind: &str) -> Option<&'static Resource> {
    let api_version = if kind == "DeleteOptions" { "meta.k8s.io/v1" } else { api_version };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    AUXILIARY.iter().find(|resource| (resource.group, resource.version, resource.kind) == (group, version, kind))
}

pub(crate) fn auxiliary() -> &'static [Resource] {
    AUXILIARY
}

const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const NO_COLLECTION_DELETE: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const READ_WRITE: &[&str] = &["get", "patch", "update"];
const STREAM: &[&str] = &["create", "get"];
const CREATE: &[&str] = &["create"];
const GET: &[&str] = &["get"];

const fn sub(name: &'static str, of: [&'static str; 3], verbs: &'static [&'static str]) -> Subresource {
    Subresource { name, group: of[0], version: of[1], kind: of[2], verbs }
}

const SCALE: Subresource = sub("scale", ["autoscaling", "v1", "Scale"], READ_WRITE);

/// A row's unremarkable values: namespaced, all verbs, no short names, categories or subresources.
const fn row(
    gv: [&'static str; 2],
    kinds: [&'static str; 2],
    names: [&'static str; 2],
    definition: &'static str,
) -> Resource {
    Resource {
        group: gv[0],
        version: gv[1],
        kind: kinds[0],
        list_kind: kinds[1],
        plural: names[0],
        singular: names[1],
        short_names: &[],
        categories: &[],
        namespaced: true,
        verbs: ALL,
        subresources: &[],
        definition,
    }
}

const CORE: [&str; 2] = ["", "v1"];
const APPS: [&str; 2] = ["apps", "v1"];

static RESOURCES: &[Resource] = &[
    Resource {
        short_names: &["cm"],
        ..row(CORE, ["ConfigMap", "ConfigMapList"], ["configmaps", "configmap"], "io.k8s.api.core.v1.ConfigMap")
    },
    Resource {
        short_names: &["ep"],
        ..row(CORE, ["Endpoints", "EndpointsList"], ["endpoints", "endpoints"], "io.k8s.api.core.v1.Endpoints")
    },
    Resource {
        short_names: &["ev"],
        ..row(CORE, ["Event", "EventList"], ["events", "event"], "io.k8s.api.core.v1.Event")
    },
    Resource {
        short_names: &["ns"],
        namespaced: false,
        verbs: NO_COLLECTION_DELETE,
        subresources: &[
            sub("finalize", ["", "v1", "Namespace"], &["update"]),
            sub("status", ["", "v1", "Namespace"], READ_WRITE),
        ],
        ..row(CORE, ["Namespace", "NamespaceList"], ["namespaces", "namespace"], "io.k8s.api.core.v1.Namespace")
    },
    Resource {
        short_names: &["no"],
        namespaced: false,
        subresources: &[sub("status", ["", "v1", "Node"], READ_WRITE)],
        ..row(CORE, ["Node", "NodeList"], ["nodes", "node"], "io.k8s.api.core.v1.Node")
    },
    Resource {
        short_names: &["po"],
        categories: &["all"],
        subresources: &[
            sub("attach", ["", "v1", "PodAttachOptions"], STREAM),
            sub("binding", ["", "v1", "Binding"], CREATE),
            sub("eviction", ["policy", "v1", "Eviction"], CREATE),
            sub("exec", ["", "v1", "PodExecOptions"], STREAM),
            sub("log", ["", "v1", "Pod"], GET),
            sub("portforward", ["", "v1", "PodPortForwardOptions"], STREAM),
            sub("status", ["", "v1", "Pod"], READ_WRITE),
        ],
        ..row(CORE, ["Pod", "PodList"], ["pods", "pod"], "io.k8s.api.core.v1.Pod")
    },
    row(CORE, ["Secret", "SecretList"], ["secrets", "secret"], "io.k8s.api.core.v1.Secret"),
    Resource {
        short_names: &["sa"],
        ..row(
            CORE,
            ["ServiceAccount", "ServiceAccountList"],
            ["serviceaccounts", "serviceaccount"],
            "io.k8s.api.core.v1.ServiceAccount",
        )
    },
    Resource {
        short_names: &["svc"],
        categories: &["all"],
        subresources: &[sub("status", ["", "v1", "Service"], READ_WRITE)],
        ..row(CORE, ["Service", "ServiceList"], ["services", "service"], "io.k8s.api.core.v1.Service")
    },
    Resource {
        short_names: &["deploy"],
        categories: &["all"],
        subresources: &[SCALE, sub("status", ["apps", "v1", "Deployment"], READ_WRITE)],
        ..row(APPS, ["Deployment", "DeploymentList"], ["deployments", "deployment"], "io.k8s.api.apps.v1.Deployment")
    },
    Resource {
        short_names: &["rs"],
        categories: &["all"],
        subresources: &[SCALE, sub("status", ["apps", "v1", "ReplicaSet"], READ_WRITE)],
        ..row(APPS, ["ReplicaSet", "ReplicaSetList"], ["replicasets", "replicaset"], "io.k8s.api.apps.v1.ReplicaSet")
    },
    Resource {
        categories: &["all"],
        subresources: &[sub("status", ["batch", "v1", "Job"], READ_WRITE)],
        ..row(["batch", "v1"], ["Job", "JobList"], ["jobs", "job"], "io.k8s.api.batch.v1.Job")
    },
    row(["coordination.k8s.io", "v1"], ["Lease", "LeaseList"], ["leases", "lease"], "io.k8s.api.coordination.v1.Lease"),
    row(
        ["discovery.k8s.io", "v1"],
        ["EndpointSlice", "EndpointSliceList"],
        ["endpointslices", "endpointslice"],
        "io.k8s.api.discovery.v1.EndpointSlice",
    ),
];

const fn body(gv: [&'static str; 2], kind: &'static str, definition: &'static str) -> Resource {
    Resource { verbs: &[], ..row(gv, [kind, ""], ["", ""], definition) }
}

static AUXILIARY: &[Resource] = &[
    body(["autoscaling", "v1"], "Scale", "io.k8s.api.autoscaling.v1.Scale"),
    body(CORE, "Binding", "io.k8s.api.core.v1.Binding"),
    body(["policy", "v1"], "Eviction", "io.k8s.api.policy.v1.Eviction"),
    // kubectl before 1.22 evicts with the version that is gone since; the fields are the same.
    body(["policy", "v1beta1"], "Eviction", "io.k8s.api.policy.v1.Eviction"),
    body(["meta.k8s.io", "v1"], "DeleteOptions", "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"),
];
