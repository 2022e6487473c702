//! What is said of pods that wait.

use super::*;

#[test]
fn refusals_say_why() {
    let wants =
        |resources: Value| json!({"spec": {"containers": [{"name": "c", "resources": {"requests": resources}}]}});
    let term = |key: &str| json!([{"matchExpressions": [{"key": key, "operator": "Exists"}]}]);
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": term("disk")}}});
    let cases = [
        (wants(json!({"cpu": "2500m"})), json!({}), "1 Insufficient cpu."),
        (wants(json!({"cpu": "3", "memory": "2Gi"})), json!({}), "1 Insufficient cpu, 1 Insufficient memory."),
        (wants(json!({"ephemeral-storage": "2Gi"})), json!({}), "1 Insufficient ephemeral-storage."),
        (wants(json!({"example.com/gpu": "1"})), json!({}), "1 Insufficient example.com/gpu."),
        (wants(json!({"hugepages-2Mi": "2Mi"})), json!({}), "1 Insufficient hugepages-2Mi."),
        (
            json!({"spec": {"nodeSelector": {"zone": "b"}}}),
            json!({}),
            "1 node(s) didn't match Pod's node affinity/selector.",
        ),
        (json!({"spec": {"affinity": affinity}}), json!({}), "1 node(s) didn't match Pod's node affinity/selector."),
        (json!({}), json!({"spec": {"unschedulable": true}}), "1 node(s) were unschedulable."),
        (
            json!({}),
            json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}),
            "1 node(s) had untolerated taint(s).",
        ),
        (json!({}), json!({"status": {"allocatable": {"pods": "0"}}}), "1 Too many pods."),
    ];
    for (own, of_node, expected) in cases {
        let cluster = cluster([node("n", of_node)], &[]);
        assert_eq!(said(&cluster, &pod("p", own)), format!("0/1 nodes are available: {expected}"));
    }
    assert_eq!(said(&Cluster::new(), &pod("p", json!({}))), "no nodes available to schedule pods");
}

#[test]
fn what_is_tolerated_is_no_obstacle() {
    let tolerant = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
    let taints = json!([{"key": "k", "effect": "NoExecute"}]);
    let cluster = cluster([node("n", json!({"spec": {"unschedulable": true, "taints": taints}}))], &[]);
    assert_eq!(said(&cluster, &pod("p", tolerant)), "on n");
}

#[test]
fn preemption_says_where_it_would_not_help() {
    let full = sized("full", "2", 5, Some("a"));
    let cluster = cluster([node("a", json!({})), node("b", json!({"spec": {"unschedulable": true}}))], &[full]);
    let Decision::Wait(wait) = decide(&cluster, &sized("p", "1", 5, None)) else { panic!("there is no room") };
    assert_eq!(
        wait.message,
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable. no new claims to deallocate, preemption: \
         0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
    );
}

#[test]
fn nodes_that_affinity_does_not_name_are_counted_together() {
    let fields = json!([{"key": "metadata.name", "operator": "In", "values": ["a"]}]);
    let terms = json!({"nodeSelectorTerms": [{"matchFields": fields}]});
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
    let taint = json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
    let cluster = cluster([node("a", taint), node("b", json!({})), node("c", json!({}))], &[]);
    assert_eq!(
        said(&cluster, &pod("p", json!({"spec": {"affinity": affinity}}))),
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    );
}

#[test]
fn host_ports_conflict_by_address_and_protocol() {
    let with = |name: &str, ip: &str, protocol: &str, node: Option<&str>| {
        let ports = json!([{"containerPort": 80, "hostPort": 8080, "hostIP": ip, "protocol": protocol}]);
        pod(name, json!({"spec": {"containers": [{"name": "c", "ports": ports}], "nodeName": node}}))
    };
    let cases = [
        ("10.0.0.1", "TCP", "10.0.0.1", "TCP", false),
        ("10.0.0.1", "TCP", "10.0.0.2", "TCP", true),
        ("10.0.0.1", "TCP", "0.0.0.0", "TCP", false),
        ("", "TCP", "10.0.0.1", "TCP", false),
        ("10.0.0.1", "TCP", "10.0.0.1", "UDP", true),
    ];
    for (ip, protocol, other_ip, other_protocol, fits) in cases {
        let cluster = cluster([node("n", json!({}))], &[with("a", ip, protocol, Some("n"))]);
        let said = said(&cluster, &with("p", other_ip, other_protocol, None));
        assert_eq!(said == "on n", fits, "{ip}/{protocol} {other_ip}/{other_protocol}: {said}");
    }
}

/// The emptiest node wins by default, the fullest by another strategy.
#[test]
fn strategies_choose() {
    let cluster = cluster([node("a", json!({})), node("b", json!({}))], &[sized("x", "1", 0, Some("a"))]);
    let wanted = sized("p", "500m", 0, None);
    assert_eq!(said(&cluster, &wanted), "on b");
    let mut profile = profile();
    profile.args.strategy = crate::profile::Strategy::MostAllocated;
    profile.scores = vec![(crate::Plugin::NodeResourcesFit, 1)];
    let Decision::Bind(placement) = decide_with(&cluster, &profile, &wanted) else { panic!("there is room") };
    assert_eq!(placement.node, "a");
}

/// The same seed chooses the same among equals, and does not favour the first by name.
#[test]
fn equals_are_chosen_among_by_the_seed() {
    let nodes: Vec<Object> = (0..8).map(|number| node(&format!("n{number}"), json!({}))).collect();
    let cluster = cluster(nodes, &[]);
    let chosen = |name: &str| said(&cluster, &pod(name, json!({})));
    let all: std::collections::BTreeSet<String> = (0..20).map(|number| chosen(&format!("p{number}"))).collect();
    assert!(all.len() > 3, "{all:?}");
    assert_eq!(chosen("p1"), chosen("p1"));
}
