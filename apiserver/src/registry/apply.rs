//! Server-side apply (KEP-555): an object is made, or becomes what a configuration and its other owners want.

use super::object::{metadata_mut, now};
use super::write::{Change, Owners};
use crate::author;
use crate::request::Request;
use crate::status::Status;
use serde_json::Value;
use skiff_schema::{ApplyError, Decoded, apply, decode_value};

/// A configuration as it came.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    pub(crate) object: Value,
}

impl Configuration {
    /// Reads YAML, of which JSON is a part.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Status> {
        let json = serde_json::from_slice::<Value>(body);
        let object = json.or_else(|_| {
            serde_norway::from_slice::<Value>(body)
                .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))
        })?;
        if !object.is_object() {
            return Err(Status::bad_request("error decoding YAML: it is not an object"));
        }
        Ok(Self { object })
    }

    /// Applies it to the object of the request, or makes that.
    pub(crate) fn change<'a>(&'a self, request: &'a Request) -> Change<'a> {
        let next = move |live: Option<&Value>| {
            let mut decoded = self.applied(request, live)?;
            if live.is_none() {
                metadata_mut(&mut decoded.object).insert("name".to_owned(), request.name.as_str().into());
            }
            Ok(decoded)
        };
        Change { makes: request.part.is_empty(), owners: Owners::Said, next: Box::new(next) }
    }

    /// What it makes of `live`, with its owners.
    fn applied(&self, request: &Request, live: Option<&Value>) -> Result<Decoded, Status> {
        let (resource, options) = (&request.resource, &request.options);
        let applied = apply(resource, live, &self.object, &request.author(&now()), options.force).map_err(refusal)?;
        let decoded = decode_value(resource, applied.object, &[], options.validation);
        let mut decoded = decoded.map_err(|error| Status::bad_request(error.to_string()))?;
        author::put(&mut decoded.object, applied.managed_fields);
        Ok(decoded)
    }
}

fn refusal(error: ApplyError) -> Status {
    match error {
        ApplyError::Conflict { message, causes } => Status::apply_conflict(message, causes),
        ApplyError::BadRequest(message) => Status::bad_request(message),
        ApplyError::Failed(message) => Status::unnamed(message),
    }
}
