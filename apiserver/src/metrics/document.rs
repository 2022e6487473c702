//! What is served of `metrics.k8s.io`: the list of resources, tables, and what every cluster has for it.

use crate::registry::object::{meta, name_of};
use serde_json::{Value, json};
use skiff_proto::quantity::Quantity;

/// The group.
pub(crate) const GROUP: &str = "metrics.k8s.io";
/// Its version.
pub(crate) const VERSION: &str = "v1beta1";

/// The APIResourceList.
pub(crate) fn resources() -> Value {
    let resource = |name: &str, kind: &str, namespaced: bool| json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]});
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": [resource("nodes", "NodeMetrics", false), resource("pods", "PodMetrics", true)]})
}

/// What a cluster has that this server answers for: the APIService, and the role by which users may read what it says (as in
/// metrics-server's manifest).
pub(crate) fn wanted() -> [Value; 2] {
    let of_roles = |role: &str| (format!("rbac.authorization.k8s.io/aggregate-to-{role}"), Value::from("true"));
    let labels: serde_json::Map<String, Value> = ["view", "edit", "admin"].map(of_roles).into_iter().collect();
    let service = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("{VERSION}.{GROUP}")},
        "spec": {"group": GROUP, "version": VERSION, "groupPriorityMinimum": 100, "versionPriority": 100}});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "system:aggregated-metrics-reader", "labels": labels},
        "rules": [{"apiGroups": [GROUP], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]}]});
    [service, role]
}

/// Objects as a table, with metrics-server's columns.
pub(crate) fn table(objects: &[Value]) -> Value {
    let column = |name: &str, format: &str| json!({"name": name, "type": "string", "format": format, "description": "", "priority": 0});
    let row = |object: &Value| {
        let metadata =
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]});
        let cells = json!([name_of(object), sum(object, "cpu"), sum(object, "memory"), object["window"]]);
        json!({"cells": cells, "object": metadata})
    };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
        "columnDefinitions": [column("Name", "name"), column("cpu", ""), column("memory", ""), column("Window", "duration")],
        "rows": objects.iter().map(row).collect::<Vec<_>>()})
}

/// What a node uses, or all containers of a pod together.
fn sum(object: &Value, figure: &str) -> String {
    let containers = object["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let all = containers.iter().chain([object]).filter_map(|one| one["usage"][figure].as_str());
    let all = all.filter_map(|text| Quantity::parse(text).ok());
    all.reduce(Quantity::plus).map(Quantity::canonical).unwrap_or_default()
}

/// A list of objects.
pub(crate) fn list(kind: &str, mut objects: Vec<Value>) -> Value {
    objects
        .sort_by(|one, other| (meta(one, "namespace"), name_of(one)).cmp(&(meta(other, "namespace"), name_of(other))));
    json!({"kind": format!("{kind}List"), "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": {}, "items": objects})
}
