//! What kubelets may write, row by row.

use super::super::testing::Shelf;
use super::super::{Attributes, built_in};
use super::*;
use crate::registry::Target;
use crate::request::Request;
use skiff_client::Identity;

/// What becomes of a write by the kubelet of node `n`; `resource` is `group/plural/part`.
async fn write(
    resource: &str,
    name: &str,
    operation: Operation,
    old: Option<Value>,
    mut new: Value,
) -> Result<(), String> {
    let parts: Vec<&str> = resource.split('/').collect();
    let resource = built_in(parts[0], parts[1]).expect("built in");
    let shelf = Shelf::default().with("nodes", "", json!({"metadata": {"name": "n", "uid": "node-uid"}})).with(
        "pods",
        "a",
        pod("n"),
    );
    let namespace = match parts[1] {
        "leases" => "kube-node-lease",
        _ if resource.namespaced => "a",
        _ => "",
    };
    let target = Target { resource, namespace, name };
    let request =
        Request::new(Identity::node("n"), "update", &target).of_part(parts.get(2).copied().unwrap_or_default());
    let seen = Attributes { name, old: old.as_ref(), ..Attributes::new(&request, operation, &shelf) };
    admit(&seen, &mut new).await.map_err(|status| status.message)
}

fn pod(node: &str) -> Value {
    json!({"metadata": {"name": "p", "namespace": "a", "uid": "u"}, "spec": {"nodeName": node,
        "volumes": [{"projected": {"sources": [{"serviceAccountToken": {"audience": "vault"}}]}}]}})
}

fn mirror() -> Value {
    json!({"metadata": {"name": "m", "annotations": {"kubernetes.io/config.mirror": "h"}, "ownerReferences": [
        {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "node-uid", "controller": true}]},
        "spec": {"nodeName": "n", "volumes": [{"hostPath": {"path": "/"}}]}})
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    object.pointer_mut(parent).expect("a parent")[field] = value;
    object
}

fn is_refused(outcome: Result<(), String>, why: &str) {
    let refused = outcome.expect_err(why);
    assert!(refused.contains(why), "{refused:?} does not say {why:?}");
}

#[tokio::test]
async fn a_kubelet_makes_mirrors_of_its_own_files_only() {
    let create = |pod| write("/pods", "m", Operation::Create, None, pod);
    assert_eq!(create(mirror()).await, Ok(()));
    is_refused(create(with(mirror(), "/metadata/annotations", json!({}))).await, "can only create mirror pods");
    is_refused(create(with(mirror(), "/spec/nodeName", "o".into())).await, "spec.nodeName set to itself");
    is_refused(create(with(mirror(), "/metadata/ownerReferences", json!([]))).await, "owner reference set to itself");
    let owner =
        |field: &str, value: Value| create(with(mirror(), &format!("/metadata/ownerReferences/0/{field}"), value));
    is_refused(owner("name", "o".into()).await, "owner reference set to itself");
    is_refused(owner("controller", false.into()).await, "controller owner reference");
    is_refused(owner("blockOwnerDeletion", true.into()).await, "must not set blockOwnerDeletion");
    is_refused(owner("uid", "x".into()).await, "node n UID mismatch: expected x got node-uid");
    for (pointer, value, what) in [
        ("/spec/serviceAccountName", json!("s"), "serviceaccounts"),
        ("/spec/imagePullSecrets", json!([{"name": "s"}]), "secrets"),
        ("/spec/containers", json!([{"envFrom": [{"configMapRef": {"name": "c"}}]}]), "configmaps"),
        ("/spec/volumes", json!([{"secret": {"secretName": "s"}}]), "secrets (via secret volumes)"),
        (
            "/spec/volumes",
            json!([{"projected": {"sources": [{"serviceAccountToken": {}}]}}]),
            "serviceaccounts (via projected volumes)",
        ),
        ("/spec/resourceClaims", json!([{"name": "c"}]), "resourceclaims"),
    ] {
        is_refused(create(with(mirror(), pointer, value)).await, &format!("can not create pods that reference {what}"));
    }
}

#[tokio::test]
async fn a_kubelet_speaks_of_its_own_pods_only() {
    let status = |node: &str, new: Value| write("/pods/status", "p", Operation::Update, Some(pod(node)), new);
    assert_eq!(status("n", with(pod("n"), "/metadata/labels", json!({}))).await, Ok(()));
    is_refused(status("o", pod("o")).await, "can only update pod status for pods with spec.nodeName set to itself");
    is_refused(
        status("n", with(pod("n"), "/metadata/labels", json!({"a": "b"}))).await,
        "cannot update labels through pod status",
    );
    let delete = |node: &str| write("/pods", "p", Operation::Delete, Some(pod(node)), Value::Null);
    assert_eq!(delete("n").await, Ok(()));
    is_refused(delete("o").await, "can only delete pods with spec.nodeName set to itself");
    is_refused(
        write("/pods", "p", Operation::Update, Some(pod("n")), pod("n")).await,
        "can only create and delete mirror pods",
    );
    is_refused(
        write("/pods/ephemeralcontainers", "p", Operation::Update, Some(pod("n")), pod("n")).await,
        "unexpected pod subresource",
    );
}

#[tokio::test]
async fn a_kubelet_writes_its_own_node_only() {
    let node = || json!({"metadata": {"name": "n", "labels": {}}, "spec": {}});
    let create = |name, node| write("/nodes", name, Operation::Create, None, node);
    let update = |new: Value| write("/nodes", "n", Operation::Update, Some(node()), new);
    assert_eq!(create("n", node()).await, Ok(()));
    is_refused(create("o", node()).await, "node \"n\" is not allowed to modify node \"o\"");
    for (label, allowed) in [
        ("kubernetes.io/hostname", true),
        ("custom.io/x", true),
        ("x", true),
        ("node.kubernetes.io/pool", true),
        ("team.kubelet.kubernetes.io/x", true),
        ("node-restriction.kubernetes.io/x", false),
        ("a.node-restriction.kubernetes.io/x", false),
        ("node-role.kubernetes.io/control-plane", false),
        ("x.k8s.io/y", false),
    ] {
        let labelled = with(node(), "/metadata/labels", json!({label: ""}));
        assert_eq!(create("n", labelled.clone()).await.is_ok(), allowed, "create with {label}");
        assert_eq!(update(labelled).await.is_ok(), allowed, "update with {label}");
    }
    is_refused(update(with(node(), "/spec/taints", json!([{"key": "k"}]))).await, "is not allowed to modify taints");
    is_refused(
        update(with(node(), "/metadata/ownerReferences", json!([{}]))).await,
        "is not allowed to modify ownerReferences",
    );
    assert_eq!(update(with(node(), "/spec/taints", json!([]))).await, Ok(()));
}

#[tokio::test]
async fn a_kubelet_holds_its_own_lease_only() {
    let lease = |name| write("coordination.k8s.io/leases", name, Operation::Create, None, json!({}));
    assert_eq!(lease("n").await, Ok(()));
    is_refused(lease("o").await, "can only access node lease with the same name as the requesting node");
    is_refused(
        write("storage.k8s.io/csinodes", "o", Operation::Update, None, json!({})).await,
        "CSINode with the same name",
    );
    let slice = |node: &str| {
        write("resource.k8s.io/resourceslices", "s", Operation::Create, None, json!({"spec": {"nodeName": node}}))
    };
    assert_eq!(slice("n").await, Ok(()));
    is_refused(slice("o").await, "can only create ResourceSlice");
    let claim = || json!({"metadata": {"name": "c"}, "spec": {}, "status": {}});
    let status = |new| write("/persistentvolumeclaims/status", "c", Operation::Update, Some(claim()), new);
    assert_eq!(status(with(claim(), "/status/capacity", json!({"storage": "1Gi"}))).await, Ok(()));
    is_refused(status(with(claim(), "/metadata/labels", json!({"a": "b"}))).await, "fields other than status.quantity");
}

#[tokio::test]
async fn a_kubelet_asks_for_tokens_of_its_own_pods_only() {
    let token = |bound: Value, audiences: Value| {
        let request = json!({"spec": {"boundObjectRef": bound, "audiences": audiences}});
        write("/serviceaccounts/token", "sa", Operation::Create, None, request)
    };
    let bound = |uid: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid});
    assert_eq!(token(bound("u"), json!(["vault"])).await, Ok(()));
    is_refused(token(Value::Null, json!([])).await, "not bound to a pod");
    is_refused(token(bound(""), json!([])).await, "without a uid");
    is_refused(token(bound("x"), json!([])).await, "does not match the UID in record");
    is_refused(token(bound("u"), json!(["other"])).await, "audience \"other\" not found in pod spec volume");
    is_refused(token(bound("u"), json!(["vault", "b"])).await, "0 or 1 audiences");
}

#[tokio::test]
async fn a_kubelet_asks_for_its_own_certificate_only() {
    let request = |name: &str, signer: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = params.serialize_request(&key).expect("a request").pem().expect("PEM");
        json!({"spec": {"signerName": signer, "request": STANDARD.encode(pem)}})
    };
    let create = |object| write("certificates.k8s.io/certificatesigningrequests", "r", Operation::Create, None, object);
    assert_eq!(create(request("system:node:n", KUBELET_SIGNERS[0])).await, Ok(()));
    is_refused(
        create(request("system:node:o", KUBELET_SIGNERS[1])).await,
        "can only create a node CSR with CN=system:node:n",
    );
    assert_eq!(create(request("x", "kubernetes.io/kube-apiserver-client")).await, Ok(()));
}
