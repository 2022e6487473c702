//! Claims: bound ones, ones that wait for their first consumer, and ones that only one pod may use.

use super::*;

fn class(name: &str, mode: &str, provisioner: &str) -> Object {
    let class = json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode});
    Object::Class(Arc::new(serde_json::from_value(class).unwrap()))
}

fn claim(name: &str, extra: Value) -> Object {
    let mut whole = json!({"metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"storageClassName": "wait", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    super::merge(&mut whole, extra);
    Object::Claim(Arc::new(serde_json::from_value(whole).unwrap()))
}

fn volume(name: &str, size: &str, on: &str, extra: Value) -> Object {
    let terms = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [on]}]}]);
    let mut whole = json!({"metadata": {"name": name}, "status": {"phase": "Available"},
        "spec": {"storageClassName": "wait", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size},
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}});
    super::merge(&mut whole, extra);
    Object::Volume(Arc::new(serde_json::from_value(whole).unwrap()))
}

fn using(name: &str, claim: &str) -> Arc<PodInfo> {
    pod(name, json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}}))
}

fn bound(name: &str, volume: &str) -> Object {
    let done = json!({"pv.kubernetes.io/bind-completed": "yes"});
    claim(name, json!({"metadata": {"annotations": done}, "spec": {"volumeName": volume}}))
}

fn nodes() -> Vec<Object> {
    vec![node("a", json!({})), node("b", json!({}))]
}

fn with(more: impl IntoIterator<Item = Object>) -> Cluster {
    cluster(nodes().into_iter().chain(more), &[])
}

#[test]
fn a_claim_that_is_not_there_or_not_bound_is_named() {
    let missing = "0/2 nodes are available: persistentvolumeclaim \"c\" not found. not found";
    assert_eq!(said(&with([]), &using("p", "c")), missing);
    let immediate = with([class("now", "Immediate", "x"), claim("c", json!({"spec": {"storageClassName": "now"}}))]);
    let unbound = "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found";
    assert_eq!(said(&immediate, &using("p", "c")), unbound);
}

#[test]
fn pods_go_where_their_volumes_are() {
    let cluster = with([volume("v", "1Gi", "b", json!({})), bound("c", "v")]);
    assert_eq!(said(&cluster, &using("p", "c")), "on b");
    let elsewhere = with([volume("v", "1Gi", "z", json!({})), bound("c", "v")]);
    assert_eq!(
        said(&elsewhere, &using("p", "c")),
        "0/2 nodes are available: 2 node(s) didn't match PersistentVolume's node affinity."
    );
}

/// The smallest volume that is large enough, on a node where there is one.
#[test]
fn waiting_claims_get_volumes_that_are_there() {
    let volumes = [("small", "500Mi", "a"), ("large", "5Gi", "b"), ("right", "2Gi", "b")];
    let volumes = volumes.map(|(name, size, on)| volume(name, size, on, json!({})));
    let none = class("wait", "WaitForFirstConsumer", "kubernetes.io/no-provisioner");
    let mut cluster = with(volumes.into_iter().chain([none, claim("c", json!({})), claim("d", json!({}))]));
    let placed = |cluster: &Cluster, claim: &str| match decide(cluster, &using("p", claim)) {
        Decision::Bind(placement) => placement,
        Decision::Wait(wait) => panic!("{}", wait.message),
    };
    let first = placed(&cluster, "c");
    let name = |placement: &crate::decide::Placement| placement.volumes.bindings[0].0.metadata.name.clone().unwrap();
    assert_eq!((first.node.as_str(), name(&first).as_str()), ("b", "right"));
    cluster.storage.assume(&first.volumes, &first.node);
    assert_eq!(name(&placed(&cluster, "d")), "large", "what was given is not given again");
}

#[test]
fn waiting_claims_get_volumes_made() {
    let cluster = with([class("wait", "WaitForFirstConsumer", "local"), claim("c", json!({}))]);
    let Decision::Bind(placement) = decide(&cluster, &using("p", "c")) else { panic!("a volume can be made") };
    assert_eq!(placement.volumes.provisions.len(), 1);
    let chosen = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "a"}}});
    let again = with([class("wait", "WaitForFirstConsumer", "local"), claim("c", chosen)]);
    assert_eq!(said(&again, &using("p", "c")), "on a", "it is being made there");
    let never = class("wait", "WaitForFirstConsumer", "kubernetes.io/no-provisioner");
    assert_eq!(
        said(&with([never, claim("c", json!({}))]), &using("p", "c")),
        "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind."
    );
}

#[test]
fn one_pod_at_a_time_uses_a_claim_of_that_mode() {
    let only = json!({"spec": {"accessModes": ["ReadWriteOncePod"]}});
    let mut claim = bound("c", "v");
    if let Object::Claim(inner) = &mut claim {
        Arc::make_mut(inner).spec.as_mut().unwrap().access_modes = Some(vec!["ReadWriteOncePod".into()]);
    }
    drop(only);
    let mut cluster = with([volume("v", "1Gi", "b", json!({})), claim]);
    assert_eq!(said(&cluster, &using("p", "c")), "on b");
    cluster.assume(&using("first", "c"), "b");
    let reason = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    assert_eq!(said(&cluster, &using("p", "c")), format!("0/2 nodes are available: 2 {reason}."));
}

#[test]
fn volumes_of_another_zone_are_not_used() {
    let zone = |zone: &str| json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
    let mut volume = volume("v", "1Gi", "b", zone("2"));
    if let Object::Volume(inner) = &mut volume {
        Arc::make_mut(inner).spec.as_mut().unwrap().node_affinity = None;
    }
    let cluster = cluster([node("a", zone("1")), volume, bound("c", "v")], &[]);
    assert_eq!(said(&cluster, &using("p", "c")), "0/1 nodes are available: 1 node(s) had no available volume zone.");
}

#[test]
fn drivers_attach_only_so_many() {
    let csi = |handle: &str| json!({"spec": {"csi": {"driver": "d", "volumeHandle": handle}, "nodeAffinity": null}});
    let limits = json!({"metadata": {"name": "a"}, "spec": {"drivers": [{"name": "d", "nodeID": "a", "allocatable": {"count": 1}}]}});
    let csi_node = Object::CsiNode(Arc::new(serde_json::from_value(limits).unwrap()));
    let objects =
        [node("a", json!({})), csi_node, volume("v", "1Gi", "a", csi("1")), volume("w", "1Gi", "a", csi("2"))];
    let mut cluster = cluster(objects.into_iter().chain([bound("c", "v"), bound("e", "w")]), &[]);
    assert_eq!(said(&cluster, &using("p", "c")), "on a");
    cluster.assume(&using("first", "c"), "a");
    assert_eq!(said(&cluster, &using("p", "c")), "on a", "the same volume is attached once");
    assert_eq!(said(&cluster, &using("p", "e")), "0/1 nodes are available: 1 node(s) exceed max volume count.");
}
