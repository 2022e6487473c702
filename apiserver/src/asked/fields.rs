//! Fields of bodies that are no objects of a resource, and of our gRPC messages.

use super::Place::{Body, Grpc};
use super::verbs::DELETES;
use super::{Row, honoured, refused, row, without};

const BIND: &[&str] = &["create binding"];
const EVICT: &[&str] = &["create eviction"];
const SCALE: &[&str] = &["update scale"];
const WRITES: &[&str] = &["Create", "Update", "Patch"];
const ALL: &[&str] = &["Get", "List", "Watch", "Create", "Update", "Patch", "Delete"];

const AS_THERE: &str = "Kubernetes does not read it there either";

pub(super) const ROWS: &[Row] = &[
    // DeleteOptions.
    row(Body, "kind", DELETES, r#""Pod""#, refused(400, "only DeleteOptions")),
    row(Body, "apiVersion", DELETES, r#""apps/v1""#, without("DeleteOptions mean the same in every group and version")),
    row(Body, "gracePeriodSeconds", DELETES, r#""x""#, honoured("the time that a pod has to end")),
    row(Body, "preconditions.uid", DELETES, r#""x""#, refused(409, "the object must still be that one")),
    row(
        Body,
        "preconditions.resourceVersion",
        DELETES,
        r#""1""#,
        refused(409, "the object must still be in that state"),
    ),
    row(Body, "orphanDependents", DELETES, "true", honoured("the old word for propagationPolicy")),
    row(Body, "propagationPolicy", DELETES, r#""Orphan""#, honoured("what becomes of what it owns")),
    row(Body, "dryRun", DELETES, r#"["All"]"#, honoured("everything but stored")),
    row(
        Body,
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        DELETES,
        "true",
        without("as in Kubernetes unless AllowUnsafeMalformedObjectDeletion is on, which it is not by default"),
    ),
    // Eviction.
    row(Body, "kind", EVICT, r#""Pod""#, refused(400, "only Eviction")),
    row(Body, "apiVersion", EVICT, r#""policy/v1beta1""#, without("both versions mean the same")),
    row(Body, "metadata.name", EVICT, r#""other""#, refused(400, "it is about the pod of the path")),
    row(Body, "metadata.namespace", EVICT, r#""other""#, refused(400, "it is about the pod of the path")),
    row(Body, "metadata.labels", EVICT, r#"{"a": "b"}"#, without(AS_THERE)),
    row(Body, "deleteOptions.dryRun", EVICT, r#"["All"]"#, honoured("everything but stored")),
    row(Body, "deleteOptions.preconditions.uid", EVICT, r#""x""#, refused(409, "the pod must still be that one")),
    row(Body, "deleteOptions.propagationPolicy", EVICT, r#""Orphan""#, honoured("what becomes of what it owns")),
    row(Body, "deleteOptions.gracePeriodSeconds", EVICT, r#""x""#, honoured("the time that the pod has to end")),
    // Binding.
    row(Body, "kind", BIND, r#""Pod""#, refused(400, "only Binding")),
    row(Body, "metadata.name", BIND, r#""other""#, refused(400, "it is about the pod of the path")),
    row(Body, "metadata.uid", BIND, r#""x""#, refused(409, "the pod must still be that one")),
    row(Body, "metadata.resourceVersion", BIND, r#""1""#, refused(409, "the pod must still be in that state")),
    row(Body, "metadata.annotations", BIND, r#"{"a": "b"}"#, honoured("they become the pod's")),
    row(Body, "metadata.labels", BIND, r#"{"a": "b"}"#, honoured("those that the pod has not become the pod's")),
    row(Body, "target.name", BIND, r#""m""#, honoured("the node")),
    row(Body, "target.kind", BIND, r#""Pod""#, refused(422, "pods are bound to nodes")),
    row(Body, "target.namespace", BIND, r#""other""#, without(AS_THERE)),
    row(Body, "target.uid", BIND, r#""x""#, without(AS_THERE)),
    // Scale.
    row(Body, "kind", SCALE, r#""Pod""#, refused(400, "only Scale")),
    row(Body, "metadata.name", SCALE, r#""other""#, refused(400, "it is about the object of the path")),
    row(Body, "metadata.uid", SCALE, r#""x""#, refused(409, "the object must still be that one")),
    row(Body, "metadata.resourceVersion", SCALE, r#""1""#, refused(409, "the object must still be in that state")),
    row(Body, "metadata.labels", SCALE, r#"{"a": "b"}"#, without(AS_THERE)),
    row(Body, "spec.replicas", SCALE, "7", honoured("how many there are to be")),
    row(Body, "status.replicas", SCALE, "7", without("the object's status has a path of its own")),
    // gRPC, where a refusal's code is that of REST.
    row(
        Grpc,
        "field_manager",
        WRITES,
        "\u{7}",
        refused(422, "not printable; a sound name owns the fields that change"),
    ),
    row(Grpc, "force", &["Patch"], "true", refused(422, "it is for server-side apply, and this is another patch")),
    row(Grpc, "dry_run", &["Create", "Update", "Patch", "Delete"], "true", honoured("everything but stored")),
    row(Grpc, "uid", &["Delete"], "x", refused(409, "the object must still be that one")),
    row(Grpc, "resource_version", &["Delete"], "1", refused(409, "the object must still be in that state")),
    row(Grpc, "propagation_policy", &["Delete"], "Orphan", honoured("what becomes of what it owns")),
    row(Grpc, "metadata: impersonate-user", ALL, "nobody", refused(403, "acts as that user, who may do nothing here")),
    row(Grpc, "metadata: impersonate-group", ALL, "g", refused(400, "groups of nobody")),
    row(
        Grpc,
        "metadata: authorization",
        ALL,
        "Bearer x",
        without("a certificate counts first; without one it says who asks, or is refused"),
    ),
    row(Grpc, "metadata: audit-id", ALL, "a-1", honoured("the answer repeats it")),
    row(Grpc, "metadata: color", ALL, "red", without("nobody knows it")),
];
