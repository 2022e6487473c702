//! The answer: an object or a list in the form that was asked for.

use super::negotiate::{self, Cbor, Encoding, Form, Shape};
use super::options::Parameters;
use crate::registry::object::Object;
use crate::status::{Status, order};
use axum::body::Body;
use axum::response::Response;
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, Uri, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_schema::cbor;
use skiff_schema::protobuf::{self, ProtobufError};
use skiff_schema::{IncludeObject, Resource, TableOptions, TableVersion, table};

/// How one answer is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) form: Form,
    /// The form of what cannot be written in the first: custom resources have none in Protobuf.
    pub(super) otherwise: Option<Form>,
    pub(super) include_object: IncludeObject,
    /// JSON is indented, for people.
    pub(super) pretty: bool,
    /// Whether CBOR may be sent, and asked for.
    pub(super) cbor: Cbor,
}

impl Style {
    pub(super) fn of(headers: &HeaderMap, parameters: &Parameters, door: &Extensions) -> Result<Self, Status> {
        let cbor = spoken(door);
        let (form, otherwise) = negotiate::forms(headers, cbor)?;
        let include_object = match form.shape {
            Shape::Table(_) => parameters.include_object()?,
            _ => IncludeObject::default(),
        };
        let pretty = negotiate::pretty(headers, cbor) || parameters.pretty(headers);
        Ok(Self { form, otherwise, include_object, pretty, cbor })
    }

    /// For a refusal, which is said in any case: as it was asked for if we can, in JSON if not.
    pub(super) fn of_refusal(headers: &HeaderMap, uri: &Uri, door: &Extensions) -> Self {
        let cbor = spoken(door);
        let (form, otherwise) = negotiate::forms(headers, cbor).unwrap_or((Form::JSON, None));
        let parameters = Parameters::of(uri).unwrap_or_default();
        let pretty = negotiate::pretty(headers, cbor) || parameters.pretty(headers);
        Self { form, otherwise, include_object: IncludeObject::default(), pretty, cbor }
    }

    /// The same for objects of a resource: another form where the first is none of theirs.
    pub(super) fn of_resource(self, resource: &Resource) -> Result<Self, Status> {
        let whole = self.form.encoding == Encoding::Protobuf && self.form.shape == Shape::Whole;
        if whole && !protobuf::knows(&resource.api_version(), &resource.kind) { self.next() } else { Ok(self) }
    }

    /// The same for what has no columns, because it is an answer and no object that is kept.
    pub(super) fn without_tables(self) -> Result<Self, Status> {
        if matches!(self.form.shape, Shape::Table(_)) { self.next() } else { Ok(self) }
    }

    fn next(self) -> Result<Self, Status> {
        Ok(Self { form: self.otherwise.ok_or_else(Status::not_acceptable)?, otherwise: None, ..self })
    }
}

/// What the server was told to speak stands in every request.
fn spoken(door: &Extensions) -> Cbor {
    door.get().copied().unwrap_or_default()
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
    bytes(code, "application/json", text(value))
}

/// Objects have their fields by name; a Status has Kubernetes' order, which clients' tests know.
fn text(value: &Value) -> String {
    order::text(value).unwrap_or_else(|| value.to_string())
}

/// A refusal, which says in a header too how long to wait if it says so at all.
pub(super) fn failure(style: Style, status: &Status) -> Response {
    let value = status.value();
    let response = plain(status.code, style, &value);
    let response = response.unwrap_or_else(|_| json_value(status.code, &value));
    let mut response = with_warnings(response, &status.warnings);
    if let Some(seconds) = status.retry_after_seconds() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// What is no object of a resource: a Status, a Scale, a document of discovery. It has one form, as JSON or YAML.
pub(super) fn plain(code: StatusCode, style: Style, value: &Value) -> Result<Response, Status> {
    shaped(code, style, value)
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
    if style.form.is_plain_json() && !style.pretty {
        return Ok(bytes(code, "application/json", object.json()?));
    }
    let style = style.of_resource(&object.resource)?;
    let value = object.value()?;
    shaped(code, style, &shape_one(style, &object.resource, value))
}

/// One object, as a value, in the form that was asked for.
pub(super) fn shape_one(style: Style, resource: &Resource, value: Value) -> Value {
    match style.form.shape {
        Shape::Whole => value,
        Shape::Metadata(api_version) => partial(api_version, &value),
        Shape::Table(version) => {
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

/// A value in the encoding that was asked for.
pub(super) fn shaped(code: StatusCode, style: Style, value: &Value) -> Result<Response, Status> {
    match style.form.encoding {
        Encoding::Yaml => {
            let text = serde_norway::to_string(value).map_err(|error| Status::internal(error.to_string()))?;
            Ok(bytes(code, "application/yaml", text))
        }
        Encoding::Protobuf => match protobuf::from_json(value) {
            Ok(body) => Ok(bytes(code, protobuf::CONTENT_TYPE, body)),
            // A document of discovery, say.
            Err(ProtobufError::Kind { .. }) => shaped(code, style.next()?, value),
            Err(error) => Err(Status::internal(error.to_string())),
        },
        Encoding::Cbor => {
            let body = cbor::from_json(value).map_err(|error| Status::internal(error.to_string()))?;
            Ok(bytes(code, cbor::CONTENT_TYPE, body))
        }
        Encoding::Json => {
            // Alternate formatting indents by two spaces.
            let text = if style.pretty { format!("{value:#}") } else { text(value) };
            Ok(bytes(code, "application/json", text))
        }
    }
}
