//! Selectors in questions of access: what they leave of the objects, and what of them cannot be read. A part that cannot be read leaves more,
//! so the answer holds for more than was asked; it says so.

use crate::registry::selector::Selection as Parsed;
use serde_json::Value;
use skiff_authz::{Requirement, Selection};

/// What one selector leaves, and whether all of it could be read.
struct Read {
    requirements: Vec<Requirement>,
    whole: bool,
}

/// The selectors of `resourceAttributes`, and what is to be said about them.
pub(super) fn read(resource: &Value) -> (Selection, Vec<String>) {
    let fields =
        selector(&resource["fieldSelector"], |raw| Some(Parsed::read("", raw).ok()?.requirements().fields), is_field);
    let labels =
        selector(&resource["labelSelector"], |raw| Some(Parsed::read(raw, "").ok()?.requirements().labels), is_label);
    let mut errors = Vec::new();
    for (name, read) in [("fieldSelector", &fields), ("labelSelector", &labels)] {
        if !read.whole {
            let partially = if read.requirements.is_empty() { "" } else { "partially " };
            errors.push(format!("spec.resourceAttributes.{name} {partially}ignored due to parse error"));
        }
    }
    (Selection { fields: fields.requirements, labels: labels.requirements }, errors)
}

/// Requirements count before the text of a selector.
fn selector(written: &Value, raw: fn(&str) -> Option<Vec<Requirement>>, is_sound: fn(&Requirement) -> bool) -> Read {
    let all: Vec<Requirement> = written["requirements"].as_array().into_iter().flatten().map(requirement).collect();
    if all.is_empty() {
        let read = match written["rawSelector"].as_str().unwrap_or_default() {
            "" => Some(Vec::new()),
            text => raw(text),
        };
        return Read { whole: read.is_some(), requirements: read.unwrap_or_default() };
    }
    let count = all.len();
    let requirements: Vec<Requirement> = all.into_iter().filter(is_sound).collect();
    Read { whole: requirements.len() == count, requirements }
}

fn requirement(written: &Value) -> Requirement {
    let text = |field: &str| written[field].as_str().unwrap_or_default().to_owned();
    let values = written["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Requirement { key: text("key"), operator: text("operator"), values: values.map(str::to_owned).collect() }
}

/// Fields are compared with one value.
fn is_field(one: &Requirement) -> bool {
    matches!(&*one.operator, "In" | "NotIn") && one.values.len() == 1
}

fn is_label(one: &Requirement) -> bool {
    let selector = match &*one.operator {
        "In" if !one.values.is_empty() => format!("{} in ({})", one.key, one.values.join(",")),
        "NotIn" if !one.values.is_empty() => format!("{} notin ({})", one.key, one.values.join(",")),
        "Exists" | "DoesNotExist" if one.values.is_empty() => one.key.clone(),
        _ => return false,
    };
    Parsed::read(&selector, "").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(field: &str, selector: Value) -> (usize, Vec<String>) {
        let (selection, errors) = read(&json!({ field: selector }));
        (selection.fields.len() + selection.labels.len(), errors)
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_said() {
        let of = |operator: &str, values: Value| json!({"requirements": [{"key": "k", "operator": operator, "values": values}]});
        for (field, selector, left, said) in [
            ("fieldSelector", json!({"rawSelector": "spec.nodeName=n,a!=b"}), 2, ""),
            ("fieldSelector", json!({"rawSelector": "spec.nodeName"}), 0, "fieldSelector ignored"),
            ("fieldSelector", of("In", json!(["a"])), 1, ""),
            ("fieldSelector", of("In", json!(["a", "b"])), 0, "fieldSelector ignored"),
            ("fieldSelector", of("Exists", json!([])), 0, "fieldSelector ignored"),
            ("labelSelector", json!({"rawSelector": "a in (b,c),!d"}), 2, ""),
            ("labelSelector", json!({"rawSelector": "a in (b"}), 0, "labelSelector ignored"),
            ("labelSelector", of("Exists", json!([])), 1, ""),
            ("labelSelector", of("Exists", json!(["a"])), 0, "labelSelector ignored"),
            ("labelSelector", of("NotIn", json!(["a", "b"])), 1, ""),
            ("labelSelector", of("Near", json!(["a"])), 0, "labelSelector ignored"),
        ] {
            let (count, errors) = told(field, selector.clone());
            assert_eq!(count, left, "{selector}");
            assert!(
                errors.is_empty() == said.is_empty() && errors.iter().all(|error| error.contains(said)),
                "{errors:?}"
            );
        }
        let both =
            json!({"requirements": [{"key": "k", "operator": "In", "values": ["a"]}, {"key": "k", "operator": "x"}]});
        assert!(told("fieldSelector", both).1[0].contains("partially ignored"));
    }
}
