//! OpenAPI documents: version 2, and version 3 per group and version, as JSON and Protobuf, in the structure that Kubernetes gives them.
//!
//! kubectl explains kinds from them, checks fields before it sends them (1.20) or sees that the server checks (1.32), and computes
//! strategic merge patches with the merge keys they carry. Facts come from the nodes of the schemas, sentences from the descriptions,
//! paths from the resources that are served. A document is made when it is first asked for; only its bytes are kept, as long as the
//! [`Documents`] of those resources live.

mod custom;
mod definitions;
mod gnostic;
mod paths;

use self::definitions::Flavor;
use crate::Resource;
use crate::builtin::META;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Content type of [`Documents::v2_protobuf`]. (A dot, not the `@` that clients ask with: that is no legal media type.)
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Content type of [`Documents::v3_protobuf`].
pub const V3_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";

/// A document.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its bytes.
    pub body: Arc<[u8]>,
    /// Upper-case hexadecimal SHA-512 of them: its `ETag`, and `hash` in its URL.
    pub hash: Arc<str>,
}

impl Document {
    fn of(body: Vec<u8>) -> Self {
        Self { hash: hex::encode_upper(Sha512::digest(&body)).into(), body: body.into() }
    }
}

/// The documents about the resources of a [`crate::Catalog`], which holds them: they are good for one generation.
#[derive(Debug)]
pub struct Documents {
    resources: Vec<Arc<Resource>>,
    v2: OnceLock<Document>,
    v2_json_hash: OnceLock<Arc<str>>,
    v3: Mutex<BTreeMap<String, Document>>,
    index: OnceLock<Value>,
}

impl Documents {
    /// Documents about `resources`; nothing is made yet.
    #[must_use]
    pub(crate) fn new(resources: Vec<Arc<Resource>>) -> Self {
        Self {
            resources,
            v2: OnceLock::new(),
            v2_json_hash: OnceLock::new(),
            v3: Mutex::default(),
            index: OnceLock::new(),
        }
    }

    /// The same about other `resources`: what this has made about a group's version with the same resources is taken over.
    #[must_use]
    pub(crate) fn followed_by(&self, resources: Vec<Arc<Resource>>) -> Self {
        let (before, after) = (places(&self.resources), places(&resources));
        let same = |(group, version): &(&str, &str), resources: &Vec<*const Resource>| {
            before.get(&(*group, *version)).is_some_and(|before| before == resources)
        };
        let made = self.v3.lock().unwrap_or_else(PoisonError::into_inner);
        let kept =
            after.iter().filter(|(place, resources)| same(place, resources)).filter_map(|((group, version), _)| {
                let path = path(group, version);
                made.get(&path).map(|document| (path.clone(), document.clone()))
            });
        let kept = kept.collect();
        drop((after, before));
        Self { v3: Mutex::new(kept), ..Self::new(resources) }
    }

    /// `GET /openapi/v2` as a gnostic `openapi.v2.Document`.
    #[must_use]
    pub fn v2_protobuf(&self) -> Document {
        self.v2.get_or_init(|| Document::of(gnostic::v2::DOCUMENT.encode(&self.v2_value()))).clone()
    }

    /// `GET /openapi/v2` as JSON. Made anew at each call: kubectl does not ask for it.
    #[must_use]
    pub fn v2_json(&self) -> Document {
        let document = Document::of(self.v2_value().to_string().into_bytes());
        self.v2_json_hash.get_or_init(|| document.hash.clone());
        document
    }

    /// The hash of [`Documents::v2_json`], if it was made before: who has the document need not wait for another.
    #[must_use]
    pub fn v2_json_hash(&self) -> Option<Arc<str>> {
        self.v2_json_hash.get().cloned()
    }

    fn v2_value(&self) -> Value {
        // Only what is served is announced: kubectl takes a kind for served when its definition is there.
        let versions = self.group_versions().into_iter();
        let operations: Value = versions.map(|(group, version)| paths::v3(&self.resources, group, version)).collect();
        let built_in = definitions::all(Flavor::V2);
        let custom = custom::schemas(self.resources.iter(), &built_in, Flavor::V2);
        let mut definitions = definitions::reachable(&operations, &[&built_in, &custom]);
        let mut served = self.group_versions();
        served.insert(("", "v1"));
        name_kinds(&mut definitions, &served);
        json!({"swagger": "2.0", "info": info(), "paths": paths::v2(&self.resources), "definitions": definitions})
    }

    /// `GET /openapi/v3`: the index of documents, `{"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=…"}}}`.
    #[must_use]
    pub fn v3_index(&self) -> &Value {
        self.index.get_or_init(|| {
            // Most documents are there already when a definition comes or goes.
            let built_in = LazyCell::new(|| definitions::all(Flavor::V3));
            let entry = |(group, version): (&str, &str)| {
                let path = path(group, version);
                let document = self.kept(&path, || self.document(group, version, &built_in));
                let url = format!("/openapi/v3/{path}?hash={}", document.hash);
                (path, json!({"serverRelativeURL": url}))
            };
            let paths: Map<String, Value> = self.group_versions().into_iter().map(entry).collect();
            json!({"paths": paths})
        })
    }

    /// `GET /openapi/v3/{group_version_path}` (`api/v1`, `apis/apps/v1`) as JSON.
    #[must_use]
    pub fn v3(&self, group_version_path: &str) -> Option<Document> {
        let versions = self.group_versions();
        let (group, version) =
            versions.into_iter().find(|(group, version)| path(group, version) == group_version_path)?;
        Some(self.kept(group_version_path, || self.document(group, version, &definitions::all(Flavor::V3))))
    }

    /// The same as a gnostic `openapi.v3.Document`, under the hash of the JSON: one document, in two forms. Made anew at each call.
    #[must_use]
    pub fn v3_protobuf(&self, group_version_path: &str) -> Option<Document> {
        let json = self.v3(group_version_path)?;
        let value: Value = serde_json::from_slice(&json.body).unwrap_or_default();
        Some(Document { body: gnostic::v3::DOCUMENT.encode(&value).into(), hash: json.hash })
    }

    fn kept(&self, path: &str, make: impl FnOnce() -> Document) -> Document {
        let mut documents = self.v3.lock().unwrap_or_else(PoisonError::into_inner);
        documents.entry(path.to_owned()).or_insert_with(make).clone()
    }

    /// The document about a group's version; of custom resources only those in it are referred to.
    fn document(&self, group: &str, version: &str, built_in: &Map<String, Value>) -> Document {
        let paths = paths::v3(&self.resources, group, version);
        let its = self.resources.iter().filter(|it| it.group == group && it.version == version);
        let custom = custom::schemas(its, built_in, Flavor::V3);
        let mut schemas = definitions::reachable(&paths, &[built_in, &custom]);
        name_kinds(&mut schemas, &BTreeSet::from([("", "v1"), (group, version)]));
        let document = json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": schemas}});
        Document::of(document.to_string().into_bytes())
    }

    /// The group-versions that are served; the core group comes first.
    fn group_versions(&self) -> BTreeSet<(&str, &str)> {
        self.resources.iter().map(|resource| (&*resource.group, &*resource.version)).collect()
    }
}

/// The resources of each group's version, by where they are.
fn places(resources: &[Arc<Resource>]) -> BTreeMap<(&str, &str), Vec<*const Resource>> {
    let mut places: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for resource in resources {
        places.entry((&*resource.group, &*resource.version)).or_default().push(Arc::as_ptr(resource));
    }
    places
}

/// Says in which group-versions the kinds that every one of them has are known.
fn name_kinds(schemas: &mut Map<String, Value>, versions: &BTreeSet<(&str, &str)>) {
    for kind in ["DeleteOptions", "Status", "WatchEvent"] {
        let versions = versions.iter().filter(|(group, _)| group.is_empty() || kind != "Status");
        let kinds = versions.map(|(group, version)| json!({"group": group, "kind": kind, "version": version}));
        if let Some(schema) = schemas.get_mut(&format!("{META}{kind}")) {
            schema["x-kubernetes-group-version-kind"] = kinds.collect();
        }
    }
}

fn info() -> Value {
    json!({"title": "Skiff", "version": concat!("v", env!("CARGO_PKG_VERSION"))})
}

fn path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

#[cfg(test)]
mod tests;
