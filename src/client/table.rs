//! What the server answers as a table (meta.k8s.io/v1 Table), printed.

use comfy_table::{Table, presets};
use serde_json::Value;

/// Which columns are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// Those of priority 0.
    Normal,
    /// All.
    Wide,
}

/// A table without lines, as kubectl prints them: columns three blanks apart.
pub(crate) fn plain_table<T: Into<comfy_table::Row>>(header: T) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}

/// The text of a table, without blanks at the ends of lines.
pub(crate) fn text(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// The rows of `tables` (same columns) under one header; with the namespace in front if `namespaces`.
pub(crate) fn print_rows(answer: &Value, width: Width, with_namespace: bool, with_header: bool) -> String {
    let columns = answer["columnDefinitions"].as_array().cloned().unwrap_or_default();
    let shown: Vec<usize> = (0..columns.len())
        .filter(|&n| width == Width::Wide || columns[n]["priority"].as_i64().unwrap_or(0) == 0)
        .collect();
    let names = shown.iter().map(|&n| columns[n]["name"].as_str().unwrap_or_default().to_uppercase());
    let mut table = plain_table(with_namespace.then(|| "NAMESPACE".to_owned()).into_iter().chain(names));
    for row in answer["rows"].as_array().into_iter().flatten() {
        let namespace = row["object"]["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let cells = shown.iter().map(|&n| cell(&row["cells"][n]));
        table.add_row(with_namespace.then_some(namespace).into_iter().chain(cells));
    }
    let printed = text(&table);
    // A watch prints its header once; the columns keep their widths all the same.
    if with_header { printed } else { printed.split_once('\n').map(|(_, rows)| rows.to_owned()).unwrap_or_default() }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_of_low_priority_are_shown_only_when_wide() {
        let table = json!({
            "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "IP", "priority": 1}, {"name": "Restarts"}],
            "rows": [{"cells": ["web", "10.0.0.1", 3], "object": {"metadata": {"namespace": "default"}}}]
        });
        let normal = print_rows(&table, Width::Normal, true, true);
        assert_eq!(
            normal.split_whitespace().collect::<Vec<_>>(),
            ["NAMESPACE", "NAME", "RESTARTS", "default", "web", "3"]
        );
        assert!(print_rows(&table, Width::Wide, false, false).contains("10.0.0.1"));
    }
}
