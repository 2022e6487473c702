//! One definition as lines of the table.

use crate::go::{self, Package};
use crate::{Done, properties};
use serde_json::Value;

/// Short name of a package: its last two segments, `core/v1`.
pub(crate) fn alias(package: &str) -> String {
    let mut parts = package.rsplit('.');
    let (version, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{group}/{version}")
}

/// Definitions that are no structs, and what values of them are.
pub(crate) fn special(name: &str) -> Option<&'static str> {
    Some(match name {
        "io.k8s.apimachinery.pkg.api.resource.Quantity" => "quantity",
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => "port",
        "io.k8s.apimachinery.pkg.apis.meta.v1.Time" => "time",
        "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime" => "micro",
        "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1" => "fields",
        "io.k8s.apimachinery.pkg.runtime.RawExtension" => "raw",
        "io.k8s.apimachinery.pkg.apis.meta.v1.Patch" => "patch",
        _ => match name.strip_prefix("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.")? {
            "JSON" => "json",
            "JSONSchemaPropsOrArray" => "JSONSchemaProps|[]JSONSchemaProps",
            "JSONSchemaPropsOrBool" => "JSONSchemaProps|bool",
            "JSONSchemaPropsOrStringArray" => "JSONSchemaProps|[]string",
            _ => return None,
        },
    })
}

/// The lines of a definition.
pub(crate) fn of(kind: &str, package: &str, schema: &Value, go: &Package) -> Done<String> {
    let mut text = kind.to_owned();
    if schema.get("x-kubernetes-map-type").is_some_and(|it| it == "atomic") {
        text += " atomic";
    }
    if schema.get("x-kubernetes-group-version-kind").is_some() {
        text += " kind";
    }
    if let Some(unions) = schema.get("x-kubernetes-unions") {
        text += &format!(" unions={unions}");
    }
    text.push('\n');
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, node) in properties(schema).into_iter().flatten() {
        let Some(member) = go.member(kind, name).or_else(|| go::of_type_meta(name)) else {
            return Err(format!("{package}.{kind}.{name} has no Go field").into());
        };
        text += &format!(" {name} {}", shape(node, package)?);
        if let Some(numbers) = go.numbers(kind, name) {
            text += &format!(" {numbers}");
        }
        if required.contains(&name.as_str()) {
            text += " !";
        }
        if member.pointer {
            text += " ?";
        } else if !member.omit {
            text += " ~";
        }
        if go.is_wrapped(&member.kind) {
            text += " wrapped";
        }
        text += &flags(node);
        text.push('\n');
    }
    Ok(text)
}

/// Defaults and how values merge.
fn flags(node: &Value) -> String {
    let mut text = String::new();
    let word = |name: &str| node.get(format!("x-kubernetes-{name}")).and_then(Value::as_str);
    match node.get("default") {
        None => {}
        Some(default) if is_zero(default) => text += " +",
        Some(default) => text += &format!(" default={default}"),
    }
    match word("list-type") {
        Some("map") => {
            let keys = node["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
            text += &format!(" map={}", keys.collect::<Vec<_>>().join(","));
        }
        Some(other) => text += &format!(" {other}"),
        None => {}
    }
    if let Some(kind) = word("map-type") {
        text += &format!(" map-{kind}");
    }
    if let Some(strategy) = word("patch-strategy") {
        text += &format!(" patch={strategy}");
    }
    if let Some(key) = word("patch-merge-key") {
        text += &format!(" key={key}");
    }
    text
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(yes) => !yes,
        _ => false,
    }
}

fn shape(node: &Value, package: &str) -> Done<String> {
    let reference = node.get("$ref").or_else(|| node["allOf"][0].get("$ref")).and_then(Value::as_str);
    if let Some(name) = reference.and_then(|reference| reference.rsplit('/').next()) {
        let (of, kind) = name.rsplit_once('.').ok_or("a reference without a package")?;
        return Ok(match special(name) {
            Some(special) => special.to_owned(),
            None if of == package => kind.to_owned(),
            None => format!("{}.{kind}", alias(of)),
        });
    }
    let format = node.get("format").and_then(Value::as_str);
    Ok(match (node["type"].as_str().unwrap_or_default(), format) {
        ("string", None) => "string".to_owned(),
        ("string", Some("byte")) => "bytes".to_owned(),
        ("integer", Some(format @ ("int32" | "int64"))) => format.to_owned(),
        ("number", Some("double")) => "double".to_owned(),
        ("boolean", None) => "bool".to_owned(),
        ("array", None) => format!("[]{}", shape(&node["items"], package)?),
        ("object", None) => format!("{{}}{}", shape(&node["additionalProperties"], package)?),
        other => return Err(format!("{package}: unknown type {other:?}: {node}").into()),
    })
}
