//! The kinds, each with an object that is valid: `objects.jsonl`.

use serde::Deserialize;
use serde_json::Value;

/// A kind and an object of it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Kind {
    /// Name in paths.
    pub(crate) resource: String,
    scope: String,
    /// Subresources that take the same object, and `scale`.
    pub(crate) parts: Vec<String>,
    /// `create` if nothing is stored.
    verbs: String,
    /// The object.
    pub(crate) object: Value,
}

impl Kind {
    /// All of them, with `namespace` for their own.
    pub(crate) fn all(namespace: &str) -> Vec<Self> {
        let lines = include_str!("objects.jsonl").lines();
        let parse = |line: &str| serde_json::from_str(&line.replace("\"NS\"", &format!("{namespace:?}")));
        lines.map(|line| parse(line).expect("a kind")).collect()
    }

    pub(crate) fn is_stored(&self) -> bool {
        self.verbs != "create"
    }

    /// No kind, but what tells of kinds: discovery.
    pub(crate) fn is_document(&self) -> bool {
        self.resource == "documents"
    }

    pub(crate) fn is_namespaced(&self) -> bool {
        self.scope == "namespaced"
    }

    pub(crate) fn version(&self) -> &str {
        self.object["apiVersion"].as_str().expect("a version")
    }

    pub(crate) fn kind(&self) -> &str {
        self.object["kind"].as_str().expect("a kind")
    }

    pub(crate) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Where discovery lists it.
    pub(crate) fn group_path(&self) -> String {
        let root = if self.version().contains('/') { "apis" } else { "api" };
        format!("/{root}/{}", self.version())
    }

    /// Where its objects are.
    pub(crate) fn collection(&self, namespace: &str) -> String {
        let middle = if self.is_namespaced() { format!("/namespaces/{namespace}") } else { String::new() };
        format!("{}{middle}/{}", self.group_path(), self.resource)
    }

    /// What tells it from all others in a file's name and in tables.
    pub(crate) fn id(&self) -> String {
        format!("{}.{}", self.resource, self.version().replace('/', "."))
    }
}
