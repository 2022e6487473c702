//! Which nodes a pod or a volume asks for, and which keep a pod away: terms of node selectors, taints and tolerations (core/v1). Pure.
//!
//! Over typed objects for those who have them, and over values as they come for those who read objects by name. A volume says by such terms from
//! which nodes it can be reached:
//!
//! ```
//! use skiff_client::affinity::{Place, reaches};
//! let place = Place { name: "n1".to_owned(), labels: [("zone".to_owned(), "a".to_owned())].into() };
//! let rule = serde_json::json!({"key": "zone", "operator": "In", "values": ["a", "b"]});
//! assert!(reaches(&serde_json::json!([{"matchExpressions": [rule]}]), &place));
//! ```

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration};
use kube::ResourceExt;
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

/// The only field of a node that `matchFields` knows.
const NAME: &str = "metadata.name";

/// Whether `node` has what a pod's node selector and its required node affinity ask for.
#[must_use]
pub fn is_chosen(pod: &PodSpec, node: &Node) -> bool {
    let labels = node.labels();
    let selected = pod.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|required| any_term_holds(&required.node_selector_terms, node))
}

/// Whether one of the terms holds for `node`.
#[must_use]
pub fn any_term_holds(terms: &[NodeSelectorTerm], node: &Node) -> bool {
    terms.iter().any(|term| term_holds(term, node))
}

/// Whether the term holds for `node`. One without any requirement holds nowhere (core/v1 NodeSelectorTerm).
#[must_use]
pub fn term_holds(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let met = |one: &NodeSelectorRequirement, value: Option<&String>| {
        let values = one.values.iter().flatten().map(String::as_str);
        holds(&one.operator, values, value.map(String::as_str))
    };
    let name = |key: &str| node.metadata.name.as_ref().filter(|_| key == NAME);
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|one| met(one, node.labels().get(&one.key)))
        && fields.iter().all(|one| met(one, name(&one.key)))
}

/// Whether a volume with these node selector terms can be reached from `place`: one of them has to hold.
#[must_use]
pub fn reaches(terms: &Value, place: &Place) -> bool {
    let Some(terms) = terms.as_array() else { return true };
    let met = |rule: &Value, value: Option<&str>| {
        let values = rule["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
        holds(rule["operator"].as_str().unwrap_or_default(), values, value)
    };
    terms.iter().any(|term| {
        let of = |field: &str| term[field].as_array().map(Vec::as_slice).unwrap_or_default();
        let (labels, fields) = (of("matchExpressions"), of("matchFields"));
        !(labels.is_empty() && fields.is_empty())
            && labels.iter().all(|rule| met(rule, label(rule, place)))
            && fields.iter().all(|rule| met(rule, (rule["key"] == NAME).then_some(place.name.as_str())))
    })
}

fn label<'a>(rule: &Value, place: &'a Place) -> Option<&'a str> {
    place.labels.get(rule["key"].as_str().unwrap_or_default()).map(String::as_str)
}

/// One requirement (core/v1 NodeSelectorRequirement) against the value that its key has.
fn holds<'a>(operator: &str, mut values: impl Iterator<Item = &'a str>, value: Option<&str>) -> bool {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    match operator {
        "In" => value.is_some_and(|value| values.any(|one| one == value)),
        "NotIn" => value.is_none_or(|value| values.all(|one| one != value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(number(values.next())).is_some_and(|(has, than)| has > than),
        "Lt" => number(value).zip(number(values.next())).is_some_and(|(has, than)| has < than),
        _ => false,
    }
}

/// Whether the toleration is for this taint. Without a key it is for every taint, and has to be of the operator `Exists`.
#[must_use]
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == taint.effect);
    let key = toleration.key.as_deref().unwrap_or_default();
    let value = match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => key.is_empty() || key == taint.key,
        "" | "Equal" => {
            let same = toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
            same && key == taint.key
        }
        _ => false,
    };
    effect && value
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

    #[test]
    fn numbers_of_nodes_are_compared() {
        let node =
            serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"cores": "8"}}})).expect("a node");
        let term = |operator: &str, value: &str| {
            let one = json!({"key": "cores", "operator": operator, "values": [value]});
            term_holds(&serde_json::from_value(json!({"matchExpressions": [one]})).expect("a term"), &node)
        };
        assert_eq!((term("Gt", "7"), term("Gt", "8"), term("Lt", "9"), term("Lt", "x")), (true, false, true, false));
        assert!(!term_holds(&NodeSelectorTerm::default(), &node));
    }
}
