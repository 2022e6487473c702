//! Server-side apply (KEP-555): an object is made, or becomes what a configuration and its other owners want.

use super::object::{metadata_mut, now};
use super::recent::Spare;
use super::write::{Change, Owners};
use crate::author;
use crate::request::Request;
use crate::scale;
use crate::status::Status;
use crate::yaml;
use serde_json::Value;
use skiff_schema::{
    ApplyError, Decoded, FieldValidation, Problem, apply, apply_scale, decode_applied, decode_value, find_auxiliary,
    parse, sentence,
};

/// A configuration as it came.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    pub(crate) object: Value,
    /// Keys that stand there twice.
    repeated: Vec<Problem>,
}

impl Configuration {
    /// Reads YAML, of which JSON is a part.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Status> {
        let json = serde_json::from_slice::<Value>(body);
        let object = json.or_else(|_| {
            serde_norway::from_slice::<Value>(body)
                .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))
        })?;
        // Lines cost a pass over the text; JSON that has no such key is sooner told.
        let clean = parse(body).is_ok_and(|(_, twice)| twice.is_empty());
        let repeated = if clean { Vec::new() } else { yaml::repeated(body) };
        Ok(Self { repeated, ..Self::of(object)? })
    }

    /// One that was read already, by a reader that refuses keys that stand twice.
    pub(crate) fn of(object: Value) -> Result<Self, Status> {
        if !object.is_object() {
            return Err(Status::bad_request("error decoding the configuration: it is not an object"));
        }
        Ok(Self { object, repeated: Vec::new() })
    }

    /// Applies it to the object of the request, or makes that; or to its scale.
    pub(crate) fn change<'a>(&'a self, request: &'a Request) -> Change<'a> {
        if request.part == "scale" {
            return Change::of_present(move |live| self.scaled(request, live)).owned(Owners::Said);
        }
        let next = move |live: Option<&Value>, _: Spare| {
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
        if options.validation == FieldValidation::Strict && !self.repeated.is_empty() {
            let why = sentence(&self.repeated);
            return Err(Status::bad_request(format!("error strict decoding YAML: {why}")));
        }
        let decoded = decode_applied(resource, applied.object, &self.repeated, options.validation);
        let mut decoded = decoded.map_err(|error| Status::bad_request(error.to_string()))?;
        author::put(&mut decoded.object, applied.managed_fields);
        Ok(decoded)
    }

    /// What it makes of the object whose scale it is about, with its owners.
    fn scaled(&self, request: &Request, live: &Value) -> Result<Decoded, Status> {
        let (resource, options) = (&request.resource, &request.options);
        let (scale, time) = (scale::of(resource, live)?, now());
        let applied = apply_scale(resource, live, &scale, &self.object, &request.author(&time), options.force);
        let applied = applied.map_err(refusal)?;
        let kind = find_auxiliary("autoscaling/v1", "Scale");
        let kind = kind.ok_or_else(|| Status::internal("the table of resources lacks Scale"))?;
        let decoded = decode_value(kind, applied.object, &[], options.validation);
        let Decoded { object, warnings } = decoded.map_err(|error| Status::bad_request(error.to_string()))?;
        let mut object = scale::apply(resource, live, &object);
        author::put(&mut object, applied.managed_fields);
        Ok(Decoded { object, warnings })
    }
}

fn refusal(error: ApplyError) -> Status {
    match error {
        ApplyError::Conflict { message, causes } => Status::apply_conflict(message, causes),
        ApplyError::BadRequest(message) => Status::bad_request(message),
        ApplyError::Failed(message) => Status::unnamed(message),
    }
}
