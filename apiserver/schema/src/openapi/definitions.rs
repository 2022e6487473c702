//! The schemas of both OpenAPI versions: those of [`crate::descriptions`], with Kubernetes' extensions, and lists.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::descriptions::{self, LIST_META};
use crate::keys::{self, ListKeys};
use crate::types::reference;
use crate::{Resource, catalog, resources};

/// Which OpenAPI the schemas are for; they spell references and unions differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavor {
    V2,
    V3,
}

impl Flavor {
    fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }

    /// A reference with what else the field says. (In version 3 nothing may stand beside `$ref`.)
    fn described(self, name: &str, description: Option<&Value>) -> Value {
        let Some(description) = description else { return self.reference(name) };
        match self {
            Self::V2 => {
                let mut schema = self.reference(name);
                schema["description"] = description.clone();
                schema
            }
            Self::V3 => json!({"allOf": [self.reference(name)], "description": description}),
        }
    }
}

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// All schemas, by definition name.
pub(super) fn all(flavor: Flavor) -> Map<String, Value> {
    let mut all: Map<String, Value> = descriptions::definitions()
        .iter()
        .map(|(name, schema)| (name.clone(), definition(name, schema, flavor)))
        .collect();
    for resource in resources() {
        all.insert(list_name(resource), list(resource, flavor));
    }
    for resource in resources().iter().chain(catalog::auxiliary()) {
        add_kind(&mut all[&*resource.definition], [&resource.group, &resource.version, &resource.kind]);
    }
    add_kind(&mut all[STATUS], ["", "v1", "Status"]);
    all
}

/// Name of the definition of a list of `resource`.
pub(super) fn list_name(resource: &Resource) -> String {
    format!("{}List", resource.definition)
}

fn add_kind(schema: &mut Value, [group, version, kind]: [&str; 3]) {
    let kind = json!({"group": group, "version": version, "kind": kind});
    match schema.get_mut("x-kubernetes-group-version-kind").and_then(Value::as_array_mut) {
        Some(kinds) => kinds.push(kind),
        None => schema["x-kubernetes-group-version-kind"] = json!([kind]),
    }
}

fn list(resource: &Resource, flavor: Flavor) -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    let items = json!({"type": "array", "description": format!("The objects of kind {}.", resource.kind),
        "items": flavor.reference(&resource.definition)});
    let mut list = json!({"type": "object", "description": format!("A list of objects of kind {}.", resource.kind),
    "required": ["items"],
    "properties": {
        "apiVersion": text("Version of the list's schema."),
        "kind": text("Kind of the list."),
        "metadata": flavor.described(LIST_META, Some(&"Metadata of the list.".into())),
        "items": items,
    }});
    add_kind(&mut list, [&resource.group, &resource.version, &resource.list_kind]);
    list
}

fn definition(name: &str, schema: &Value, flavor: Flavor) -> Value {
    if schema.get("x-kubernetes-int-or-string").is_some() {
        return union(name, schema, flavor);
    }
    let mut converted = convert(schema, flavor);
    let properties = converted.get_mut("properties").and_then(Value::as_object_mut);
    for (field, schema) in properties.into_iter().flatten() {
        if let Some(keys) = keys::find(name, field) {
            extend(schema, keys);
        }
    }
    if keys::is_atomic(name) {
        converted["x-kubernetes-map-type"] = "atomic".into();
    }
    converted
}

/// Quantities and numbers-or-names.
fn union(name: &str, schema: &Value, flavor: Flavor) -> Value {
    let port = name.ends_with("IntOrString");
    let mut union = match (flavor, port) {
        (Flavor::V2, true) => json!({"type": "string", "format": "int-or-string"}),
        (Flavor::V2, false) => json!({"type": "string"}),
        (Flavor::V3, true) => json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"}),
        (Flavor::V3, false) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
    };
    union["description"] = schema["description"].clone();
    union
}

fn convert(schema: &Value, flavor: Flavor) -> Value {
    if let Some(name) = reference(schema) {
        return flavor.described(name, schema.get("description"));
    }
    let Some(fields) = schema.as_object() else { return json!({}) };
    let field = |(key, value): (&String, &Value)| {
        let value = match key.as_str() {
            "properties" => value
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, schema)| (name.clone(), convert(schema, flavor)))
                .collect(),
            "items" | "additionalProperties" => convert(value, flavor),
            "anyOf" | "oneOf" | "allOf" => {
                value.as_array().into_iter().flatten().map(|it| convert(it, flavor)).collect()
            }
            _ => value.clone(),
        };
        (key.clone(), value)
    };
    Value::Object(fields.iter().map(field).collect())
}

fn extend(schema: &mut Value, keys: &ListKeys) {
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            schema[format!("x-kubernetes-{name}")] = value;
        }
    };
    set("patch-strategy", keys.patch_strategy().map(Value::from));
    set("patch-merge-key", keys.merge_key.map(Value::from));
    set("list-type", keys.list_type.map(Value::from));
    set("list-map-keys", (!keys.map_keys.is_empty()).then(|| keys.map_keys.into()));
    set("map-type", keys.atomic_map.then(|| "atomic".into()));
}

/// The schemas that a part of a document refers to, directly or through others.
pub(super) fn reachable(part: &Value, all: &Map<String, Value>) -> Map<String, Value> {
    let mut names = BTreeSet::new();
    let mut open = Vec::new();
    references(part, &mut open);
    while let Some(name) = open.pop() {
        if let Some((name, schema)) = all.get_key_value(name)
            && names.insert(name)
        {
            references(schema, &mut open);
        }
    }
    names.into_iter().map(|name| (name.clone(), all[name].clone())).collect()
}

fn references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            into.extend(reference(value));
            map.values().for_each(|value| references(value, into));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, into)),
        _ => {}
    }
}
