//! All fields that an object says.

use super::fields::{Element, Entry, Set};
use super::types::{Form, Type, elements, field, inner};
use crate::node::{Schema, Shape, Struct};
use serde_json::Value;

/// The fields of `object`. What cannot be told apart has no field.
pub(super) fn set(schema: &Schema, object: &Value) -> Set {
    entry(schema, Type::root(schema), object).below
}

fn entry(schema: &Schema, kind: Type<'_>, value: &Value) -> Entry {
    let mut out = Entry::default();
    match kind.form(schema, value) {
        Form::Leaf => out.member = true,
        Form::Struct(known) => {
            for (name, value) in value.as_object().into_iter().flatten() {
                let mut at = entry(schema, field(known, name).unwrap_or(Type::Any), value);
                at.member |= says_nothing(value) || known.field(name).is_none();
                out.below.add(Element::Field(name.as_str().into()), at);
            }
        }
        Form::Map(kind) => {
            for (name, value) in value.as_object().into_iter().flatten() {
                let below = entry(schema, kind, value).below;
                out.below.add(Element::Field(name.as_str().into()), Entry { member: true, below });
            }
        }
        form => {
            let items = elements(schema, form, Some(value));
            let items: Vec<(Element, &Value)> =
                items.into_iter().filter_map(|(element, item)| Some((element.ok()?, item))).collect();
            for (at, (element, item)) in items.iter().enumerate() {
                // What is there twice is one thing.
                let twice = items.iter().enumerate().any(|(other, (it, _))| other != at && it == element);
                let below = if twice { Set::default() } else { entry(schema, inner(form), item).below };
                out.below.add(element.clone(), Entry { member: true, below });
            }
        }
    }
    out
}

fn says_nothing(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// What in `object` the schema does not know, or what cannot be told apart.
pub(super) fn problems(schema: &Schema, object: &Value) -> Vec<String> {
    let mut out = Vec::new();
    check(schema, Type::root(schema), object, "", &mut out);
    out
}

fn check(schema: &Schema, kind: Type<'_>, value: &Value, path: &str, out: &mut Vec<String>) {
    match kind.form(schema, value) {
        Form::Leaf => check_whole(schema, kind, value, path, out),
        Form::Struct(known) => check_fields(schema, known, value, path, out),
        Form::Map(kind) => check_values(schema, kind, value, path, out),
        form => {
            let mut seen = Vec::new();
            for (place, (element, item)) in elements(schema, form, Some(value)).into_iter().enumerate() {
                match element {
                    Err(why) => out.push(format!("{path}: element {place}: {why}")),
                    Ok(element) if seen.contains(&element) => {
                        out.push(format!("{path}: duplicate entries for key {element}"));
                    }
                    Ok(element) => {
                        check(schema, inner(form), item, &format!("{path}{element}"), out);
                        seen.push(element);
                    }
                }
            }
        }
    }
}

/// The same below what has one owner as a whole: atomic lists, maps and structs.
fn check_whole(schema: &Schema, kind: Type<'_>, value: &Value, path: &str, out: &mut Vec<String>) {
    let Type::Node(node) = kind else { return };
    match (&node.shape, value) {
        (Shape::Struct(id) | Shape::Either(id, _), Value::Object(_)) => {
            check_fields(schema, schema.get(*id), value, path, out);
        }
        (Shape::Map(inner), Value::Object(_)) => check_values(schema, Type::Node(inner), value, path, out),
        (Shape::List(inner), Value::Array(items)) => {
            for (place, item) in items.iter().enumerate() {
                check(schema, Type::Node(inner), item, &format!("{path}[{place}]"), out);
            }
        }
        _ => {}
    }
}

fn check_fields(schema: &Schema, known: &Struct, value: &Value, path: &str, out: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match field(known, name) {
            Some(kind) => check(schema, kind, value, &path, out),
            None => {
                // Kubernetes names one of a map.
                out.push(format!("{path}: field not declared in schema"));
                return;
            }
        }
    }
}

fn check_values(schema: &Schema, kind: Type<'_>, value: &Value, path: &str, out: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        check(schema, kind, value, &format!("{path}.{name}"), out);
    }
}
