//! Which pods have to go, against a model that tries every set of them.

use super::*;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn victims(cluster: &Cluster, pod: &PodInfo) -> Option<(String, Vec<String>)> {
    match decide(cluster, pod) {
        Decision::Bind(_) => None,
        Decision::Wait(wait) => {
            wait.preemption.map(|plan| (plan.node, plan.victims.iter().map(|pod| pod.name.clone()).collect()))
        }
    }
}

fn budget(allowed: i32) -> Object {
    let budget = json!({"metadata": {"name": "b", "namespace": "ns"},
        "spec": {"selector": {"matchLabels": {"protected": "yes"}}},
        "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
    let budget: PodDisruptionBudget = serde_json::from_value(budget).unwrap();
    Object::Budget(Arc::new(budget))
}

#[test]
fn the_least_important_go() {
    let pods = [sized("a1", "1", 1, Some("a")), sized("a3", "1", 3, Some("a")), sized("b2", "2", 2, Some("b"))];
    let cluster = cluster([node("a", json!({})), node("b", json!({}))], &pods);
    assert_eq!(victims(&cluster, &sized("p", "1", 9, None)), Some(("a".into(), vec!["a1".into()])));
    assert_eq!(victims(&cluster, &sized("p", "2", 9, None)), Some(("b".into(), vec!["b2".into()])));
    assert_eq!(victims(&cluster, &sized("p", "1", 1, None)), None, "its equals stay");
}

#[test]
fn a_pod_may_renounce_preemption() {
    let cluster = cluster([node("a", json!({}))], &[sized("a1", "2", 1, Some("a"))]);
    let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}], "priority": 9, "preemptionPolicy": "Never"});
    let Decision::Wait(wait) = decide(&cluster, &pod("p", json!({"spec": spec}))) else { panic!("there is no room") };
    assert!(wait.message.ends_with("preemption: not eligible due to preemptionPolicy=Never."), "{}", wait.message);
    assert!(wait.preemption.is_none());
}

#[test]
fn budgets_are_kept_where_that_is_possible() {
    let protected = |name: &str, node: &str| {
        let spec = json!({"nodeName": node, "priority": 0, "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]});
        pod(name, json!({"metadata": {"labels": {"protected": "yes"}}, "spec": spec}))
    };
    let nodes = || [node("a", json!({})), node("b", json!({}))];
    let both = [protected("a1", "a"), sized("b5", "2", 5, Some("b"))];
    let wanted = sized("p", "1", 9, None);
    let with = |allowed| cluster(nodes().into_iter().chain([budget(allowed)]), &both);
    assert_eq!(victims(&with(1), &wanted).unwrap().0, "a");
    assert_eq!(victims(&with(0), &wanted).unwrap().0, "b", "a more important one without a budget goes");
    let only = cluster([node("a", json!({})), budget(0)], &both[..1]);
    assert_eq!(victims(&only, &wanted).unwrap().1, ["a1"], "a budget does not stop preemption");
}

/// A node is cleared for a pod: others of less importance do not take the room.
#[test]
fn room_is_kept_for_whom_it_was_cleared() {
    let coming = pod(
        "coming",
        json!({"spec": {"priority": 9,
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}, "status": {"nominatedNodeName": "a"}}),
    );
    let cluster = cluster([node("a", json!({}))], &[Arc::clone(&coming)]);
    assert_eq!(said(&cluster, &sized("p", "1", 5, None)), "0/1 nodes are available: 1 Insufficient cpu.");
    assert_eq!(said(&cluster, &sized("p", "1", 10, None)), "on a", "who is more important need not wait");
    assert_eq!(said(&cluster, &coming), "on a");
}

#[test]
fn nobody_else_is_removed_while_victims_go() {
    let leaving = pod(
        "leaving",
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "a", "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]},
        "status": {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]}}),
    );
    let spec = json!({"priority": 9, "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]});
    let wanted = pod("p", json!({"spec": spec, "status": {"nominatedNodeName": "a"}}));
    let cluster = cluster(
        [node("a", json!({})), node("b", json!({}))],
        &[leaving, sized("b1", "2", 0, Some("b")), wanted.clone()],
    );
    let Decision::Wait(wait) = decide(&cluster, &wanted) else { panic!("there is no room") };
    assert!(
        wait.preemption.is_none()
            && wait.message.ends_with("not eligible due to a terminating pod on the nominated node.")
    );
    assert_eq!(wait.nominate, crate::decide::Nominate::Keep);
}

/// What fits on one node of two cores: the model needs no scheduler.
fn fits(pods: &[(i64, i32)], without: &BTreeSet<usize>, asked: i64) -> bool {
    let stay = pods.iter().enumerate().filter(|(at, _)| !without.contains(at));
    let (sum, count) = stay.fold((0, 0), |(sum, count), (_, (cpu, _))| (sum + cpu, count + 1));
    sum + asked <= 2000 && count < 5
}

proptest! {
    /// On one node: preemption is planned exactly when some set of less important pods would make room, only such pods go,
    /// the pod fits then, and none of them could have stayed.
    #[test]
    fn victims_are_enough_and_not_too_many(
        pods in proptest::collection::vec((100_i64..900, 0_i32..4), 0..5), asked in 100_i64..2400, priority in 0_i32..5,
    ) {
        prop_assume!(fits(&pods, &BTreeSet::new(), 0) || pods.len() == 5);
        let placed: Vec<_> = pods.iter().enumerate().map(|(at, (cpu, priority))| sized(&at.to_string(), &format!("{cpu}m"), *priority, Some("n"))).collect();
        let cluster = cluster([node("n", json!({}))], &placed);
        let wanted = sized("p", &format!("{asked}m"), priority, None);
        let lower: Vec<usize> = (0..pods.len()).filter(|at| pods[*at].1 < priority).collect();
        let sets = (0..1_u32 << lower.len()).map(|bits| -> BTreeSet<usize> {
            lower.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0).map(|(_, pod)| *pod).collect()
        });
        let makes_room: Vec<BTreeSet<usize>> = sets.filter(|set| fits(&pods, set, asked)).collect();
        match (decide(&cluster, &wanted), victims(&cluster, &wanted)) {
            (Decision::Bind(_), _) => prop_assert!(fits(&pods, &BTreeSet::new(), asked)),
            (Decision::Wait(_), None) => prop_assert!(makes_room.is_empty()),
            (Decision::Wait(_), Some((_, names))) => {
                let gone: BTreeSet<usize> = names.iter().map(|name| name.parse().unwrap()).collect();
                prop_assert!(makes_room.contains(&gone), "{gone:?} of {makes_room:?}");
                for one in &gone {
                    let mut fewer = gone.clone();
                    fewer.remove(one);
                    prop_assert!(!makes_room.contains(&fewer), "{one} could have stayed");
                }
                let top = |set: &BTreeSet<usize>| set.iter().map(|at| pods[*at].1).max();
                let best = makes_room.iter().map(top).min().unwrap();
                prop_assert_eq!(top(&gone), best, "nobody more important goes than has to");
            }
        }
    }
}
