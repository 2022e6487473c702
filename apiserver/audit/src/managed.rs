//! Objects without `metadata.managedFields` (`omitManagedFields`): one object, the items of a list, the rows of a table.

use serde_json::Value;

/// Takes them away.
#[must_use]
pub fn without_managed_fields(mut object: Value) -> Value {
    take(&mut object);
    for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        take(item);
    }
    for row in object.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(object) = row.get_mut("object") {
            take(object);
        }
    }
    object
}

fn take(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn managed_fields_go_from_objects_lists_and_tables() {
        let one = json!({"metadata": {"name": "a", "managedFields": [1]}});
        let bare = json!({"metadata": {"name": "a"}});
        assert_eq!(without_managed_fields(one.clone()), bare);
        assert_eq!(without_managed_fields(json!({"items": [one.clone()]})), json!({"items": [bare.clone()]}));
        assert_eq!(
            without_managed_fields(json!({"rows": [{"cells": [], "object": one}]})),
            json!({"rows": [{"cells": [], "object": bare}]})
        );
        assert_eq!(without_managed_fields(json!([1])), json!([1]));
    }
}
