//! Roles that gather the rules of other roles (Kubernetes "Aggregated ClusterRoles").

use crate::objects::text;
use serde_json::Value;

/// The rules that `role` is to have, gathered from `roles`; `None`: it gathers none.
pub fn aggregated<'a>(role: &Value, roles: impl Iterator<Item = &'a Value> + Clone) -> Option<Vec<Value>> {
    let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array()?;
    let mut rules: Vec<Value> = Vec::new();
    for selector in selectors {
        let others = roles.clone().filter(|other| other["metadata"]["name"] != role["metadata"]["name"]);
        let mut chosen: Vec<&Value> = others.filter(|other| selects(selector, &other["metadata"]["labels"])).collect();
        chosen.sort_by_key(|other| text(&other["metadata"], "name"));
        for rule in chosen.iter().filter_map(|other| other["rules"].as_array()).flatten() {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    Some(rules)
}

/// Whether a label selector (`meta/v1` LabelSelector) selects something with these labels. One that selects everything is empty.
fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten().all(|(key, value)| labels[key] == *value);
    equal && selector["matchExpressions"].as_array().into_iter().flatten().all(|one| holds(one, labels))
}

fn holds(expression: &Value, labels: &Value) -> bool {
    let value = &labels[text(expression, "key")];
    let listed = || expression["values"].as_array().is_some_and(|values| values.contains(value));
    match text(expression, "operator") {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => !value.is_null(),
        "DoesNotExist" => value.is_null(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_are_gathered_once_and_in_order() {
        let role = |name: &str, label: &str, rules: Value| json!({"metadata": {"name": name, "labels": {label: "true"}}, "rules": rules});
        let (a, b) = (json!({"verbs": ["a"]}), json!({"verbs": ["b"]}));
        let roles = [
            role("y", "to", json!([b, a])),
            role("x", "to", json!([a])),
            role("z", "other", json!([{"verbs": ["z"]}])),
        ];
        let gathers = |selectors: Value| json!({"metadata": {"name": "x"}, "aggregationRule": {"clusterRoleSelectors": selectors}});
        let both = gathers(json!([{"matchLabels": {"to": "true"}}]));
        assert_eq!(aggregated(&both, roles.iter()), Some(vec![b.clone(), a.clone()]), "not its own rules");
        let other = gathers(json!([{"matchExpressions": [{"key": "to", "operator": "DoesNotExist"}]}]));
        assert_eq!(aggregated(&other, roles.iter()).map(|rules| rules.len()), Some(1));
        let none = gathers(json!([{"matchExpressions": [{"key": "to", "operator": "In", "values": ["false"]}]}]));
        assert_eq!(aggregated(&none, roles.iter()), Some(Vec::new()));
        assert_eq!(aggregated(&roles[0], roles.iter()), None);
    }

    #[test]
    fn the_default_roles_gather_each_other() {
        let objects = crate::defaults::gathered();
        let named =
            |name: &str| objects.iter().map(|(_, object)| object).find(|object| object["metadata"]["name"] == name);
        let count = |name: &str| named(name).and_then(|role| role["rules"].as_array()).map_or(0, Vec::len);
        assert_eq!(count("view"), count("system:aggregate-to-view"));
        assert_eq!(count("edit"), count("view") + count("system:aggregate-to-edit"));
        assert_eq!(count("admin"), count("edit") + count("system:aggregate-to-admin"));
    }
}
