//! An object that many watch: parsed at most once for all of them, and written at most once in each form.

use super::object::Object;
use super::partial;
use crate::status::Status;
use bytes::Bytes;
use serde_json::Value;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Names a form in which an event is written; the door that writes it gives the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FormNumber(pub(crate) u32);

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    object: Object,
    value: OnceLock<Result<Value, Status>>,
    written: Mutex<Vec<(FormNumber, Bytes)>>,
}

impl Shared {
    pub(crate) fn new(object: Object) -> Self {
        Self { object, value: OnceLock::new(), written: Mutex::default() }
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    /// What stands at `paths` of it, without reading the rest; `None`: it cannot be read so.
    pub(crate) fn some_of(&self, paths: &[Vec<&str>]) -> Option<Value> {
        partial::read(&self.object.stored, paths)
    }

    /// The object as a value, with its resourceVersion.
    pub(crate) fn value(&self) -> Result<&Value, Status> {
        self.value.get_or_init(|| self.object.value()).as_ref().map_err(Clone::clone)
    }

    /// The object in a form: what `write` made of it when it was first asked for. Who comes meanwhile waits, which takes no longer
    /// than to write it again.
    pub(crate) fn written(
        &self,
        form: FormNumber,
        write: impl FnOnce() -> Result<Bytes, Status>,
    ) -> Result<Bytes, Status> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = written.iter().find(|(number, _)| *number == form) {
            return Ok(bytes.clone());
        }
        let bytes = write()?;
        written.push((form, bytes.clone()));
        Ok(bytes)
    }
}
