//! What kubelets may reach, row by row.

use super::*;
use crate::{Requirement, Selection, Verdict};
use serde_json::json;

fn nodes() -> Nodes {
    let mut nodes = Nodes::default();
    let pod = |name: &str, node: &str, spec: Value| {
        let mut pod = json!({"metadata": {"name": name, "namespace": "a"}, "spec": spec});
        pod["spec"]["nodeName"] = node.into();
        pod
    };
    nodes.put(
        "pods",
        &pod(
            "p",
            "n1",
            json!({
                "serviceAccountName": "sa", "imagePullSecrets": [{"name": "pull"}],
                "containers": [{"envFrom": [{"secretRef": {"name": "all"}}, {"configMapRef": {"name": "conf"}}],
                    "env": [{"valueFrom": {"secretKeyRef": {"name": "one"}}}, {"valueFrom": {"configMapKeyRef": {"name": "key"}}}]}],
                "initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "init"}}}]}],
                "volumes": [{"name": "v", "secret": {"secretName": "vol"}}, {"name": "c", "configMap": {"name": "cm"}},
                    {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}}, {"name": "e", "ephemeral": {}},
                    {"name": "f", "projected": {"sources": [{"secret": {"name": "proj"}}]}}],
                "resourceClaims": [{"name": "gpu", "resourceClaimName": "device"}],
            }),
        ),
    );
    nodes.put("pods", &pod("q", "n2", json!({"serviceAccountName": "sb"})));
    let mut mirror = pod("m", "n2", json!({"volumes": [{"secret": {"secretName": "stolen"}}]}));
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    nodes.put("pods", &mirror);
    nodes.put(
        "persistentvolumes",
        &json!({"metadata": {"name": "pv"}, "spec": {"claimRef": {"namespace": "a", "name": "claim"},
            "csi": {"nodeStageSecretRef": {"namespace": "store", "name": "stage"},
                "controllerPublishSecretRef": {"namespace": "store", "name": "controller"}}}}),
    );
    nodes.put("volumeattachments", &json!({"metadata": {"name": "va"}, "spec": {"nodeName": "n1"}}));
    nodes.put("resourceslices", &json!({"metadata": {"name": "slice"}, "spec": {"nodeName": "n1"}}));
    nodes
}

/// `VERB GROUP/RESOURCE[/PART] NAMESPACE NAME [own]`; `-` is empty, `own` selects by spec.nodeName.
fn decide(nodes: &Nodes, node: &str, row: &str) -> Decision {
    let words: Vec<&str> = row.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
    let (group, resource) = words[1].split_once('/').expect("group/resource");
    let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
    let mut selection = Selection::default();
    if words.get(4) == Some(&"own") {
        selection.fields.push(Requirement::equals("spec.nodeName", node));
    }
    let (name, groups) = (format!("system:node:{node}"), vec!["system:nodes".to_owned()]);
    let act = Act::Resource { verb: words[0], group, resource, part, namespace: words[2], name: words[3] };
    let attributes = Attributes { selection: &selection, ..Attributes::new(User::new(&name, &groups), act) };
    nodes.decide(&attributes)
}

#[test]
fn nodes_reach_what_their_pods_need() {
    let nodes = nodes();
    for secret in ["pull", "all", "one", "init", "vol", "proj"] {
        assert!(decide(&nodes, "n1", &format!("get /secrets a {secret}")).is_allowed(), "{secret}");
        assert!(!decide(&nodes, "n2", &format!("get /secrets a {secret}")).is_allowed(), "{secret}");
    }
    for (row, allowed) in [
        ("list /secrets a vol", true),
        ("watch /configmaps a conf", true),
        ("get /configmaps a key", true),
        ("get /configmaps a cm", true),
        ("get /configmaps b cm", false),
        ("list /configmaps a -", false),
        ("update /configmaps a cm", false),
        ("get /persistentvolumeclaims a claim", true),
        ("get /persistentvolumeclaims a p-e", true),
        ("list /persistentvolumeclaims a claim", false),
        ("patch /persistentvolumeclaims/status a claim", true),
        ("get /persistentvolumeclaims/status a claim", false),
        ("get /persistentvolumes - pv", true),
        ("get /secrets store stage", true),
        ("get /secrets store controller", false),
        ("get resource.k8s.io/resourceclaims a device", true),
        ("get storage.k8s.io/volumeattachments - va", true),
        ("create /serviceaccounts/token a sa", true),
        ("create /serviceaccounts/token a sb", false),
        ("get /serviceaccounts a sa", true),
        ("delete resource.k8s.io/resourceslices - slice", true),
        ("get /pods a p", true),
        ("get /pods a q", false),
        ("list /pods - - own", true),
        ("list /pods - -", false),
        ("create /pods/eviction a p", true),
        ("create /pods/exec a p", false),
        ("update /pods/ephemeralcontainers a p", false),
        ("get /nodes - n1", true),
        ("get /nodes - n2", false),
        ("delete /nodes - n1", false),
        ("patch /nodes/status - n1", true),
        ("get /nodes/proxy - n1", false),
        ("create coordination.k8s.io/leases kube-node-lease -", true),
        ("update coordination.k8s.io/leases kube-node-lease n1", true),
        ("update coordination.k8s.io/leases kube-node-lease n2", false),
        ("update coordination.k8s.io/leases kube-system n1", false),
        ("get storage.k8s.io/csinodes - n1", true),
        ("get storage.k8s.io/csinodes - n2", false),
        ("list /services - -", true),
        ("create /events a -", true),
        ("impersonate /users - x", false),
        ("create rbac.authorization.k8s.io/clusterrolebindings - -", false),
    ] {
        assert_eq!(decide(&nodes, "n1", row).is_allowed(), allowed, "{row}");
    }
    assert!(!decide(&nodes, "n2", "get /secrets a stolen").is_allowed(), "a mirror pod gives nothing");
}

#[test]
fn refusals_say_what_nodes_may_do() {
    let nodes = nodes();
    for (row, reason) in [
        ("list /secrets - vol", "can only read namespaced object of this type"),
        ("get /secrets a x", "no relationship found between node 'n1' and this object"),
        ("list /nodes - -", "node 'n1' cannot read all nodes, only its own Node object"),
        ("get /nodes - n2", "node 'n1' cannot read 'n2', only its own Node object"),
        ("list /pods a -", "can only list/watch pods with spec.nodeName field selector"),
    ] {
        let decision = decide(&nodes, "n1", row);
        assert_eq!((decision.verdict, &*decision.reason.to_string()), (Verdict::NoOpinion, reason), "{row}");
    }
    let unknown = decide(&nodes, "", "get /pods a p");
    assert_eq!(unknown.reason.to_string(), "unknown node for user \"system:node:\"");
}

#[test]
fn a_pod_that_leaves_takes_its_rights_along() {
    let mut nodes = nodes();
    let other = json!({"metadata": {"name": "r", "namespace": "a"}, "spec": {"nodeName": "n1",
        "volumes": [{"secret": {"secretName": "vol"}}]}});
    nodes.put("pods", &other);
    nodes.remove("pods", "a", "p");
    assert!(decide(&nodes, "n1", "get /secrets a vol").is_allowed());
    assert!(!decide(&nodes, "n1", "get /secrets a all").is_allowed());
    assert!(!decide(&nodes, "n1", "get /persistentvolumes - pv").is_allowed());
    nodes.remove("pods", "a", "r");
    assert!(!decide(&nodes, "n1", "get /secrets a vol").is_allowed());
    nodes.remove("persistentvolumes", "", "pv");
    nodes.remove("volumeattachments", "", "va");
    assert!(!decide(&nodes, "n1", "get storage.k8s.io/volumeattachments - va").is_allowed());
}

#[test]
fn only_kubelets_are_nodes() {
    let (nodes, groups) = (nodes(), vec!["system:nodes".to_owned()]);
    let act = Act::Resource { verb: "list", group: "", resource: "services", part: "", namespace: "", name: "" };
    assert!(nodes.decide(&Attributes::new(User::new("system:node:n1", &groups), act)).is_allowed());
    assert!(!nodes.decide(&Attributes::new(User::new("system:node:n1", &[]), act)).is_allowed());
    assert!(!nodes.decide(&Attributes::new(User::new("n1", &groups), act)).is_allowed());
}
