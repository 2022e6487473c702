//! Affinity between pods, and topology spread.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn zoned(name: &str, zone: &str) -> Object {
    node(name, json!({"metadata": {"labels": {"zone": zone}}, "status": {"allocatable": {"pods": "100"}}}))
}

fn affinity(kind: &str, labels: Value, key: &str) -> Value {
    let term = json!([{"labelSelector": {"matchLabels": labels}, "topologyKey": key}]);
    json!({"spec": {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": term}}}})
}

fn on(name: &str, node: &str, extra: Value) -> Arc<PodInfo> {
    let mut whole = json!({"spec": {"nodeName": node}});
    super::merge(&mut whole, extra);
    pod(name, whole)
}

#[test]
fn pods_are_near_whom_they_want() {
    let db = on("db", "a", json!({"metadata": {"labels": {"app": "db"}}}));
    let cluster = cluster([zoned("a", "1"), zoned("b", "2")], &[db]);
    assert_eq!(said(&cluster, &pod("p", affinity("podAffinity", json!({"app": "db"}), "zone"))), "on a");
    let nobody = pod("p", affinity("podAffinity", json!({"app": "none"}), "zone"));
    assert_eq!(said(&cluster, &nobody), "0/2 nodes are available: 2 node(s) didn't match pod affinity rules.");
    let first = pod("p", affinity("podAffinity", json!({"app": "web"}), "zone"));
    assert!(said(&cluster, &first).starts_with("on "), "the first of a group has nobody to be near");
}

#[test]
fn pods_are_far_from_whom_they_do_not_want() {
    let lonely = on("lonely", "a", affinity("podAntiAffinity", json!({"app": "web"}), "zone"));
    let one = cluster([zoned("a", "1")], &[lonely]);
    assert_eq!(
        said(&one, &pod("p", json!({}))),
        "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."
    );
    let web = on("web", "a", json!({}));
    let one = cluster([zoned("a", "1")], &[web]);
    assert_eq!(
        said(&one, &pod("p", affinity("podAntiAffinity", json!({"app": "web"}), "zone"))),
        "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."
    );
}

#[test]
fn namespaces_are_chosen_by_their_labels() {
    let namespace = |name: &str, team: &str| {
        let namespace = json!({"metadata": {"name": name, "labels": {"team": team}}});
        Object::Namespace(Arc::new(serde_json::from_value(namespace).unwrap()))
    };
    let other = on("db", "a", json!({"metadata": {"namespace": "other", "labels": {"app": "db"}}}));
    let term = json!([{"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone",
        "namespaceSelector": {"matchLabels": {"team": "x"}}}]);
    let wanted = pod(
        "p",
        json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}}}),
    );
    let with = |team: &str| cluster([zoned("a", "1"), namespace("other", team)], std::slice::from_ref(&other));
    assert_eq!(said(&with("y"), &wanted), "on a");
    assert!(said(&with("x"), &wanted).contains("anti-affinity"));
}

#[test]
fn preferred_neighbours_weigh() {
    let term = |app: &str| json!([{"weight": 100, "podAffinityTerm": {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "zone"}}]);
    let wants = |kind: &str| {
        pod("p", json!({"spec": {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": term("db")}}}}))
    };
    let db = on("db", "a", json!({"metadata": {"labels": {"app": "db"}}}));
    let cluster = cluster([zoned("a", "1"), zoned("b", "2")], &[db]);
    assert_eq!(said(&cluster, &wants("podAffinity")), "on a");
    assert_eq!(said(&cluster, &wants("podAntiAffinity")), "on b");
}

fn spread(extra: Value) -> Value {
    let mut constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}});
    super::merge(&mut constraint, extra);
    json!({"spec": {"topologySpreadConstraints": [constraint]}})
}

#[test]
fn skew_is_counted_over_domains() {
    let two = [on("1", "a", json!({})), on("2", "a", json!({}))];
    let nodes = || [zoned("a", "1"), zoned("b", "2"), node("c", json!({"spec": {"unschedulable": true}}))];
    assert_eq!(said(&cluster(nodes(), &two), &pod("p", spread(json!({})))), "on b");
    let closed =
        [zoned("a", "1"), node("b", json!({"metadata": {"labels": {"zone": "2"}}, "spec": {"unschedulable": true}}))];
    assert_eq!(
        said(&cluster(closed, &two), &pod("p", spread(json!({})))),
        "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) were unschedulable."
    );
    let missing = cluster([node("c", json!({}))], &[]);
    assert_eq!(
        said(&missing, &pod("p", spread(json!({})))),
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label)."
    );
}

#[test]
fn too_few_domains_count_as_empty_ones() {
    let one = [on("1", "a", json!({}))];
    let cluster = || cluster([zoned("a", "1")], &one);
    assert_eq!(said(&cluster(), &pod("p", spread(json!({})))), "on a");
    assert!(said(&cluster(), &pod("p", spread(json!({"minDomains": 2})))).contains("topology spread"));
}

#[test]
fn nodes_that_cannot_be_it_count_as_the_policies_say() {
    let one = [on("1", "a", json!({}))];
    let tainted = node(
        "b",
        json!({"metadata": {"labels": {"zone": "2"}}, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}),
    );
    let cluster = cluster([zoned("a", "1"), tainted], &one);
    assert!(said(&cluster, &pod("p", spread(json!({})))).contains("topology spread"), "taints are ignored by default");
    assert_eq!(said(&cluster, &pod("p", spread(json!({"nodeTaintsPolicy": "Honor"})))), "on a");
}

#[test]
fn keys_of_labels_tell_revisions_apart() {
    let revision = |name: &str| json!({"metadata": {"labels": {"rev": name}}});
    let old = [on("1", "a", revision("1")), on("2", "a", revision("1"))];
    let mut own = spread(json!({"matchLabelKeys": ["rev"]}));
    super::merge(&mut own, revision("2"));
    let cluster = cluster([zoned("a", "1"), zoned("b", "2")], &old);
    assert!(said(&cluster, &pod("p", own)).starts_with("on "));
}

/// A pod that says nothing of spreading is spread over nodes with those of its service.
#[test]
fn services_spread_by_default() {
    let service = json!({"metadata": {"name": "s", "namespace": "ns"}, "spec": {"selector": {"app": "web"}}});
    let service = Object::Service(Arc::new(serde_json::from_value(service).unwrap()));
    let mut profile = profile();
    profile.scores = vec![(crate::Plugin::PodTopologySpread, 1)];
    let cluster = cluster([zoned("a", "1"), zoned("b", "1"), service], &[on("1", "a", json!({}))]);
    for name in ["p", "q", "r", "s"] {
        let Decision::Bind(placement) = decide_with(&cluster, &profile, &pod(name, json!({}))) else {
            panic!("there is room")
        };
        assert_eq!(placement.node, "b");
    }
}

proptest! {
    /// However pods come and go, those that are placed never differ by more than the skew.
    #[test]
    fn skew_is_kept(skew in 1_i64..4, pods in 1_usize..30, zones in 1_usize..5) {
        let nodes = (0..zones * 2).map(|number| zoned(&format!("n{number}"), &(number % zones).to_string()));
        let mut cluster = cluster(nodes, &[]);
        let mut counts: BTreeMap<usize, i64> = (0..zones).map(|zone| (zone, 0)).collect();
        for number in 0..pods {
            let wanted = pod(&number.to_string(), spread(json!({"maxSkew": skew})));
            let Decision::Bind(placement) = decide(&cluster, &wanted) else { return Err(TestCaseError::fail("there is room")) };
            cluster.assume(&wanted, &placement.node);
            let zone = placement.node[1..].parse::<usize>().unwrap() % zones;
            *counts.get_mut(&zone).unwrap() += 1;
            let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
            prop_assert!(most - least <= skew, "{counts:?}");
        }
    }
}
