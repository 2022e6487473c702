//! Metrics of every kind, and what is said of them.

use super::*;
use crate::horizontal_autoscaler::count::Figure;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::sync::Arc;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn pods(number: usize) -> Vec<Arc<Pod>> {
    let pod = |index: usize| {
        json!({"metadata": {"name": format!("p{index}")},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]},
        "status": {"phase": "Running", "startTime": at(-10_000).to_string(),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(-9000).to_string()}]}})
    };
    (0..number).map(|index| Arc::new(serde_json::from_value(pod(index)).unwrap())).collect()
}

fn used(values: &[i64]) -> Result<Measured, String> {
    let figure = |value: &i64| Figure { value: *value, at: at(0), window: SignedDuration::from_secs(15) };
    Ok(Measured::Pods(values.iter().enumerate().map(|(index, value)| (format!("p{index}"), figure(value))).collect()))
}

fn spec() -> Spec {
    Spec::read(
        &json!({"minReplicas": 1, "maxReplicas": 5, "metrics": [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
        {"type": "External", "external": {"metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}},
            "target": {"type": "AverageValue", "averageValue": "30"}}},
        {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "1"}}},
        {"type": "Object", "object": {"metric": {"name": "hits"}, "describedObject": {"kind": "Service", "name": "s"},
            "target": {"type": "Value", "value": "10"}}},
        {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
            "target": {"type": "AverageValue", "averageValue": "50m"}}}]}),
        Autoscaling::default(),
    )
}

/// Decides about two replicas, and tells conditions in short.
fn decide(answers: Vec<Result<Measured, String>>) -> (Step, Vec<Warning>, Status, Vec<String>) {
    let (pods, mut memory) = (pods(2), Memory::default());
    let scaled = Scaled {
        replicas: 2,
        present: 2,
        pods: &pods,
        tolerance: spec().tolerance,
        pace: Autoscaling::default(),
        now: at(0),
    };
    let mut status = Status::of(&json!(null), at(0));
    let (step, warnings) = measured(&spec(), &scaled, answers, &mut memory, &mut status);
    let whole = status.clone().whole(Some((2, 2)), false).unwrap();
    let conditions = whole["conditions"].as_array().unwrap().iter();
    let said = conditions.map(|one| {
        format!(
            "{}={}: {}",
            one["type"].as_str().unwrap(),
            one["status"].as_str().unwrap(),
            one["message"].as_str().unwrap()
        )
    });
    (step, warnings, status, said.collect())
}

#[test]
fn the_metric_that_wants_most_counts_and_all_are_told() {
    let (step, warnings, status, said) = decide(vec![
        used(&[60, 60]),
        Ok(Measured::Value(120_000)),
        used(&[500, 500]),
        Ok(Measured::Value(10_000)),
        used(&[50, 50]),
    ]);
    assert_eq!(step, Step::Scale(4, "external metric q({\"matchLabels\":{\"a\":\"b\"}}) above target".to_owned()));
    assert_eq!(warnings, []);
    assert_eq!(said[0].split(": ").next(), Some("ScalingActive=True"));
    assert!(said[2].starts_with("ScalingLimited=False: the desired count is within"), "{said:?}");
    let resource = json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 60, "averageValue": "60m"}}});
    assert_eq!(status.metrics[0], resource);
    assert_eq!(status.metrics[1]["external"]["current"], json!({"averageValue": "60"}));
    assert_eq!(status.metrics[2]["pods"]["current"], json!({"averageValue": "500m"}));
    assert_eq!(status.metrics[3]["object"]["current"], json!({"value": "10"}));
    assert_eq!(status.metrics[4]["containerResource"]["current"], json!({"averageValue": "50m"}));
}

#[test]
fn what_fails_keeps_it_from_going_down_but_not_from_going_up() {
    let fails = || Err("unable to fetch metrics from resource metrics API: gone".to_owned());
    let low = || Ok(Measured::Value(30_000));
    let (step, warnings, _, said) =
        decide(vec![fails(), low(), used(&[100, 100]), Ok(Measured::Value(1000)), used(&[5, 5])]);
    let first = "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: gone";
    let why = format!(
        "invalid metrics (1 invalid out of 5), first error is: failed to get cpu resource metric value: {first}"
    );
    assert_eq!(step, Step::Unknown(why.clone()));
    assert_eq!(warnings, [("FailedGetResourceMetric", first.to_owned()), ("FailedComputeMetricsReplicas", why)]);
    assert_eq!(said, [format!("ScalingActive=False: the HPA was unable to compute the replica count: {first}")]);
    let (step, warnings, ..) = decide(vec![fails(), Ok(Measured::Value(90_000)), fails(), fails(), fails()]);
    assert!(matches!(step, Step::Scale(3, _)), "{step:?}");
    let reasons: Vec<_> = warnings.iter().map(|warning| warning.0).collect();
    assert_eq!(
        reasons,
        ["FailedGetResourceMetric", "FailedGetPodsMetric", "FailedGetObjectMetric", "FailedGetContainerResourceMetric"]
    );
}

#[test]
fn bounds_come_first_and_nothing_is_scaled_from_zero() {
    let mut status = Status::of(
        &json!({"conditions": [{"type": "ScalingActive", "status": "True", "lastTransitionTime": "x"}]}),
        at(0),
    );
    assert!(spec().is_plain(0) && spec().is_plain(6) && !spec().is_plain(5));
    assert_eq!(
        plain(&spec(), 6, &mut status),
        Step::Scale(5, "Current number of replicas above Spec.MaxReplicas".to_owned())
    );
    assert_eq!(plain(&spec(), 0, &mut status), Step::Stay);
    let whole = status.whole(Some((0, 0)), false).unwrap();
    assert_eq!(whole["conditions"][0]["reason"], "ScalingDisabled");
    assert_eq!(whole["conditions"][0]["lastTransitionTime"], "1970-01-12T13:46:40Z");
}

#[test]
fn the_tolerance_is_that_of_its_direction() {
    let spec = Spec::read(
        &json!({"maxReplicas": 5, "metrics": [], "behavior": {"scaleUp": {"tolerance": "0.02"}, "scaleDown": {}}}),
        Autoscaling::default(),
    );
    assert_eq!(spec.tolerance, Tolerance { down: 0.1, up: 0.02 });
}

#[test]
fn what_an_autoscaler_does_not_say_the_flags_say() {
    let flags = Autoscaling { tolerance: 0.25, down_window: SignedDuration::from_secs(7), ..Autoscaling::default() };
    let spec = Spec::read(
        &json!({"maxReplicas": 5, "metrics": [], "behavior": {"scaleUp": {"tolerance": "0.02"}, "scaleDown": {}}}),
        flags,
    );
    assert_eq!(spec.tolerance, Tolerance { down: 0.25, up: 0.02 });
    assert_eq!(spec.behavior.unwrap().down.window, flags.down_window);
}
