//! A case: a request about one kind's object, and what a real server answers.

use crate::facts::Facts;
use crate::kinds::Kind;
use crate::server::Question;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Media types of bodies.
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

/// One request, in few words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Case {
    /// `create`, `put`, `merge`, `json`, `strategic`, `apply`, `get`, `list`, `delete`, …; with `/status` for that part.
    #[serde(rename = "do")]
    pub(crate) verb: String,
    /// Query.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) query: String,
    /// How the kind's object is changed before it is sent (RFC 6902).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) change: Vec<Value>,
    /// The body, where it is not the changed object.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) body: Value,
    /// What is answered.
    #[serde(skip)]
    pub(crate) facts: Option<Facts>,
}

impl Case {
    pub(crate) fn new(verb: &str, query: &str) -> Self {
        Self { verb: verb.to_owned(), query: query.to_owned(), change: Vec::new(), body: Value::Null, facts: None }
    }

    pub(crate) fn with_change(mut self, change: &[Value]) -> Self {
        self.change = change.to_vec();
        self
    }

    pub(crate) fn with_body(mut self, body: Value) -> Self {
        self.body = body;
        self
    }

    /// The kind's object as this case changes it; `None` where the change does not fit (any more).
    pub(crate) fn object(&self, kind: &Kind) -> Option<Value> {
        let mut object = kind.object.clone();
        let patch: json_patch::Patch = serde_json::from_value(Value::from(self.change.clone())).ok()?;
        json_patch::patch(&mut object, &patch).ok()?;
        Some(object)
    }

    /// Whether the object that is sent carries the revision of the one that is there.
    pub(crate) fn wants_revision(&self) -> bool {
        matches!(self.verb.split('/').next(), Some("put")) && self.body.is_null()
    }

    /// The request itself; `revision` is that of the object that is there, if this matters.
    pub(crate) fn question(&self, kind: &Kind, namespace: &str, revision: &Value) -> Option<Question> {
        let (verb, part) = self.verb.split_once('/').unwrap_or((&self.verb, ""));
        let part = if part.is_empty() { String::new() } else { format!("/{part}") };
        let (collection, query) = (kind.collection(namespace), &self.query);
        let mark = if query.is_empty() { "" } else { "?" };
        let whole = format!("{collection}{mark}{query}");
        let named = |name: &str| format!("{collection}/{name}{part}{mark}{query}");
        let one = named(kind.name());
        let given = |object: Value| if self.body.is_null() { object } else { own(&self.body, namespace) };
        let text = |object: Value| given(object).to_string();
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        let partials = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        let mut object = self.object(kind)?;
        if !revision.is_null() && object["metadata"].is_object() {
            object["metadata"]["resourceVersion"] = revision.clone();
        }
        let (method, path, content, accept, body) = match verb {
            "create" => (Method::POST, whole, JSON, "", text(object)),
            "create-yaml" => (Method::POST, whole, YAML, "", text(object)),
            "create-part" => (Method::POST, one, JSON, "", text(object)),
            "put" | "put-blind" => (Method::PUT, one, JSON, "", text(object)),
            "put-missing" => (Method::PUT, named("missing"), JSON, "", text(object)),
            "merge" => {
                (Method::PATCH, one, "application/merge-patch+json", "", text(difference(&kind.object, &object)))
            }
            "strategic" => {
                let body = text(difference(&kind.object, &object));
                (Method::PATCH, one, "application/strategic-merge-patch+json", "", body)
            }
            "json" => (Method::PATCH, one, "application/json-patch+json", "", text(self.change.clone().into())),
            "merge-missing" => (Method::PATCH, named("missing"), "application/merge-patch+json", "", "{}".to_owned()),
            "apply" => (Method::PATCH, one, "application/apply-patch+yaml", "", text(object)),
            "apply-missing" => (Method::PATCH, named("missing"), "application/apply-patch+yaml", "", text(object)),
            "raw" => (Method::GET, query.clone(), "", "", String::new()),
            "raw-aggregated" => {
                let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
                (Method::GET, query.clone(), "", accept, String::new())
            }
            "get" => (Method::GET, one, "", "", String::new()),
            "get-table" => (Method::GET, one, "", table, String::new()),
            "get-partial" => (Method::GET, one, "", partial, String::new()),
            "get-missing" => (Method::GET, named("missing"), "", "", String::new()),
            "list" => (Method::GET, whole, "", "", String::new()),
            "watch" => (Method::GET, format!("{whole}&watch=true&resourceVersion=SINCE"), "", "", String::new()),
            "list-table" => (Method::GET, whole, "", table, String::new()),
            "list-partial" => (Method::GET, whole, "", partials, String::new()),
            "delete" => (Method::DELETE, one, JSON, "", text(Value::Null)),
            "delete-missing" => (Method::DELETE, named("missing"), "", "", String::new()),
            "delete-all" => (Method::DELETE, whole, JSON, "", text(Value::Null)),
            _ => return None,
        };
        let body = if body == "null" { String::new() } else { body };
        let content = if body.is_empty() { "" } else { content };
        Some(Question { method, path, content, accept, body, ..Question::default() })
    }
}

/// The body with the test's own namespace.
fn own(body: &Value, namespace: &str) -> Value {
    serde_json::from_str(&body.to_string().replace("\"NS\"", &format!("{namespace:?}"))).expect("it was JSON")
}

/// The merge patch (RFC 7386) that makes `new` of `old`.
fn difference(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return new.clone() };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(other) if other == value => {}
            Some(other) => {
                patch.insert(key.clone(), difference(other, value));
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

/// A line of a file of cases. The object is told as the change (RFC 6902) of the answer to the kind's own object.
pub(crate) fn line(case: &Case, facts: &Facts, base: &Value) -> Value {
    let mut line = serde_json::to_value(case).expect("a case");
    let mut told = facts.clone();
    let whole = told.object.take();
    if let Value::Object(told) = serde_json::to_value(&told).expect("facts") {
        for (key, value) in told {
            line[key] = value;
        }
    }
    let change = serde_json::to_value(json_patch::diff(base, &whole)).expect("a patch");
    if change.to_string().len() < whole.to_string().len() {
        if change != json!([]) {
            line["differs"] = change;
        }
    } else {
        line["object"] = whole;
    }
    line
}

/// Reads what [`line`] wrote.
pub(crate) fn read(line: &Value, base: &Value) -> Case {
    let mut case: Case = serde_json::from_value(line.clone()).expect("a case");
    let mut facts: Facts = serde_json::from_value(line.clone()).expect("facts");
    if line.get("object").is_none() {
        let mut object = base.clone();
        let patch = line.get("differs").cloned().unwrap_or_else(|| json!([]));
        let patch: json_patch::Patch = serde_json::from_value(patch).expect("a patch");
        json_patch::patch(&mut object, &patch).expect("a patch that fits");
        facts.object = object;
    }
    case.facts = Some(facts);
    case
}
