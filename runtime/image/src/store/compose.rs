//! Images made here step by step: what was written over one image becomes the topmost layer of another.

use super::{IMPORT, ImageStore};
use crate::disk::Scratch;
use crate::documents::{self, Contents};
use crate::error::On;
use crate::source::Source;
use crate::written::{self, Packing};
use crate::{Digest, Image, ImageError};
use serde_json::{Value, json};
use std::fs;

/// The file of a layer in its scratch folder.
const LAYER: &str = "layer";

/// A layer that no image has yet.
pub struct NewLayer {
    /// `sha256:…` of the unpacked archive.
    pub diff_id: String,
    scratch: Scratch,
}

impl ImageStore {
    /// The configuration document of an image, with everything that is in it.
    ///
    /// # Errors
    /// There is no such image.
    pub fn document(&self, image: &str) -> Result<Value, ImageError> {
        let (id, _) = self.listed(image)?;
        documents::parse("image configuration", &self.configuration_bytes(&id)?)
    }

    /// What was written to the container's snapshot, as a layer; none if nothing was. Unmount it first.
    ///
    /// # Errors
    /// There is no such snapshot, or the layer cannot be written.
    pub fn layer_of(&self, container_id: &str, packing: Packing) -> Result<Option<NewLayer>, ImageError> {
        let snapshot = self.snapshot(container_id)?;
        let scratch = self.disk.scratch()?;
        let to = scratch.path().join(LAYER);
        let diff = written::pack(&snapshot.upper_dir, &snapshot.lower_dirs, &to, packing)?;
        Ok(diff.map(|diff| NewLayer { diff_id: diff.to_string(), scratch }))
    }

    /// Lists the image of this configuration document, with a name or without. Its layers are in the store, but for the topmost
    /// if that is `new`.
    ///
    /// # Errors
    /// The document is no configuration, a layer is missing, or the store cannot be written.
    pub fn compose(&self, document: &Value, new: Option<NewLayer>, name: Option<&str>) -> Result<Image, ImageError> {
        self.engine.run(
            &IMPORT,
            || name.unwrap_or("an image without a name").to_owned(),
            || {
                let scratch = match new {
                    Some(NewLayer { scratch, .. }) => scratch,
                    None => self.disk.scratch()?,
                };
                let diffs: Vec<&str> =
                    document["rootfs"]["diff_ids"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let has_new = scratch.path().join(LAYER).exists();
                let known = diffs.len() - usize::from(has_new && !diffs.is_empty());
                // Nobody looks for the file of a layer that is there.
                let files: Vec<&str> =
                    (0..diffs.len()).map(|place| if place < known { "kept" } else { LAYER }).collect();
                let tags: Vec<&str> = name.into_iter().collect();
                let manifest = json!([{"Config": "config.json", "RepoTags": tags, "Layers": files}]);
                for (file, text) in [("config.json", document.to_string()), ("manifest.json", manifest.to_string())] {
                    let at = scratch.path().join(file);
                    fs::write(&at, text).on("write", &at)?;
                }
                let source = Source::open(scratch.path(), scratch.path())?;
                let Contents { mut images, mut notes } = documents::contents(&source)?;
                for image in &mut images {
                    image.size_bytes += self.packed_bytes(&diffs[..known])?;
                }
                let mut taken = self.take_in(&source, &images, &mut notes)?;
                taken.pop().ok_or_else(|| ImageError::NotFound(name.unwrap_or_default().to_owned()))
            },
        )
    }

    fn packed_bytes(&self, diffs: &[&str]) -> Result<u64, ImageError> {
        let mut sum = 0;
        for diff in diffs {
            let about = self.layers.about(&diff.parse::<Digest>()?)?;
            let blob = about.blob.map(|hex| Digest::from_hex(&hex)).transpose()?;
            sum += blob.and_then(|blob| fs::metadata(self.blobs.path(&blob)).ok()).map_or(0, |about| about.len());
        }
        Ok(sum)
    }
}
