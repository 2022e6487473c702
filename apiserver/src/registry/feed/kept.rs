//! One object of a state that a feed keeps: its bytes as they are stored, and what has been read from them and made of them so far.

use super::sorted::Placed;
use super::update::OVERHEAD_BYTES;
use crate::registry::forms::{Forms, Room};
use crate::registry::object::Object;
use crate::registry::partial;
use crate::status::Status;
use bytes::Bytes;
use serde_json::Value;
use skiff_schema::Resource;
use skiff_store::backend::{Entry, Revision};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Versions of a resource that are looked at in turn. More of them are the same one before and after its definition was changed.
const FACES_MAX: usize = 4;

/// Where what a state needs is counted.
#[derive(Debug)]
pub(super) struct Rooms {
    /// Keys and values.
    pub(super) states: Arc<Room>,
    /// What was written of them.
    pub(super) forms: Arc<Room>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Kept {
    /// `namespace/name`, or `name` where there are no namespaces.
    pub(super) place: Arc<str>,
    value: Bytes,
    revision: Revision,
    /// One for each version in which somebody lists.
    faces: Mutex<Vec<Arc<Face>>>,
    rooms: Arc<Rooms>,
}

impl Placed for Kept {
    fn place(&self) -> &str {
        &self.place
    }
}

impl Kept {
    pub(super) fn new(place: &str, entry: &Entry, rooms: &Arc<Rooms>) -> Self {
        // A copy of its own: what comes from a store may be a part of something much larger.
        let value = Bytes::copy_from_slice(&entry.value);
        let kept = Self {
            place: place.into(),
            value,
            revision: entry.mod_revision,
            faces: Mutex::default(),
            rooms: Arc::clone(rooms),
        };
        rooms.states.take(kept.size_bytes());
        kept
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Bytes of the object as it is stored.
    pub(super) fn stored_bytes(&self) -> usize {
        self.value.len()
    }

    fn size_bytes(&self) -> usize {
        OVERHEAD_BYTES + self.place.len() + self.value.len()
    }

    /// The object in a version of its resource.
    pub(crate) fn face(&self, resource: &Arc<Resource>) -> Arc<Face> {
        let mut faces = self.faces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(face) = faces.iter().find(|face| Arc::ptr_eq(&face.object.resource, resource)) {
            return Arc::clone(face);
        }
        if faces.len() >= FACES_MAX {
            faces.remove(0);
        }
        let mut object = Object::stored(resource, self.value.clone(), self.revision);
        object.forms = Some(Arc::new(Forms::new(&self.rooms.forms)));
        let face = Arc::new(Face { object, labels: OnceLock::new(), fields: OnceLock::new() });
        faces.push(Arc::clone(&face));
        face
    }

    /// Forgets what was written and nobody asked for since the last time.
    pub(super) fn look(&self) {
        for face in self.faces.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            face.object.forms.iter().for_each(|forms| forms.look());
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.rooms.states.give(self.size_bytes());
    }
}

/// An object in one version, and what selectors ask about it.
#[derive(Debug)]
pub(crate) struct Face {
    pub(crate) object: Object,
    /// Keys and values by turns.
    labels: OnceLock<Result<Texts, Status>>,
    /// Name, namespace, and the selectable fields of the resource.
    fields: OnceLock<Result<Texts, Status>>,
}

impl Face {
    /// The value of a label, if it is there.
    pub(crate) fn label(&self, key: &str) -> Result<Option<&str>, Status> {
        let labels = self.labels.get_or_init(|| self.read_labels()).as_ref().map_err(Clone::clone)?;
        let is_key = |at: &usize| labels.get(*at) == key;
        Ok((0..labels.len()).step_by(2).find(is_key).map(|at| labels.get(at + 1)))
    }

    /// The value of a field that a selector may name.
    pub(crate) fn field(&self, path: &str) -> Result<&str, Status> {
        let fields = self.fields.get_or_init(|| self.read_fields()).as_ref().map_err(Clone::clone)?;
        let at = selectable(&self.object.resource).position(|name| name == path);
        Ok(at.map_or("", |at| fields.get(at)))
    }

    fn read_labels(&self) -> Result<Texts, Status> {
        let read = partial::read(&self.object.stored, &[vec!["metadata", "labels"]]);
        let value = read.map_or_else(|| self.object.value(), Ok)?;
        let labels = value["metadata"]["labels"].as_object().into_iter().flatten();
        // A selector sees texts only.
        let texts = labels.filter_map(|(key, value)| Some([key.as_str(), value.as_str()?]));
        Ok(Texts::of(texts.flatten()))
    }

    fn read_fields(&self) -> Result<Texts, Status> {
        let resource = &self.object.resource;
        let paths: Vec<Vec<&str>> = selectable(resource).map(|path| path.split('.').collect()).collect();
        let is_plain = !selectable(resource).any(|path| resource.computes_field(path));
        let read = is_plain.then(|| partial::read(&self.object.stored, &paths)).flatten();
        let value: Value = read.map_or_else(|| self.object.value(), Ok)?;
        let values: Vec<String> = selectable(resource).map(|path| resource.field_value(&value, path)).collect();
        Ok(Texts::of(values.iter().map(String::as_str)))
    }
}

fn selectable(resource: &Resource) -> impl Iterator<Item = &str> {
    ["metadata.name", "metadata.namespace"].into_iter().chain(resource.selectable_fields())
}

/// Short texts in one piece of memory.
#[derive(Debug)]
struct Texts {
    text: Box<str>,
    ends: Box<[u32]>,
}

impl Texts {
    fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let (mut all, mut ends) = (String::new(), Vec::new());
        for text in texts {
            all.push_str(text);
            // Objects have a few megabytes at most.
            ends.push(u32::try_from(all.len()).unwrap_or(u32::MAX));
        }
        Self { text: all.into(), ends: ends.into() }
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, at: usize) -> &str {
        let end = |at: usize| self.ends.get(at).map_or(0, |end| *end as usize);
        let begin = if at == 0 { 0 } else { end(at - 1) };
        self.text.get(begin..end(at)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn texts_come_back(texts in prop::collection::vec(".{0,5}", 0..6)) {
            let kept = Texts::of(texts.iter().map(String::as_str));
            let back: Vec<&str> = (0..kept.len()).map(|at| kept.get(at)).collect();
            prop_assert_eq!(back, texts);
        }
    }
}
