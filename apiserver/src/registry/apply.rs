//! Server-side apply (KEP-555): an object is made, or becomes what a configuration and its other owners want.

use super::create::Owners;
use super::object::metadata_mut;
use super::update::check_names;
use super::{ATTEMPTS_MAX, Registry, Run, Target, Updated};
use crate::author;
use crate::status::Status;
use serde_json::{Map, Value};
use skiff_schema::{ApplyError, Decoded, FieldValidation, apply, decode_value};

/// A configuration as it came.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    pub(crate) object: Value,
    /// Whether fields of others are taken over.
    pub(crate) force: bool,
    pub(crate) validation: FieldValidation,
}

impl Configuration {
    /// Reads YAML, of which JSON is a part.
    pub(crate) fn parse(body: &[u8], force: bool, validation: FieldValidation) -> Result<Self, Status> {
        let json = serde_json::from_slice::<Value>(body);
        let object = json.or_else(|_| {
            serde_norway::from_slice::<Value>(body)
                .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))
        })?;
        if !object.is_object() {
            return Err(Status::bad_request("error decoding YAML: it is not an object"));
        }
        Ok(Self { object, force, validation })
    }

    /// What it makes of `live`, with its owners.
    fn applied(&self, target: &Target<'_>, part: &str, live: Option<&Value>) -> Result<Decoded, Status> {
        let applied = author::with(part, |author| apply(target.resource, live, &self.object, author, self.force))
            .map_err(refusal)?;
        let decoded = decode_value(target.resource, applied.object, &[], self.validation);
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

impl Registry {
    /// Applies `configuration` to the object at `target`, or makes it. Answers also whether it was made.
    pub(crate) async fn apply(
        &self,
        target: &Target<'_>,
        part: &str,
        run: Run,
        configuration: &Configuration,
    ) -> Result<(Updated, bool), Status> {
        check_names(target, &configuration.object)?;
        for _ in 0..ATTEMPTS_MAX {
            let change = |live: &Value| configuration.applied(target, part, Some(live));
            match self.update_as(target, part, run, Owners::Said, change).await {
                Err(status) if status.reason == "NotFound" && part.is_empty() => {}
                done => return done.map(|updated| (updated, false)),
            }
            let Decoded { mut object, warnings } = configuration.applied(target, part, None)?;
            let metadata: &mut Map<String, Value> = metadata_mut(&mut object);
            metadata.insert("name".to_owned(), target.name.into());
            match self.create_as(target.resource, target.namespace, object, run, Owners::Said).await {
                // Somebody was faster.
                Err(status) if status.reason == "AlreadyExists" => {}
                done => return done.map(|object| (Updated { object, warnings }, true)),
            }
        }
        Err(Status::modified(target.resource, target.name))
    }
}
