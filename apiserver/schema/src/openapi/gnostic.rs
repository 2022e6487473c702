//! An OpenAPI 2 document as protobuf, the form that kubectl reads: gnostic's `openapi.v2.Document`.
//!
//! Only the fields that our document has, with gnostic's numbers. A message with a `oneof` is written as a message with optional
//! fields, which is the same on the wire. Extensions travel as YAML text, and JSON is YAML.

use prost::Message;
use serde_json::Value;

use crate::view::{entries, list, text};

/// Encodes `document`, as [`super::v2_json`] makes it.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let info = Info { title: owned(&document["info"], "title"), version: owned(&document["info"], "version") };
    let paths =
        entries(document, "paths").map(|(name, item)| NamedPathItem { name: name.clone(), value: Some(path(item)) });
    let definitions = entries(document, "definitions").map(named);
    let document = Document {
        swagger: owned(document, "swagger"),
        info: Some(info),
        paths: Some(Paths { path: paths.collect() }),
        definitions: Some(Schemas { additional_properties: definitions.collect() }),
    };
    document.encode_to_vec()
}

fn owned(value: &Value, key: &str) -> String {
    text(value, key).to_owned()
}

fn strings(value: &Value, key: &str) -> Vec<String> {
    list(value, key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn extensions(value: &Value) -> Vec<NamedAny> {
    let fields = value.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-"));
    fields.map(|(name, value)| NamedAny { name: name.clone(), value: Some(Any { yaml: value.to_string() }) }).collect()
}

fn named((name, value): (&String, &Value)) -> NamedSchema {
    NamedSchema { name: name.clone(), value: Some(schema(value)) }
}

fn schema(value: &Value) -> Schema {
    let kind = text(value, "type");
    let properties: Vec<_> = entries(value, "properties").map(named).collect();
    let nested = |key: &str| value.get(key).map(|inner| Box::new(schema(inner)));
    Schema {
        reference: owned(value, "$ref"),
        format: owned(value, "format"),
        description: owned(value, "description"),
        required: strings(value, "required"),
        additional_properties: nested("additionalProperties")
            .map(|schema| AdditionalProperties { schema: Some(schema) }),
        kind: (!kind.is_empty()).then(|| Type { value: vec![kind.to_owned()] }),
        items: value.get("items").map(|items| Items { schema: vec![schema(items)] }),
        properties: (!properties.is_empty()).then_some(Schemas { additional_properties: properties }),
        vendor_extension: extensions(value),
    }
}

fn path(item: &Value) -> PathItem {
    let operation = &item["patch"];
    let parameters = list(operation, "parameters").iter().map(parameter).collect();
    let response = |(code, response): (&String, &Value)| NamedResponse {
        name: code.clone(),
        value: Some(ResponseValue { response: Some(Response { description: owned(response, "description") }) }),
    };
    let responses = Responses { response_code: entries(operation, "responses").map(response).collect() };
    PathItem {
        patch: Some(Operation {
            operation_id: owned(operation, "operationId"),
            consumes: strings(operation, "consumes"),
            parameters,
            responses: Some(responses),
            vendor_extension: extensions(operation),
        }),
    }
}

fn parameter(value: &Value) -> ParametersItem {
    let query = QueryParameter {
        place: owned(value, "in"),
        description: owned(value, "description"),
        name: owned(value, "name"),
        kind: owned(value, "type"),
    };
    ParametersItem { parameter: Some(Parameter { non_body: Some(NonBodyParameter { query: Some(query) }) }) }
}

#[derive(Clone, PartialEq, Message)]
struct Document {
    #[prost(string, tag = "1")]
    swagger: String,
    #[prost(message, optional, tag = "2")]
    info: Option<Info>,
    #[prost(message, optional, tag = "8")]
    paths: Option<Paths>,
    #[prost(message, optional, tag = "9")]
    definitions: Option<Schemas>,
}

#[derive(Clone, PartialEq, Message)]
struct Info {
    #[prost(string, tag = "1")]
    title: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Paths {
    #[prost(message, repeated, tag = "2")]
    path: Vec<NamedPathItem>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedPathItem {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<PathItem>,
}

#[derive(Clone, PartialEq, Message)]
struct PathItem {
    #[prost(message, optional, tag = "8")]
    patch: Option<Operation>,
}

#[derive(Clone, PartialEq, Message)]
struct Operation {
    #[prost(string, tag = "5")]
    operation_id: String,
    #[prost(string, repeated, tag = "7")]
    consumes: Vec<String>,
    #[prost(message, repeated, tag = "8")]
    parameters: Vec<ParametersItem>,
    #[prost(message, optional, tag = "9")]
    responses: Option<Responses>,
    #[prost(message, repeated, tag = "13")]
    vendor_extension: Vec<NamedAny>,
}

#[derive(Clone, PartialEq, Message)]
struct ParametersItem {
    #[prost(message, optional, tag = "1")]
    parameter: Option<Parameter>,
}

#[derive(Clone, PartialEq, Message)]
struct Parameter {
    #[prost(message, optional, tag = "2")]
    non_body: Option<NonBodyParameter>,
}

#[derive(Clone, PartialEq, Message)]
struct NonBodyParameter {
    #[prost(message, optional, tag = "3")]
    query: Option<QueryParameter>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryParameter {
    #[prost(string, tag = "2")]
    place: String,
    #[prost(string, tag = "3")]
    description: String,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(string, tag = "6")]
    kind: String,
}

#[derive(Clone, PartialEq, Message)]
struct Responses {
    #[prost(message, repeated, tag = "1")]
    response_code: Vec<NamedResponse>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedResponse {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<ResponseValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ResponseValue {
    #[prost(message, optional, tag = "1")]
    response: Option<Response>,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(string, tag = "1")]
    description: String,
}

/// Definitions, and the properties of a schema: named schemas.
#[derive(Clone, PartialEq, Message)]
struct Schemas {
    #[prost(message, repeated, tag = "1")]
    additional_properties: Vec<NamedSchema>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedSchema {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct Schema {
    #[prost(string, tag = "1")]
    reference: String,
    #[prost(string, tag = "2")]
    format: String,
    #[prost(string, tag = "4")]
    description: String,
    #[prost(string, repeated, tag = "19")]
    required: Vec<String>,
    #[prost(message, optional, tag = "21")]
    additional_properties: Option<AdditionalProperties>,
    #[prost(message, optional, tag = "22")]
    kind: Option<Type>,
    #[prost(message, optional, tag = "23")]
    items: Option<Items>,
    #[prost(message, optional, tag = "25")]
    properties: Option<Schemas>,
    #[prost(message, repeated, tag = "31")]
    vendor_extension: Vec<NamedAny>,
}

#[derive(Clone, PartialEq, Message)]
struct AdditionalProperties {
    #[prost(message, optional, boxed, tag = "1")]
    schema: Option<Box<Schema>>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(string, repeated, tag = "1")]
    value: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Items {
    #[prost(message, repeated, tag = "1")]
    schema: Vec<Schema>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedAny {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "2")]
    yaml: String,
}
