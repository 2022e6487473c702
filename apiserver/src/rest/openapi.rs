//! `/openapi/v2` and `/openapi/v3`: documents with a hash, by which clients keep them.

use super::negotiate::accepted;
use super::options::Parameters;
use super::respond::{bytes, json_value};
use crate::status::Status;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use skiff_schema::openapi::{Document, Documents, V2_PROTOBUF, V3_PROTOBUF};

/// How clients ask for Protobuf; with a dot behind it, or with the `@` of old.
const V2: &str = "application/com.github.proto-openapi.spec.v2";
const V3: &str = "application/com.github.proto-openapi.spec.v3";

/// A document never changes under its hash.
const KEPT: SignedDuration = SignedDuration::from_hours(365 * 24);

/// Answers the path behind `/openapi`.
pub(super) fn answer(
    documents: &Documents,
    headers: &HeaderMap,
    parameters: &Parameters,
    path: &[&str],
) -> Result<Response, Status> {
    match path {
        ["v2"] => Ok(v2(documents, headers)),
        ["v3"] => Ok(json_value(StatusCode::OK, documents.v3_index())),
        ["v3", rest @ ..] => v3(documents, headers, parameters, &rest.join("/")),
        _ => Err(Status::no_such_path()),
    }
}

fn v2(documents: &Documents, headers: &HeaderMap) -> Response {
    match form(headers, (V2, V2_PROTOBUF)) {
        Some(V2_PROTOBUF) => tagged(headers, V2_PROTOBUF, documents.v2_protobuf()),
        _ => match documents.v2_json_hash() {
            Some(hash) if has(headers, &hash) => unmodified(JSON, &hash),
            _ => tagged(headers, JSON, documents.v2_json()),
        },
    }
}

const JSON: &str = "application/json";

/// The content type that is wanted most of those that there are; `asked` begins what clients ask Protobuf with.
fn form(headers: &HeaderMap, (asked, protobuf): (&str, &'static str)) -> Option<&'static str> {
    accepted(headers).iter().find_map(|range| match range.name {
        name if name.starts_with(asked) && name.ends_with("+protobuf") => Some(protobuf),
        JSON | "application/*" | "*/*" => Some(JSON),
        _ => None,
    })
}

fn v3(documents: &Documents, headers: &HeaderMap, parameters: &Parameters, path: &str) -> Result<Response, Status> {
    let document = documents.v3(path).ok_or_else(Status::no_such_path)?;
    let form = form(headers, (V3, V3_PROTOBUF));
    if form.is_none() && !accepted(headers).is_empty() {
        return Err(Status::not_acceptable());
    }
    let asked = parameters.text("hash");
    if !asked.is_empty() && asked != &*document.hash {
        return Ok(moved(path, &document));
    }
    let protobuf = form.filter(|form| *form == V3_PROTOBUF).and_then(|_| documents.v3_protobuf(path));
    let mut response = match protobuf {
        Some(protobuf) => tagged(headers, V3_PROTOBUF, protobuf),
        None => tagged(headers, JSON, document),
    };
    if !asked.is_empty() {
        let until = Timestamp::now().saturating_add(KEPT).unwrap_or(Timestamp::MAX);
        let until = until.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        if let Ok(until) = HeaderValue::from_str(&until) {
            response.headers_mut().insert(header::EXPIRES, until);
        }
    }
    Ok(response)
}

/// The document has another hash by now.
fn moved(path: &str, document: &Document) -> Response {
    let mut response = bytes(StatusCode::MOVED_PERMANENTLY, "text/plain; charset=utf-8", "");
    if let Ok(url) = HeaderValue::from_str(&format!("/openapi/v3/{path}?hash={}", document.hash)) {
        response.headers_mut().insert(header::LOCATION, url);
    }
    response
}

/// A document with its tag; nothing of it for those who have it.
fn tagged(headers: &HeaderMap, content_type: &'static str, document: Document) -> Response {
    if has(headers, &document.hash) {
        return unmodified(content_type, &document.hash);
    }
    with_tag(bytes(StatusCode::OK, content_type, Bytes::from_owner(document.body)), &document.hash)
}

fn unmodified(content_type: &'static str, hash: &str) -> Response {
    with_tag(bytes(StatusCode::NOT_MODIFIED, content_type, ""), hash)
}

/// Whether the client has the document with this hash.
fn has(headers: &HeaderMap, hash: &str) -> bool {
    let tags = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
    tags.split(',').map(str::trim).any(|known| known == "*" || known.trim_matches('"') == hash)
}

fn with_tag(mut response: Response, hash: &str) -> Response {
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{hash}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
