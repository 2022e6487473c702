//! What is asked for, refused and told, and the answers of a kube-apiserver.

use super::*;
use crate::admission::testing::{Shelf, play};
use policy::Version;
use serde_json::json;

/// What kube-apiserver 1.36.2 says of 99 pods under two levels and six releases: a pod, then level, releases, and the sentence; none if the
/// pod is admitted.
const CASES: &str = include_str!("cases.txt");

fn standard(level: &str, version: &str) -> Standard {
    let level = if level == "baseline" { Level::Baseline } else { Level::Restricted };
    let version = version.strip_prefix("v1.").map_or(Version::Latest, |minor| Version::Minor(minor.parse().unwrap()));
    Standard { level, version }
}

/// Controls × releases, each answer recorded.
#[test]
fn pods_are_judged_as_kubernetes_judges_them() {
    let mut pod = Value::Null;
    let (mut cases, mut wrong) = (0, Vec::new());
    for line in CASES.lines() {
        let Some(row) = line.strip_prefix("  ") else {
            pod = serde_json::from_str(line).unwrap();
            continue;
        };
        let (head, expected) = row.split_once(':').unwrap();
        let (level, versions) = head.split_once(' ').unwrap();
        for version in versions.split(',') {
            let broken = violations(standard(level, version), Pod { metadata: &pod["metadata"], spec: &pod["spec"] });
            let said = sentence(&broken);
            cases += 1;
            if said != expected.trim_start() {
                wrong.push(format!(
                    "{} {level}:{version}\n  expected {}\n  said     {said}",
                    pod["pod"],
                    expected.trim_start()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(cases, 1188);
}

fn namespace(labels: &[(&str, &str)]) -> Value {
    let labels: Value = labels
        .iter()
        .map(|(key, word)| (format!("{PREFIX}{key}"), json!(word)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!({"metadata": {"name": "a", "labels": labels}})
}

fn plain() -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"hostPID": true, "containers": [{"name": "c", "image": "i"}]}})
}

async fn write(place: Value, plural: &str, old: Option<&Value>, object: Value) -> Result<Vec<String>, String> {
    let shelf = Shelf::default().with("namespaces", "", place);
    let operation = if old.is_some() { Operation::Update } else { Operation::Create };
    let done = play(&PLUGIN, &shelf, (operation, plural), old, object).await;
    done.map(|(_, warnings)| warnings).map_err(|status| status.message)
}

#[tokio::test]
async fn what_is_enforced_is_refused_and_the_rest_is_told() {
    let refused = write(namespace(&[("enforce", "baseline")]), "pods", None, plain()).await.unwrap_err();
    assert_eq!(
        refused,
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"
    );
    let told = write(namespace(&[("warn", "baseline")]), "pods", None, plain()).await.unwrap();
    assert_eq!(told, ["would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"]);
    let none: [&str; 0] = [];
    assert_eq!(write(namespace(&[]), "pods", None, plain()).await.unwrap(), none);
    assert_eq!(write(namespace(&[("audit", "baseline")]), "pods", None, plain()).await.unwrap(), none);
    // A label that cannot be read is as strict as can be.
    assert!(write(namespace(&[("enforce", "x")]), "pods", None, plain()).await.is_err());
}

#[tokio::test]
async fn makers_of_pods_are_warned_only() {
    let template = json!({"metadata": {"name": "t"}, "template": plain()});
    let told = write(namespace(&[("enforce", "baseline")]), "podtemplates", None, template).await.unwrap();
    assert_eq!(told, ["would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"]);
}

/// Labels and states of a running pod change; what it runs was looked at when it came.
#[tokio::test]
async fn updates_that_run_nothing_new_pass() {
    let mut labelled = plain();
    labelled["metadata"]["labels"] = json!({"x": "y"});
    let place = || namespace(&[("enforce", "baseline")]);
    assert!(write(place(), "pods", Some(&plain()), labelled).await.is_ok());
    let mut other = plain();
    other["spec"]["containers"][0]["image"] = "j".into();
    assert!(write(place(), "pods", Some(&plain()), other).await.is_err());
    let mut debugged = plain();
    debugged["spec"]["ephemeralContainers"] = json!([{"name": "d", "image": "i"}]);
    assert!(write(place(), "pods", Some(&plain()), debugged).await.is_err());
}

#[tokio::test]
async fn a_namespace_that_enforces_more_hears_of_its_pods() {
    let owned = |name: &str| {
        let mut pod = plain();
        pod["metadata"] = json!({"name": name, "ownerReferences": [{"controller": true, "uid": "1"}]});
        pod
    };
    let shelf = Shelf::default().with("pods", "a", plain()).with("pods", "a", owned("b")).with("pods", "a", owned("c"));
    let (old, new) = (namespace(&[]), namespace(&[("enforce", "baseline")]));
    let done = play(&PLUGIN, &shelf, (Operation::Update, "namespaces"), Some(&old), new.clone()).await;
    assert_eq!(
        done.map_err(|status| status.message).unwrap().1,
        [
            "existing pods in namespace \"a\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "b (and 2 other pods): host namespaces",
        ]
    );
    let none: [&str; 0] = [];
    let again = play(&PLUGIN, &shelf, (Operation::Update, "namespaces"), Some(&new), new.clone()).await;
    assert_eq!(again.map_err(|status| status.message).unwrap().1, none);
    let wrong = namespace(&[("enforce", "x")]);
    let refused = play(&PLUGIN, &shelf, (Operation::Update, "namespaces"), Some(&old), wrong.clone()).await;
    assert!(refused.is_err_and(|status| status.message.contains("pod-security.kubernetes.io/enforce")));
    // What could not be read before may stay.
    let kept = play(&PLUGIN, &shelf, (Operation::Update, "namespaces"), Some(&wrong), wrong.clone()).await;
    assert!(kept.is_ok());
}
