//! OpenAPI documents for kubectl: version 2 as protobuf, version 3 as JSON per group and version.
//!
//! kubectl explains kinds from them, checks fields before it sends them (1.20) or sees that the server checks (1.32), and computes
//! strategic merge patches with the merge keys they carry. Documents are made when first asked for; only their bytes are kept.

mod definitions;
mod gnostic;
mod paths;

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::definitions::Flavor;
use crate::Catalog;

/// Content type of [`v2_protobuf`]. (A dot, not the `@` that clients ask with: that is no legal media type.)
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `GET /openapi/v2` as a gnostic `openapi.v2.Document`.
#[must_use]
pub fn v2_protobuf() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| gnostic::encode(&v2_json()))
}

/// `GET /openapi/v2` as JSON. Made anew at each call: kubectl does not ask for it.
#[must_use]
pub fn v2_json() -> Value {
    json!({"swagger": "2.0", "info": info(), "paths": paths::v2(), "definitions": definitions::all(Flavor::V2)})
}

/// `GET /openapi/v3`: the index of documents, `{"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=…"}}}`.
#[must_use]
pub fn v3_index() -> Value {
    static INDEX: OnceLock<Value> = OnceLock::new();
    INDEX.get_or_init(make_index).clone()
}

/// `GET /openapi/v3/{group_version_path}` (`api/v1`, `apis/apps/v1`) as JSON.
#[must_use]
pub fn v3(group_version_path: &str) -> Option<&'static [u8]> {
    static DOCUMENTS: Mutex<BTreeMap<String, &'static [u8]>> = Mutex::new(BTreeMap::new());
    let (group, version) =
        group_versions().into_iter().find(|(group, version)| path(group, version) == group_version_path)?;
    let mut documents = DOCUMENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bytes) = documents.get(group_version_path) {
        return Some(bytes);
    }
    // Kept until the process ends: there are as many documents as group-versions.
    let bytes: &'static [u8] = Vec::leak(document(group, version, &definitions::all(Flavor::V3)));
    documents.insert(group_version_path.to_owned(), bytes);
    Some(bytes)
}

fn make_index() -> Value {
    let definitions = definitions::all(Flavor::V3);
    let entry = |(group, version): (&'static str, &'static str)| {
        let hash = hex::encode_upper(Sha256::digest(document(group, version, &definitions)));
        let path = path(group, version);
        let url = format!("/openapi/v3/{path}?hash={hash}");
        (path, json!({"serverRelativeURL": url}))
    };
    let paths: serde_json::Map<String, Value> = group_versions().into_iter().map(entry).collect();
    json!({"paths": paths})
}

fn document(group: &str, version: &str, all: &serde_json::Map<String, Value>) -> Vec<u8> {
    let paths = paths::v3(group, version);
    let schemas = definitions::reachable(&paths, all);
    json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": schemas}})
        .to_string()
        .into_bytes()
}

fn info() -> Value {
    json!({"title": "Skiff", "version": concat!("v", env!("CARGO_PKG_VERSION"))})
}

fn group_versions() -> Vec<(&'static str, &'static str)> {
    let catalog = Catalog::builtin();
    let of_group = |group| catalog.versions(group).into_iter().map(move |version| (group, version));
    catalog.groups().into_iter().flat_map(of_group).collect()
}

fn path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The schemas of a group-version have a resource behind them; a test holds that.
#[cfg(test)]
fn kinds_of<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'a str> {
    Catalog::builtin().of_version(group, version).map(|it| &*it.kind)
}

#[cfg(test)]
mod tests;
