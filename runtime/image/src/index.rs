//! Which images the store has: names and layers by image id. Pure; [`crate::store`] reads and writes the file.

use crate::{Digest, ImageError, Reference};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Digits of an id that must be given to mean it; fewer are too easily a name.
const ID_DIGITS_MIN: usize = 12;

/// The document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Index {
    /// By hexadecimal id.
    pub(crate) images: BTreeMap<String, Record>,
}

/// One image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) tags: BTreeSet<String>,
    pub(crate) digests: BTreeSet<String>,
    /// Hexadecimal diff ids, lowest first.
    pub(crate) layers: Vec<String>,
    pub(crate) size_bytes: u64,
}

impl Index {
    /// Adds the image, or the names to the image; names move here from others.
    pub(crate) fn put(&mut self, id: &Digest, record: Record) {
        for other in self.images.values_mut() {
            other.tags.retain(|tag| !record.tags.contains(tag));
        }
        let present = self.images.entry(id.hex()).or_default();
        present.tags.extend(record.tags);
        present.digests.extend(record.digests);
        present.layers = record.layers;
        present.size_bytes = record.size_bytes;
    }

    /// The hexadecimal id of the image that is meant: by id, by unambiguous beginning of an id, by name.
    pub(crate) fn find(&self, reference_or_id: &str) -> Result<Option<String>, ImageError> {
        let digits = reference_or_id.strip_prefix("sha256:").unwrap_or(reference_or_id);
        if Digest::from_hex(digits).is_ok() {
            return Ok(self.images.contains_key(digits).then(|| digits.to_owned()));
        }
        match reference_or_id.parse::<Reference>() {
            Ok(reference) => Ok(self.named(&reference).or_else(|| self.beginning(digits))),
            Err(error) => self.beginning(digits).map_or(Err(error), |id| Ok(Some(id))),
        }
    }

    fn named(&self, reference: &Reference) -> Option<String> {
        let matches = |record: &Record| match reference.digest() {
            Some(digest) => record.digests.contains(&format!("{}@{digest}", reference.name())),
            None => reference.tagged().is_some_and(|tag| record.tags.contains(&tag)),
        };
        self.images.iter().find(|(_, record)| matches(record)).map(|(id, _)| id.clone())
    }

    fn beginning(&self, digits: &str) -> Option<String> {
        let long_enough = digits.len() >= ID_DIGITS_MIN && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut ids = self.images.keys().filter(|id| long_enough && id.starts_with(digits));
        match (ids.next(), ids.next()) {
            (Some(id), None) => Some(id.clone()),
            _ => None,
        }
    }

    /// All layers of all images.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &String> {
        self.images.values().flat_map(|record| &record.layers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(tags: &[&str]) -> Record {
        Record { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..Record::default() }
    }

    #[test]
    fn a_name_belongs_to_the_image_that_took_it_last() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let mut index = Index::default();
        index.put(&old, record(&["docker.io/library/a:1", "docker.io/library/a:latest"]));
        index.put(&new, record(&["docker.io/library/a:latest"]));
        assert_eq!(index.find("a").unwrap(), Some(new.hex()));
        assert_eq!(index.find("a:1").unwrap(), Some(old.hex()));
        index.put(&old, record(&[]));
        assert_eq!(index.images[&old.hex()].tags.len(), 1, "taking an image in again keeps its names");
    }

    #[test]
    fn images_are_found_by_id_and_its_beginning() {
        let id = Digest::of(b"x");
        let mut index = Index::default();
        index.put(&id, record(&[]));
        assert_eq!(index.find(&id.to_string()).unwrap(), Some(id.hex()));
        assert_eq!(index.find(&id.hex()).unwrap(), Some(id.hex()));
        assert_eq!(index.find(&id.hex()[..12]).unwrap(), Some(id.hex()));
        assert_eq!(index.find(&id.to_string()[..20]).unwrap(), Some(id.hex()));
        assert_eq!(index.find(&id.hex()[..11]).unwrap(), None);
        assert!(index.find("sha256:../..").is_err());
    }
}
