//! The paths of the OpenAPI documents: one entry for each verb that the table of resources lists.
//!
//! kubectl looks for PATCH operations: which parameters they take, and which media types.

use serde_json::{Map, Value, json};

use super::definitions::list_name;
use crate::{Catalog, Resource, Subresource, catalog, resources};

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// Media types of patches.
const PATCHES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];

/// The paths of one group-version, for version 3.
pub(super) fn v3(group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    for resource in Catalog::builtin().of_version(group, version) {
        let collection = collection(resource);
        let object = format!("{collection}/{{name}}");
        paths.insert(object.clone(), item(resource, &["get", "update", "patch", "delete"], name_parameters(resource)));
        for subresource in &resource.subresources {
            paths.insert(format!("{object}/{}", subresource.name), subresource_item(resource, subresource));
        }
        paths.insert(
            collection,
            item(resource, &["list", "create", "deletecollection"], namespace_parameters(resource)),
        );
        if resource.namespaced {
            paths.insert(format!("{}/{}", root(resource), resource.plural), item(resource, &["list"], Vec::new()));
        }
    }
    Value::Object(paths)
}

/// The PATCH operations of all resources, for version 2: kubectl 1.20 looks there whether `dryRun` is understood.
pub(super) fn v2() -> Value {
    let path = |resource: &Resource| {
        let parameters: Vec<Value> = query_parameters("patch")
            .into_iter()
            .map(|(name, description)| json!({"name": name, "in": "query", "type": "string", "description": description}))
            .collect();
        let operation = json!({"operationId": operation_id("patch", resource, ""), "consumes": PATCHES,
            "parameters": parameters, "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": kind_of(resource)});
        (format!("{}/{{name}}", collection(resource)), json!({"patch": operation}))
    };
    resources().iter().map(|it| path(it)).collect::<Map<_, _>>().into()
}

fn root(resource: &Resource) -> String {
    if resource.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", resource.api_version()) }
}

fn collection(resource: &Resource) -> String {
    let namespace = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    format!("{}{namespace}/{}", root(resource), resource.plural)
}

fn kind_of(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

fn parameter(name: &str, place: &str, description: &str) -> Value {
    json!({"name": name, "in": place, "description": description, "required": place == "path",
        "schema": {"type": "string", "uniqueItems": true}})
}

fn namespace_parameters(resource: &Resource) -> Vec<Value> {
    let namespace = parameter("namespace", "path", "Namespace of the object.");
    if resource.namespaced { vec![namespace] } else { Vec::new() }
}

fn name_parameters(resource: &Resource) -> Vec<Value> {
    let mut parameters = namespace_parameters(resource);
    parameters.push(parameter("name", "path", "Name of the object."));
    parameters
}

/// Name and meaning of a query parameter.
type Parameter = (&'static str, &'static str);

const PRETTY: Parameter = ("pretty", "Indent JSON.");
const DRY_RUN: Parameter = ("dryRun", "All: do everything but store the result.");
const WRITE: [Parameter; 4] = [
    PRETTY,
    DRY_RUN,
    ("fieldManager", "Who makes the change."),
    ("fieldValidation", "Strict, Warn or Ignore: what to do with unknown and duplicate fields."),
];
const DELETE: [Parameter; 6] = [
    PRETTY,
    DRY_RUN,
    ("gracePeriodSeconds", "Seconds the object has to end."),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "Without effect: objects that cannot be read cannot be deleted.",
    ),
    ("orphanDependents", "The old word for propagationPolicy."),
    ("propagationPolicy", "Orphan, Background or Foreground: what happens to what it owns."),
];
const LIST: [Parameter; 11] = [
    PRETTY,
    ("allowWatchBookmarks", "Tell now and then how far the watch is."),
    ("continue", "Where the last part of the list ended."),
    ("fieldSelector", "Fields the objects must have."),
    ("labelSelector", "Labels the objects must have."),
    ("limit", "Most objects to return at once."),
    ("resourceVersion", "State of the store to read from."),
    ("resourceVersionMatch", "Exact or NotOlderThan: what resourceVersion means."),
    ("sendInitialEvents", "Begin a watch with the present state; wants resourceVersionMatch=NotOlderThan."),
    ("timeoutSeconds", "How long a watch lasts."),
    ("watch", "Stream changes instead."),
];

/// The query parameters of a verb.
fn query_parameters(verb: &str) -> Vec<Parameter> {
    match verb {
        "get" => vec![PRETTY],
        "create" | "update" => WRITE.to_vec(),
        "patch" => [&WRITE[..], &[("force", "Take over fields of other managers; for apply patches.")]].concat(),
        "delete" => DELETE.to_vec(),
        "list" => LIST.to_vec(),
        // `pretty` and `watch` aside, a collection is deleted by both.
        "deletecollection" => [&LIST[..LIST.len() - 1], &DELETE[1..]].concat(),
        _ => Vec::new(),
    }
}

/// The operations of a path, of those verbs that the resource serves.
fn item(resource: &Resource, verbs: &[&str], parameters: Vec<Value>) -> Value {
    let mut item = Map::new();
    for verb in verbs.iter().filter(|verb| resource.verbs.contains(verb)) {
        let answer = if *verb == "list" { list_name(resource) } else { answer(verb, &resource.definition).to_owned() };
        let mut operation = operation(verb, &resource.definition, &answer);
        operation["operationId"] =
            operation_id(verb, resource, if parameters.is_empty() { "everywhere" } else { "" }).into();
        operation["x-kubernetes-group-version-kind"] = kind_of(resource);
        item.insert(method(verb).to_owned(), operation);
    }
    item.insert("parameters".to_owned(), parameters.into());
    Value::Object(item)
}

fn subresource_item(resource: &Resource, subresource: &Subresource) -> Value {
    let mut item = Map::new();
    let definition = definition_of(subresource);
    for verb in subresource.verbs {
        let body = definition.unwrap_or(STATUS);
        let mut operation = operation(verb, body, answer(verb, body));
        if definition.is_none() {
            // Streams (log, exec, attach, portforward) carry no object.
            operation = json!({"responses": {"200": {"description": "OK"}}, "x-kubernetes-action": "connect"});
        }
        operation["operationId"] = operation_id(verb, resource, &subresource.name).into();
        operation["x-kubernetes-group-version-kind"] =
            json!({"group": subresource.group, "version": subresource.version, "kind": subresource.kind});
        item.insert(method(verb).to_owned(), operation);
    }
    item.insert("parameters".to_owned(), name_parameters(resource).into());
    Value::Object(item)
}

/// The schema of a subresource's body; `None` for streams.
fn definition_of(subresource: &Subresource) -> Option<&'static str> {
    if subresource.name == "log" {
        return None;
    }
    let is_kind = |it: &&std::sync::Arc<Resource>| {
        (&it.group, &it.version, &it.kind) == (&subresource.group, &subresource.version, &subresource.kind)
    };
    resources().iter().chain(catalog::auxiliary()).find(is_kind).map(|it| &*it.definition)
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

fn answer<'a>(verb: &str, definition: &'a str) -> &'a str {
    match verb {
        "delete" | "deletecollection" => STATUS,
        _ => definition,
    }
}

fn operation_id(verb: &str, resource: &Resource, part: &str) -> String {
    let upper = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
    };
    let group = resource.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    format!("{verb}{}{}{}{}", upper(group), upper(&resource.version), resource.kind, upper(part))
}

fn operation(verb: &str, definition: &str, answer: &str) -> Value {
    let schema = |name: &str| json!({"schema": {"$ref": format!("#/components/schemas/{name}")}});
    let parameters: Vec<Value> =
        query_parameters(verb).into_iter().map(|(name, description)| parameter(name, "query", description)).collect();
    let mut operation = json!({"parameters": parameters, "x-kubernetes-action": action(verb),
        "responses": {"200": {"description": "OK", "content": {"application/json": schema(answer)}}}});
    let content = match verb {
        "create" | "update" => json!({"application/json": schema(definition)}),
        "delete" | "deletecollection" => json!({"application/json": schema(DELETE_OPTIONS)}),
        "patch" => PATCHES
            .iter()
            .map(|media| ((*media).to_owned(), json!({"schema": {"type": "object"}})))
            .collect::<Map<_, _>>()
            .into(),
        _ => return operation,
    };
    operation["requestBody"] = json!({"content": content});
    operation
}

fn action(verb: &str) -> &'static str {
    match verb {
        "create" => "post",
        "update" => "put",
        "patch" => "patch",
        "delete" => "delete",
        "deletecollection" => "deletecollection",
        "list" => "list",
        _ => "get",
    }
}
