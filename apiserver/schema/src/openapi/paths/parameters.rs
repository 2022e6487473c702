//! The parameters of operations.

use serde_json::{Map, Value, json};

/// Name, type and meaning of a query parameter.
pub(super) type Parameter = (&'static str, &'static str, &'static str);

const PRETTY: Parameter = ("pretty", "string", "Indent JSON.");
const DRY_RUN: Parameter = ("dryRun", "string", "All: do everything but store the result.");
const MANAGER: Parameter = ("fieldManager", "string", "Who makes the change.");
const VALIDATION: Parameter =
    ("fieldValidation", "string", "Strict, Warn or Ignore: what to do with unknown and duplicate fields.");
const FORCE: Parameter = ("force", "boolean", "Take over fields of other managers; for apply patches.");
const DELETE: [Parameter; 5] = [
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "Seconds the object has to end."),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Without effect: objects that cannot be read cannot be deleted.",
    ),
    ("orphanDependents", "boolean", "The old word for propagationPolicy."),
    ("propagationPolicy", "string", "Orphan, Background or Foreground: what happens to what it owns."),
];
/// Of lists and deletions of collections.
const CHOICE: [Parameter; 8] = [
    ("continue", "string", "Where the last part of the list ended."),
    ("fieldSelector", "string", "Fields the objects must have."),
    ("labelSelector", "string", "Labels the objects must have."),
    ("limit", "integer", "Most objects to return at once."),
    ("resourceVersion", "string", "State of the store to read from."),
    ("resourceVersionMatch", "string", "Exact or NotOlderThan: what resourceVersion means."),
    ("sendInitialEvents", "boolean", "Begin a watch with the present state; wants resourceVersionMatch=NotOlderThan."),
    ("timeoutSeconds", "integer", "How long a watch lasts."),
];
const WATCH: [Parameter; 2] = [
    ("allowWatchBookmarks", "boolean", "Tell now and then how far the watch is."),
    ("watch", "boolean", "Stream changes instead."),
];

const CONTAINER: Parameter = ("container", "string", "Which container; the only one if it is left out.");
const STREAMS: [Parameter; 5] = [
    CONTAINER,
    ("stderr", "boolean", "Whether to get what the container complains."),
    ("stdin", "boolean", "Whether to send input."),
    ("stdout", "boolean", "Whether to get what the container says."),
    ("tty", "boolean", "Whether there is a terminal."),
];
const LOG: [Parameter; 10] = [
    CONTAINER,
    ("follow", "boolean", "Go on until the container ends."),
    ("insecureSkipTLSVerifyBackend", "boolean", "Without effect: the server is the kubelet's neighbour."),
    ("limitBytes", "integer", "Most bytes to return."),
    PRETTY,
    ("previous", "boolean", "The log of the container that ran before."),
    ("sinceSeconds", "integer", "Begin that long ago."),
    ("stream", "string", "All, Stdout or Stderr."),
    ("tailLines", "integer", "Most lines to return, the last ones."),
    ("timestamps", "boolean", "Begin each line with its time."),
];

/// The query parameters of a stream.
pub(super) fn of_stream(part: &str) -> Vec<Value> {
    let command: Parameter = ("command", "string", "The program and its arguments, one parameter each.");
    let parameters = match part {
        "attach" => STREAMS.to_vec(),
        "exec" => [&STREAMS[..], &[command]].concat(),
        "log" => LOG.to_vec(),
        "proxy" => vec![("path", "string", "Without effect: what stands behind proxy counts.")],
        "portforward" => vec![("ports", "integer", "Ports of the pod; wanted with WebSockets.")],
        _ => Vec::new(),
    };
    parameters.into_iter().map(written).collect()
}

/// The query parameters of a verb, ordered by name.
pub(super) fn of(verb: &str) -> Vec<Parameter> {
    let mut all = match verb {
        "create" | "update" => vec![PRETTY, DRY_RUN, MANAGER, VALIDATION],
        "patch" => vec![PRETTY, DRY_RUN, MANAGER, VALIDATION, FORCE],
        "delete" => [&DELETE[..], &[PRETTY]].concat(),
        "list" => [&CHOICE[..], &WATCH, &[PRETTY]].concat(),
        "deletecollection" => [&CHOICE[..], &DELETE, &[PRETTY]].concat(),
        _ => vec![PRETTY],
    };
    all.sort_unstable();
    all
}

/// The same as they stand in a document of version 3.
pub(super) fn in_query(verb: &str) -> Vec<Value> {
    of(verb).into_iter().map(written).collect()
}

fn written((name, kind, description): Parameter) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": {"type": kind, "uniqueItems": true}})
}

/// A part of the path.
pub(super) fn in_path(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "path", "description": description, "required": true,
        "schema": {"type": "string", "uniqueItems": true}})
}

/// The operations of a path with what is common to all of them stated once, behind the parts of the path.
pub(super) fn hoisted(mut item: Map<String, Value>, names: Vec<Value>) -> Value {
    let of = |operation: &Value| operation["parameters"].as_array().cloned().unwrap_or_default();
    let mut lists = item.values().map(of);
    let first = lists.next().unwrap_or_default();
    let rest: Vec<Vec<Value>> = lists.collect();
    let common: Vec<Value> =
        first.into_iter().filter(|parameter| rest.iter().all(|list| list.contains(parameter))).collect();
    for operation in item.values_mut() {
        let own: Vec<Value> = of(operation).into_iter().filter(|parameter| !common.contains(parameter)).collect();
        if let Some(operation) = operation.as_object_mut() {
            operation.remove("parameters");
            if !own.is_empty() {
                operation.insert("parameters".to_owned(), own.into());
            }
        }
    }
    let mut parameters = [names, common].concat();
    parameters.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    if !parameters.is_empty() {
        item.insert("parameters".to_owned(), parameters.into());
    }
    Value::Object(item)
}
