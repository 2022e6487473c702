//! A `Status` as text, with its fields in the order of Kubernetes' types and a line's end behind it.
//!
//! JSON has no order, but tests of clients compare the text of refusals (kubernetes-client/python `e2e_test/test_utils.py`).

use serde_json::{Map, Value};

/// Fields in the order of meta/v1's types; those that stand in no list follow by name.
struct Order {
    fields: &'static [&'static str],
    /// Which field holds the next kind of object.
    inner: Option<(&'static str, &'static Order)>,
}

const CAUSE: Order = Order { fields: &["reason", "message", "field"], inner: None };
const DETAILS: Order =
    Order { fields: &["name", "group", "kind", "uid", "causes", "retryAfterSeconds"], inner: Some(("causes", &CAUSE)) };
const STATUS: Order = Order {
    fields: &["kind", "apiVersion", "metadata", "status", "message", "reason", "details", "code"],
    inner: Some(("details", &DETAILS)),
};

/// The text, if the value is a `Status`.
pub(crate) fn text(value: &Value) -> Option<String> {
    if value["kind"] != "Status" || value["apiVersion"] != "v1" {
        return None;
    }
    let mut text = String::with_capacity(256);
    write(value, &STATUS, &mut text);
    text.push('\n');
    Some(text)
}

fn write(value: &Value, order: &Order, out: &mut String) {
    match value {
        Value::Object(fields) => write_fields(fields, order, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, order, out);
            }
            out.push(']');
        }
        simple => out.push_str(&simple.to_string()),
    }
}

fn write_fields(fields: &Map<String, Value>, order: &Order, out: &mut String) {
    let named = order.fields.iter().filter_map(|name| fields.get_key_value(*name));
    let others = fields.iter().filter(|(name, _)| !order.fields.contains(&name.as_str()));
    out.push('{');
    for (index, (name, value)) in named.chain(others).enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&Value::from(name.as_str()).to_string());
        out.push(':');
        match order.inner {
            Some((field, inner)) if field == name => write(value, inner, out),
            _ => out.push_str(&value.to_string()),
        }
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_has_kubernetes_order() {
        let cause = json!({"reason": "FieldValueInvalid", "message": "m", "field": "spec"});
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "a \"b\"",
            "reason": "Invalid", "details": {"name": "n", "kind": "pods", "group": "g", "causes": [cause]}, "code": 422});
        let wanted = concat!(
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"a \"b\"","reason":"Invalid","#,
            r#""details":{"name":"n","group":"g","kind":"pods","causes":[{"reason":"FieldValueInvalid","message":"m","#,
            r#""field":"spec"}]},"code":422}"#,
            "\n"
        );
        assert_eq!(text(&status).as_deref(), Some(wanted));
        assert_eq!(text(&json!({"kind": "Pod", "apiVersion": "v1"})), None);
    }

    proptest::proptest! {
        /// Nothing is lost and nothing comes: the text is the same value.
        #[test]
        fn the_text_is_the_same_value(keys in proptest::collection::btree_set("[a-z]{1,8}|causes|details|name", 0..6)) {
            let inner: Map<String, Value> = keys.iter().map(|key| (key.clone(), json!([{key.as_str(): {}}, 1, null, "x"]))).collect();
            let status = json!({"kind": "Status", "apiVersion": "v1", "details": inner, "x": {"y": [inner]}});
            let text = text(&status).expect("it is a Status");
            proptest::prop_assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), status);
        }
    }
}
