//! What `kubectl get` prints: `meta.k8s.io` Table objects with the columns of Kubernetes' printers.
//!
//! A kind gives its columns and a function from an object to its cells; every object also has a name and an age.

pub(crate) mod core;
pub(crate) mod pod;
pub(crate) mod template;
pub(crate) mod text;
pub(crate) mod workload;

use crate::Resource;
use crate::view::default;
use jiff::Timestamp;
use serde_json::{Value, json};

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

impl TableVersion {
    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// How a table is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableOptions {
    /// What each row carries.
    pub include_object: IncludeObject,
    /// Version of the answer.
    pub version: TableVersion,
    /// Leave the column definitions out: watches carry them in their first event only.
    pub no_headers: bool,
    /// Now: ages are relative to it.
    pub now: Timestamp,
}

/// The table of `items`. `list_metadata` is the list's metadata (`resourceVersion`, `continue`, …); for a single object, its
/// `{"resourceVersion": …}`.
#[must_use]
pub fn table(resource: &Resource, items: &[Value], list_metadata: &Value, options: &TableOptions) -> Value {
    let printer = resource.rules.printer;
    let definitions: Vec<Value> = match &resource.custom {
        _ if options.no_headers => Vec::new(),
        Some(custom) => custom.version.columns().definitions(),
        None => printer.columns.iter().map(Column::definition).collect(),
    };
    let rows: Vec<Value> = items.iter().map(|item| row(resource, printer, item, options)).collect();
    let metadata = if list_metadata.is_object() { list_metadata.clone() } else { json!({}) };
    json!({"kind": "Table", "apiVersion": options.version.api_version(), "metadata": metadata,
        "columnDefinitions": definitions, "rows": rows})
}

fn row(resource: &Resource, printer: &Printer, item: &Value, options: &TableOptions) -> Value {
    let cells = match &resource.custom {
        Some(custom) => custom.version.columns().cells(item, options.now),
        None => (printer.cells)(item, options.now),
    };
    let mut row = json!({"cells": cells});
    match options.include_object {
        IncludeObject::None => row["object"] = Value::Null,
        IncludeObject::Metadata => {
            row["object"] = json!({"kind": "PartialObjectMetadata", "apiVersion": options.version.api_version(),
                "metadata": item["metadata"]});
        }
        IncludeObject::Object => {
            let mut object = item.clone();
            default(&mut object, "apiVersion", resource.api_version());
            default(&mut object, "kind", &*resource.kind);
            row["object"] = object;
        }
    }
    if let Some(conditions) = pod::row_conditions(resource, item) {
        row["conditions"] = conditions;
    }
    row
}

/// One column. `wide` ones show with `-o wide` only.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) json_type: &'static str,
    pub(crate) description: &'static str,
    pub(crate) wide: bool,
}

impl Column {
    pub(crate) const fn text(name: &'static str, description: &'static str) -> Self {
        Self { name, json_type: "string", description, wide: false }
    }

    pub(crate) const fn number(name: &'static str, description: &'static str) -> Self {
        Self { name, json_type: "integer", description, wide: false }
    }

    pub(crate) const fn boolean(name: &'static str, description: &'static str) -> Self {
        Self { name, json_type: "boolean", description, wide: false }
    }

    pub(crate) const fn wide(name: &'static str, description: &'static str) -> Self {
        Self { name, json_type: "string", description, wide: true }
    }

    fn definition(&self) -> Value {
        // Those that hold names: kubectl prints them with the kind in front.
        let format = if matches!(self.name, "Name" | "Attacher") { "name" } else { "" };
        json!({"name": self.name, "type": self.json_type, "format": format, "description": self.description,
            "priority": i32::from(self.wide)})
    }
}

/// How a kind is printed: `cells` gives one cell for each column.
pub(crate) struct Printer {
    pub(crate) columns: &'static [Column],
    pub(crate) cells: fn(&Value, Timestamp) -> Vec<Value>,
}

pub(crate) const NAME: Column = Column::text("Name", "Name of the object, unique within its namespace and kind.");
pub(crate) const AGE: Column = Column::text("Age", "Time since the object was created.");

pub(crate) static DEFAULT: Printer =
    Printer { columns: &[NAME, AGE], cells: |it, now| vec![text::name(it), text::age(it, now)] };

/// Name and time of creation: kinds for which Kubernetes has no printer.
pub(crate) static CREATED: Printer = Printer {
    columns: &[
        NAME,
        Column { name: "Created At", json_type: "date", description: "When the object was created.", wide: false },
    ],
    cells: |it, _| vec![text::name(it), it["metadata"]["creationTimestamp"].clone()],
};

#[cfg(test)]
mod tests;
