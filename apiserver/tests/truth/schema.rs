//! The real server's OpenAPI v3 documents, and values made from them.

use crate::kinds::Kind;
use crate::server::Server;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

/// The schemas of one group and version.
pub(crate) struct Schemas(Value);

impl Schemas {
    pub(crate) async fn of(kind: &Kind, server: &Server) -> Self {
        Self(server.get(&format!("/openapi/v3{}", kind.group_path())).await.value["components"]["schemas"].take())
    }

    /// The schema of the kind's object.
    pub(crate) fn root(&self, kind: &Kind) -> &Value {
        let (group, version) = kind.version().split_once('/').unwrap_or(("", kind.version()));
        let wanted = json!({"group": group, "version": version, "kind": kind.kind()});
        let all = self.0.as_object().expect("the document has schemas");
        let is_it = |schema: &&Value| {
            schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|kinds| *kinds == vec![wanted.clone()])
        };
        all.values().find(is_it).expect("the kind is in its group's document")
    }

    /// What `schema` refers to.
    pub(crate) fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let name = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
        match name.and_then(|name| name.rsplit('/').next()) {
            Some(name) => &self.0[name],
            None => schema,
        }
    }

    /// The schema of a member of an object or of an array's items.
    pub(crate) fn member<'a>(&'a self, schema: &'a Value, key: &str) -> &'a Value {
        let schema = self.resolve(schema);
        let named = &schema["properties"][key];
        let found = if !named.is_null() {
            named
        } else if schema["items"].is_object() {
            &schema["items"]
        } else {
            &schema["additionalProperties"]
        };
        self.resolve(found)
    }

    /// A value that the schema allows, with some of what is optional.
    pub(crate) fn value(&self, schema: &Value, key: &str, depth: usize, random: &mut StdRng) -> Value {
        let schema = self.resolve(schema);
        if let Some(words) = schema["enum"].as_array().filter(|words| !words.is_empty()) {
            return words[random.random_range(0..words.len())].clone();
        }
        if schema["oneOf"].is_array() || schema["format"] == "int-or-string" {
            return pick(random, &[json!(1), json!("25%"), json!("http"), json!("100m"), json!("1Gi")]);
        }
        match schema["type"].as_str() {
            Some("object") => self.object(schema, depth, random),
            Some("array") => {
                let count = random.random_range(1..3);
                (0..count).map(|_| self.value(&schema["items"], key, depth, random)).collect()
            }
            Some("integer") => pick(random, &[json!(0), json!(1), json!(5), json!(80)]),
            Some("number") => json!(1.5),
            Some("boolean") => json!(random.random::<bool>()),
            Some("string") => string(schema, key, random),
            _ => json!({"a": 1}),
        }
    }

    fn object(&self, schema: &Value, depth: usize, random: &mut StdRng) -> Value {
        let Some(properties) = schema["properties"].as_object() else {
            let value = if schema["additionalProperties"].is_object() && depth > 0 {
                self.value(&schema["additionalProperties"], "", depth - 1, random)
            } else {
                json!("v")
            };
            return json!({"k": value});
        };
        let required: Vec<&Value> = schema["required"].as_array().into_iter().flatten().collect();
        let mut object = Map::new();
        for (key, schema) in properties {
            let must = required.iter().any(|name| *name == key);
            if must || (depth > 0 && random.random_ratio(1, 3)) {
                object.insert(key.clone(), self.value(schema, key, depth.saturating_sub(1), random));
            }
        }
        Value::Object(object)
    }
}

fn string(schema: &Value, key: &str, random: &mut StdRng) -> Value {
    match schema["format"].as_str() {
        Some("date-time") => json!("2020-01-01T00:00:00Z"),
        Some("byte") => json!("AAE="),
        _ => {
            let key = key.to_lowercase();
            if key.ends_with("ip") || key.ends_with("address") {
                pick(random, &[json!("10.0.0.9"), json!("fd00::1")])
            } else if key.ends_with("cidr") || key.ends_with("cidrs") {
                json!("10.0.0.0/8")
            } else if key.ends_with("path") {
                pick(random, &[json!("/x"), json!("x")])
            } else {
                pick(random, &[json!("x"), json!("a.example/b"), json!("None"), json!("Y")])
            }
        }
    }
}

/// One of them.
pub(crate) fn pick(random: &mut StdRng, values: &[Value]) -> Value {
    values[random.random_range(0..values.len())].clone()
}
