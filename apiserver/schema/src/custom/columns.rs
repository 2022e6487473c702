//! What `kubectl get` prints of custom objects: `additionalPrinterColumns`, or the age.

use super::jsonpath::JsonPath;
use crate::table::text::since;
use crate::table::{AGE, NAME};
use crate::view::{given, list, text};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The columns of one version, after the name.
#[derive(Debug)]
pub(crate) struct Columns(Vec<Column>);

#[derive(Debug)]
struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
    path: JsonPath,
}

impl Columns {
    /// Reads the columns of a version of a definition. Those after one whose path cannot be read are left out, as in Kubernetes.
    pub(crate) fn read(version: &Value) -> Self {
        let columns = list(version, "additionalPrinterColumns");
        if columns.is_empty() {
            let path = JsonPath::parse(".metadata.creationTimestamp");
            let age = |path| Column {
                name: AGE.name.to_owned(),
                kind: "date".to_owned(),
                format: String::new(),
                description: AGE.description.to_owned(),
                priority: 0,
                path,
            };
            return Self(path.into_iter().map(age).collect());
        }
        Self(columns.iter().map_while(Column::read).collect())
    }

    /// Their definitions in a Table, the name's before them.
    pub(crate) fn definitions(&self) -> Vec<Value> {
        let name = json!({"name": NAME.name, "type": "string", "format": "name", "description": NAME.description, "priority": 0});
        let others = self.0.iter().map(|column| {
            json!({"name": column.name, "type": column.kind, "format": column.format, "description": column.description,
                "priority": column.priority})
        });
        std::iter::once(name).chain(others).collect()
    }

    /// The cells of an object, its name before them.
    pub(crate) fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let name = text(&object["metadata"], "name").into();
        std::iter::once(name).chain(self.0.iter().map(|column| column.cell(object, now))).collect()
    }
}

impl Column {
    fn read(column: &Value) -> Option<Self> {
        let path = text(column, "jsonPath");
        let description = if given(column, "description") {
            text(column, "description").to_owned()
        } else {
            format!("Custom resource definition column (in JSONPath format): {path}")
        };
        Some(Self {
            name: text(column, "name").to_owned(),
            kind: text(column, "type").to_owned(),
            format: text(column, "format").to_owned(),
            description,
            priority: column["priority"].as_i64().unwrap_or_default(),
            path: JsonPath::parse(path)?,
        })
    }

    /// The first value that the path finds, if it has the column's type.
    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let Some(value) = self.path.find(object).into_iter().next() else { return Value::Null };
        match (self.kind.as_str(), value) {
            ("string", Value::String(_)) | ("boolean", Value::Bool(_)) => value.clone(),
            ("string", Value::Null) => "<no value>".into(),
            ("string", Value::Number(number)) => number_text(number).into(),
            ("string", other) => other.to_string().into(),
            ("integer", Value::Number(number)) => whole(number),
            ("number", Value::Number(_)) => value.clone(),
            ("date", Value::String(text)) if text.is_empty() || text.parse::<Timestamp>().is_ok() => {
                since(value, now).into()
            }
            ("date", Value::String(_)) => "<invalid>".into(),
            _ => Value::Null,
        }
    }
}

fn number_text(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if !number.is_i64() => super::limits::float_text(float),
        _ => number.to_string(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a column of whole numbers cuts off what is behind the point")]
fn whole(number: &serde_json::Number) -> Value {
    number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_the_types_of_their_columns() {
        let column = |kind: &str, path: &str| json!({"name": path, "type": kind, "jsonPath": path});
        let version = json!({"additionalPrinterColumns": [
            column("string", ".spec.text"), column("string", ".spec.number"), column("string", ".spec.list"),
            column("integer", ".spec.float"), column("number", ".spec.number"), column("boolean", ".spec.flag"),
            column("boolean", ".spec.text"), column("date", ".metadata.creationTimestamp"), column("date", ".spec.text"),
            column("string", ".spec.none"),
        ]});
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "2024-05-01T12:00:00Z"},
            "spec": {"text": "x", "number": 3, "float": 1.5, "flag": true, "list": [{"a": 1}]}});
        let now = "2024-05-01T12:05:00Z".parse().expect("a time");
        let columns = Columns::read(&version);
        assert_eq!(
            json!(columns.cells(&object, now)),
            json!(["a", "x", "3", "[{\"a\":1}]", 1, 3, true, null, "5m", "<invalid>", null])
        );
        assert_eq!(columns.definitions().len(), 11);
        let plain = Columns::read(&json!({}));
        assert_eq!(json!(plain.cells(&object, now)), json!(["a", "5m"]));
        assert_eq!(plain.definitions()[1]["type"], "date");
    }
}
