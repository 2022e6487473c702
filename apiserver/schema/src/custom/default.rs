//! Values of absent fields, from the schema; and nulls, which are values only where the schema says so.

use super::structural::{Additional, Structural};
use serde_json::Value;

/// Fills in what an author left out. A null that is no value of its own counts as left out.
pub(super) fn fill(value: &mut Value, schema: &Structural) {
    match value {
        Value::Object(map) => {
            for (name, property) in &schema.properties {
                if let Some(default) = &property.default
                    && map.get(&**name).is_none_or(|value| is_no_value(value, property))
                {
                    map.insert(name.to_string(), (**default).clone());
                }
            }
            for (name, value) in map.iter_mut() {
                match (schema.properties.get(name.as_str()), &schema.additional) {
                    (Some(property), _) => fill(value, property),
                    (None, Some(Additional::Of(other))) => element(value, other),
                    _ => {}
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                list.iter_mut().for_each(|value| element(value, items));
            }
        }
        _ => {}
    }
}

fn element(value: &mut Value, schema: &Structural) {
    if is_no_value(value, schema) {
        *value = schema.default.as_deref().cloned().unwrap_or_default();
    }
    fill(value, schema);
}

fn is_no_value(value: &Value, schema: &Structural) -> bool {
    value.is_null() && !schema.nullable
}

/// Removes nulls that are no values and have no default.
pub(super) fn drop_nulls(value: &mut Value, schema: Option<&Structural>) {
    match value {
        Value::Object(map) => map.retain(|name, value| {
            let schema = schema.and_then(|schema| schema.field(name));
            let goes = schema.is_some_and(|schema| is_no_value(value, schema) && schema.default.is_none());
            if !goes {
                drop_nulls(value, schema);
            }
            !goes
        }),
        Value::Array(list) => {
            let items = schema.and_then(|schema| schema.items.as_deref());
            list.iter_mut().for_each(|value| drop_nulls(value, items));
        }
        _ => {}
    }
}
