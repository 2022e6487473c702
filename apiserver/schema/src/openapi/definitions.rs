//! The schemas of both OpenAPI versions: facts from the nodes of the built-in kinds, sentences from [`crate::descriptions`].

use crate::builtin::{self, META};
use crate::descriptions;
use crate::node::{Field, ListType, Merge, Node, Shape, Struct, StructId};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Which OpenAPI the schemas are for; they spell references and unions differently, and version 2 has no defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavor {
    V2,
    V3,
}

/// Where the definitions of what custom resource definitions hold begin.
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";

impl Flavor {
    pub(super) fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }

    /// A reference that something stands beside. (In version 3 nothing may.)
    pub(super) fn held(self, reference: Value) -> Value {
        match self {
            Self::V2 => reference,
            Self::V3 => json!({"allOf": [reference]}),
        }
    }
}

/// All built-in schemas, by definition name.
pub(super) fn all(flavor: Flavor) -> Map<String, Value> {
    let sentences = descriptions::definitions();
    let mut all = Map::new();
    for it in builtin::structs() {
        all.insert(it.name.to_string(), definition(it, sentences.get(&*it.name), flavor));
    }
    for (name, schema) in scalars(flavor) {
        let mut schema = schema;
        if let Some(text) = sentences.get(&name).and_then(|it| it.get("description")) {
            schema["description"] = text.clone();
        }
        all.insert(name, schema);
    }
    for row in builtin::rows() {
        let schema = &mut all[row.definition.as_str()];
        if row.is_kind {
            let (group, version) = row.group_version;
            schema["x-kubernetes-group-version-kind"] = json!([{"group": group, "kind": row.kind, "version": version}]);
        }
        if let Some(unions) = row.unions {
            schema["x-kubernetes-unions"] = serde_json::from_str(unions).unwrap_or_default();
        }
    }
    all
}

/// Definitions that are no structs.
fn scalars(flavor: Flavor) -> Vec<(String, Value)> {
    let text = || json!({"type": "string"});
    let time = || json!({"type": "string", "format": "date-time"});
    let object = || json!({"type": "object"});
    let (quantity, port) = match flavor {
        Flavor::V2 => (text(), json!({"type": "string", "format": "int-or-string"})),
        Flavor::V3 => (
            json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"}),
        ),
    };
    let mut all = vec![
        (QUANTITY.to_owned(), quantity),
        (PORT.to_owned(), port),
        (RAW.to_owned(), object()),
        (format!("{META}Time"), time()),
        (format!("{META}MicroTime"), time()),
        (format!("{META}FieldsV1"), object()),
        (format!("{META}Patch"), object()),
    ];
    for name in ["JSON", "JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray"] {
        all.push((format!("{EXTENSIONS}{name}"), json!({})));
    }
    all
}

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const PORT: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const RAW: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";

fn definition(it: &Struct, sentences: Option<&Value>, flavor: Flavor) -> Value {
    let sentence = |field: &str| match sentences {
        Some(sentences) => sentences.get("properties")?.get(field)?.get("description").cloned(),
        None => generic(field).map(Value::from),
    };
    let mut schema = json!({"type": "object"});
    if let Some(text) = sentences.and_then(|it| it.get("description")) {
        schema["description"] = text.clone();
    } else if let Some(kind) = it.name.strip_suffix("List").and_then(|name| name.rsplit('.').next()) {
        schema["description"] = format!("A list of objects of kind {kind}.").into();
    }
    let mut properties = Map::new();
    for field in &it.fields {
        properties.insert(field.name.to_string(), property(it, field, sentence(&field.name), flavor));
    }
    if !properties.is_empty() {
        schema["properties"] = properties.into();
    }
    let required: Vec<&str> = it.fields.iter().filter(|field| field.required).map(|field| &*field.name).collect();
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    if it.atomic {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    schema
}

/// What is said about the fields of lists, which nobody describes one by one.
fn generic(field: &str) -> Option<&'static str> {
    Some(match field {
        "apiVersion" => "Version of the schema of this object.",
        "kind" => "Kind of this object.",
        "metadata" => "Metadata of this object.",
        "items" => "The objects.",
        _ => return None,
    })
}

fn property(of: &Struct, field: &Field, description: Option<Value>, flavor: Flavor) -> Value {
    let mut schema = node(of, field, &field.node, flavor);
    let beside = description.is_some() || field.node.default.is_some() || field.node.merge.is_some();
    if beside && schema.get("$ref").is_some() {
        schema = flavor.held(schema);
    }
    if let Some(text) = description {
        schema["description"] = text;
    }
    if let (Flavor::V3, Some(default)) = (flavor, &field.node.default) {
        // A quantity or a number-or-name that is zero says so with an object, as the structs behind them do in Go.
        let held = matches!(field.node.shape, Shape::Quantity | Shape::IntOrString);
        schema["default"] = if held { json!({}) } else { Value::clone(default) };
    }
    if let Some(merge) = &field.node.merge {
        extend(&mut schema, merge);
    }
    schema
}

fn node(of: &Struct, field: &Field, node: &Node, flavor: Flavor) -> Value {
    let nested = |inner: &Node| self::node(of, field, inner, flavor);
    match &node.shape {
        Shape::String => json!({"type": "string"}),
        Shape::Int32 => json!({"type": "integer", "format": "int32"}),
        Shape::Int64 => json!({"type": "integer", "format": "int64"}),
        Shape::Number => json!({"type": "number", "format": "double"}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Time => flavor.reference(&format!("{META}Time")),
        Shape::MicroTime => flavor.reference(&format!("{META}MicroTime")),
        Shape::Quantity => flavor.reference(QUANTITY),
        Shape::IntOrString => flavor.reference(PORT),
        Shape::Any => flavor.reference(&anything(of, field)),
        Shape::List(element) => json!({"type": "array", "items": nested(element)}),
        Shape::Map(values) => json!({"type": "object", "additionalProperties": nested(values)}),
        Shape::Struct(id) => flavor.reference(name(*id)),
        Shape::Either(_, other) => flavor.reference(&format!("{EXTENSIONS}{}", either(other))),
    }
}

fn name(id: StructId) -> &'static str {
    &builtin::structs()[id.0 as usize].name
}

/// What a definition calls a value of any form.
fn anything(of: &Struct, field: &Field) -> String {
    match &*field.name {
        "fieldsV1" => format!("{META}FieldsV1"),
        _ if of.name.starts_with(EXTENSIONS) => format!("{EXTENSIONS}JSON"),
        _ => RAW.to_owned(),
    }
}

fn either(other: &Node) -> &'static str {
    match &other.shape {
        Shape::Boolean => "JSONSchemaPropsOrBool",
        Shape::List(element) if matches!(element.shape, Shape::String) => "JSONSchemaPropsOrStringArray",
        _ => "JSONSchemaPropsOrArray",
    }
}

fn extend(schema: &mut Value, merge: &Merge) {
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            schema[format!("x-kubernetes-{name}")] = value;
        }
    };
    let (list, keys) = match &merge.list {
        ListType::Unsaid => (None, None),
        ListType::Atomic => (Some("atomic"), None),
        ListType::Set => (Some("set"), None),
        ListType::Map(keys) => (Some("map"), Some(keys.iter().map(|key| &**key).collect::<Vec<&str>>())),
    };
    let strategy = match (merge.strategic, merge.retain_keys, merge.replace) {
        (true, true, _) => Some("merge,retainKeys"),
        (true, false, _) => Some("merge"),
        (false, true, _) => Some("retainKeys"),
        (false, false, true) => Some("replace"),
        (false, false, false) => None,
    };
    let map = [(merge.atomic_map, "atomic"), (merge.granular_map, "granular")];
    set("patch-strategy", strategy.map(Value::from));
    set("patch-merge-key", merge.merge_key.as_deref().map(Value::from));
    set("list-type", list.map(Value::from));
    set("list-map-keys", keys.map(Value::from));
    set("map-type", map.iter().find(|(given, _)| *given).map(|(_, name)| (*name).into()));
}

/// The schemas that a part of a document refers to, directly or through others.
pub(super) fn reachable(part: &Value, all: &[&Map<String, Value>]) -> Map<String, Value> {
    let mut found = BTreeMap::new();
    let mut open = Vec::new();
    references(part, &mut open);
    while let Some(name) = open.pop() {
        if let Some((name, schema)) = all.iter().find_map(|map| map.get_key_value(name))
            && !found.contains_key(name)
        {
            found.insert(name, schema);
            references(schema, &mut open);
        }
    }
    found.into_iter().map(|(name, schema)| (name.clone(), schema.clone())).collect()
}

fn references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
            into.extend(name);
            map.values().for_each(|value| references(value, into));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, into)),
        _ => {}
    }
}
