//! What an applied configuration makes of an object, and an object without some of its fields.

use super::fields::{Element, Entry, Set};
use super::types::{Form, Type, elements, field, inner};
use crate::node::Schema;
use serde_json::{Map, Value};

/// `live` with everything that `config` says.
pub(super) fn merge(schema: &Schema, live: &Value, config: &Value) -> Value {
    merged(schema, Type::root(schema), live, config)
}

fn merged(schema: &Schema, kind: Type<'_>, live: &Value, config: &Value) -> Value {
    match kind.form(schema, if config.is_null() { live } else { config }) {
        Form::Leaf => config.clone(),
        Form::Struct(known) => merge_maps(live, config, |name, live, config| {
            merged(schema, field(known, name).unwrap_or(Type::Any), live, config)
        }),
        Form::Map(kind) => merge_maps(live, config, |_, live, config| merged(schema, kind, live, config)),
        form => merge_lists(schema, form, live, config),
    }
}

fn merge_maps(live: &Value, config: &Value, join: impl Fn(&str, &Value, &Value) -> Value) -> Value {
    let Some(fields) = live.as_object().filter(|fields| !fields.is_empty()) else { return config.clone() };
    let mut out = fields.clone();
    for (name, value) in config.as_object().into_iter().flatten() {
        let value = fields.get(name).map_or_else(|| value.clone(), |live| join(name, live, value));
        out.insert(name.clone(), value);
    }
    Value::Object(out)
}

/// Elements of both, in an order that keeps that of each, where the configuration's counts more.
fn merge_lists(schema: &Schema, form: Form<'_>, live: &Value, config: &Value) -> Value {
    let known = |list| -> Vec<(Element, &Value)> {
        let items = elements(schema, form, Some(list)).into_iter();
        items.filter_map(|(element, item)| Some((element.ok()?, item))).collect()
    };
    let (left, right) = (known(live), known(config));
    if left.is_empty() {
        return config.clone();
    }
    let in_left = |element: &Element| left.iter().find(|(it, _)| it == element).map(|(_, item)| *item);
    let in_right = |element: &Element| right.iter().any(|(it, _)| it == element);
    let twice = |element: &Element| left.iter().filter(|(it, _)| it == element).count() > 1;
    let both = |element: &Element, item: &Value| match in_left(element) {
        Some(live) if !twice(element) => merged(schema, inner(form), live, item),
        _ => item.clone(),
    };
    let mut shared = right.iter().map(|(element, _)| element).filter(|element| in_left(element).is_some());
    let (mut next, mut done, mut out) = (shared.next(), Vec::<&Element>::new(), Vec::new());
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let (Some((ours, _)), Some((theirs, item))) = (left.get(l), right.get(r)) {
            if ours == theirs {
                done.push(theirs);
                out.push(both(theirs, item));
                (l, r, next) = (l + 1, r + 1, shared.next());
                continue;
            }
            if in_right(ours) && next.is_some_and(|next| next != ours) {
                // Shared, but its turn comes later.
                l += 1;
                continue;
            }
        }
        if let Some((ours, item)) = left.get(l) {
            if !in_right(ours) {
                out.push((*item).clone());
                l += 1;
                continue;
            }
            if done.contains(&ours) {
                l += 1;
            }
        }
        if let Some((theirs, item)) = right.get(r) {
            done.push(theirs);
            out.push(both(theirs, item));
            r += 1;
            if next == Some(theirs) {
                next = shared.next();
            }
        }
    }
    out.into()
}

/// `object` without the members of `set`.
pub(super) fn remove(schema: &Schema, object: &Value, set: &Set) -> Value {
    removed(schema, Type::root(schema), object, set)
}

fn removed(schema: &Schema, kind: Type<'_>, value: &Value, set: &Set) -> Value {
    let form = kind.form(schema, value);
    match (form, value) {
        (Form::Struct(_) | Form::Map(_), Value::Object(fields)) => {
            let mut out = Map::new();
            for (name, value) in fields {
                let inner = match form {
                    Form::Struct(known) => field(known, name).unwrap_or(Type::Any),
                    Form::Map(kind) => kind,
                    _ => Type::Any,
                };
                let entry = set.get(&Element::Field(name.as_str().into()));
                if let Some(value) = kept(schema, inner, value, entry) {
                    out.insert(name.clone(), value);
                }
            }
            Value::Object(out)
        }
        (Form::Set | Form::List(..), Value::Array(_)) => {
            let items = elements(schema, form, Some(value)).into_iter();
            let items = items.filter_map(|(element, item)| {
                let entry = element.ok().and_then(|element| set.get(&element).cloned());
                kept(schema, inner(form), item, entry.as_ref())
            });
            Value::Array(items.collect())
        }
        _ => value.clone(),
    }
}

fn kept(schema: &Schema, kind: Type<'_>, value: &Value, entry: Option<&Entry>) -> Option<Value> {
    match entry {
        Some(Entry { member: true, .. }) => None,
        Some(Entry { below, .. }) => {
            let one = matches!(kind.form(schema, value), Form::Leaf);
            Some(if one { emptied(value) } else { removed(schema, kind, value, below) })
        }
        None => Some(value.clone()),
    }
}

/// What remains of one thing of which a part was taken.
fn emptied(value: &Value) -> Value {
    match value {
        Value::Object(_) => Value::Object(Map::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        other => other.clone(),
    }
}

/// `set` and the named fields on the way to its members: a struct is there as long as something in it is.
pub(super) fn with_named(schema: &Schema, set: &Set) -> Set {
    named(schema, Type::root(schema), set)
}

fn named(schema: &Schema, kind: Type<'_>, set: &Set) -> Set {
    // A set's shape says what it is about: names are of maps and structs, keys of lists.
    let mut out = Set::default();
    for (element, entry) in set.iter() {
        let (inner, is_named) = step(schema, kind, element);
        let member = entry.member || (is_named && !entry.below.is_empty());
        out.add(element.clone(), Entry { member, below: named(schema, inner, &entry.below) });
    }
    out
}

fn step<'s>(schema: &'s Schema, kind: Type<'s>, element: &Element) -> (Type<'s>, bool) {
    let of = match element {
        Element::Field(_) => Value::Object(Map::new()),
        _ => Value::Array(Vec::new()),
    };
    match (kind.form(schema, &of), element) {
        (Form::Struct(known), Element::Field(name)) => {
            (field(known, name).unwrap_or(Type::Any), known.field(name).is_some())
        }
        (Form::Map(kind), _) => (kind, false),
        (form @ Form::List(..), _) => (inner(form), false),
        _ => (Type::Any, false),
    }
}
