//! Patches: what each of Kubernetes' patch types makes of an object.

use crate::status::Status;
use bytes::Bytes;
use serde_json::Value;
use skiff_schema::{Resource, strategic_merge};

/// `Content-Type` of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own, by the merge keys of the schema.
    Strategic,
}

impl PatchKind {
    /// Reads a media type without parameters.
    pub(crate) fn of(media_type: &str) -> Result<Self, Status> {
        match media_type {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => Err(Status::unsupported_media_type(
                "server-side apply is not implemented: this server keeps no managed fields; apply without --server-side",
            )),
            other => Err(Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format ({other}) - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json"
            ))),
        }
    }
}

/// A patch as it came.
#[derive(Debug, Clone)]
pub(crate) struct Patch {
    kind: PatchKind,
    operations: Parsed,
}

#[derive(Debug, Clone)]
enum Parsed {
    Operations(json_patch::Patch),
    Tree(Value),
}

impl Patch {
    pub(crate) fn parse(kind: PatchKind, body: &Bytes) -> Result<Self, Status> {
        let refused = |error: serde_json::Error| Status::bad_request(format!("error decoding patch: {error}"));
        let operations = match kind {
            PatchKind::Json => Parsed::Operations(serde_json::from_slice(body).map_err(refused)?),
            PatchKind::Merge | PatchKind::Strategic => {
                let tree: Value = serde_json::from_slice(body).map_err(refused)?;
                if !tree.is_object() {
                    return Err(Status::bad_request("error decoding patch: it is not a JSON object"));
                }
                Parsed::Tree(tree)
            }
        };
        Ok(Self { kind, operations })
    }

    /// What the patch makes of `current`.
    pub(crate) fn apply(&self, resource: &Resource, current: &Value) -> Result<Value, Status> {
        let mut next = current.clone();
        match (&self.operations, self.kind) {
            (Parsed::Operations(operations), _) => {
                json_patch::patch(&mut next, operations)
                    .map_err(|error| Status::unprocessable(format!("the patch cannot be applied: {error}")))?;
            }
            (Parsed::Tree(tree), PatchKind::Strategic) => {
                return strategic_merge(resource, current, tree)
                    .map_err(|error| Status::bad_request(format!("the patch cannot be applied: {error}")));
            }
            (Parsed::Tree(tree), _) => json_patch::merge(&mut next, tree),
        }
        Ok(next)
    }
}
