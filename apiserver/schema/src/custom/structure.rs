//! Whether a schema is structural: every value has a type outside of `allOf`, `anyOf`, `oneOf` and `not`, and these say nothing but
//! limits.
//!
//! Source: KEP 1693, "structural schema".

use super::pattern::Pattern;
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::view::{entries, given, list, text};
use serde_json::{Map, Value, json};

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Reports where a schema is not structural.
pub(super) fn check(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut found = Errors::default();
    invariants(schema, Level::Root, path, &mut found);
    complete(schema, Some(schema), (path, path), &mut found);
    let mut found = found.into_inner();
    found.sort_by_cached_key(ToString::to_string);
    errors.extend(found);
}

/// What holds for every value's schema.
fn invariants(schema: &Value, level: Level, path: &Path<'_>, errors: &mut Errors) {
    if text(schema, "type") == "array" && schema["items"].is_null() {
        errors.required(&path.field("items"), "must be specified");
    }
    if schema["items"].is_object() {
        invariants(&schema["items"], Level::Item, &path.field("items"), errors);
    }
    let properties = path.field("properties");
    for (name, property) in entries(schema, "properties") {
        invariants(property, Level::Field, &properties.key(name), errors);
    }
    let additional = path.field("additionalProperties");
    if !schema["additionalProperties"].is_null() {
        if level == Level::Root {
            errors.forbidden(&additional, "must not be used at the root");
        }
        if schema["additionalProperties"].is_object() {
            invariants(&schema["additionalProperties"], Level::Field, &additional, errors);
        }
    }
    extensions(schema, path, errors);
    let int_or_string = |schemas: &[Value]| schemas == [json!({"type": "integer"}), json!({"type": "string"})];
    let skip = Skip {
        any_of: int_or_string(list(schema, "anyOf")),
        first: list(schema, "allOf").first().is_some_and(|first| int_or_string(list(first, "anyOf"))),
    };
    limits(schema, skip, path, errors);
    types(schema, level, path, errors);
    metadata(schema, level, path, errors);
}

fn extensions(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    if schema["x-kubernetes-int-or-string"] != true {
        return;
    }
    for name in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if schema[name] == true {
            errors.invalid(&path.field(name), true, "must be false if x-kubernetes-int-or-string is true");
        }
    }
}

fn types(schema: &Value, level: Level, path: &Path<'_>, errors: &mut Errors) {
    let (name, embedded) = (text(schema, "type"), schema["x-kubernetes-embedded-resource"] == true);
    let at = path.field("type");
    let untyped = ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"];
    if embedded && name != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        if name.is_empty() { errors.required(&at, detail) } else { errors.invalid(&at, name, detail) }
    } else if name.is_empty() && !untyped.iter().any(|key| schema[*key] == true) {
        errors.required(
            &at,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        );
    }
    if embedded && !schema["additionalProperties"].is_null() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.forbidden(&path.field("additionalProperties"), detail);
    }
    if level == Level::Root && !name.is_empty() && name != "object" {
        errors.invalid(&at, name, "must be object at the root");
    }
    let bare = entries(schema, "properties").next().is_none() && schema["x-kubernetes-preserve-unknown-fields"] != true;
    if embedded && bare {
        let detail =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.required(&path.field("properties"), detail);
    }
}

/// What a schema may say about type and metadata of an object.
fn metadata(schema: &Value, level: Level, path: &Path<'_>, errors: &mut Errors) {
    let whole = level == Level::Root || schema["x-kubernetes-embedded-resource"] == true;
    let properties = path.field("properties");
    let Some(known) = schema["properties"].as_object() else { return };
    let is = |name: &str, expected: &str, errors: &mut Errors| {
        if let Some(property) = known.get(name).filter(|property| whole && text(property, "type") != expected) {
            let at = properties.key(name);
            errors.invalid(&at.field("type"), text(property, "type"), format!("must be {expected}"));
        }
    };
    is("kind", "string", errors);
    is("apiVersion", "string", errors);
    is("metadata", "object", errors);
    if level == Level::Root
        && let Some(metadata) = known.get("metadata").and_then(Value::as_object)
        && !only_names(metadata)
    {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.forbidden(&properties.key("metadata"), detail);
    }
}

/// Whether a schema of metadata says nothing but what a name is.
fn only_names(metadata: &Map<String, Value>) -> bool {
    metadata.iter().all(|(key, value)| match (key.as_str(), value) {
        ("type" | "default", _) | (_, Value::Null | Value::Bool(false)) => true,
        ("properties", Value::Object(map)) => map.keys().all(|name| matches!(name.as_str(), "name" | "generateName")),
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Array(list)) => list.is_empty(),
        _ => false,
    })
}

/// Where an int-or-string may say so in alternatives.
#[derive(Clone, Copy, Default)]
struct Skip {
    any_of: bool,
    /// In the first of `allOf`.
    first: bool,
}

/// Limits, and those in alternatives.
fn limits(schema: &Value, skip: Skip, path: &Path<'_>, errors: &mut Errors) {
    for junctor in ["anyOf", "allOf", "oneOf"] {
        if junctor == "anyOf" && skip.any_of {
            continue;
        }
        let at = path.field(junctor);
        for (index, nested_schema) in list(schema, junctor).iter().enumerate() {
            let any_of = junctor == "allOf" && index == 0 && skip.first;
            nested(nested_schema, Skip { any_of, first: false }, &at.index(index), errors);
        }
    }
    if schema["not"].is_object() {
        nested(&schema["not"], Skip::default(), &path.field("not"), errors);
    }
    if given(schema, "pattern")
        && let Some(problem) = Pattern::new(text(schema, "pattern")).problem()
    {
        let detail = format!("must be a valid regular expression, but isn't: {problem}");
        errors.invalid(&path.field("pattern"), text(schema, "pattern"), detail);
    }
}

/// What may not be said in alternatives.
fn nested(schema: &Value, skip: Skip, path: &Path<'_>, errors: &mut Errors) {
    limits(schema, skip, path, errors);
    if schema["items"].is_object() {
        nested(&schema["items"], Skip::default(), &path.field("items"), errors);
    }
    let properties = path.field("properties");
    for (name, property) in entries(schema, "properties") {
        nested(property, Skip::default(), &properties.key(name), errors);
    }
    const FORBIDDEN: [(&str, &str); 12] = [
        ("type", "empty"),
        ("additionalProperties", "undefined"),
        ("default", "undefined"),
        ("title", "empty"),
        ("description", "empty"),
        ("nullable", "false"),
        ("x-kubernetes-preserve-unknown-fields", "false"),
        ("x-kubernetes-embedded-resource", "false"),
        ("x-kubernetes-int-or-string", "false"),
        ("x-kubernetes-list-map-keys", "empty"),
        ("x-kubernetes-list-type", "undefined"),
        ("x-kubernetes-map-type", "undefined"),
    ];
    for (key, form) in FORBIDDEN {
        let empty_list = schema[key].as_array().is_some_and(Vec::is_empty);
        if given(schema, key) && schema[key] != false && !empty_list {
            errors.forbidden(&path.field(key), format!("must be {form} to be structural"));
        }
    }
    if !list(schema, "x-kubernetes-validations").is_empty() {
        errors.forbidden(&path.field("x-kubernetes-validations"), "must be empty to be structural");
    }
    if !schema["properties"]["metadata"].is_null() {
        errors.forbidden(&properties.key("metadata"), "must not be specified in a nested context");
    }
}

/// Reports fields and elements that alternatives limit and that have no schema of their own. `paths`: of the schema, and of what
/// limits it.
fn complete(limits: &Value, schema: Option<&Value>, paths: (&Path<'_>, &Path<'_>), errors: &mut Errors) {
    if limits["not"].is_object() {
        named(&limits["not"], schema, (paths.0, &paths.1.field("not")), errors);
    }
    for junctor in ["allOf", "anyOf", "oneOf"] {
        let at = paths.1.field(junctor);
        for (index, nested) in list(limits, junctor).iter().enumerate() {
            named(nested, schema, (paths.0, &at.index(index)), errors);
        }
    }
}

fn named(limits: &Value, schema: Option<&Value>, paths: (&Path<'_>, &Path<'_>), errors: &mut Errors) {
    let Some(schema) = schema.filter(|schema| !schema.is_null()) else {
        errors.required(paths.0, &format!("because it is defined in {}", paths.1));
        return;
    };
    complete(limits, Some(schema), paths, errors);
    if limits["items"].is_object() {
        let items = (&paths.0.field("items"), &paths.1.field("items"));
        named(&limits["items"], Some(&schema["items"]), items, errors);
    }
    let (mine, theirs) = (paths.0.field("properties"), paths.1.field("properties"));
    for (name, nested) in entries(limits, "properties") {
        let property = schema["properties"].get(name);
        named(nested, property, (&mine.key(name), &theirs.key(name)), errors);
    }
}
