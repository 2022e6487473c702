//! The answer: an object or a list in the form that was asked for.

use super::negotiate::Form;
use super::options::Parameters;
use crate::registry::List;
use crate::registry::object::Object;
use crate::status::Status;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_schema::{IncludeObject, Resource, TableOptions, TableVersion, table};

/// How one answer is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) form: Form,
    pub(super) include_object: IncludeObject,
}

impl Style {
    pub(super) fn of(headers: &http::HeaderMap, parameters: &Parameters) -> Result<Self, Status> {
        Ok(Self { form: super::negotiate::form(headers)?, include_object: parameters.include_object() })
    }
}

pub(super) fn bytes(code: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

pub(super) fn json_value(code: StatusCode, value: &Value) -> Response {
    bytes(code, "application/json", value.to_string())
}

pub(super) fn failure(status: &Status) -> Response {
    json_value(status.code, &status.value())
}

/// Adds a `Warning` header each (RFC 7234, code 299), which kubectl prints.
pub(super) fn with_warnings(mut response: Response, warnings: &[String]) -> Response {
    for warning in warnings {
        let text: String = warning.chars().filter(|character| !character.is_control()).collect();
        let line = format!("299 - \"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        if let Ok(value) = HeaderValue::from_str(&line) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

/// One object.
pub(super) fn object(code: StatusCode, style: Style, object: &Object) -> Result<Response, Status> {
    if style.form == Form::Json {
        return Ok(bytes(code, "application/json", object.json()?));
    }
    let value = object.value()?;
    shaped(code, style.form, &shape_one(style, object.resource, value))
}

/// One object, as a value, in the form that was asked for.
pub(super) fn shape_one(style: Style, resource: &Resource, value: Value) -> Value {
    match style.form {
        Form::Json | Form::Yaml => value,
        Form::Metadata(api_version) => partial(api_version, &value),
        Form::Table(version) => {
            let metadata = json!({"resourceVersion": value["metadata"]["resourceVersion"]});
            table(resource, &[value], &metadata, &table_options(style, version))
        }
    }
}

pub(super) fn table_options(style: Style, version: TableVersion) -> TableOptions {
    TableOptions { include_object: style.include_object, version, no_headers: false, now: Timestamp::now() }
}

/// Type and metadata.
pub(super) fn partial(api_version: &str, value: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": value["metadata"]})
}

fn shaped(code: StatusCode, form: Form, value: &Value) -> Result<Response, Status> {
    if form == Form::Yaml {
        let text = serde_norway::to_string(value).map_err(|error| Status::internal(error.to_string()))?;
        return Ok(bytes(code, "application/yaml", text));
    }
    Ok(json_value(code, value))
}

/// A list.
pub(super) fn list(style: Style, resource: &Resource, list: &List) -> Result<Response, Status> {
    if style.form == Form::Json {
        return Ok(bytes(StatusCode::OK, "application/json", list_json(resource, list)?));
    }
    let items = list.items.iter().map(Object::value).collect::<Result<Vec<Value>, Status>>()?;
    let value = match style.form {
        Form::Table(version) => table(resource, &items, &list.metadata(), &table_options(style, version)),
        Form::Metadata(api_version) => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": api_version, "metadata": list.metadata(),
            "items": items.iter().map(|item| partial(api_version, item)).collect::<Vec<Value>>(),
        }),
        Form::Json | Form::Yaml => json!({
            "kind": resource.list_kind, "apiVersion": resource.api_version(), "metadata": list.metadata(), "items": items,
        }),
    };
    shaped(StatusCode::OK, style.form, &value)
}

/// A list as JSON, its items copied as they are stored.
fn list_json(resource: &Resource, list: &List) -> Result<Vec<u8>, Status> {
    let length: usize = list.items.iter().map(|item| item.stored.len() + 32).sum();
    let mut out = Vec::with_capacity(length + 256);
    let head = format!(
        r#"{{"kind":"{}","apiVersion":"{}","metadata":{},"items":["#,
        resource.list_kind,
        resource.api_version(),
        list.metadata()
    );
    out.extend_from_slice(head.as_bytes());
    for (index, item) in list.items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item.write_json(&mut out)?;
    }
    out.extend_from_slice(b"]}\n");
    Ok(out)
}
