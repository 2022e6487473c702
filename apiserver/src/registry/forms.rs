//! What answers are made of, written once for an object that is listed often: its Protobuf, its row of a table.

use super::FormNumber;
use crate::status::Status;
use bytes::Bytes;
use serde_json::Value;
use skiff_schema::RowTemplate;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Room in memory, shared by all who use it.
#[derive(Debug)]
pub(crate) struct Room {
    bytes_max: usize,
    used_bytes: AtomicUsize,
}

impl Room {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, used_bytes: AtomicUsize::new(0) })
    }

    /// Uses so much more, whether it is there or not.
    pub(crate) fn take(&self, bytes: usize) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Uses so much less.
    pub(crate) fn give(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether more is used than there is.
    pub(crate) fn is_over(&self) -> bool {
        self.used_bytes.load(Ordering::Relaxed) > self.bytes_max
    }

    fn has(&self, bytes: usize) -> bool {
        self.used_bytes.load(Ordering::Relaxed).saturating_add(bytes) <= self.bytes_max
    }
}

/// A parsed object takes some twelve times its JSON.
const PARSED_TIMES: usize = 12;
/// The number of the object as a value; doors have smaller ones.
const PARSED: FormNumber = FormNumber(u32::MAX);

/// One form of an object.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// Bytes that are sent as they are.
    Bytes(Bytes),
    /// The row of a table, in which only ages are open.
    Row(Arc<RowTemplate>),
    /// The object itself, of so many bytes as JSON, for those who look into it.
    Value(Arc<Value>, usize),
    /// Another one each time.
    Changing,
}

impl Form {
    fn size_bytes(&self) -> usize {
        // What stands around it, about.
        const OVERHEAD_BYTES: usize = 64;
        OVERHEAD_BYTES
            + match self {
                Self::Bytes(bytes) => bytes.len(),
                Self::Row(row) => row.size_bytes(),
                Self::Value(_, bytes) => bytes * PARSED_TIMES,
                Self::Changing => 0,
            }
    }
}

/// The forms of one object in one version that have been asked for, as far as there is room.
#[derive(Debug)]
pub(crate) struct Forms {
    made: Mutex<Vec<(FormNumber, Form)>>,
    is_used: AtomicBool,
    room: Arc<Room>,
}

impl Forms {
    pub(crate) fn new(room: &Arc<Room>) -> Self {
        Self { made: Mutex::default(), is_used: AtomicBool::new(false), room: Arc::clone(room) }
    }

    fn made(&self) -> MutexGuard<'_, Vec<(FormNumber, Form)>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `make` makes of the object, or made of it before. Two who ask at the same time may both make it.
    pub(crate) fn get(&self, number: FormNumber, make: impl FnOnce() -> Result<Form, Status>) -> Result<Form, Status> {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
        if let Some((_, form)) = self.made().iter().find(|(made, _)| *made == number) {
            return Ok(form.clone());
        }
        let form = make()?;
        let mut made = self.made();
        if self.room.has(form.size_bytes()) && made.iter().all(|(other, _)| *other != number) {
            self.room.take(form.size_bytes());
            made.push((number, form.clone()));
        }
        Ok(form)
    }

    /// The object as a value, of so many bytes as JSON.
    pub(crate) fn parsed(
        &self,
        bytes: usize,
        parse: impl FnOnce() -> Result<Value, Status>,
    ) -> Result<Arc<Value>, Status> {
        match self.get(PARSED, || Ok(Form::Value(Arc::new(parse()?), bytes)))? {
            Form::Value(value, _) => Ok(value),
            _ => Err(Status::internal("another form was taken for an object")),
        }
    }

    /// Forgets what nobody has asked for since the last time.
    pub(crate) fn look(&self) {
        if !self.is_used.swap(false, Ordering::Relaxed) {
            self.forget();
        }
    }

    fn forget(&self) {
        let forgotten = std::mem::take(&mut *self.made());
        self.room.give(forgotten.iter().map(|(_, form)| form.size_bytes()).sum());
    }
}

impl Drop for Forms {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(forms: &Forms, number: u32, text: &'static str) -> Bytes {
        let form = forms.get(FormNumber(number), || Ok(Form::Bytes(text.into())));
        let Ok(Form::Bytes(bytes)) = form else { panic!("bytes were made") };
        bytes
    }

    #[test]
    fn a_form_is_made_once_where_there_is_room() {
        let room = Room::new(150);
        let (one, other) = (Forms::new(&room), Forms::new(&room));
        assert_eq!([written(&one, 1, "first"), written(&one, 1, "again")], ["first", "first"]);
        assert_eq!(
            [written(&one, 2, "x"), written(&other, 1, "full"), written(&other, 1, "again")],
            ["x", "full", "again"]
        );
        assert!(!room.is_over());
        drop(one);
        assert_eq!([written(&other, 1, "room"), written(&other, 1, "again")], ["room", "room"]);
    }

    #[test]
    fn a_form_that_nobody_asks_for_is_forgotten() {
        let room = Room::new(1000);
        let forms = Forms::new(&room);
        written(&forms, 1, "first");
        forms.look();
        assert_eq!(written(&forms, 1, "second"), "first");
        forms.look();
        forms.look();
        assert_eq!(written(&forms, 1, "third"), "third");
        drop(forms);
        assert!(room.has(1000));
    }
}
