//! Lists: written a piece at a time while they are sent, from items that are there as bytes already.

use super::negotiate::{Encoding, Shape};
use super::respond::{Style, bytes, partial, shaped, table_options};
use crate::registry::object::{Head, Object};
use crate::registry::{Form, FormNumber, List};
use crate::status::Status;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_schema::{Resource, RowTemplate, TableOptions, TableVersion, protobuf, table};
use std::convert::Infallible;
use std::sync::Arc;

/// Bytes that are written at once: a few frames of HTTP/2.
const PIECE_BYTES: usize = 64 << 10;
/// Numbers of forms; those of rows and metadata have more of their bits.
const PROTOBUF: u32 = 0;
const ROW: u32 = 1;
const METADATA: u32 = 2;

/// A list.
pub(super) fn list(style: Style, resource: &Resource, list: List) -> Result<Response, Status> {
    // Those who ask for Protobuf first get JSON of custom resources.
    let style = if style.form.is_plain_json() { style } else { style.of_resource(resource)? };
    if style.form.is_plain_json() && !style.pretty {
        return json(resource, list);
    }
    let is_json = style.form.encoding == Encoding::Json && !style.pretty;
    match style.form.shape {
        Shape::Table(version) if is_json => rows(style, resource, list, version),
        Shape::Table(version) => table_value(style, resource, &list, version),
        _ if style.form.encoding == Encoding::Protobuf => messages(style, resource, list),
        Shape::Metadata(api_version) if is_json => {
            let head = head("PartialObjectMetadataList", api_version, &list.metadata());
            let items = list.items.into_iter().map(|object| Ok(Item::Bytes(metadata(&object, api_version)?)));
            Ok(sent("application/json", head, items.collect::<Result<_, Status>>()?, b"]}"))
        }
        _ => whole_value(style, resource, &list),
    }
}

/// One item, as far as it is written.
enum Item {
    Bytes(Bytes),
    /// As it is stored, but for a few words.
    Stored(Object),
    Row(Arc<RowTemplate>),
}

/// Writes what is left of a list.
struct Pieces {
    head: Option<Vec<u8>>,
    items: std::iter::Enumerate<std::vec::IntoIter<Item>>,
    separator: &'static [u8],
    stored_as: Option<Head>,
    now: Timestamp,
    tail: Option<&'static [u8]>,
}

impl Pieces {
    fn write(&self, item: Item, out: &mut Vec<u8>) {
        match item {
            Item::Bytes(bytes) => out.extend_from_slice(&bytes),
            Item::Row(row) => row.write(self.now, out),
            Item::Stored(object) => {
                if let Some(head) = &self.stored_as {
                    object.splice(head, out);
                }
            }
        }
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = match self.head.take() {
            Some(head) => head,
            None => Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 4),
        };
        while out.len() < PIECE_BYTES {
            let Some((at, item)) = self.items.next() else {
                out.extend_from_slice(self.tail.take().unwrap_or_default());
                break;
            };
            if at > 0 {
                out.extend_from_slice(self.separator);
            }
            self.write(item, &mut out);
        }
        (!out.is_empty()).then(|| out.into())
    }
}

/// The beginning of a list in JSON.
fn head(kind: &str, api_version: &str, metadata: &Value) -> Vec<u8> {
    format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata},"items":["#).into_bytes()
}

fn sent(content_type: &'static str, head: Vec<u8>, items: Vec<Item>, tail: &'static [u8]) -> Response {
    let separator: &[u8] = if content_type == protobuf::CONTENT_TYPE { b"" } else { b"," };
    respond(
        content_type,
        Pieces {
            head: Some(head),
            items: items.into_iter().enumerate(),
            separator,
            stored_as: None,
            now: Timestamp::now(),
            tail: Some(tail),
        },
    )
}

/// A short list has a length; a long one is written while it is sent, so that it is never there as a whole.
fn respond(content_type: &'static str, mut pieces: Pieces) -> Response {
    let first = pieces.next().unwrap_or_default();
    if pieces.tail.is_none() {
        return bytes(StatusCode::OK, content_type, first);
    }
    let pieces = std::iter::once(first).chain(pieces).map(Ok::<Bytes, Infallible>);
    bytes(StatusCode::OK, content_type, Body::from_stream(stream::iter(pieces)))
}

/// As plain JSON: items are copied as they are stored.
fn json(resource: &Resource, list: List) -> Result<Response, Status> {
    let begin = head(&resource.list_kind, &resource.api_version(), &list.metadata());
    let stored_as = Head::of(resource, !protobuf::knows(&resource.api_version(), &resource.kind));
    let item = |object: Object| match object.begins_with(&stored_as) {
        true => Ok(Item::Stored(object)),
        // Written by another API server on the same store.
        false => object.item(&stored_as).map(|json| Item::Bytes(json.into())),
    };
    let items = list.items.into_iter().map(item).collect::<Result<Vec<_>, Status>>()?;
    Ok(respond(
        "application/json",
        Pieces {
            head: Some(begin),
            items: items.into_iter().enumerate(),
            separator: b",",
            stored_as: Some(stored_as),
            now: Timestamp::now(),
            tail: Some(b"]}\n"),
        },
    ))
}

/// What is made of an object, or was made of it before.
fn form(object: &Object, number: u32, make: impl Fn() -> Result<Form, Status>) -> Result<Form, Status> {
    match &object.forms {
        Some(forms) => forms.get(FormNumber(number), make),
        None => make(),
    }
}

fn bytes_of(form: Form) -> Result<Bytes, Status> {
    match form {
        Form::Bytes(bytes) => Ok(bytes),
        _ => Err(Status::internal("an item of a list was taken for a row of a table")),
    }
}

/// Number of a form that differs by the version of `meta.k8s.io` that it is in.
fn versioned(form: u32, api_version: &str) -> u32 {
    form | u32::from(api_version == "meta.k8s.io/v1beta1") << 4
}

/// Type and metadata of an object, as JSON.
fn metadata(object: &Object, api_version: &str) -> Result<Bytes, Status> {
    let make = || Ok(Form::Bytes(partial(api_version, &object.value()?).to_string().into()));
    form(object, versioned(METADATA, api_version), make).and_then(bytes_of)
}

/// As Protobuf.
fn messages(style: Style, resource: &Resource, list: List) -> Result<Response, Status> {
    let (kind, api_version) = match style.form.shape {
        Shape::Metadata(api_version) => ("PartialObjectMetadataList", api_version.to_owned()),
        _ => (&*resource.list_kind, resource.api_version()),
    };
    let is_partial = matches!(style.form.shape, Shape::Metadata(_));
    let number = if is_partial { versioned(METADATA | 1 << 5, &api_version) } else { PROTOBUF };
    let make = |object: &Object| {
        let value = object.value()?;
        let value = if is_partial { partial(&api_version, &value) } else { value };
        Ok(Form::Bytes(protobuf::item(&value)?.into()))
    };
    let item = |object: &Object| form(object, number, || make(object)).and_then(bytes_of);
    let items = list.items.iter().map(item).collect::<Result<Vec<_>, Status>>()?;
    let head = json!({"kind": kind, "apiVersion": api_version, "metadata": list.metadata()});
    let frame = protobuf::list_frame(&head, items.iter().map(Bytes::len).sum())?;
    let items = items.into_iter().map(Item::Bytes).chain([Item::Bytes(frame.after.into())]);
    Ok(sent(protobuf::CONTENT_TYPE, frame.before, items.collect(), b""))
}

/// As a table.
fn rows(style: Style, resource: &Resource, list: List, version: TableVersion) -> Result<Response, Status> {
    let mut options = table_options(style, version);
    let mut head = table(resource, &[], &list.metadata(), &options);
    options.no_headers = true;
    if let Some(fields) = head.as_object_mut() {
        fields.remove("rows");
    }
    let mut begin = head.to_string().into_bytes();
    // The end of the head waits for the rows.
    begin.pop();
    begin.extend_from_slice(br#","rows":["#);
    let items = list.items.iter().map(|object| row(object, &options)).collect::<Result<Vec<_>, Status>>()?;
    Ok(sent("application/json", begin, items, b"]}"))
}

fn row(object: &Object, options: &TableOptions) -> Result<Item, Status> {
    let number = ROW | (options.version as u32) << 4 | (options.include_object as u32) << 5;
    let template = || {
        let row = RowTemplate::of(&object.resource, &object.value()?, options);
        Ok(row.map_or(Form::Changing, |row| Form::Row(Arc::new(row))))
    };
    // What is made for one answer alone is not worth a template.
    let made = object.forms.is_some().then(|| form(object, number, template)).transpose()?;
    if let Some(Form::Row(row)) = made {
        return Ok(Item::Row(row));
    }
    let table = table(&object.resource, &[object.value()?], &Value::Null, options);
    Ok(Item::Bytes(table["rows"][0].to_string().into()))
}

fn table_value(style: Style, resource: &Resource, list: &List, version: TableVersion) -> Result<Response, Status> {
    let items = list.items.iter().map(Object::value).collect::<Result<Vec<Value>, Status>>()?;
    let table = table(resource, &items, &list.metadata(), &table_options(style, version));
    shaped(StatusCode::OK, style, &table)
}

/// In a form that is written from a value.
fn whole_value(style: Style, resource: &Resource, list: &List) -> Result<Response, Status> {
    let items = list.items.iter().map(Object::value);
    let (kind, api_version, items) = match style.form.shape {
        Shape::Metadata(api_version) => {
            let items = items.map(|value| Ok(partial(api_version, &value?))).collect::<Result<Vec<Value>, Status>>()?;
            ("PartialObjectMetadataList", api_version.to_owned(), items)
        }
        _ => (&*resource.list_kind, resource.api_version(), items.collect::<Result<_, _>>()?),
    };
    let value = json!({"kind": kind, "apiVersion": api_version, "metadata": list.metadata(), "items": items});
    shaped(StatusCode::OK, style, &value)
}
