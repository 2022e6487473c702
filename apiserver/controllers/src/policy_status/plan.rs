//! Which kinds a policy's rules name, and what their schemas are.

use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt;

/// How many kinds of one rule are looked at.
const KINDS_MAX: usize = 10;

/// A version of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupVersion {
    pub(super) group: String,
    pub(super) version: String,
}

impl GroupVersion {
    /// Where its resources are listed.
    pub(super) fn discovery(&self) -> String {
        format!("/{}", self.place())
    }

    /// Where its schemas are.
    pub(super) fn openapi(&self) -> String {
        format!("/openapi/v3/{}", self.place())
    }

    fn place(&self) -> String {
        match &*self.group {
            "" => format!("api/{}", self.version),
            group => format!("apis/{group}/{}", self.version),
        }
    }
}

/// A kind in a version of its group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) version: GroupVersion,
    pub(super) kind: String,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.version.group, self.version.version, self.kind)
    }
}

/// What one of a policy's rules names: nothing, if it says `*` of groups or versions.
pub(super) struct Rule {
    pub(super) versions: Vec<GroupVersion>,
    pub(super) resources: Vec<String>,
}

/// The rules of a policy.
pub(super) fn rules(policy: &Value) -> Vec<Rule> {
    let rules = policy["spec"]["matchConstraints"]["resourceRules"].as_array().into_iter().flatten();
    rules.map(rule).collect()
}

fn rule(rule: &Value) -> Rule {
    let sorted = |key: &str| -> Vec<String> {
        let texts = rule[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let named = |list: Vec<String>| if list.iter().any(|one| one.contains('*')) { Vec::new() } else { list };
    let (groups, versions) = (named(sorted("apiGroups")), named(sorted("apiVersions")));
    let pairs = groups.iter().flat_map(|group| versions.iter().map(move |version| (group.clone(), version.clone())));
    Rule {
        versions: pairs.map(|(group, version)| GroupVersion { group, version }).collect(),
        resources: sorted("resources").into_iter().filter(|one| !one.contains(['*', '/'])).collect(),
    }
}

/// The kind of a policy's parameters.
pub(super) fn param_kind(policy: &Value) -> Option<Kind> {
    let kind = policy["spec"].get("paramKind").filter(|kind| kind.is_object())?;
    let (api_version, kind) = (kind["apiVersion"].as_str()?, kind["kind"].as_str()?);
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let version = GroupVersion { group: group.to_owned(), version: version.to_owned() };
    Some(Kind { version, kind: kind.to_owned() })
}

/// Kinds found so far.
#[derive(Default)]
pub(super) struct Found {
    kinds: BTreeSet<Kind>,
    of_rule: usize,
    full: bool,
}

impl Found {
    /// Adds the kinds of `resources` in a version, by its list of resources. Whether there are enough.
    pub(super) fn add(&mut self, version: &GroupVersion, resources: &[String], list: &Value) -> bool {
        let served: Vec<&Value> = list["resources"].as_array().into_iter().flatten().collect();
        for name in resources {
            let found = served.iter().find(|one| one["name"] == **name || one["singularName"] == **name);
            let Some(kind) = found.and_then(|one| one["kind"].as_str()) else { continue };
            if self.full {
                return true;
            }
            self.kinds.insert(Kind { version: version.clone(), kind: kind.to_owned() });
            self.of_rule += 1;
            self.full = self.of_rule == KINDS_MAX;
        }
        self.full
    }

    pub(super) fn next_rule(&mut self) {
        self.of_rule = 0;
    }

    pub(super) fn kinds(self) -> Vec<Kind> {
        self.kinds.into_iter().collect()
    }
}

/// The schema of a kind in an OpenAPI v3 document, with what it refers to put in its place; `None`: there is none.
pub(super) fn schema(document: &Value, kind: &Kind) -> Option<Value> {
    let schemas = document["components"]["schemas"].as_object()?;
    let wanted = json!({"group": kind.version.group, "version": kind.version.version, "kind": kind.kind});
    let is_of_kind = |schema: &Value| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.is_some_and(|kinds| kinds.contains(&wanted))
    };
    let (name, schema) = schemas.iter().find(|(_, schema)| is_of_kind(schema))?;
    Some(resolved(schema, schemas, &mut vec![name]))
}

/// `schema` without references. A schema that is in itself ends where it begins again: expressions see nothing there.
fn resolved<'a>(schema: &'a Value, schemas: &'a Map<String, Value>, within: &mut Vec<&'a str>) -> Value {
    let reference = reference(schema).and_then(|name| schemas.get_key_value(name));
    if let Some((name, target)) = reference {
        if within.contains(&name.as_str()) {
            return json!({});
        }
        within.push(name);
        let mut inner = resolved(target, schemas, within);
        within.pop();
        // What the field says of its value stands beside the reference.
        for (key, value) in schema.as_object().into_iter().flatten().filter(|(key, _)| is_said(key)) {
            inner[key] = value.clone();
        }
        return inner;
    }
    let Some(fields) = schema.as_object() else { return schema.clone() };
    let mut out = Map::new();
    for (key, value) in fields.iter().filter(|(key, _)| *key != "description") {
        let value = match (&**key, value) {
            ("properties", Value::Object(properties)) => {
                let each = properties.iter().map(|(name, inner)| (name.clone(), resolved(inner, schemas, within)));
                each.collect::<Map<_, _>>().into()
            }
            ("items" | "additionalProperties", Value::Object(_)) => resolved(value, schemas, within),
            ("format", format) if format == "int-or-string" => {
                out.insert("x-kubernetes-int-or-string".to_owned(), true.into());
                value.clone()
            }
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    out.into()
}

fn is_said(key: &str) -> bool {
    !matches!(key, "$ref" | "allOf" | "description" | "default")
}

/// The name that `$ref` has, alone or in an `allOf` that is there for a default beside it.
fn reference(schema: &Value) -> Option<&str> {
    let wrapped = match schema["allOf"].as_array().map(Vec::as_slice) {
        Some([one]) => one["$ref"].as_str(),
        _ => None,
    };
    schema["$ref"].as_str().or(wrapped)?.rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_kinds_unless_they_name_everything() {
        let policy = json!({"spec": {"matchConstraints": {"resourceRules": [
            {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["statefulsets", "deployments", "deployments/scale"]},
            {"apiGroups": ["*"], "apiVersions": ["v1"], "resources": ["pods"]}]}}});
        let rules = rules(&policy);
        assert_eq!(rules[0].resources, ["deployments", "statefulsets"]);
        assert!(rules[1].versions.is_empty());
        let list = json!({"resources": [{"name": "deployments", "kind": "Deployment"},
            {"name": "deployments/scale", "kind": "Scale"}, {"name": "statefulsets", "kind": "StatefulSet"}]});
        let mut found = Found::default();
        assert!(!found.add(&rules[0].versions[0], &rules[0].resources, &list));
        let kinds: Vec<String> = found.kinds().iter().map(Kind::to_string).collect();
        assert_eq!(kinds, ["apps/v1, Kind=Deployment", "apps/v1, Kind=StatefulSet"]);
        assert_eq!(rules[0].versions[0].openapi(), "/openapi/v3/apis/apps/v1");
    }

    #[test]
    fn references_are_followed_until_they_come_round() {
        let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        let document = json!({"components": {"schemas": {
            "a": {"type": "object", "properties": {"b": reference("b"), "n": {"allOf": [reference("n")], "default": {}}},
                "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "A"}]},
            "b": {"type": "object", "description": "text", "properties": {"again": reference("b")}},
            "n": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}}}});
        let version = GroupVersion { group: String::new(), version: "v1".to_owned() };
        let found = schema(&document, &Kind { version, kind: "A".to_owned() }).expect("it is there");
        assert_eq!(found["properties"]["b"], json!({"type": "object", "properties": {"again": {}}}));
        assert_eq!(found["properties"]["n"]["x-kubernetes-int-or-string"], true);
    }
}
