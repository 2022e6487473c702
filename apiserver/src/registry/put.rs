//! PUT: the new state of an object that is there or, of some kinds, of one that is not there yet.

use super::object::{meta, metadata_mut};
use super::{ATTEMPTS_MAX, Registry, Run, Target, Updated};
use crate::options;
use crate::status::Status;
use serde_json::Value;
use skiff_schema::Decoded;

/// What a PUT did.
#[derive(Debug)]
pub(crate) enum Put {
    /// There was no such object.
    Made(Updated),
    /// It has a new state, or had it already.
    Replaced(Updated),
}

impl Registry {
    /// Replaces the object at `target` by what `change` makes of it, or makes it if its kind has it so. `change` sees `null` if there is no object.
    ///
    /// Whoever replaces an object of a kind that is never replaced blindly must say the revision that he has seen.
    pub(crate) async fn put(
        &self,
        target: &Target<'_>,
        part: &str,
        run: Run,
        change: impl Fn(&Value) -> Result<Decoded, Status>,
    ) -> Result<Put, Status> {
        let replace = |current: &Value| {
            let decoded = change(current)?;
            refuse_blind(target, &decoded.object)?;
            Ok(decoded)
        };
        let makes = part.is_empty() && target.resource.creates_on_update();
        for _ in 0..ATTEMPTS_MAX {
            match self.update(target, part, run, replace).await {
                Err(status) if makes && status.reason == "NotFound" => {}
                outcome => return outcome.map(Put::Replaced),
            }
            match self.make(target, run, change(&Value::Null)?).await {
                // Somebody was faster: then it is replaced.
                Err(status) if status.reason == "AlreadyExists" => {}
                outcome => return outcome.map(Put::Made),
            }
        }
        Err(Status::modified(target.resource, target.name))
    }

    async fn make(&self, target: &Target<'_>, run: Run, decoded: Decoded) -> Result<Updated, Status> {
        let Decoded { mut object, warnings } = decoded;
        let uid = meta(&object, "uid");
        if !uid.is_empty() {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: ");
            return Err(Status::conflict(target.resource, target.name, &why));
        }
        let metadata = metadata_mut(&mut object);
        metadata.remove("resourceVersion");
        metadata.insert("name".to_owned(), target.name.into());
        let object = self.create(target.resource, target.namespace, object, run).await?;
        Ok(Updated { object, warnings })
    }
}

/// Refuses a new state that names no revision, if its kind asks for one.
fn refuse_blind(target: &Target<'_>, wanted: &Value) -> Result<(), Status> {
    let names_none = matches!(meta(wanted, "resourceVersion"), "" | "0");
    if target.resource.updates_unconditionally() || !names_none {
        return Ok(());
    }
    let error = options::invalid("metadata.resourceVersion", 0.into(), "must be specified for an update");
    Err(Status::invalid_plural(target.resource, target.name, &[error]))
}
