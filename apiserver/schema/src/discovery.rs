//! Discovery documents: which groups, versions and resources the server has, in the legacy and in the aggregated form.
//!
//! kubectl before 1.26 (and `drain`, `auth can-i`) asks for the legacy documents one by one; later ones ask `/api` and `/apis` once
//! with an aggregated media type in `Accept`. Both list the same.

use crate::{Catalog, Resource, Subresource};
use base64::Engine;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Media type of an aggregated answer in version `v2`.
pub const AGGREGATED_V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// Media type of an aggregated answer in version `v2beta1`.
pub const AGGREGATED_V2BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// Version of the aggregated form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregatedVersion {
    /// `apidiscovery.k8s.io/v2`
    V2,
    /// `apidiscovery.k8s.io/v2beta1`
    V2Beta1,
}

impl AggregatedVersion {
    fn api_version(self) -> &'static str {
        match self {
            Self::V2 => "apidiscovery.k8s.io/v2",
            Self::V2Beta1 => "apidiscovery.k8s.io/v2beta1",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::V2 => AGGREGATED_V2,
            Self::V2Beta1 => AGGREGATED_V2BETA1,
        }
    }
}

/// Which half of discovery: `/api` holds the core group, `/apis` all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// `/api`
    Core,
    /// `/apis`
    Groups,
}

/// `GET /api`: APIVersions. `server_address` is host and port as clients reach the server.
#[must_use]
pub fn api_versions(server_address: &str) -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}]})
}

/// `GET /apis`: APIGroupList.
#[must_use]
pub fn api_group_list(catalog: &Catalog) -> Value {
    let named = catalog.groups().into_iter().filter(|group| !group.is_empty());
    let groups: Vec<Value> = named.map(|group| group_entry(catalog, group)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `GET /apis/{group}`: APIGroup.
#[must_use]
pub fn api_group(catalog: &Catalog, group: &str) -> Option<Value> {
    let group = catalog.groups().into_iter().find(|known| !known.is_empty() && *known == group)?;
    let mut entry = group_entry(catalog, group);
    entry["kind"] = "APIGroup".into();
    entry["apiVersion"] = "v1".into();
    Some(entry)
}

/// `GET /api/v1` (empty group) and `GET /apis/{group}/{version}`: APIResourceList.
#[must_use]
pub fn api_resource_list(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    let mut of_version = catalog.of_version(group, version).peekable();
    let group_version = of_version.peek()?.api_version();
    let entries: Vec<Value> = of_version.flat_map(|resource| legacy_entries(resource)).collect();
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}))
}

/// An aggregated document and its validator.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregated {
    /// `ETag`, with its quotes: compare it with `If-None-Match`.
    pub etag: String,
    /// The `Content-Type` of the answer.
    pub content_type: &'static str,
    /// APIGroupDiscoveryList as JSON.
    pub body: Vec<u8>,
}

/// `GET /api` or `/apis` with an aggregated media type in `Accept`; `more` may add what other servers serve.
#[must_use]
pub fn aggregated(
    catalog: &Catalog,
    root: Root,
    version: AggregatedVersion,
    more: impl FnOnce(Vec<Value>) -> Vec<Value>,
) -> Aggregated {
    let wanted = |group: &&str| group.is_empty() == (root == Root::Core);
    let items: Vec<Value> =
        catalog.groups().into_iter().filter(wanted).map(|group| aggregated_group(catalog, group)).collect();
    let items = more(items);
    let list =
        json!({"kind": "APIGroupDiscoveryList", "apiVersion": version.api_version(), "metadata": {}, "items": items});
    let body = list.to_string().into_bytes();
    let etag = format!("\"{}\"", hex::encode_upper(Sha256::digest(&body)));
    Aggregated { etag, content_type: version.content_type(), body }
}

fn group_entry(catalog: &Catalog, group: &str) -> Value {
    let entry = |version: &&str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let versions: Vec<Value> = catalog.versions(group).iter().map(entry).collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

fn legacy_entries(resource: &Resource) -> impl Iterator<Item = Value> {
    let mut entry = json!({"name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": resource.verbs});
    if let Some(hash) = storage_version_hash(resource) {
        entry["storageVersionHash"] = hash.into();
    }
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    std::iter::once(entry)
        .chain(resource.subresources.iter().map(|subresource| legacy_subresource(resource, subresource)))
}

fn legacy_subresource(resource: &Resource, subresource: &Subresource) -> Value {
    let mut entry = json!({"name": format!("{}/{}", resource.plural, subresource.name), "singularName": "",
        "namespaced": resource.namespaced, "kind": subresource.kind, "verbs": subresource.verbs});
    if (&subresource.group, &subresource.version) != (&resource.group, &resource.version) {
        entry["group"] = json!(subresource.group);
        entry["version"] = json!(subresource.version);
    }
    entry
}

fn aggregated_group(catalog: &Catalog, group: &str) -> Value {
    let version = |version: &&str| {
        let entries: Vec<Value> = catalog.of_version(group, version).map(|it| aggregated_entry(it)).collect();
        json!({"version": version, "freshness": "Current", "resources": entries})
    };
    let versions: Vec<Value> = catalog.versions(group).iter().map(version).collect();
    let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_entry(resource: &Resource) -> Value {
    let mut entry = json!({"resource": resource.plural, "responseKind": response_kind(resource, None),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": resource.verbs});
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        let of = |it: &Subresource| json!({"subresource": it.name, "responseKind": response_kind(resource, Some(it)), "verbs": it.verbs});
        entry["subresources"] = resource.subresources.iter().map(of).collect();
    }
    entry
}

/// The kind of what a resource or its part answers; group and version are said only where they are others than the resource's.
fn response_kind(resource: &Resource, part: Option<&Subresource>) -> Value {
    let Some(part) = part else { return json!({"group": "", "version": "", "kind": resource.kind}) };
    if (&part.group, &part.version) == (&resource.group, &resource.version) {
        return json!({"group": "", "version": "", "kind": part.kind});
    }
    json!({"group": part.group, "version": part.version, "kind": part.kind})
}

/// Tells a storage migrator that objects are stored in another version than before (KEP-2339): a hash of group, version and
/// kind of the stored form. Kinds that keep nothing have none.
fn storage_version_hash(resource: &Resource) -> Option<String> {
    let api_version = resource.is_stored().then(|| resource.stored_api_version())?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let digest = Sha256::digest(format!("{group}/{version}/{}", resource.kind));
    Some(base64::engine::general_purpose::STANDARD.encode(&digest[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> &'static Catalog {
        Catalog::builtin()
    }

    #[test]
    fn legacy_documents_list_every_resource() {
        insta::assert_json_snapshot!(api_group_list(catalog()));
        insta::assert_json_snapshot!(api_resource_list(catalog(), "apps", "v1"));
        assert_eq!(api_resource_list(catalog(), "apps", "v2"), None);
        assert_eq!(api_group(catalog(), "nope"), None);
        assert_eq!(api_group(catalog(), ""), None);
        let listed = catalog()
            .groups()
            .into_iter()
            .flat_map(|group| catalog().versions(group).into_iter().map(move |version| (group, version)));
        let mut names = Vec::new();
        for (group, version) in listed {
            let list = api_resource_list(catalog(), group, version).expect("the group is served");
            let of_list = list["resources"].as_array().expect("a list").clone();
            names.extend(of_list.into_iter().filter_map(|entry| entry["name"].as_str().map(str::to_owned)));
        }
        for resource in catalog().resources() {
            assert!(names.iter().any(|name| *name == resource.plural), "{} is missing", resource.plural);
        }
    }

    /// The values are those of a real kube-apiserver 1.36.
    #[test]
    fn the_stored_version_has_a_hash() {
        let hash = |group, plural| storage_version_hash(catalog().find(group, "v1", plural).expect("it is served"));
        assert_eq!(hash("", "pods").as_deref(), Some("xPOwRZ+Yhw8="));
        assert_eq!(hash("apps", "deployments").as_deref(), Some("8aSe+NMegvE="));
        assert_eq!(hash("authorization.k8s.io", "subjectaccessreviews"), None);
    }

    #[test]
    fn aggregated_documents_hold_both_halves() {
        let core = aggregated(catalog(), Root::Core, AggregatedVersion::V2, |items| items);
        let list: Value = serde_json::from_slice(&core.body).expect("JSON");
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
        let groups = aggregated(catalog(), Root::Groups, AggregatedVersion::V2Beta1, |items| items);
        let list: Value = serde_json::from_slice(&groups.body).expect("JSON");
        assert_eq!(list["apiVersion"], "apidiscovery.k8s.io/v2beta1");
        insta::assert_json_snapshot!(list["items"][0]);
        assert_ne!(core.etag, groups.etag);
        assert_eq!(core.etag, aggregated(catalog(), Root::Core, AggregatedVersion::V2, |items| items).etag);
    }

    #[test]
    fn rows_are_ordered_and_verbs_sorted() {
        for resource in catalog().resources() {
            assert!(resource.verbs.is_sorted(), "{}", resource.plural);
            assert!(resource.subresources.is_sorted_by_key(|it| &it.name), "{}", resource.plural);
            assert_eq!(resource.list_kind, format!("{}List", resource.kind));
        }
        let order: Vec<_> =
            catalog().resources().iter().map(|it| (&it.group, std::cmp::Reverse(&it.version), &it.plural)).collect();
        assert!(order.is_sorted());
    }
}
