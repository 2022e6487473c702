//! Tables of typical objects, and the words for what pods do.

use super::*;
use crate::find_kind;
use serde_json::{Value, json};

const NOW: &str = "2026-01-02T00:00:00Z";

fn options() -> TableOptions {
    TableOptions {
        include_object: IncludeObject::None,
        version: TableVersion::V1,
        no_headers: false,
        now: NOW.parse().expect("a time"),
    }
}

/// The table as text: a line of names, and a line of cells for each object.
fn printed(api_version: &str, kind: &str, items: &[Value]) -> String {
    let resource = find_kind(api_version, kind).expect("the kind exists");
    let table = table(resource, items, &json!({}), &options());
    let columns = table["columnDefinitions"].as_array().expect("columns").clone();
    let mut lines = vec![columns.iter().filter_map(|column| column["name"].as_str()).collect::<Vec<_>>().join(" | ")];
    for row in table["rows"].as_array().expect("rows") {
        let cells = row["cells"].as_array().expect("cells");
        assert_eq!(cells.len(), columns.len(), "a cell for each column of {kind}");
        lines.push(
            cells
                .iter()
                .map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join(" | "),
        );
    }
    lines.join("\n")
}

fn meta(name: &str) -> Value {
    json!({"name": name, "namespace": "default", "creationTimestamp": "2026-01-01T12:00:00Z"})
}

fn pod(state: &Value, ready: bool) -> Value {
    json!({"metadata": meta("p"), "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIP": "10.244.0.5", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "c", "ready": ready, "restartCount": 2, "state": state,
                "lastState": {"terminated": {"finishedAt": "2026-01-01T23:50:00Z"}}}]}})
}

#[test]
fn pods_say_what_they_do() {
    let mut leaving = pod(&json!({"running": {}}), true);
    leaving["metadata"]["deletionTimestamp"] = NOW.into();
    let mut starting = pod(&json!({"waiting": {"reason": "PodInitializing"}}), false);
    starting["spec"]["initContainers"] = json!([{"name": "i"}, {"name": "j"}]);
    starting["status"]["initContainerStatuses"] =
        json!([{"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {"running": {}}}]);
    starting["status"]["phase"] = "Pending".into();
    let pods = [
        pod(&json!({"running": {}}), true),
        pod(&json!({"waiting": {"reason": "CrashLoopBackOff"}}), false),
        pod(&json!({"terminated": {"exitCode": 3}}), false),
        pod(&json!({"terminated": {"exitCode": 137, "signal": 9}}), false),
        pod(&json!({"terminated": {"reason": "Completed"}}), false),
        leaving,
        starting,
        json!({"metadata": meta("fresh"), "spec": {"containers": [{}, {}]}, "status": {"phase": "Pending"}}),
    ];
    insta::assert_snapshot!(printed("v1", "Pod", &pods));
}

#[test]
fn core_objects_print_as_with_kubernetes() {
    let service = json!({"metadata": meta("s"), "spec": {"type": "NodePort", "clusterIP": "10.96.0.7", "selector": {"app": "web"},
        "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
    let node = json!({"metadata": {"name": "n", "creationTimestamp": "2025-01-01T00:00:00Z",
            "labels": {"node-role.kubernetes.io/control-plane": ""}}, "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian", "kernelVersion": "6.18", "architecture": "amd64",
                "containerRuntimeVersion": "skiff://0.1"}}});
    let event = json!({"metadata": meta("e.1"), "type": "Normal", "reason": "Pulled", "message": "pulled it\n", "count": 3,
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"}, "source": {"component": "kubelet", "host": "n"},
        "firstTimestamp": "2026-01-01T23:00:00Z", "lastTimestamp": "2026-01-01T23:59:00Z"});
    let slice = json!({"metadata": meta("x"), "addressType": "IPv4", "ports": [{"port": 80}],
        "endpoints": [{"addresses": ["10.244.0.2"]}, {"addresses": ["10.244.0.3"]}, {"addresses": ["10.244.0.4"]}, {"addresses": ["10.244.0.5"]}]});
    let endpoints =
        json!({"metadata": meta("x"), "subsets": [{"addresses": [{"ip": "10.244.0.2"}], "ports": [{"port": 80}]}]});
    let all = [
        printed("v1", "Service", &[service]),
        printed("v1", "Node", &[node]),
        printed("v1", "Event", &[event]),
        printed("discovery.k8s.io/v1", "EndpointSlice", &[slice]),
        printed("v1", "Endpoints", &[endpoints]),
        printed("v1", "ConfigMap", &[json!({"metadata": meta("c"), "data": {"a": "b"}})]),
        printed("v1", "Secret", &[json!({"metadata": meta("c"), "type": "Opaque", "data": {"a": "b"}})]),
        printed("v1", "ServiceAccount", &[json!({"metadata": meta("default")})]),
        printed("v1", "Namespace", &[json!({"metadata": meta("n"), "status": {"phase": "Active"}})]),
        printed("coordination.k8s.io/v1", "Lease", &[json!({"metadata": meta("n"), "spec": {"holderIdentity": "me"}})]),
    ];
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn workloads_print_as_with_kubernetes() {
    let template = json!({"spec": {"containers": [{"name": "c", "image": "web:1"}, {"name": "d", "image": "side:2"}]}});
    let spec = json!({"replicas": 3, "template": template, "selector": {"matchLabels": {"app": "web"},
        "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]}});
    let status = json!({"replicas": 3, "readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2});
    let object = json!({"metadata": meta("web"), "spec": spec, "status": status});
    let job = |status: Value| json!({"metadata": meta("j"), "spec": {"completions": 2, "template": template}, "status": status});
    let jobs = [
        job(json!({"startTime": "2026-01-01T23:58:30Z", "succeeded": 1})),
        job(json!({"startTime": "2026-01-01T23:00:00Z", "completionTime": "2026-01-01T23:00:09Z", "succeeded": 2,
            "conditions": [{"type": "Complete", "status": "True"}]})),
        job(json!({})),
    ];
    let all = [
        printed("apps/v1", "Deployment", std::slice::from_ref(&object)),
        printed("apps/v1", "ReplicaSet", &[object]),
        printed("batch/v1", "Job", &jobs),
    ];
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn rows_carry_what_was_asked_for() {
    let pods = find_kind("v1", "Pod").expect("pods exist");
    let item = [json!({"metadata": meta("p"), "status": {"phase": "Succeeded"}})];
    let list = json!({"resourceVersion": "7"});
    let mut asked = options();
    let bare = table(pods, &item, &list, &asked);
    assert_eq!(bare["metadata"], list);
    assert_eq!(bare["rows"][0].get("object"), Some(&Value::Null));
    assert_eq!(bare["rows"][0]["conditions"][0]["type"], "Completed");
    asked.include_object = IncludeObject::Metadata;
    asked.version = TableVersion::V1Beta1;
    asked.no_headers = true;
    let partial = table(pods, &item, &list, &asked);
    assert_eq!(partial["columnDefinitions"], json!([]));
    assert_eq!(partial["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(partial["rows"][0]["object"]["metadata"]["name"], "p");
    asked.include_object = IncludeObject::Object;
    assert_eq!(table(pods, &item, &list, &asked)["rows"][0]["object"]["kind"], "Pod");
}

#[test]
fn durations_read_as_with_kubectl() {
    for (seconds, expected) in [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (330, "5m30s"),
        (600, "10m"),
        (10_799, "179m"),
        (11_100, "3h5m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (183_600, "2d3h"),
        (691_200, "8d"),
        (63_071_999, "729d"),
        (63_072_000, "2y"),
        (94_694_400, "3y1d"),
        (252_288_000, "8y"),
    ] {
        assert_eq!(text::duration(seconds), expected, "{seconds}");
    }
}
