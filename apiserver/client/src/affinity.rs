//! Which nodes the terms of a node selector choose (core/v1 NodeSelector). Pure.
//!
//! Over values as they come, for objects that are read by name. A volume says by such terms from which nodes it can be reached:
//!
//! ```
//! use skiff_client::affinity::{Place, reaches};
//! let place = Place { name: "n1".to_owned(), labels: [("zone".to_owned(), "a".to_owned())].into() };
//! let rule = serde_json::json!({"key": "zone", "operator": "In", "values": ["a", "b"]});
//! assert!(reaches(&serde_json::json!([{"matchExpressions": [rule]}]), &place));
//! ```

use serde_json::Value;
use std::collections::BTreeMap;

/// A node as a selector sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Whether a volume with these node selector terms can be reached from `place`: one of them has to hold.
#[must_use]
pub fn reaches(terms: &Value, place: &Place) -> bool {
    let Some(terms) = terms.as_array() else { return true };
    terms.iter().any(|term| {
        let of = |field: &str| term[field].as_array().cloned().unwrap_or_default();
        let (labels, fields) = (of("matchExpressions"), of("matchFields"));
        // A term without any requirement holds nowhere.
        let some = !labels.is_empty() || !fields.is_empty();
        some && labels.iter().all(|rule| holds(rule, label(rule, place)))
            && fields.iter().all(|rule| holds(rule, (rule["key"] == "metadata.name").then_some(place.name.as_str())))
    })
}

fn label<'a>(rule: &Value, place: &'a Place) -> Option<&'a str> {
    place.labels.get(rule["key"].as_str().unwrap_or_default()).map(String::as_str)
}

/// One requirement (core/v1 NodeSelectorRequirement) against the value that its key has.
fn holds(rule: &Value, value: Option<&str>) -> bool {
    let values = || rule["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let compared = number(value).zip(number(values().next()));
    match rule["operator"].as_str().unwrap_or_default() {
        "In" => value.is_some_and(|value| values().any(|one| one == value)),
        "NotIn" => value.is_none_or(|value| values().all(|one| one != value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared.is_some_and(|(has, than)| has > than),
        "Lt" => compared.is_some_and(|(has, than)| has < than),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_place_is_reached_by_one_term() {
        let place = Place { name: "n1".to_owned(), labels: [("zone".to_owned(), "7".to_owned())].into() };
        let rule =
            |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
        let of = |rules: Value| reaches(&json!([{"matchExpressions": rules}]), &place);
        assert!(reaches(&Value::Null, &place), "no affinity");
        assert!(!reaches(&json!([]), &place) && !of(json!([])), "an empty term holds nowhere");
        for (operator, values, expected) in [
            ("In", vec!["6", "7"], true),
            ("NotIn", vec!["7"], false),
            ("Exists", vec![], true),
            ("DoesNotExist", vec![], false),
            ("Gt", vec!["6"], true),
            ("Lt", vec!["6"], false),
            ("Between", vec!["6"], false),
        ] {
            assert_eq!(of(json!([rule("zone", operator, &values)])), expected, "{operator}");
        }
        assert!(of(json!([rule("other", "NotIn", &["1"])])), "what is not there is not in");
        let name = json!([{"matchFields": [rule("metadata.name", "In", &["n1"])]}]);
        assert!(reaches(&name, &place));
    }
}
