//! A configuration merged into an object without owners: what a mutating admission policy does.

use super::extract;
use super::merge;
use super::types::{Form, Type, field};
use crate::Resource;
use crate::node::Schema;
use serde_json::Value;

/// What `config` makes of `live`. Nothing becomes owned, so that nothing can conflict.
///
/// # Errors
/// It cannot be read by the schema, or says a list, map or struct that is one value: what it does not repeat of it would be lost.
pub fn merge_configuration(resource: &Resource, live: &Value, config: &Value) -> Result<Value, String> {
    let schema = &resource.schema;
    let problems = extract::problems(schema, config);
    if !problems.is_empty() {
        return Err(format!("failed to convert patch object to typed object: {}", problems.join("\n  ")));
    }
    let mut found = Vec::new();
    atomics(schema, Type::root(schema), config, "", &mut found);
    if !found.is_empty() {
        let found = found.join(", ");
        return Err(format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {found}"));
    }
    Ok(merge::merge(schema, live, config))
}

/// Paths of all that is one value and has parts.
fn atomics(schema: &Schema, kind: Type<'_>, value: &Value, path: &str, found: &mut Vec<String>) {
    let below = |name: &str| format!("{path}.{name}");
    match (kind.form(schema, value), value) {
        (Form::Struct(known), Value::Object(fields)) => {
            for (name, value) in fields {
                let kind = field(known, name).unwrap_or(Type::Any);
                atomics(schema, kind, value, &below(name), found);
            }
        }
        (Form::Map(kind), Value::Object(fields)) => {
            fields.iter().for_each(|(name, value)| atomics(schema, kind, value, &below(name), found));
        }
        (Form::List(_, inner), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                atomics(schema, Type::Node(inner), item, &format!("{path}[{index}]"), found);
            }
        }
        (Form::Leaf, Value::Object(_) | Value::Array(_)) => found.push(path.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::merge_configuration;
    use serde_json::{Value, json};

    fn deployment(spec: &Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
    }

    #[test]
    fn lists_that_are_maps_are_merged_and_what_is_one_value_is_refused() {
        let resource = crate::find("apps", "v1", "deployments").expect("served");
        let containers = |images: Value| deployment(&json!({"template": {"spec": {"containers": images}}}));
        let live = containers(json!([{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]));
        let config = containers(json!([{"name": "b", "image": "z"}]));
        let merged = merge_configuration(resource, &live, &config).expect("merged");
        assert_eq!(merged, containers(json!([{"name": "a", "image": "x"}, {"name": "b", "image": "z"}])));
        let config = containers(json!([{"name": "a", "command": ["sh"]}]));
        let why = merge_configuration(resource, &live, &config).expect_err("a command is one value");
        assert_eq!(
            why,
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.template.spec.containers[0].command"
        );
    }
}
