//! What one object says that another does not, and the other way round.

use super::fields::{Element, Entry, Set};
use super::types::{Form, Type, elements, field, inner};
use crate::node::Schema;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Fields by what became of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Changes {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

/// Nobody owns it, and it is large.
const MANAGED_FIELDS: &[&str] = &["metadata", "managedFields"];

/// What leads from `old` to `new`.
pub(super) fn changes(schema: &Schema, old: &Value, new: &Value) -> Changes {
    let Found { added, modified, removed } = compare(schema, Type::root(schema), Some(old), Some(new), MANAGED_FIELDS);
    Changes { added: added.below, modified: modified.below, removed: removed.below }
}

#[derive(Default)]
struct Found {
    added: Entry,
    modified: Entry,
    removed: Entry,
}

impl Found {
    fn put(&mut self, element: &Element, found: Self) {
        for (into, from) in
            [(&mut self.added, found.added), (&mut self.modified, found.modified), (&mut self.removed, found.removed)]
        {
            if !from.is_empty() {
                into.below.add(element.clone(), from);
            }
        }
    }

    fn mark(mut self, old: Option<&Value>, new: Option<&Value>) -> Self {
        self.added.member |= old.is_none();
        self.removed.member |= new.is_none();
        self
    }
}

/// Compares all but what is at the path `skip`, seen from here; if that is empty, everything.
fn compare(schema: &Schema, kind: Type<'_>, old: Option<&Value>, new: Option<&Value>, skip: &[&str]) -> Found {
    let mut found = Found::default();
    if old == new {
        return found;
    }
    let present = |value: Option<&Value>| value.is_some_and(|value| !value.is_null());
    let telling = if present(new) { new } else { old };
    let form = kind.form(schema, telling.or(new).unwrap_or(&Value::Null));
    let is_one = matches!(form, Form::Leaf) || (is_empty(old) && is_empty(new)) || differ_in_kind(old, new);
    if is_one {
        found.modified.member = old.is_some() && new.is_some();
        return found.mark(old, new);
    }
    match form {
        Form::Struct(known) => {
            each_name(old, new, |name, old, new| {
                let skip = skip.split_first().filter(|(first, _)| **first == name).map(|(_, rest)| rest);
                if skip.is_some_and(<[&str]>::is_empty) {
                    return;
                }
                let kind = field(known, name).unwrap_or(Type::Any);
                found.put(&Element::Field(name.into()), compare(schema, kind, old, new, skip.unwrap_or_default()));
            });
        }
        Form::Map(kind) => each_name(old, new, |name, old, new| {
            found.put(&Element::Field(name.into()), compare(schema, kind, old, new, &[]));
        }),
        form => compare_lists(schema, form, old, new, &mut found),
    }
    found.mark(old, new)
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    }
}

/// A map that becomes a list, or a text: one thing for another.
fn differ_in_kind(old: Option<&Value>, new: Option<&Value>) -> bool {
    match (old, new) {
        (None | Some(Value::Null), _) | (_, None | Some(Value::Null)) => false,
        (Some(old), Some(new)) => old.is_object() != new.is_object() || old.is_array() != new.is_array(),
    }
}

fn each_name(old: Option<&Value>, new: Option<&Value>, mut visit: impl FnMut(&str, Option<&Value>, Option<&Value>)) {
    let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    let names: BTreeSet<&String> = old.into_iter().chain(new).flat_map(|map| map.keys()).collect();
    for name in names {
        visit(name, old.and_then(|map| map.get(name)), new.and_then(|map| map.get(name)));
    }
}

fn compare_lists(schema: &Schema, form: Form<'_>, old: Option<&Value>, new: Option<&Value>, found: &mut Found) {
    let mut items: BTreeMap<Element, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for (element, item) in elements(schema, form, old) {
        if let Ok(element) = element {
            items.entry(element).or_default().0.push(item);
        }
    }
    for (element, item) in elements(schema, form, new) {
        if let Ok(element) = element {
            items.entry(element).or_default().1.push(item);
        }
    }
    let kind = inner(form);
    for (element, (old, new)) in items {
        let mut at = Found::default();
        match (&old[..], &new[..]) {
            ([] | [_], [] | [_]) => at = compare(schema, kind, old.first().copied(), new.first().copied(), &[]),
            // What is there twice is one thing.
            ([_, _, ..], [_, _, ..]) => at.modified.member = old != new,
            ([_, _, ..], _) => {
                if let Some(new) = new.first() {
                    at = compare(schema, kind, None, Some(new), &[]);
                }
                at.removed.member = true;
            }
            (_, _) => {
                if let Some(old) = old.first() {
                    at = compare(schema, kind, Some(old), None, &[]);
                }
                at.added.member = true;
            }
        }
        found.put(&element, at);
    }
}
