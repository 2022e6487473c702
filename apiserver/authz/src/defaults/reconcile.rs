//! What a stored role or binding lacks of what it must have by default. What it has beyond that stays.

use super::AUTOUPDATE;
use crate::{Kind, Rule, missing};
use serde_json::{Map, Value};

/// What is to be done about one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// It has all, or says that it is not to be changed.
    Keep,
    /// It is not there.
    Create,
    /// It is to become this.
    Update(Value),
    /// It gives another role, which cannot be changed: it goes, and is made anew.
    Replace,
}

/// What makes of the `present` object one that has all that `expected` has.
#[must_use]
pub fn step(kind: Kind, expected: &Value, present: Option<&Value>) -> Step {
    let Some(present) = present else { return Step::Create };
    if present["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return Step::Keep;
    }
    let is_binding = matches!(kind, Kind::ClusterRoleBinding | Kind::RoleBinding);
    if is_binding && present["roleRef"] != expected["roleRef"] {
        return Step::Replace;
    }
    let mut next = present.clone();
    for map in ["labels", "annotations"] {
        add_fields(&mut next["metadata"], map, &expected["metadata"][map]);
    }
    if is_binding {
        add_items(&mut next, "subjects", &expected["subjects"]);
    } else {
        add_rules(&mut next, expected);
        if !expected["aggregationRule"].is_null() {
            add_items(
                &mut next["aggregationRule"],
                "clusterRoleSelectors",
                &expected["aggregationRule"]["clusterRoleSelectors"],
            );
        }
    }
    if next == *present { Step::Keep } else { Step::Update(next) }
}

fn add_fields(object: &mut Value, field: &str, more: &Value) {
    let more = more.as_object().into_iter().flatten();
    let lacking: Vec<_> = more.filter(|(key, _)| object[field][key.as_str()].is_null()).collect();
    if lacking.is_empty() {
        return;
    }
    if !object[field].is_object() {
        object[field] = Value::Object(Map::new());
    }
    for (key, value) in lacking {
        object[field][key.as_str()] = value.clone();
    }
}

fn add_items(object: &mut Value, field: &str, more: &Value) {
    let more = more.as_array().into_iter().flatten();
    let has = |item: &Value| object[field].as_array().is_some_and(|list| list.contains(item));
    let lacking: Vec<Value> = more.filter(|item| !has(item)).cloned().collect();
    append(object, field, lacking);
}

fn append(object: &mut Value, field: &str, more: Vec<Value>) {
    if more.is_empty() {
        return;
    }
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    match &mut object[field] {
        Value::Array(list) => list.extend(more),
        none => *none = Value::Array(more),
    }
}

fn add_rules(role: &mut Value, expected: &Value) {
    let rules =
        |role: &Value| -> Vec<Rule> { role["rules"].as_array().into_iter().flatten().map(Rule::read).collect() };
    let lacking = missing(&rules(role), &rules(expected));
    append(role, "rules", lacking.iter().map(Rule::write).collect());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn role(rules: Value) -> Value {
        json!({"metadata": {"name": "r", "labels": {"a": "1"}, "annotations": {AUTOUPDATE: "true"}}, "rules": rules})
    }

    #[test]
    fn what_is_lacking_is_added_and_nothing_taken() {
        let get = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
        let both = json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]});
        let expected = role(json!([both]));
        assert_eq!(step(Kind::ClusterRole, &expected, None), Step::Create);
        assert_eq!(step(Kind::ClusterRole, &expected, Some(&expected)), Step::Keep);
        let mut present = role(json!([get]));
        present["metadata"]["labels"] = json!({"b": "2"});
        let Step::Update(next) = step(Kind::ClusterRole, &expected, Some(&present)) else { panic!("lacks a verb") };
        assert_eq!(next["rules"], json!([get, {"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}]));
        assert_eq!(next["metadata"]["labels"], json!({"a": "1", "b": "2"}));
        assert_eq!(step(Kind::ClusterRole, &expected, Some(&next)), Step::Keep);
        present["metadata"]["annotations"][AUTOUPDATE] = "false".into();
        assert_eq!(step(Kind::ClusterRole, &expected, Some(&present)), Step::Keep);
    }

    #[test]
    fn a_binding_of_another_role_is_made_anew() {
        let binding = |role: &str, subjects: Value| json!({"metadata": {"name": "b"}, "roleRef": {"name": role}, "subjects": subjects});
        let (a, b) = (json!({"kind": "User", "name": "a"}), json!({"kind": "User", "name": "b"}));
        let expected = binding("r", json!([a]));
        assert_eq!(step(Kind::RoleBinding, &expected, Some(&binding("x", json!([a])))), Step::Replace);
        assert_eq!(step(Kind::RoleBinding, &expected, Some(&binding("r", json!([b, a])))), Step::Keep);
        let Step::Update(next) = step(Kind::RoleBinding, &expected, Some(&binding("r", json!([b])))) else {
            panic!("lacks a")
        };
        assert_eq!(next["subjects"], json!([b, a]));
    }
}
