//! The Scale of an object that has replicas (`autoscaling/v1`).

use crate::status::Status;
use serde_json::{Value, json};
use skiff_schema::Resource;

/// The Scale that `object` shows.
pub(crate) fn of(resource: &Resource, object: &Value) -> Result<Value, Status> {
    match resource.custom_scale(object) {
        Some(scale) => scale.map_err(Status::internal),
        None => Ok(of_workload(object)),
    }
}

fn of_workload(object: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    let mut status = json!({"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)});
    let selector = selector_text(&object["spec"]["selector"]);
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(1)}, "status": status})
}

/// `object` with the replicas that `scale` wants, at the revision that it names.
pub(crate) fn apply(resource: &Resource, object: &Value, scale: &Value) -> Value {
    let mut next = object.clone();
    // A missing number is zero: that is what the field's zero value means in a Scale.
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if resource.is_custom() {
        resource.set_custom_replicas(&mut next, replicas);
    } else {
        next["spec"]["replicas"] = replicas.into();
    }
    for field in ["uid", "resourceVersion"] {
        if let Some(value) = scale["metadata"].get(field) {
            next["metadata"][field] = value.clone();
        }
    }
    next
}

/// A LabelSelector, or a map of labels, as text.
fn selector_text(selector: &Value) -> String {
    // A replication controller's selector is the labels themselves: there all values are texts.
    let is_labels = selector.as_object().is_some_and(|map| map.values().all(Value::is_string));
    let labels = if is_labels { selector } else { &selector["matchLabels"] };
    let labels = labels.as_object().into_iter().flatten();
    let labels = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten().map(|expression| {
        let key = expression["key"].as_str().unwrap_or_default();
        let values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({})", values.join(",")),
            Some("NotIn") => format!("{key} notin ({})", values.join(",")),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        }
    });
    labels.chain(expressions).collect::<Vec<String>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_may_be_the_labels_themselves() {
        assert_eq!(selector_text(&json!({"a": "b", "c": "d"})), "a=b,c=d");
        assert_eq!(selector_text(&json!({"matchLabels": {"a": "b"}})), "a=b");
        assert_eq!(selector_text(&json!({})), "");
    }

    #[test]
    fn a_scale_shows_and_sets_replicas() {
        let object = json!({"metadata": {"name": "d", "uid": "u", "labels": {"x": "y"}, "resourceVersion": "4"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "d"},
                "matchExpressions": [{"key": "t", "operator": "In", "values": ["a", "b"]}]}},
            "status": {"replicas": 1}});
        let mut scale = of_workload(&object);
        assert_eq!(scale["status"], json!({"replicas": 1, "selector": "app=d,t in (a,b)"}));
        assert_eq!(scale["metadata"], json!({"name": "d", "uid": "u", "resourceVersion": "4"}));
        scale["spec"]["replicas"] = 5.into();
        let deployments = skiff_schema::find("apps", "v1", "deployments").expect("served");
        assert_eq!(apply(deployments, &object, &scale)["spec"]["replicas"], 5);
    }
}
