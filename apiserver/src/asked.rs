//! What a client may say about a request beside its object, and what becomes of it.
//!
//! Everything that Kubernetes' handlers read has a row for every verb on which it could be said: headers, query parameters, fields
//! of bodies that are no objects, fields of our gRPC messages. Nothing with a meaning is passed over in silence: it is honoured, or
//! refused in words, or without effect for a reason that the row gives. `apiserver/tests/asked.rs` walks the rows against a
//! server, and finds a parameter that the published OpenAPI documents name without a row.
//!
//! What has no row (a parameter `?color=red`) is as little read here as there.

mod fields; // of bodies and gRPC messages
mod headers;
mod query;
mod verbs; // sets of them

/// Where something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A request header.
    Header,
    /// A query parameter.
    Query,
    /// A field of DeleteOptions, Eviction, Binding or Scale, by its path.
    Body,
    /// A field of a message of `proto/api/skiff.proto`.
    Grpc,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It makes a difference.
    Honoured,
    /// The request is refused, with this code.
    Refused(u16),
    /// It makes no difference.
    WithoutEffect,
}

/// One thing that may be said.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Where.
    pub place: Place,
    /// The header, the parameter or the path of the field.
    pub name: &'static str,
    /// On which verbs: `get`, `update scale`, `log`, `discovery`, the name of a gRPC call.
    pub verbs: &'static [&'static str],
    /// A value that shows what becomes of it; JSON for a field.
    pub example: &'static str,
    /// What becomes of it.
    pub meaning: Meaning,
    /// What it does, or why it is refused or does nothing.
    pub why: &'static str,
}

/// All rows.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    headers::ROWS.iter().chain(query::ROWS).chain(fields::ROWS)
}

const fn row(
    place: Place,
    name: &'static str,
    verbs: &'static [&'static str],
    example: &'static str,
    (meaning, why): (Meaning, &'static str),
) -> Row {
    Row { place, name, verbs, example, meaning, why }
}

const fn honoured(why: &'static str) -> (Meaning, &'static str) {
    (Meaning::Honoured, why)
}

const fn refused(code: u16, why: &'static str) -> (Meaning, &'static str) {
    (Meaning::Refused(code), why)
}

const fn without(why: &'static str) -> (Meaning, &'static str) {
    (Meaning::WithoutEffect, why)
}
