//! Who owns which fields of what is written (KEP-555), as the field manager of the request.

use crate::registry::object::{metadata_mut, now};
use crate::request::Request;
use serde_json::Value;
use skiff_schema::track;

/// Writes into `new` who owns what, after a change of `old` (`None`: there was nothing); `said` is what the client sent as such.
pub(crate) fn own(request: &Request, old: Option<&Value>, new: &mut Value, said: Option<Value>) {
    let fields = track(&request.resource, old, new, said, &request.author(&now()));
    put(new, fields);
}

/// Makes `fields` the managed fields of an object.
pub(crate) fn put(object: &mut Value, fields: Option<Value>) {
    match fields {
        Some(fields) => metadata_mut(object).insert("managedFields".to_owned(), fields),
        None => metadata_mut(object).remove("managedFields"),
    };
}
