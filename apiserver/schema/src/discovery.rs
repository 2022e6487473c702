//! Discovery documents: which groups, versions and resources the server has, in the legacy and in the aggregated form.

use serde_json::{Value, json};

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
pub fn api_group_list() -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})
}

/// `GET /apis/{group}`: APIGroup.
#[must_use]
pub fn api_group(group: &str) -> Option<Value> {
    let _ = group;
    None
}

/// `GET /api/v1` (empty group) and `GET /apis/{group}/{version}`: APIResourceList.
#[must_use]
pub fn api_resource_list(group: &str, version: &str) -> Option<Value> {
    let _ = (group, version);
    None
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

/// `GET /api` or `/apis` with an aggregated media type in `Accept`.
#[must_use]
pub fn aggregated(root: Root, version: AggregatedVersion) -> Aggregated {
    let _ = root;
    let content_type = match version {
        AggregatedVersion::V2 => AGGREGATED_V2,
        AggregatedVersion::V2Beta1 => AGGREGATED_V2BETA1,
    };
    Aggregated { etag: String::new(), content_type, body: Vec::new() }
}
