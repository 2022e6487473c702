//! What is wrong with a schema in a CustomResourceDefinition, and what it may not say here.

use super::formats::Form;
use super::rules::{self, Checked, Context, Rules};
use super::structural::Structural;
use super::{limits, metadata, prune, structure};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::view::{entries, given, list, text};
use serde_json::{Value, json};

/// What is known about a schema beside what it says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About {
    /// Whether a version with it has a part `status`.
    pub(crate) has_status: bool,
    /// Whether it is what it was: then its rules may cost what they cost.
    pub(crate) unchanged: bool,
}

/// Reports what is wrong with an `openAPIV3Schema` at `path`.
pub(crate) fn check(schema: &Value, about: About, path: &Path<'_>, errors: &mut Errors) {
    let mut found = Errors::default();
    if about.has_status {
        at_root(schema, path, &mut found);
    }
    if schema["nullable"] == true {
        found.forbidden(&path.field("nullable"), "nullable cannot be true at the root");
    }
    let read = Structural::read(schema);
    // Expressions are compiled only where the schemas that they speak of are what they should be.
    let mut context = None;
    if let Ok(structural) = &read {
        let before = found.len();
        structure::check(schema, path, &mut found);
        if found.len() == before {
            let place = Place { whole: structural, written: schema, path: Vec::new() };
            defaults(structural, place, path, &mut found);
        }
        context = Some(Context::root(schema)).filter(|_| found.len() == before);
    }
    let mut checked = Checked::new(about.unchanged);
    let above = Above { root: true, context: context.as_ref(), ..Above::default() };
    one(schema, above, path, &mut Findings { errors: &mut found, checked: &mut checked });
    checked.report(path, &mut found);
    if let (Err(problem), true) = (read, found.is_empty()) {
        found.invalid(path, "", problem);
    }
    errors.extend(found.into_inner());
}

/// With a `status` of its own, a schema may say little about the whole object.
fn at_root(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    const ALLOWED: [&str; 22] = [
        "Description",
        "Type",
        "Format",
        "Title",
        "Maximum",
        "ExclusiveMaximum",
        "Minimum",
        "ExclusiveMinimum",
        "MaxLength",
        "MinLength",
        "Pattern",
        "MaxItems",
        "MinItems",
        "UniqueItems",
        "MultipleOf",
        "Required",
        "Items",
        "Properties",
        "ExternalDocs",
        "Example",
        "XPreserveUnknownFields",
        "XValidations",
    ];
    for key in schema.as_object().into_iter().flatten().filter(|(_, value)| is_said(value)).map(|(key, _)| key) {
        if key == "type" {
            if text(schema, "type") != "object" {
                let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
                errors.invalid(&path.field("type"), text(schema, "type"), detail);
                return;
            }
        } else if !ALLOWED.contains(&in_go(key).as_str()) {
            let allowed = ALLOWED.join(" ");
            let detail = format!(
                "only [{allowed}] fields are allowed at the root of the schema if the status subresource is enabled"
            );
            errors.invalid(path, schema.clone(), detail);
            return;
        }
    }
}

fn is_said(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    }
}

/// What Kubernetes calls a field of a schema: `maxLength` is `MaxLength`, `x-kubernetes-validations` is `XValidations`.
fn in_go(key: &str) -> String {
    let upper = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect::<String>())
    };
    match key.strip_prefix("x-kubernetes-") {
        Some(words) => format!("X{}", words.split('-').map(upper).collect::<String>()),
        None => upper(key),
    }
}

/// What the schemas around a schema mean for it.
#[derive(Clone, Copy, Default)]
struct Above<'a> {
    /// There are none.
    root: bool,
    /// It is about type or metadata of an object.
    meta: bool,
    /// Why it may have no default, if it may not.
    no_default: Option<&'a str>,
    /// Where it stands, if its expressions are to be compiled.
    context: Option<&'a Context<'a>>,
    /// The path of a schema around it below which nobody knows what a value replaces.
    unrelated: Option<&'a str>,
}

/// What is found out about schemas.
struct Findings<'a> {
    errors: &'a mut Errors,
    checked: &'a mut Checked,
}

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// Reports what is wrong with one schema, and with those in it.
fn one(schema: &Value, above: Above<'_>, path: &Path<'_>, found: &mut Findings<'_>) {
    let before = found.errors.len();
    supported(schema, above, path, found.errors);
    if schema["uniqueItems"] == true {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        found.errors.forbidden(&path.field("uniqueItems"), detail);
    }
    inner(schema, above, path, found);
    let errors = &mut *found.errors;
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let at = path.field("x-kubernetes-preserve-unknown-fields");
        errors.invalid(&at, false, "must be true or undefined");
    }
    map_type(schema, path, errors);
    list_type(schema, path, errors);
    map_keys(schema, path, errors);
    rules::written(schema, path, errors);
    if let Some(context) = above.context.filter(|_| errors.len() == before) {
        found.checked.compile(context, above.unrelated, path);
    }
}

/// What JSON schema has and these schemas have not.
fn supported(schema: &Value, above: Above<'_>, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(schema, "type");
    errors.one_of(&path.field("type"), kind, &TYPES);
    if let Some(reason) = above.no_default.filter(|_| !schema["default"].is_null()) {
        errors.forbidden(&path.field("default"), format!("must not be set {reason}"));
    }
    for key in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        if given(schema, key) && schema[key] != json!({}) || key == "dependencies" && schema[key].is_object() {
            errors.forbidden(&path.field(key), format!("{key} is not supported"));
        }
    }
    if kind == "null" {
        errors.forbidden(&path.field("type"), "type cannot be set to null, use nullable as an alternative");
    }
    if schema["items"].is_array() {
        errors.forbidden(&path.field("items"), "items must be a schema object and not an array");
    }
    if above.meta && schema["x-kubernetes-embedded-resource"] == true {
        errors.forbidden(&path.field("x-kubernetes-embedded-resource"), "must not be used inside of resource meta");
    }
}

/// The schemas in a schema.
fn inner(schema: &Value, above: Above<'_>, path: &Path<'_>, found: &mut Findings<'_>) {
    let additional = path.field("additionalProperties");
    let others = &schema["additionalProperties"];
    if !others.is_null() && *others != true && entries(schema, "properties").next().is_some() {
        found.errors.forbidden(&additional, "additionalProperties and properties are mutual exclusive");
    }
    if others.is_object() {
        let reason = "inside additionalProperties applying to object metadata";
        let no_default = if above.meta { Some(reason) } else { above.no_default };
        let context = above.context.map(|context| context.child(others));
        let below = Above { root: false, no_default, context: context.as_ref(), ..above };
        one(others, below, &additional, found);
    }
    properties(schema, above, path, found);
    if schema["items"].is_object() {
        let items = &schema["items"];
        // Elements have something that they replace in lists that are maps only.
        let within = path.to_string();
        let unrelated = (text(schema, LIST_TYPE) != "map").then_some(within.as_str());
        let context = above.context.map(|context| context.child(items));
        let unrelated = above.unrelated.or(unrelated);
        one(items, Above { root: false, context: context.as_ref(), unrelated, ..above }, &path.field("items"), found);
    }
    junctors(schema, Above { root: false, context: None, ..above }, path, found);
}

fn properties(schema: &Value, above: Above<'_>, path: &Path<'_>, found: &mut Findings<'_>) {
    let properties = path.field("properties");
    for (name, property) in entries(schema, "properties") {
        let whole = above.root || schema["x-kubernetes-embedded-resource"] == true;
        let is_meta = whole && prune::META.contains(&name.as_str());
        let reason = format!("in top-level {name}");
        let no_default = if is_meta && above.root { Some(reason.as_str()) } else { above.no_default };
        let context = above.context.map(|context| context.child(property));
        let (context, unrelated) = (context.as_ref(), above.unrelated);
        let below = Above { root: false, meta: above.meta || is_meta, no_default, context, unrelated };
        one(property, below, &properties.key(name), found);
    }
}

/// Schemas that say more about the same value.
fn junctors(schema: &Value, below: Above<'_>, path: &Path<'_>, found: &mut Findings<'_>) {
    if schema["not"].is_object() {
        one(&schema["not"], below, &path.field("not"), found);
    }
    for junctor in ["allOf", "oneOf", "anyOf", "items"] {
        let at = path.field(junctor);
        for (index, nested) in list(schema, junctor).iter().enumerate() {
            one(nested, below, &at.index(index), found);
        }
    }
    for maps in ["definitions", "dependencies"] {
        let at = path.field(maps);
        for (name, nested) in entries(schema, maps).filter(|(_, nested)| nested.is_object()) {
            one(nested, below, &at.key(name), found);
        }
    }
}

/// Requires a type of what has an extension that only such values can have.
fn needs_type(schema: &Value, kind: &str, extension: &str, path: &Path<'_>, errors: &mut Errors) -> bool {
    let (at, found) = (path.field("type"), text(schema, "type"));
    let detail = format!("must be {kind} if {extension} is specified");
    match found {
        "" => errors.required(&at, &detail),
        found if found != kind => errors.invalid(&at, found, detail),
        _ => return true,
    }
    false
}

fn map_type(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    const NAME: &str = "x-kubernetes-map-type";
    if let Some(kind) = schema[NAME].as_str() {
        needs_type(schema, "object", NAME, path, errors);
        errors.one_of(&path.field(NAME), kind, &["atomic", "granular"]);
    }
}

const LIST_TYPE: &str = "x-kubernetes-list-type";
const MAP_KEYS: &str = "x-kubernetes-list-map-keys";

fn list_type(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (items, at) = (&schema["items"], path.field("items"));
    let kind = schema[LIST_TYPE].as_str();
    if let Some(kind) = kind {
        if needs_type(schema, "array", LIST_TYPE, path, errors) && kind == "set" {
            let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
            let unlike = |name: &str, implied: &str| {
                let said = items[name].as_str().unwrap_or(implied);
                said != "atomic"
            };
            let odd = match text(items, "type") {
                "array" if unlike(LIST_TYPE, "atomic") => Some(LIST_TYPE),
                "object" if unlike("x-kubernetes-map-type", "granular") => Some("x-kubernetes-map-type"),
                _ => None,
            };
            if let Some(name) = odd {
                errors.invalid(&at.field(name), items[LIST_TYPE].clone(), detail);
            }
        }
        errors.one_of(&path.field(LIST_TYPE), kind, &["atomic", "set", "map"]);
    }
    if !list(schema, MAP_KEYS).is_empty() && kind != Some("map") {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        match kind {
            None => errors.required(&path.field(LIST_TYPE), detail),
            Some(kind) => errors.invalid(&path.field(LIST_TYPE), kind, detail),
        }
    }
}

/// The fields by which elements of a list are told apart.
fn map_keys(schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (items, at, keys) = (&schema["items"], path.field("items"), list(schema, MAP_KEYS));
    let kind = text(schema, LIST_TYPE);
    if kind == "map" {
        let keys_at = path.field(MAP_KEYS);
        if keys.is_empty() {
            errors.required(&keys_at, "must not be empty if x-kubernetes-list-type is map");
        }
        match items {
            Value::Null => errors.required(&at, "must have a schema if x-kubernetes-list-type is map"),
            Value::Array(_) => {
                errors.invalid(&at, items.clone(), "must only have a single schema if x-kubernetes-list-type is map");
            }
            _ if text(items, "type") != "object" => {
                let detail = "must be object if parent array's x-kubernetes-list-type is map";
                errors.invalid(&at.field("type"), text(items, "type"), detail);
            }
            _ => {
                let properties = at.field("properties");
                for (index, key) in keys.iter().enumerate() {
                    let name = key.as_str().unwrap_or_default();
                    match items["properties"].get(name) {
                        Some(property) if matches!(text(property, "type"), "array" | "object") => {
                            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                            errors.invalid(&properties.key(name).field("type"), text(items, "type"), detail);
                        }
                        Some(_) => {}
                        None => errors.invalid(&keys_at, keys, "entries must all be names of item properties"),
                    }
                    if keys[..index].contains(key) {
                        errors.invalid(&keys_at, keys, "must not contain duplicate entries");
                    }
                }
            }
        }
    }
    if matches!(kind, "set" | "map") && items.is_object() {
        present_keys(items, kind, keys, &at, errors);
    }
}

/// Elements and the fields that tell them apart must be there.
fn present_keys(items: &Value, kind: &str, keys: &[Value], at: &Path<'_>, errors: &mut Errors) {
    if items["nullable"] == true {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.forbidden(&at.field("nullable"), detail);
    }
    let properties = at.field("properties");
    for name in keys.iter().filter(|_| kind == "map").filter_map(Value::as_str) {
        let Some(property) = items["properties"].get(name) else { continue };
        let at = properties.key(name);
        if !list(items, "required").iter().any(|one| one == name) && property["default"].is_null() {
            let detail =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.required(&at.field("default"), detail);
        }
        if property["nullable"] == true {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.forbidden(&at.field("nullable"), detail);
        }
    }
}

/// Where a default stands in the object that holds it.
struct Place<'a> {
    /// The innermost object with type and metadata of its own.
    whole: &'a Structural,
    /// The schema that may have a default, as it is written.
    written: &'a Value,
    /// Fields from there.
    path: Vec<&'a str>,
}

/// Reports defaults that would not be valid values.
fn defaults<'a>(schema: &'a Structural, place: Place<'a>, path: &Path<'_>, errors: &mut Errors) {
    let place = if schema.embedded { Place { whole: schema, path: Vec::new(), ..place } } else { place };
    let is_meta = place.path.first().is_some_and(|first| prune::META.contains(first));
    if let Some(value) = schema.default.as_deref() {
        let at = path.field("default");
        let before = errors.len();
        if is_meta {
            in_metadata(value, &place, &at, errors)
        } else {
            plain(value, schema, &at, errors)
        }
        let whole = std::ptr::eq(schema, place.whole);
        if errors.len() == before
            && let Some(rules) = Rules::of(place.written, whole)
        {
            errors.extend(rules.default(schema, value, &at).errors);
        }
    }
    if let Some(items) = &schema.items {
        // Elements of lists in metadata are checked as plain values.
        let (whole, written) = (place.whole, &place.written["items"]);
        let place = Place { whole, written, path: place.path.clone() };
        defaults(items, place, &path.field("items"), errors);
    }
    let properties = path.field("properties");
    for (name, property) in &schema.properties {
        let mut below = place.path.clone();
        below.push(name);
        let written = &place.written["properties"][&**name];
        let place = Place { whole: place.whole, written, path: below };
        defaults(property, place, &properties.key(name), errors);
    }
}

fn plain(value: &Value, schema: &Structural, at: &Path<'_>, errors: &mut Errors) {
    let mut pruned = value.clone();
    prune::prune(&mut pruned, schema, false);
    if pruned != *value {
        errors.invalid(at, value.clone(), "must not have unknown fields");
    }
    let mut found = Errors::default();
    metadata::validate(value, schema, at, &mut found);
    if found.is_empty() {
        found.extend(limits::validate(schema, value, None, &at.to_string()));
    }
    errors.extend(found.into_inner());
}

/// A default of type or metadata is checked in an object of its own.
fn in_metadata(value: &Value, place: &Place<'_>, at: &Path<'_>, errors: &mut Errors) {
    let holder = place.path.iter().rev().fold(value.clone(), |inner, name| json!({ *name: inner }));
    let mut object = json!({"apiVersion": "validation/v1", "kind": "Validation"});
    if let (Some(object), Value::Object(holder)) = (object.as_object_mut(), holder) {
        object.extend(holder);
    }
    let mut found = Errors::default();
    let embedded = Structural { embedded: true, ..Structural::default() };
    let coerced = metadata::coerce_whole(&mut object, &embedded);
    if let Err(wrong) = coerced {
        let detail =
            format!("must result in valid metadata: {}: expected {}, got {}", wrong.field, wrong.expected, wrong.got);
        errors.invalid(at, value.clone(), detail);
        return;
    }
    metadata::validate(&object, &embedded, &Path::Root, &mut found);
    if let Some(first) = found.into_inner().first() {
        errors.invalid(at, value.clone(), format!("must result in valid metadata: {first}"));
    }
}

/// Formats in a schema that ask nothing, because they are not known for such values.
pub(crate) fn unknown_formats(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect_formats(schema, &mut found);
    found
}

fn collect_formats(schema: &Value, found: &mut Vec<String>) {
    if !Form::is_known(text(schema, "format"), text(schema, "type")) {
        found.push(text(schema, "format").to_owned());
    }
    for key in ["items", "not", "additionalProperties"] {
        if schema[key].is_object() {
            collect_formats(&schema[key], found);
        }
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        list(schema, key).iter().for_each(|nested| collect_formats(nested, found));
    }
    entries(schema, "properties").for_each(|(_, nested)| collect_formats(nested, found));
}

/// The type of the field at a path of names.
///
/// # Errors
/// There is none: why.
pub(crate) fn type_at<'a>(schema: &'a Value, path: &str) -> Result<&'a str, &'static str> {
    let Some(names) = path.strip_prefix('.') else { return Err("does not refer to a valid field") };
    if path.contains('[') {
        return Err("array notation is not allowed");
    }
    let mut place = schema;
    for name in names.split('.') {
        place = match &place["properties"][name] {
            // Type and metadata are there whatever the schema says.
            Value::Null if std::ptr::eq(place, schema) && prune::META.contains(&name) => return Ok("object"),
            Value::Null => return Err("does not refer to a valid field"),
            property => property,
        };
    }
    Ok(text(place, "type"))
}
