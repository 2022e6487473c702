//! Examples of Kubernetes, and laws.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn pod(name: &str, phase: &str, ready: bool) -> Value {
    json!({"metadata": {"name": name},
        "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}},
            {"name": "b", "resources": {"requests": {"cpu": "1"}}}]},
        "status": {"phase": phase, "startTime": at(-10_000).to_string(), "conditions": [
            {"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": at(-9000).to_string()}]}})
}

fn pods(values: Vec<Value>) -> Vec<Arc<Pod>> {
    values.into_iter().map(|value| Arc::new(serde_json::from_value(value).unwrap())).collect()
}

fn running(number: usize) -> Vec<Arc<Pod>> {
    pods((0..number).map(|index| pod(&format!("p{index}"), "Running", true)).collect())
}

fn figure(value: i64) -> Figure {
    Figure { value, at: at(0), window: SignedDuration::from_secs(60) }
}

fn figures(values: &[i64]) -> Figures {
    values.iter().enumerate().map(|(index, value)| (format!("p{index}"), figure(*value))).collect()
}

fn scaled(replicas: i32, pods: &[Arc<Pod>]) -> Scaled<'_> {
    Scaled {
        replicas,
        present: replicas,
        pods,
        tolerance: Tolerance { down: 0.1, up: 0.1 },
        pace: Autoscaling::default(),
        now: at(0),
    }
}

const CPU: (&str, Option<&str>) = ("cpu", None);

#[test]
fn replicas_follow_the_share_of_what_is_asked_for() {
    let three = running(3);
    let by = |values: &[i64], target| {
        scaled(3, &three).by_utilization(&figures(values), CPU, target).map(|found| (found.replicas, found.utilization))
    };
    // Each pod asks for 2,000 thousandths.
    assert_eq!(by(&[600, 1000, 1400], 25), Ok((6, 50)));
    assert_eq!(by(&[600, 1000, 1400], 100), Ok((2, 50)));
    assert_eq!(by(&[1020, 1000, 1060], 50), Ok((3, 51)), "within the tolerance");
    assert_eq!(by(&[1060, 1100, 1200], 50), Ok((4, 56)));
    let unready = by(&[], 50).unwrap_err();
    assert_eq!(unready, "did not receive metrics for targeted pods (pods might be unready)");
    let average = scaled(3, &three).by_average(&figures(&[2000, 4000, 3000]), "", 1500).unwrap();
    assert_eq!((average.replicas, average.average), (6, 3000));
}

#[test]
fn pods_without_figures_make_the_change_smaller() {
    let three = running(3);
    let by = |values: &[i64], target| scaled(3, &three).by_utilization(&figures(values), CPU, target).unwrap().replicas;
    assert_eq!(by(&[2000, 2000], 50), 4, "the third uses nothing: 66 per cent");
    assert_eq!(by(&[200, 200], 50), 3, "the third uses all: 40 per cent, of three pods");
    assert_eq!(by(&[600, 600], 70), 3, "the direction would turn");
}

#[test]
fn a_pod_that_starts_counts_only_against_more() {
    let mut young = pod("p2", "Running", false);
    young["status"]["startTime"] = at(-20).to_string().into();
    let all = pods(vec![pod("p0", "Running", true), pod("p1", "Running", true), young]);
    let by = |values: &[i64], target| scaled(3, &all).by_utilization(&figures(values), CPU, target).unwrap().replicas;
    assert_eq!(by(&[1800, 1800, 2000], 50), 4, "180 per cent of two, nothing of the third: 60 per cent");
    assert_eq!(by(&[400, 400, 2000], 50), 1, "what it uses while it starts says nothing");
    let pending = pods(vec![pod("p0", "Running", true), pod("p1", "Pending", false), pod("p2", "Failed", false)]);
    assert_eq!(scaled(2, &pending).by_utilization(&figures(&[400]), CPU, 40).unwrap().replicas, 1);
}

#[test]
fn a_container_and_a_pod_s_own_requests_are_looked_at() {
    let two = running(2);
    let one = |container| scaled(2, &two).by_utilization(&figures(&[800, 800]), ("cpu", Some(container)), 40);
    assert_eq!(one("a").unwrap().replicas, 4);
    assert_eq!(one("c").unwrap_err(), "container c not found in Pod p0");
    let memory = scaled(2, &two).by_utilization(&figures(&[1, 1]), ("memory", None), 40);
    assert_eq!(memory.unwrap_err(), "missing request for memory in container b of Pod p0");
    let mut whole = pod("p0", "Running", true);
    whole["spec"]["resources"] = json!({"requests": {"cpu": "4"}});
    let whole = pods(vec![whole]);
    assert_eq!(scaled(1, &whole).by_utilization(&figures(&[1000]), CPU, 25).unwrap().utilization, 25);
}

#[test]
fn values_that_are_shared_are_divided() {
    let three = running(3);
    let look = scaled(3, &three);
    assert_eq!((look.by_value(20_000, 10_000), look.by_value(10_500, 10_000)), (Ok(6), Ok(3)));
    assert_eq!(look.by_part(8600, 2000), (5, 2867));
    assert_eq!(look.by_part(6100, 2000), (3, 2034));
    assert_eq!(scaled(0, &[]).by_value(15_000, 10_000), Ok(2), "from nothing without pods to count");
    assert!(scaled(2, &[]).by_value(50_000, 10_000).is_err());
}

proptest! {
    /// Whatever is missing: never more than if it used nothing, never fewer than if it used all.
    #[test]
    fn what_is_not_known_never_makes_a_change_larger(
        used in proptest::collection::vec(0_i64..5000, 1..8),
        silent in 0_usize..5,
        target in 1_i32..200,
    ) {
        let present = used.len() + silent;
        let all = running(present);
        let replicas = i32::try_from(present).unwrap();
        let known = scaled(replicas, &all[..used.len()]).by_utilization(&figures(&used), CPU, target).unwrap();
        let found = scaled(replicas, &all).by_utilization(&figures(&used), CPU, target).unwrap();
        let full = known.utilization.max(target);
        if known.utilization > target {
            prop_assert!(found.replicas >= replicas && found.replicas <= i32::try_from(present).unwrap() * full / target + 1);
        } else {
            prop_assert!(found.replicas <= replicas);
        }
    }

    /// More use never means fewer replicas.
    #[test]
    fn more_use_is_never_fewer_replicas(used in proptest::collection::vec(0_i64..5000, 1..8), more in 0_i64..1000, target in 1_i32..200) {
        let all = running(used.len());
        let replicas = i32::try_from(used.len()).unwrap();
        let by = |values: &[i64]| scaled(replicas, &all).by_utilization(&figures(values), CPU, target).unwrap().replicas;
        let higher: Vec<i64> = used.iter().map(|value| value + more).collect();
        prop_assert!(by(&higher) >= by(&used));
    }
}
