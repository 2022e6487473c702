//! PUT: the new state of an object that is there or, of some kinds, of one that is not there yet.

use super::object::{meta, metadata_mut};
use super::recent::Spare;
use super::write::{Change, Owners};
use crate::options;
use crate::request::Request;
use crate::status::Status;
use serde_json::Value;
use skiff_schema::Decoded;

/// Replaces the object by `decoded`, or makes it if its kind has it so.
///
/// Whoever replaces an object of a kind that is never replaced blindly must say the revision that he has seen.
pub(crate) fn replacement<'a>(request: &'a Request, decoded: &'a Decoded) -> Change<'a> {
    let next = move |present: Option<&Value>, spare: Spare| {
        let (object, warnings) = (spare.copy(&decoded.object), decoded.warnings.clone());
        let mut decoded = Decoded { object, warnings };
        match present {
            Some(_) => refuse_blind(request, &decoded.object)?,
            None => begin(request, &mut decoded.object)?,
        }
        Ok(decoded)
    };
    let makes = request.part.is_empty() && request.resource.creates_on_update();
    Change { makes, owners: Owners::Track, next: Box::new(next) }
}

/// The new object is that of the path, and not one that somebody has seen before.
fn begin(request: &Request, object: &mut Value) -> Result<(), Status> {
    let uid = meta(object, "uid");
    if !uid.is_empty() {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: ");
        return Err(Status::conflict(&request.resource, &request.name, &why));
    }
    let metadata = metadata_mut(object);
    metadata.remove("resourceVersion");
    metadata.insert("name".to_owned(), request.name.as_str().into());
    Ok(())
}

/// Refuses a new state that names no revision, if its kind asks for one.
fn refuse_blind(request: &Request, wanted: &Value) -> Result<(), Status> {
    let names_none = matches!(meta(wanted, "resourceVersion"), "" | "0");
    if request.resource.updates_unconditionally() || !names_none {
        return Ok(());
    }
    let error = options::invalid("metadata.resourceVersion", 0.into(), "must be specified for an update");
    Err(Status::invalid_plural(&request.resource, &request.name, &[error]))
}
