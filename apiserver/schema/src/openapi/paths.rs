//! The paths of the OpenAPI documents: one entry for each verb that the table of resources lists, in the form that Kubernetes gives it.
//!
//! kubectl looks for PATCH operations: which parameters they take, and which media types.

mod operation;
mod parameters;

use self::operation::{Operation, operation};
use crate::{Resource, Subresource, builtin};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The paths of one group-version, for version 3.
pub(super) fn v3(resources: &[Arc<Resource>], group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    paths.insert(format!("{}/", root(group, version)), operation::api_resources(group, version));
    for resource in resources.iter().filter(|it| it.group == group && it.version == version) {
        let collection = collection(resource);
        let object = format!("{collection}/{{name}}");
        add(&mut paths, &collection, resource, &["list", "create", "deletecollection"], "");
        add(&mut paths, &object, resource, &["get", "update", "patch", "delete"], "");
        if resource.namespaced {
            add(&mut paths, &format!("{}/{}", root(group, version), resource.plural), resource, &["list"], EVERYWHERE);
        }
        for part in &resource.subresources {
            let item = subresource_item(resource, part);
            let names = [names(resource, true), parameters::of_stream(&part.name)].concat();
            if part.name == "proxy" {
                paths.insert(format!("{object}/proxy/{{path}}"), below_proxy(item.clone(), names.clone()));
            }
            paths.insert(format!("{object}/{}", part.name), parameters::hoisted(item, names));
        }
    }
    Value::Object(paths)
}

/// Ends the name of an operation over all namespaces.
const EVERYWHERE: &str = "ForAllNamespaces";

/// Adds the operations of a path, of those verbs that the resource serves.
fn add(paths: &mut Map<String, Value>, path: &str, resource: &Resource, verbs: &[&str], end: &str) {
    let mut item = Map::new();
    for verb in verbs.iter().filter(|verb| resource.verbs.contains(verb)) {
        let namespaced = resource.namespaced && end.is_empty();
        let what = Operation {
            verb,
            name: id(verb, resource, if namespaced { "Namespaced" } else { "" }, end),
            resource,
            kind: [&resource.group, &resource.version, &resource.kind],
            body: &resource.definition,
            answer: match *verb {
                "list" => format!("{}List", resource.definition),
                // Kubernetes shows the last state of these, and only a success of everything else.
                "delete" if !matches!(&*resource.kind, "Pod" | "Service" | "ServiceAccount") => {
                    operation::STATUS.to_owned()
                }
                "deletecollection" => operation::STATUS.to_owned(),
                _ => resource.definition.to_string(),
            },
        };
        item.insert(method(verb).to_owned(), operation(&what));
    }
    if !item.is_empty() {
        let names = if end.is_empty() { names(resource, path.ends_with("{name}")) } else { Vec::new() };
        paths.insert(path.to_owned(), parameters::hoisted(item, names));
    }
}

/// The same operations on whatever stands behind `/proxy`.
fn below_proxy(mut item: Map<String, Value>, names: Vec<Value>) -> Value {
    for operation in item.values_mut() {
        if let Value::String(id) = &mut operation["operationId"] {
            id.push_str("WithPath");
        }
    }
    parameters::hoisted(item, [names, vec![parameters::in_path("path", "path to the resource")]].concat())
}

fn subresource_item(resource: &Resource, part: &Subresource) -> Map<String, Value> {
    let mut item = Map::new();
    let own = || (resource.is_custom() && part.kind == resource.kind).then(|| resource.definition.to_string());
    let body =
        builtin::by_kind(&version_of(part), &part.kind).map(|schema| schema.root().name.to_string()).or_else(own);
    let namespaced = if resource.namespaced { "Namespaced" } else { "" };
    for verb in part.verbs {
        let what = Operation {
            verb,
            name: id(verb, resource, namespaced, &upper(&part.name)),
            resource,
            kind: [&part.group, &part.version, &part.kind],
            body: body.as_deref().unwrap_or_default(),
            answer: body.clone().unwrap_or_default(),
        };
        let made = match (&*part.name, &body) {
            ("log", _) => operation::text(&what),
            // Streams (exec, attach, portforward, proxy) carry no object.
            (_, None) => operation::connect(&what, &connect_id(verb, resource, namespaced, &part.name)),
            _ => operation(&what),
        };
        item.insert(method(verb).to_owned(), made);
    }
    item
}

/// The PATCH operations of all resources, for version 2: kubectl 1.20 looks there whether `dryRun` is understood.
pub(super) fn v2(resources: &[Arc<Resource>]) -> Value {
    let path = |resource: &Arc<Resource>| {
        let parameters: Vec<Value> = parameters::of("patch")
            .into_iter()
            .map(|(name, kind, description)| json!({"name": name, "in": "query", "type": kind, "description": description}))
            .collect();
        let namespaced = if resource.namespaced { "Namespaced" } else { "" };
        let operation = json!({"operationId": id("patch", resource, namespaced, ""), "consumes": operation::patches(resource),
            "parameters": parameters, "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": kind_of([&resource.group, &resource.version, &resource.kind])});
        (format!("{}/{{name}}", collection(resource)), json!({"patch": operation}))
    };
    resources.iter().filter(|it| it.verbs.contains(&"patch")).map(path).collect::<Map<_, _>>().into()
}

fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

fn collection(resource: &Resource) -> String {
    let namespace = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    format!("{}{namespace}/{}", root(&resource.group, &resource.version), resource.plural)
}

fn version_of(part: &Subresource) -> String {
    if part.group.is_empty() { part.version.to_string() } else { format!("{}/{}", part.group, part.version) }
}

fn kind_of([group, version, kind]: [&str; 3]) -> Value {
    json!({"group": group, "kind": kind, "version": version})
}

/// The parameters that stand in the path.
fn names(resource: &Resource, one: bool) -> Vec<Value> {
    let mut names = Vec::new();
    if one {
        names.push(parameters::in_path("name", &format!("name of the {}", resource.kind)));
    }
    if resource.namespaced {
        names.push(parameters::in_path("namespace", "namespace of the object"));
    }
    names
}

fn method(verb: &str) -> &'static str {
    match verb {
        "create" => "post",
        "update" => "put",
        "patch" => "patch",
        "delete" | "deletecollection" => "delete",
        _ => "get",
    }
}

fn upper(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `Apps`, `RbacAuthorization`, `Core`: how names of operations call a group.
fn group_name(group: &str) -> String {
    match group.trim_end_matches(".k8s.io") {
        "" => "Core".to_owned(),
        group => group.split('.').map(upper).collect(),
    }
}

/// `replaceAppsV1NamespacedDeploymentScale`.
fn id(verb: &str, resource: &Resource, namespaced: &str, end: &str) -> String {
    let (verb, collection) = match verb {
        "get" => ("read", ""),
        "update" => ("replace", ""),
        "deletecollection" => ("delete", "Collection"),
        other => (other, ""),
    };
    let (group, version) = (group_name(&resource.group), upper(&resource.version));
    format!("{verb}{group}{version}{collection}{namespaced}{}{end}", resource.kind)
}

/// `connectCoreV1GetNamespacedPodExec`.
fn connect_id(verb: &str, resource: &Resource, namespaced: &str, part: &str) -> String {
    let (group, version) = (group_name(&resource.group), upper(&resource.version));
    format!("connect{group}{version}{}{namespaced}{}{}", upper(method(verb)), resource.kind, upper(part))
}
