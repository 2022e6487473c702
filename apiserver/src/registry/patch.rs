//! Patches: what each of Kubernetes' patch types makes of an object.

use super::object::{meta, name_of};
use super::write::Change;
use crate::operations::{self, OPERATIONS_MAX};
use crate::options;
use crate::request::Request;
use crate::status::Status;
use bytes::Bytes;
use serde_json::Value;
use skiff_schema::{Decoded, FieldValidation, Problem, Resource, decode_value, parse, strategic_merge};
use std::fmt;

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
            other => Err(Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format ({other}) - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json"
            ))),
        }
    }
}

/// The fields of an operation.
const OPERATION: [&str; 4] = ["op", "path", "from", "value"];

/// A patch as it came.
#[derive(Debug, Clone)]
pub(crate) struct Patch {
    kind: PatchKind,
    operations: Parsed,
    /// What is unknown or there twice in the patch itself.
    problems: Vec<Problem>,
}

#[derive(Debug, Clone)]
enum Parsed {
    Operations(json_patch::Patch),
    Tree(Value),
}

impl Patch {
    pub(crate) fn parse(kind: PatchKind, body: &Bytes) -> Result<Self, Status> {
        let refused = |error: &dyn fmt::Display| Status::bad_request(format!("error decoding patch: {error}"));
        let (tree, mut problems) = parse(body).map_err(|error| refused(&error))?;
        let operations = match kind {
            PatchKind::Json => {
                problems.extend(strange_fields(&tree));
                problems = problems.into_iter().map(|problem| Problem::InPatch(problem.into())).collect();
                let is_list = tree.is_array();
                let patch: json_patch::Patch = serde_json::from_value(tree).map_err(|error| {
                    // A list of what is no operation is a patch that cannot be applied.
                    if is_list { Status::unprocessable(error.to_string()) } else { refused(&error) }
                })?;
                if patch.len() > OPERATIONS_MAX {
                    return Err(Status::too_large_because(&format!(
                        "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                        patch.len()
                    )));
                }
                Parsed::Operations(patch)
            }
            PatchKind::Merge | PatchKind::Strategic if !tree.is_object() => {
                return Err(refused(&"it is not a JSON object"));
            }
            PatchKind::Merge | PatchKind::Strategic => Parsed::Tree(tree),
        };
        Ok(Self { kind, operations, problems })
    }

    /// Makes of the object of the request what the patch says.
    pub(crate) fn change<'a>(&'a self, request: &'a Request) -> Change<'a> {
        Change::of_copy(move |current, copy| {
            self.patched(&request.resource, (current, copy), request.options.validation)
        })
    }

    /// What the patch makes of `current`, of which the other is a copy, as an object of `resource`.
    pub(crate) fn patched(
        &self,
        resource: &Resource,
        (current, copy): (&Value, Value),
        validation: FieldValidation,
    ) -> Result<Decoded, Status> {
        let decoded = decode_value(resource, self.apply(resource, copy)?, &self.problems, validation);
        let decoded = decoded.map_err(|error| match self.apply(resource, current.clone()) {
            Ok(result) => Status::invalid_patch(&result, &error.to_string()),
            Err(status) => status,
        })?;
        match meta(&decoded.object, "uid") {
            uid if uid.is_empty() || uid == meta(current, "uid") => Ok(decoded),
            uid => {
                let error = options::invalid("metadata.uid", uid.into(), "field is immutable");
                Err(Status::invalid(resource, name_of(current), &[error]))
            }
        }
    }

    /// What the patch makes of `next`.
    fn apply(&self, resource: &Resource, mut next: Value) -> Result<Value, Status> {
        match (&self.operations, self.kind) {
            (Parsed::Operations(operations), _) => {
                operations::apply(&mut next, operations)
                    .map_err(|error| Status::unprocessable(format!("the patch cannot be applied: {error}")))?;
                Ok(next)
            }
            (Parsed::Tree(_), PatchKind::Strategic) if resource.is_custom() => Err(Status::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: \
                     application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            )),
            (Parsed::Tree(tree), PatchKind::Strategic) => strategic_merge(resource, next, tree)
                .map_err(|error| Status::bad_request(format!("the patch cannot be applied: {error}"))),
            (Parsed::Tree(tree), _) => {
                json_patch::merge(&mut next, tree);
                Ok(next)
            }
        }
    }
}

/// Fields that no operation has.
fn strange_fields(operations: &Value) -> Vec<Problem> {
    let operations = operations.as_array().into_iter().flatten().enumerate();
    let fields = operations.flat_map(|(index, operation)| {
        let names = operation.as_object().into_iter().flat_map(|operation| operation.keys());
        let strange = names.filter(|name| !OPERATION.contains(&name.as_str()));
        strange.map(move |name| Problem::Unknown(format!("[{index}].{name}")))
    });
    fields.collect()
}
