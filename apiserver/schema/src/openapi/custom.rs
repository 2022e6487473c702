//! The schemas of custom resources: as their definitions were written, with type and metadata beside.
//!
//! Version 2 cannot say all of it. What it cannot say is left out, so that clients do not refuse what the server takes.

use super::definitions::Flavor;
use crate::Resource;
use crate::builtin::META;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The schemas of those of `resources` that definitions brought, and of their lists.
pub(super) fn schemas<'a>(
    resources: impl Iterator<Item = &'a Arc<Resource>>,
    built_in: &Map<String, Value>,
    flavor: Flavor,
) -> Map<String, Value> {
    let mut all = Map::new();
    resources.for_each(|resource| add(&mut all, resource, built_in, flavor));
    all
}

fn add(all: &mut Map<String, Value>, resource: &Resource, built_in: &Map<String, Value>, flavor: Flavor) {
    let Some(custom) = &resource.custom else { return };
    let mut schema: Value = serde_json::from_str(custom.version.written()).unwrap_or_default();
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    match flavor {
        // Whatever else were said, kubectl would take what is not listed for unknown.
        Flavor::V2 if open => schema = json!({"type": "object"}),
        Flavor::V2 => narrow(&mut schema),
        Flavor::V3 => {}
    }
    // Every kind has these fields; what they are is said where built-in kinds say it.
    let sentence = |kind: &str, field: &str| built_in[kind]["properties"][field]["description"].clone();
    let text = |field: &str| json!({"type": "string", "description": sentence("io.k8s.api.core.v1.Pod", field)});
    let metadata = |kind: &str, like: &str| {
        let mut reference = flavor.held(flavor.reference(&format!("{META}{kind}")));
        reference["description"] = sentence(like, "metadata");
        reference
    };
    let kind = |kind: &str| json!([{"group": resource.group, "version": resource.version, "kind": kind}]);
    if flavor == Flavor::V3 || !open {
        if !schema["properties"].is_object() {
            schema["properties"] = json!({});
        }
        schema["properties"]["apiVersion"] = text("apiVersion");
        schema["properties"]["kind"] = text("kind");
        schema["properties"]["metadata"] = metadata("ObjectMeta", "io.k8s.api.core.v1.Pod");
    }
    schema["x-kubernetes-group-version-kind"] = kind(&resource.kind);
    let list = json!({"type": "object", "description": format!("A list of objects of kind {}.", resource.kind),
        "required": ["items"], "x-kubernetes-group-version-kind": kind(&resource.list_kind),
        "properties": {
            "apiVersion": text("apiVersion"),
            "kind": text("kind"),
            "metadata": metadata("ListMeta", "io.k8s.api.core.v1.PodList"),
            "items": {"type": "array", "description": format!("The objects of kind {}.", resource.kind),
                "items": flavor.reference(&resource.definition)}}});
    all.insert(resource.definition.to_string(), schema);
    all.insert(format!("{}List", resource.definition), list);
}

/// Leaves out what version 2 has no words for.
fn narrow(schema: &mut Value) {
    let is = |schema: &Value, key: &str| schema[key] == true;
    let open = is(schema, "nullable") || is(schema, "x-kubernetes-preserve-unknown-fields");
    let untyped = open || is(schema, "x-kubernetes-int-or-string");
    let Some(map) = schema.as_object_mut() else { return };
    for key in ["anyOf", "oneOf", "allOf", "not", "nullable", "default"] {
        map.remove(key);
    }
    if untyped {
        map.remove("type");
        map.remove("format");
    }
    if open {
        for key in ["properties", "items", "additionalProperties", "required"] {
            map.remove(key);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            narrow(inner);
        }
    }
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(narrow);
    }
}
