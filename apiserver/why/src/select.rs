//! Labels and what selects by them; taints and what tolerates them.

use crate::look::{list, pairs, text};
use serde_json::Value;

/// The value of a label.
pub(crate) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// Whether a label selector (`matchLabels`, `matchExpressions`) takes `object`; an empty one takes everything.
pub(crate) fn selects(selector: &Value, object: &Value) -> bool {
    let labels = pairs(selector, "/matchLabels").into_iter().all(|(key, value)| label(object, key) == Some(value));
    labels && list(selector, "/matchExpressions").iter().all(|one| holds(one, label(object, text(one, "/key"))))
}

/// Whether the requirement `one` holds for a label that has `present`.
pub(crate) fn holds(one: &Value, present: Option<&str>) -> bool {
    let values = list(one, "/values");
    let is_listed = present.is_some_and(|present| values.iter().any(|value| value == present));
    let compared = |larger: bool| {
        let have = present.and_then(|text| text.parse::<i64>().ok());
        let want = values.first().and_then(Value::as_str).and_then(|text| text.parse::<i64>().ok());
        have.zip(want).is_some_and(|(have, want)| if larger { have > want } else { have < want })
    };
    match text(one, "/operator") {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => present.is_some(),
        "DoesNotExist" => present.is_none(),
        "Gt" => compared(true),
        "Lt" => compared(false),
        _ => false,
    }
}

/// A requirement in words: `zone In [a b]`.
pub(crate) fn requirement(one: &Value) -> String {
    let values: Vec<_> = list(one, "/values").iter().filter_map(Value::as_str).collect();
    let values = if values.is_empty() { String::new() } else { format!(" [{}]", values.join(" ")) };
    format!("{} {}{values}", text(one, "/key"), text(one, "/operator"))
}

/// A selector in words: `app=web,tier In [a b]`.
pub(crate) fn words(selector: &Value) -> String {
    let labels = pairs(selector, "/matchLabels").into_iter().map(|(key, value)| format!("{key}={value}"));
    let all: Vec<_> = labels.chain(list(selector, "/matchExpressions").iter().map(requirement)).collect();
    if all.is_empty() { "everything".to_owned() } else { all.join(",") }
}

/// A taint as kubectl writes it: `key=value:Effect`.
pub(crate) fn taint(taint: &Value) -> String {
    let value = text(taint, "/value");
    let value = if value.is_empty() { String::new() } else { format!("={value}") };
    format!("{}{value}:{}", text(taint, "/key"), text(taint, "/effect"))
}

/// Whether one of the pod's tolerations takes `taint`.
pub(crate) fn tolerates(pod: &Value, taint: &Value) -> bool {
    list(pod, "/spec/tolerations").iter().any(|one| {
        let (key, effect) = (text(one, "/key"), text(one, "/effect"));
        let exists = text(one, "/operator") == "Exists";
        let of_key = key == text(taint, "/key") || (key.is_empty() && exists);
        let of_value = exists || text(one, "/value") == text(taint, "/value");
        of_key && of_value && (effect.is_empty() || effect == text(taint, "/effect"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_select_as_kubernetes_does() {
        let object = json!({"metadata": {"labels": {"app": "web", "n": "5"}}});
        let by = |selector: Value| selects(&selector, &object);
        let expression = |key: &str, operator: &str, values: &[&str]| {
            by(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
        };
        assert!(
            by(json!({})) && by(json!({"matchLabels": {"app": "web"}})) && !by(json!({"matchLabels": {"app": "db"}}))
        );
        assert!(
            expression("app", "In", &["web"])
                && expression("gone", "NotIn", &["x"])
                && expression("gone", "DoesNotExist", &[])
        );
        assert!(expression("n", "Gt", &["4"]) && !expression("n", "Lt", &["5"]) && !expression("app", "Gt", &["1"]));
        assert_eq!(
            words(
                &json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}]})
            ),
            "a=b,c In [d]"
        );
    }

    #[test]
    fn tolerations_tolerate_as_kubernetes_does() {
        let tolerated = |toleration: Value| {
            let pod = json!({"spec": {"tolerations": [toleration]}});
            tolerates(&pod, &json!({"key": "a", "value": "b", "effect": "NoSchedule"}))
        };
        assert!(tolerated(json!({"operator": "Exists"})) && tolerated(json!({"key": "a", "value": "b"})));
        assert!(
            !tolerated(json!({"key": "a"}))
                && !tolerated(json!({"key": "a", "operator": "Exists", "effect": "NoExecute"}))
        );
    }
}
