//! Sentences and sums, by the documented examples and by chance.

use super::*;
use proptest::prelude::*;
use serde_json::json;

const NOW: i64 = 1_800_000_000;

fn quota(hard: &Value, used: &Value, more: &Value) -> Value {
    let mut spec = json!({"hard": hard});
    spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    json!({"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used}})
}

fn made<'a>(kind: Kind<'a>, new: &'a Value) -> Write<'a> {
    Write { kind, part: "", old: None, new, now: NOW }
}

fn ask(write: &Write<'_>, quota: &Value) -> Result<Value, String> {
    let asked = Asked::of(write).expect("it takes something");
    asked.of_quota(quota).map(|taken| taken.value()).map_err(|Refused(why)| why)
}

fn pod(requests: &Value) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}})
}

const POD: Kind<'static> = ("", "pods");

#[test]
fn a_pod_takes_what_it_asks_for() {
    let hard = json!({"cpu": "2", "requests.memory": "1Gi", "pods": "3", "count/pods": "9", "secrets": "1"});
    let used = json!({"cpu": "1500m", "requests.memory": "0", "pods": "1", "count/pods": "1", "secrets": "0"});
    let quota = quota(&hard, &used, &Value::Null);
    let small = pod(&json!({"cpu": "500m", "memory": "512Mi"}));
    assert_eq!(
        ask(&made(POD, &small), &quota),
        Ok(json!({"cpu": "500m", "requests.memory": "512Mi", "pods": "1", "count/pods": "1"}))
    );
    let large = pod(&json!({"cpu": "600m", "memory": "2Gi"}));
    assert_eq!(
        ask(&made(POD, &large), &quota).unwrap_err(),
        "exceeded quota: q, requested: cpu=600m,requests.memory=2Gi, used: cpu=1500m,requests.memory=0, limited: cpu=2,requests.memory=1Gi"
    );
    assert_eq!(
        ask(&made(POD, &pod(&json!({}))), &quota).unwrap_err(),
        "failed quota: q: must specify cpu for: c; requests.memory for: c"
    );
    let uncounted = self::quota(&hard, &json!({}), &Value::Null);
    assert_eq!(
        ask(&made(POD, &small), &uncounted).unwrap_err(),
        "status unknown for quota: q, resources: count/pods,cpu,pods,requests.memory"
    );
}

/// Sidecars run beside everything, other first containers one after the other; overhead comes on top of what there is.
#[test]
fn what_runs_at_the_same_time_is_added() {
    let with = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
    let pod = json!({"spec": {
        "overhead": {"cpu": "100m", "memory": "1Mi"},
        "containers": [{"name": "a", "resources": with("1")}, {"name": "b", "resources": with("1")}],
        "initContainers": [
            {"name": "s", "restartPolicy": "Always", "resources": with("500m")},
            {"name": "i", "resources": with("4")},
        ],
    }});
    let taken = usage(POD, &pod, NOW).value();
    assert_eq!((&taken["requests.cpu"], &taken["limits.cpu"]), (&json!("4600m"), &json!("4600m")));
    assert_eq!((&taken["requests.memory"], &taken["limits.memory"]), (&json!("1Mi"), &Value::Null));
    let mut whole = pod;
    whole["spec"]["resources"] = json!({"requests": {"cpu": "3"}});
    assert_eq!(usage(POD, &whole, NOW).value()["requests.cpu"], "3100m");
}

#[test]
fn ended_pods_are_objects_only() {
    let mut done = pod(&json!({"cpu": "1"}));
    done["status"] = json!({"phase": "Succeeded"});
    assert_eq!(usage(POD, &done, NOW).value(), json!({"count/pods": "1"}));
    let mut late = pod(&json!({"cpu": "1"}));
    late["metadata"] = json!({"deletionTimestamp": "2020-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30});
    assert_eq!(usage(POD, &late, NOW).value(), json!({"count/pods": "1"}));
}

#[test]
fn devices_and_pages_have_names_of_their_own() {
    let pod = pod(&json!({"example.com/gpu": "2", "hugepages-2Mi": "4Mi"}));
    let taken = usage(POD, &pod, NOW).value();
    assert_eq!(taken["requests.example.com/gpu"], "2");
    assert_eq!((&taken["hugepages-2Mi"], &taken["requests.hugepages-2Mi"]), (&json!("4Mi"), &json!("4Mi")));
    assert!(taken.get("example.com/gpu").is_none());
    assert!(counted_by(POD, "requests.example.com/gpu") && !counted_by(POD, "example.com/gpu"));
}

#[test]
fn scopes_choose_pods() {
    let hard = json!({"pods": "1"});
    let used = json!({"pods": "1"});
    let rows = [
        (json!({"scopes": ["BestEffort"]}), json!({"containers": [{"name": "c"}]}), true),
        (json!({"scopes": ["NotBestEffort"]}), json!({"containers": [{"name": "c"}]}), false),
        (json!({"scopes": ["Terminating"]}), json!({"activeDeadlineSeconds": 5}), true),
        (json!({"scopes": ["NotTerminating", "BestEffort"]}), json!({"activeDeadlineSeconds": 5}), false),
        (json!({"scopes": ["CrossNamespacePodAffinity"]}), json!({}), false),
        (
            json!({"scopes": ["CrossNamespacePodAffinity"]}),
            json!({"affinity": {"podAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaceSelector": {}}]}}}),
            true,
        ),
        (
            json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}),
            json!({"priorityClassName": "high"}),
            true,
        ),
        (
            json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "NotIn", "values": ["high"]}]}}),
            json!({"priorityClassName": "high"}),
            false,
        ),
        (
            json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "DoesNotExist"}]}}),
            json!({}),
            true,
        ),
        (json!({"scopes": ["PriorityClass"]}), json!({}), false),
    ];
    for (scopes, spec, fits) in rows {
        let pod = json!({"spec": spec});
        assert_eq!(ask(&made(POD, &pod), &quota(&hard, &used, &scopes)).is_err(), fits, "{scopes} {spec}");
    }
}

#[test]
fn services_claims_and_everything_else_are_counted() {
    let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
    let rows = [
        (
            ("", "services"),
            json!({"spec": {"type": "ClusterIP", "ports": ports}}),
            json!({"services.nodeports": "0", "services": "1"}),
        ),
        (("", "services"), json!({"spec": {"type": "NodePort", "ports": ports}}), json!({"services.nodeports": "2"})),
        (
            ("", "services"),
            json!({"spec": {"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false}}),
            json!({"services.nodeports": "1", "services.loadbalancers": "1", "count/services": "1"}),
        ),
        (
            ("", "persistentvolumeclaims"),
            json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}}),
            json!({"requests.storage": "1Gi", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi",
                "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1", "persistentvolumeclaims": "1"}),
        ),
        (("", "secrets"), json!({}), json!({"secrets": "1", "count/secrets": "1"})),
        (("apps", "deployments"), json!({}), json!({"count/deployments.apps": "1"})),
        (
            ("resource.k8s.io", "resourceclaims"),
            json!({"spec": {"devices": {"requests": [
            {"exactly": {"deviceClassName": "gpu", "count": 3}},
            {"firstAvailable": [{"deviceClassName": "gpu", "count": 1}, {"deviceClassName": "gpu", "allocationMode": "All"}]}]}}}),
            json!({"gpu.deviceclass.resource.k8s.io/devices": "35"}),
        ),
    ];
    for (kind, object, expected) in rows {
        let taken = usage(kind, &object, NOW);
        for (name, amount) in expected.as_object().unwrap() {
            assert_eq!(taken.value()[name], *amount, "{kind:?} {name}");
            assert!(counted_by(kind, name), "{kind:?} {name}");
        }
    }
    assert!(Asked::of(&made(("", "events"), &json!({}))).is_none());
}

#[test]
fn an_update_takes_the_difference() {
    let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
    let (old, new) = (claim("1Gi"), claim("3Gi"));
    let write = Write { old: Some(&old), ..made(("", "persistentvolumeclaims"), &new) };
    let hard = json!({"requests.storage": "4Gi", "persistentvolumeclaims": "1"});
    let full = quota(&hard, &json!({"requests.storage": "2Gi", "persistentvolumeclaims": "1"}), &Value::Null);
    assert_eq!(ask(&write, &full), Ok(json!({"requests.storage": "2Gi"})));
    let smaller = Write { old: Some(&new), ..made(("", "persistentvolumeclaims"), &old) };
    assert_eq!(ask(&smaller, &full), Ok(json!({})));
    // Only what a quota already counts is taken off.
    let pod = |deadline: Value| json!({"spec": {"activeDeadlineSeconds": deadline, "containers": []}});
    let (running, ending) = (pod(Value::Null), pod(json!(5)));
    let write = Write { old: Some(&running), ..made(POD, &ending) };
    let terminating = quota(&json!({"pods": "1"}), &json!({"pods": "0"}), &json!({"scopes": ["Terminating"]}));
    assert_eq!(ask(&write, &terminating), Ok(json!({"pods": "1"})));
}

proptest! {
    /// What admission adds up, object by object, is what the controller counts of all of them.
    #[test]
    fn admission_and_controller_count_alike(requests in prop::collection::vec((0u32..4000, 0u32..3), 0..12)) {
        let pods: Vec<Value> = requests.iter().map(|(cpu, memory)| {
            pod(&json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Gi")}))
        }).collect();
        let hard = json!({"cpu": "1000", "requests.memory": "1000Gi", "pods": "100", "count/pods": "100"});
        let mut quota = quota(&hard, &json!({"cpu": "0", "requests.memory": "0", "pods": "0", "count/pods": "0"}), &Value::Null);
        for one in &pods {
            let taken = Asked::of(&made(POD, one)).unwrap().of_quota(&quota).unwrap();
            let mut used = Amounts::of(&quota["status"]["used"]);
            used.add(&taken);
            quota["status"]["used"] = used.value();
        }
        prop_assert_eq!(total(&quota, POD, pods.iter(), NOW), Amounts::of(&quota["status"]["used"]));
    }
}
