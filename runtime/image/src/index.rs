//! Which images the store has: names and layers by image id. Pure; [`crate::store`] reads and writes the file.

use crate::documents::{CONTAINERD_NAME, REF_NAME};
use crate::{Digest, ImageError, Reference};
use serde::{Deserialize, Serialize};
use serde_json::json;
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
    /// What was delivered; none of an image that came before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<Content>,
    /// Never removed to make room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pinned: bool,
    /// Whether a name of it was given here (an archive, a build, a tag), not by a registry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) local: bool,
}

/// The documents and layers of an image as blobs; hexadecimal digests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Content {
    /// The manifest for this machine's platform.
    pub(crate) manifest: String,
    /// What it is called: a registry that gets it wants to know.
    pub(crate) media_type: String,
    /// How long it is.
    pub(crate) manifest_bytes: u64,
    /// The index that led to it, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<String>,
    /// Packed layers, lowest first.
    pub(crate) layers: Vec<String>,
}

impl Content {
    /// What an archive of the image holds: an index would lead to images that are not here.
    pub(crate) fn manifest_and_layers<'a>(&'a self, config: &'a str) -> impl Iterator<Item = &'a str> {
        [self.manifest.as_str(), config].into_iter().chain(self.layers.iter().map(String::as_str))
    }

    /// Every blob of the image whose configuration is `config`.
    pub(crate) fn blobs<'a>(&'a self, config: &'a str) -> impl Iterator<Item = &'a str> {
        let documents = [Some(self.manifest.as_str()), self.index.as_deref(), Some(config)];
        documents.into_iter().flatten().chain(self.layers.iter().map(String::as_str))
    }
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
        present.local |= record.local;
        // What is there already serves as well, and its blobs are what other names of the image were checked against.
        if present.content.is_none() {
            present.content = record.content;
        }
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

    /// Every blob of every image.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &str> {
        let content =
            self.images.iter().filter_map(|(id, record)| record.content.as_ref().map(|content| (id, content)));
        content.flat_map(|(id, content)| content.blobs(id))
    }

    /// The index of the OCI layout beside.
    pub(crate) fn layout(&self) -> serde_json::Value {
        layout_of(self.images.values())
    }

    /// All layers of all images.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &String> {
        self.images.values().flat_map(|record| &record.layers)
    }
}

/// The index of an OCI layout: a descriptor for each name, one without a name for an image that has none.
pub(crate) fn layout_of<'a>(images: impl Iterator<Item = &'a Record>) -> serde_json::Value {
    let mut manifests = Vec::new();
    for record in images {
        let Some(content) = &record.content else { continue };
        let descriptor = |name: Option<&String>| {
            let mut descriptor = json!({ "mediaType": content.media_type, "digest": format!("sha256:{}", content.manifest),
                "size": content.manifest_bytes });
            if let Some(name) = name {
                descriptor["annotations"] = json!({ REF_NAME: name, CONTAINERD_NAME: name });
            }
            descriptor
        };
        match record.tags.len() {
            0 => manifests.push(descriptor(None)),
            _ => manifests.extend(record.tags.iter().map(|tag| descriptor(Some(tag)))),
        }
    }
    json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests })
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
