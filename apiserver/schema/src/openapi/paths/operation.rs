//! One operation of a path.

use super::{group_name, kind_of, parameters};
use crate::{Resource, protobuf};
use serde_json::{Map, Value, json};

/// Definition of what says that something succeeded or failed.
pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const API_RESOURCES: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList";

/// Media types of patches.
const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// Media types of patches of a resource: strategic merges need what only built-in kinds say.
pub(super) fn patches(resource: &Resource) -> &'static [&'static str] {
    if resource.is_custom() { &PATCHES[..PATCHES.len() - 1] } else { &PATCHES }
}

/// What an operation does.
pub(super) struct Operation<'a> {
    pub(super) verb: &'a str,
    /// Its name, unique in a document.
    pub(super) name: String,
    pub(super) resource: &'a Resource,
    /// Group, version and kind that it is about.
    pub(super) kind: [&'a str; 3],
    /// Definition of what is sent.
    pub(super) body: &'a str,
    /// Definition of what is answered.
    pub(super) answer: String,
}

fn schema(name: &str) -> Value {
    json!({"schema": {"$ref": format!("#/components/schemas/{name}")}})
}

/// An answer in every form in which it may be asked for.
fn answers(answer: &str, description: &str, streamed: bool) -> Value {
    let plain = ["application/json", "application/yaml", protobuf::CONTENT_TYPE];
    let streams = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
    let forms = plain.iter().chain(streams.iter().filter(|_| streamed));
    let content: Map<String, Value> = forms.map(|form| ((*form).to_owned(), schema(answer))).collect();
    json!({"description": description, "content": content})
}

fn tag(group: &str, version: &str) -> String {
    let name = group_name(group);
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    format!("{}_{version}", first.into_iter().chain(letters).collect::<String>())
}

/// An operation on objects.
pub(super) fn operation(what: &Operation<'_>) -> Value {
    let Operation { verb, resource, .. } = what;
    let codes: &[(&str, &str)] = match *verb {
        "create" => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
        "update" | "patch" => &[("200", "OK"), ("201", "Created")],
        "delete" => &[("200", "OK"), ("202", "Accepted")],
        _ => &[("200", "OK")],
    };
    let mut responses: Map<String, Value> =
        codes.iter().map(|(code, text)| ((*code).to_owned(), answers(&what.answer, text, *verb == "list"))).collect();
    responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    let mut operation = json!({"description": sentence(verb, &resource.kind), "operationId": what.name,
        "parameters": parameters::in_query(verb), "responses": responses,
        "tags": [tag(&resource.group, &resource.version)], "x-kubernetes-action": action(verb),
        "x-kubernetes-group-version-kind": kind_of(what.kind)});
    match *verb {
        "create" | "update" => {
            operation["requestBody"] = json!({"content": {"*/*": schema(what.body)}, "required": true});
        }
        "delete" | "deletecollection" => {
            operation["requestBody"] = json!({"content": {"*/*": schema(DELETE_OPTIONS)}});
        }
        "patch" => {
            let content: Map<String, Value> =
                patches(resource).iter().map(|media| ((*media).to_owned(), schema(PATCH))).collect();
            operation["requestBody"] = json!({"content": content, "required": true});
        }
        _ => {}
    }
    operation
}

/// An operation that answers text: a log.
pub(super) fn text(what: &Operation<'_>) -> Value {
    let content = json!({"text/plain": {"schema": {"type": "string"}}});
    json!({"description": "read the log of a container", "operationId": what.name,
        "responses": {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}},
        "tags": [tag(&what.resource.group, &what.resource.version)], "x-kubernetes-action": "get",
        "x-kubernetes-group-version-kind": kind_of(what.kind)})
}

/// An operation that opens a stream.
pub(super) fn connect(what: &Operation<'_>, name: &str) -> Value {
    let content = json!({"*/*": {"schema": {"type": "string"}}});
    json!({"description": format!("connect to a stream of a {}", what.resource.kind), "operationId": name,
        "responses": {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}},
        "tags": [tag(&what.resource.group, &what.resource.version)], "x-kubernetes-action": "connect",
        "x-kubernetes-group-version-kind": kind_of(what.kind)})
}

/// The list of what a group-version serves.
pub(super) fn api_resources(group: &str, version: &str) -> Value {
    let name = format!("get{}{}APIResources", group_name(group), super::upper(version));
    let responses = json!({"200": answers(API_RESOURCES, "OK", false), "401": {"description": "Unauthorized"}});
    json!({"get": {"description": "list the resources", "operationId": name, "responses": responses,
        "tags": [tag(group, version)]}})
}

fn sentence(verb: &str, kind: &str) -> String {
    match verb {
        "create" => format!("create one object of kind {kind}"),
        "update" => format!("replace one object of kind {kind}"),
        "patch" => format!("change parts of one object of kind {kind}"),
        "delete" => format!("delete one object of kind {kind}"),
        "deletecollection" => format!("delete the objects of kind {kind}"),
        "list" => format!("list or watch the objects of kind {kind}"),
        _ => format!("read one object of kind {kind}"),
    }
}

fn action(verb: &str) -> &str {
    match verb {
        "create" => "post",
        "update" => "put",
        other => other,
    }
}
