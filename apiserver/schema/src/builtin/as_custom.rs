//! The law that there is one path: every built-in kind, registered as a custom resource from its own schema, decodes, prunes, defaults,
//! applies and publishes as it does built in.
//!
//! What a structural schema cannot say is left out of the comparison, each with its reason:
//!
//! - Fields that Go leaves out when they are zero: objects are compared as decoding leaves them, where none is.
//! - Other spellings of a quantity, a time or bytes, which built-in kinds put in one form: random values have that form.
//! - Nulls that Go writes for what was not said: custom resources write nothing that nobody said.
//! - Null for a value: an error in a custom resource, nothing in Go.
//! - Merge keys and strategies of strategic merges, which custom resources do not have; the descriptions of `metadata`.
//! - What kinds add by rules of their own: defaults that depend on other fields, validation, what a write through a part may say.

use super::random::{Dice, dice};
use crate::node::{Field, ListType, Merge, Node, Schema, Shape, StructId};
use crate::{Author, Catalog, Definition, FieldValidation, Resource, apply, custom_resources, decode_value, resources};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Kinds that no structural schema describes.
const UNSAYABLE: [(&str, &str); 1] = [("CustomResourceDefinition", "its schemas stand in themselves")];

/// A field that nobody knows.
const STRANGE: &str = "zzStrange";

fn sayable() -> impl Iterator<Item = &'static Arc<Resource>> {
    resources().iter().filter(|resource| UNSAYABLE.iter().all(|(kind, _)| *kind != resource.kind))
}

/// Whether a default is said that is zero and that Go leaves out: of a list's key it tells elements apart, anywhere else it would be put in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zeros {
    Said,
    Unsaid,
}

/// The structural schema of a struct.
fn structure(schema: &Schema, id: StructId, whole: bool, zeros: Zeros) -> Value {
    let known = schema.get(id);
    let mut properties = Map::new();
    for field in &known.fields {
        let said = if whole && &*field.name == "metadata" {
            json!({"type": "object"})
        } else {
            property(schema, field, zeros)
        };
        properties.insert(field.name.to_string(), said);
    }
    let mut said = json!({"type": "object"});
    if !properties.is_empty() {
        said["properties"] = properties.into();
    }
    if known.atomic {
        said["x-kubernetes-map-type"] = "atomic".into();
    }
    said
}

fn property(schema: &Schema, field: &Field, zeros: Zeros) -> Value {
    let mut said = node(schema, &field.node, zeros);
    let zero = |value: &Value| {
        matches!(value, Value::String(text) if text.is_empty()) || *value == json!(0) || *value == json!(false)
    };
    if let Some(default) =
        field.node.default.as_deref().filter(|default| zeros == Zeros::Said || !(field.omit_zero && zero(default)))
    {
        said["default"] = default.clone();
    }
    if let Some(merge) = &field.node.merge {
        extend(&mut said, merge);
    }
    said
}

fn node(schema: &Schema, known: &Node, zeros: Zeros) -> Value {
    match &known.shape {
        Shape::String => json!({"type": "string"}),
        Shape::Quantity | Shape::IntOrString => json!({"x-kubernetes-int-or-string": true}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Time | Shape::MicroTime => json!({"type": "string", "format": "date-time"}),
        Shape::Int32 => json!({"type": "integer", "format": "int32"}),
        Shape::Int64 => json!({"type": "integer", "format": "int64"}),
        Shape::Number => json!({"type": "number", "format": "double"}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Any | Shape::Either(..) => json!({"x-kubernetes-preserve-unknown-fields": true}),
        Shape::List(inner) => json!({"type": "array", "items": node(schema, inner, zeros)}),
        Shape::Map(inner) => json!({"type": "object", "additionalProperties": node(schema, inner, zeros)}),
        Shape::Struct(id) => structure(schema, *id, false, zeros),
    }
}

fn extend(said: &mut Value, merge: &Merge) {
    match &merge.list {
        ListType::Unsaid => {}
        ListType::Atomic => said["x-kubernetes-list-type"] = "atomic".into(),
        ListType::Set => said["x-kubernetes-list-type"] = "set".into(),
        ListType::Map(keys) => {
            said["x-kubernetes-list-type"] = "map".into();
            said["x-kubernetes-list-map-keys"] = keys.iter().map(|key| Value::from(&**key)).collect();
        }
    }
    if merge.atomic_map || merge.granular_map {
        said["x-kubernetes-map-type"] = if merge.atomic_map { "atomic" } else { "granular" }.into();
    }
}

/// The same resource, from a definition.
fn registered(resource: &Resource, zeros: Zeros) -> Arc<Resource> {
    let schema = structure(&resource.schema, resource.schema.root_id(), true, zeros);
    let names = json!({"plural": resource.plural, "singular": resource.singular, "kind": resource.kind, "listKind": resource.list_kind});
    let subresources = if resource.has_status() { json!({"status": {}}) } else { json!({}) };
    let version = json!({"name": resource.version, "served": true, "storage": true, "subresources": subresources,
        "schema": {"openAPIV3Schema": schema}});
    let definition = json!({"metadata": {"name": resource.group_resource()},
        "spec": {"group": resource.group, "versions": [version], "scope": if resource.namespaced { "Namespaced" } else { "Cluster" }},
        "status": {"acceptedNames": names, "conditions": [{"type": "Established", "status": "True"}]}});
    custom_resources([&Definition::read(&definition, None)])
        .pop()
        .unwrap_or_else(|| panic!("{} can be registered", resource.kind))
}

/// Calls `check` with both forms of every kind, and with dice to make objects of.
fn for_every_kind(zeros: Zeros, check: impl Fn(&Resource, &Resource, &mut Dice<'_>) -> Result<(), TestCaseError>) {
    let config = Config { cases: 20, failure_persistence: None, rng_seed: RngSeed::Random, ..Config::default() };
    for resource in sayable() {
        let custom = registered(resource, zeros);
        let mut runner = TestRunner::new(config.clone());
        let bytes = proptest::collection::vec(any::<u8>(), 1..200);
        let law = runner.run(&bytes, |bytes| check(resource, &custom, &mut dice(&bytes)));
        if let Err(error) = law {
            panic!("{}: {error}", resource.kind);
        }
    }
}

/// A random object as decoding leaves it.
fn object(resource: &Resource, dice: &mut Dice<'_>) -> Result<Value, TestCaseError> {
    let mut object = dice.structure(&resource.schema, resource.schema.root_id(), 0);
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = (*resource.kind).into();
    let decoded = decode_value(resource, object, &[], FieldValidation::Strict);
    decoded.map(|decoded| decoded.object).map_err(|error| TestCaseError::fail(error.to_string()))
}

/// Adds fields that nobody knows and takes out what defaults put back, here and there.
fn damage(schema: &Schema, known: &Node, value: &mut Value, dice: &mut Dice<'_>) {
    match (&known.shape, value) {
        (Shape::Struct(id), Value::Object(fields)) => damage_struct(schema, *id, fields, dice),
        (Shape::List(inner), Value::Array(list)) => list.iter_mut().for_each(|one| damage(schema, inner, one, dice)),
        (Shape::Map(inner), Value::Object(map)) => map.values_mut().for_each(|one| damage(schema, inner, one, dice)),
        _ => {}
    }
}

fn damage_struct(schema: &Schema, id: StructId, fields: &mut Map<String, Value>, dice: &mut Dice<'_>) {
    for field in &schema.get(id).fields {
        // Metadata is read in the same way for all.
        let Some(value) = fields.get_mut(&*field.name).filter(|_| &*field.name != "metadata") else { continue };
        damage(schema, &field.node, value, dice);
        if field.node.default.as_deref() == Some(&*value) && dice.below(2) == 0 {
            fields.remove(&*field.name);
        }
    }
    if dice.below(3) == 0 {
        fields.insert(STRANGE.to_owned(), json!({"a": 1}));
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let said = map.into_iter().filter(|(_, value)| !value.is_null());
            said.map(|(key, value)| (key, without_nulls(value))).collect()
        }
        Value::Array(list) => list.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

#[test]
fn every_kind_decodes_prunes_and_defaults_as_built_in() {
    for_every_kind(Zeros::Unsaid, |resource, custom, dice| {
        let mut sent = object(resource, dice)?;
        if let Value::Object(fields) = &mut sent {
            damage_struct(&resource.schema, resource.schema.root_id(), fields, dice);
        }
        let read = |resource: &Resource| {
            let decoded = decode_value(resource, sent.clone(), &[], FieldValidation::Warn);
            decoded.map(|mut decoded| {
                decoded.warnings.sort();
                (without_nulls(decoded.object), decoded.warnings)
            })
        };
        prop_assert_eq!(read(custom), read(resource), "{}", sent);
        Ok(())
    });
}

#[test]
fn every_kind_is_applied_as_built_in() {
    let author = |manager| Author { manager, part: "", time: "2026-01-01T00:00:00Z" };
    for_every_kind(Zeros::Said, |resource, custom, dice| {
        let configurations = [object(resource, dice)?, object(resource, dice)?, object(resource, dice)?];
        let mut live: [Option<Value>; 2] = [None, None];
        for (configuration, manager) in configurations.iter().zip(["one", "two", "one"]) {
            let force = dice.below(2) == 0;
            let mut configuration = configuration.clone();
            configuration["metadata"] = json!({"name": "a"});
            let applied = [(resource, &live[0]), (custom, &live[1])].map(|(through, live)| {
                let applied = apply(through, live.as_ref(), &configuration, &author(manager), force)?;
                let decoded = decode_value(resource, applied.object, &[], FieldValidation::Ignore);
                let mut object = decoded.map(|decoded| decoded.object).unwrap_or_default();
                object["metadata"]["managedFields"] = applied.managed_fields.unwrap_or_default();
                Ok::<_, crate::ApplyError>(without_nulls(object))
            });
            let [ours, theirs] = applied;
            prop_assert_eq!(&theirs, &ours, "{}", configuration);
            if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
                live = [Some(ours), Some(theirs)];
            }
        }
        Ok(())
    });
}

/// A published schema with what it refers to in it, without what structural schemas do not have.
fn inlined(schemas: &Value, schema: &Value, depth: u32) -> Value {
    assert!(depth < 40, "{schema} stands in itself");
    let named = |reference: &Value| {
        let name = reference.as_str().and_then(|text| text.rsplit('/').next()).unwrap_or_default();
        match name.rsplit('.').next().unwrap_or_default() {
            "Quantity" | "IntOrString" => json!({"x-kubernetes-int-or-string": true}),
            "RawExtension" | "FieldsV1" => json!({"x-kubernetes-preserve-unknown-fields": true}),
            "ObjectMeta" if depth == 1 => json!({"type": "object"}),
            _ => inlined(schemas, &schemas[name], depth + 1),
        }
    };
    if !schema["$ref"].is_null() {
        return named(&schema["$ref"]);
    }
    let mut out = match &schema["allOf"][0]["$ref"] {
        Value::Null => json!({}),
        reference => named(reference),
    };
    for (key, value) in schema.as_object().into_iter().flatten() {
        match key.as_str() {
            "allOf" | "description" | "default" | "required" => {}
            "properties" => {
                let each = value.as_object().into_iter().flatten();
                out[key] = each.map(|(name, value)| (name.clone(), inlined(schemas, value, depth + 1))).collect();
            }
            "items" | "additionalProperties" if value.is_object() => out[key] = inlined(schemas, value, depth + 1),
            "x-kubernetes-group-version-kind" if depth > 0 => {}
            key if key.starts_with("x-kubernetes-patch") || key == "x-kubernetes-unions" => {}
            key => out[key] = value.clone(),
        }
    }
    out
}

#[test]
fn every_kind_is_published_as_built_in() {
    for resource in sayable().filter(|resource| resource.is_stored()) {
        let custom = registered(resource, Zeros::Unsaid);
        let path =
            if resource.group.is_empty() { "api/v1".to_owned() } else { format!("apis/{}", resource.api_version()) };
        let document = |catalog: &Catalog| -> Value {
            let document = catalog.documents().v3(&path).expect("served");
            let document: Value = serde_json::from_slice(&document.body).expect("JSON");
            document["components"]["schemas"].clone()
        };
        let ours = document(Catalog::builtin());
        let theirs = document(&Catalog::builtin().with(vec![Arc::clone(&custom)]));
        let [built_in, registered] = [(&ours, &resource.definition), (&theirs, &custom.definition)]
            .map(|(schemas, name)| inlined(schemas, &schemas[&**name], 0));
        assert_eq!(registered, built_in, "{}", resource.kind);
    }
}
