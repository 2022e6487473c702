//! `/openapi/v2` and `/openapi/v3`: documents with a hash, by which clients keep them.

use super::negotiate::accepted;
use super::options::Parameters;
use super::respond::{bytes, json_value};
use crate::status::Status;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use skiff_schema::openapi::{Document, Documents, V2_PROTOBUF};

/// How clients ask for version 2 in Protobuf; with a dot or with the `@` of old.
const V2: &str = "application/com.github.proto-openapi.spec.v2";

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
    let known = accepted(headers).iter().find_map(|range| match range.name {
        name if name.starts_with(V2) => Some(V2_PROTOBUF),
        "application/json" | "application/*" | "*/*" => Some("application/json"),
        _ => None,
    });
    match known {
        Some(V2_PROTOBUF) => tagged(headers, V2_PROTOBUF, documents.v2_protobuf()),
        _ => match documents.v2_json_hash() {
            Some(hash) if has(headers, &hash) => unmodified("application/json", &hash),
            _ => tagged(headers, "application/json", documents.v2_json()),
        },
    }
}

fn v3(documents: &Documents, headers: &HeaderMap, parameters: &Parameters, path: &str) -> Result<Response, Status> {
    let document = documents.v3(path).ok_or_else(Status::no_such_path)?;
    let ranges = accepted(headers);
    let readable = |name: &str| matches!(name, "application/json" | "application/*" | "*/*");
    if !ranges.is_empty() && !ranges.iter().any(|range| readable(range.name)) {
        return Err(Status::not_acceptable());
    }
    let asked = parameters.text("hash");
    if !asked.is_empty() && asked != &*document.hash {
        return Ok(moved(path, &document));
    }
    let mut response = tagged(headers, "application/json", document);
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
