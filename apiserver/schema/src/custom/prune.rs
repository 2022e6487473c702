//! Fields that nobody knows go, unless the schema keeps them.

use super::structural::{Additional, Structural};
use serde_json::Value;

/// What every object has, whatever its schema says.
pub(super) const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes unknown fields and returns their paths, ordered. `whole`: the value is an object of its own, so that its type and
/// metadata stay.
pub(super) fn prune(value: &mut Value, schema: &Structural, whole: bool) -> Vec<String> {
    let mut pruner = Pruner { path: String::new(), unknown: Vec::new() };
    pruner.value(value, Some(schema), whole || schema.embedded);
    pruner.unknown.sort();
    pruner.unknown
}

struct Pruner {
    /// Where it is.
    path: String,
    unknown: Vec<String>,
}

impl Pruner {
    fn value(&mut self, value: &mut Value, schema: Option<&Structural>, embedded: bool) {
        if let Some(schema) = schema
            && schema.keeps_unknown
        {
            return self.kept(value, schema, embedded);
        }
        match value {
            Value::Object(map) => map.retain(|name, value| {
                if embedded && META.contains(&name.as_str()) {
                    return true;
                }
                match schema.and_then(|schema| known(schema, name)) {
                    Some(field) => {
                        self.below(name, value, field);
                        true
                    }
                    None => {
                        if !META.contains(&name.as_str()) || !self.path.is_empty() {
                            self.unknown.push(joined(&self.path, name));
                        }
                        false
                    }
                }
            }),
            Value::Array(list) => {
                let items = schema.and_then(|schema| schema.items.as_deref());
                for (index, value) in list.iter_mut().enumerate() {
                    self.element(index, |this| this.value(value, items, items.is_some_and(|items| items.embedded)));
                }
            }
            _ => {}
        }
    }

    /// Fields that are not listed stay with all that is in them; those that are listed are looked through.
    fn kept(&mut self, value: &mut Value, schema: &Structural, embedded: bool) {
        match value {
            Value::Object(map) => {
                for (name, value) in map.iter_mut() {
                    if embedded && META.contains(&name.as_str()) {
                        continue;
                    }
                    if let Some(field) = known(schema, name) {
                        self.below(name, value, field);
                    }
                }
            }
            Value::Array(list) => {
                let Some(items) = schema.items.as_deref() else { return };
                for (index, value) in list.iter_mut().enumerate() {
                    self.element(index, |this| this.kept(value, items, items.embedded));
                }
            }
            _ => {}
        }
    }

    fn below(&mut self, name: &str, value: &mut Value, field: Option<&Structural>) {
        let path = joined(&self.path, name);
        let above = std::mem::replace(&mut self.path, path);
        self.value(value, field, field.is_some_and(|field| field.embedded));
        self.path = above;
    }

    fn element(&mut self, index: usize, walk: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        walk(self);
        self.path.truncate(length);
    }
}

/// Whether a field is known, and what about its value.
fn known<'a>(schema: &'a Structural, name: &str) -> Option<Option<&'a Structural>> {
    match (schema.properties.get(name), &schema.additional) {
        (Some(field), _) => Some(Some(field)),
        (None, Some(Additional::Of(other))) => Some(Some(other)),
        (None, Some(_)) => Some(None),
        (None, None) => None,
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
