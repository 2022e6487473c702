//! Layers that are missing or damaged are made anew from what was delivered. Who starts a container asks for it: each layer is read once after
//! each start of the machine, which is when a disk may have lost what it had promised to keep.

use super::ImageStore;
use crate::disk::{remove_tree, sync_filesystem, sync_folder};
use crate::documents::{self, IndexOrManifest, Layer};
use crate::index::Record;
use crate::layers;
use crate::unpack::Limits;
use crate::{Digest, ImageError};
use skiff_step::Step;
use std::path::PathBuf;
use std::sync::PoisonError;

const HEAL: Step = Step::new("image.heal", "image-spec layer.md, Applying Changesets");

/// What [`ImageStore::verify`] found wrong; empty if all is well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Blobs and layers that were read.
    pub read: u64,
    /// Sentences, one for each blob or layer that is not what it was.
    pub wrong: Vec<String>,
    /// Sentences about what was put right.
    pub mended: Vec<String>,
}

impl ImageStore {
    /// Sees to it that the image's layers are there and sound.
    ///
    /// # Errors
    /// One is not, and cannot be made anew: the image is forgotten then, so that whoever needs it pulls it again.
    pub(super) fn ensure_layers(&self, reference_or_id: &str) -> Result<(), ImageError> {
        let (id, record) = self.listed(reference_or_id)?;
        for (position, hex) in record.layers.iter().enumerate() {
            let diff = Digest::from_hex(hex)?;
            if self.is_known_sound(&diff)? {
                continue;
            }
            let healed = self.engine.run(&HEAL, || diff.to_string(), || self.heal(&record, position, &diff));
            if let Err(error) = healed {
                return Err(self.give_up(&id, &diff, &error));
            }
            tracing::warn!("layer {diff} was missing or damaged and was made anew");
        }
        Ok(())
    }

    /// Whether the layer has been compared since the machine started, now or before.
    fn is_known_sound(&self, diff: &Digest) -> Result<bool, ImageError> {
        if !self.layers.has(diff) {
            return Ok(false);
        }
        // A set of digests is whole whatever panicked while it was held.
        if self.sound.lock().unwrap_or_else(PoisonError::into_inner).contains(diff) {
            return Ok(true);
        }
        let sound = self.layers.is_checked(diff, &self.boot) || self.layers.is_sound(diff, &self.boot)?;
        if sound {
            self.sound.lock().unwrap_or_else(PoisonError::into_inner).insert(*diff);
        }
        Ok(sound)
    }

    /// Unpacks the layer again and puts it in the place of what is there.
    fn heal(&self, record: &Record, position: usize, diff: &Digest) -> Result<(), ImageError> {
        let layer = self.delivered(record, position, diff)?;
        let scratch = self.disk.scratch()?;
        let at = scratch.path().join(diff.hex());
        let blob = layer.blob.map(|(digest, _)| digest);
        let blob = blob.ok_or_else(|| ImageError::malformed(diff.to_string(), "its blob is not known"))?;
        layers::make(&layer, self.blobs.open(&blob)?, &at, None, Limits::GENEROUS)?;
        sync_filesystem(scratch.path())?;
        let away = self.disk.tmp_name();
        {
            let _locked = self.disk.lock()?;
            if self.layers.has(diff) {
                self.layers.retire(diff, &away)?;
            }
            self.layers.commit(&at, diff)?;
            sync_folder(&self.disk.layers())?;
        }
        remove_tree(&away)
    }

    /// The layer as the image's manifest has it.
    fn delivered(&self, record: &Record, position: usize, diff: &Digest) -> Result<Layer, ImageError> {
        let unknown = || ImageError::malformed("image", "what was delivered of it was not kept");
        let content = record.content.as_ref().ok_or_else(unknown)?;
        let manifest = self.blobs.document(&Digest::from_hex(&content.manifest)?)?;
        let node: IndexOrManifest = documents::parse(&content.manifest, &manifest)?;
        let blob = node.layers.unwrap_or_default().into_iter().nth(position).ok_or_else(unknown)?;
        Ok(Layer { file: PathBuf::new(), blob: Some((blob.digest.parse()?, blob.size)), diff: *diff })
    }

    /// Takes the image out of the list.
    fn give_up(&self, id: &str, diff: &Digest, error: &ImageError) -> ImageError {
        let forgotten = self.forget_for_good(id);
        let reason = match forgotten {
            Ok(()) => format!(
                "it is missing or damaged and cannot be made anew ({}); the image was forgotten: pull or import it again",
                error.chain()
            ),
            Err(other) => format!(
                "it is missing or damaged and cannot be made anew ({}), and the image cannot be forgotten: {}",
                error.chain(),
                other.chain()
            ),
        };
        ImageError::malformed(format!("layer {diff}"), reason)
    }

    /// Forgets an image and whatever of it is damaged.
    fn forget_for_good(&self, id: &str) -> Result<(), ImageError> {
        let locked = self.disk.lock()?;
        let mut index = self.index()?;
        let Some(record) = index.images.remove(id) else { return Ok(()) };
        // What is damaged must not serve the next pull.
        for hex in record.content.iter().flat_map(|content| content.blobs(id)) {
            let digest = Digest::from_hex(hex)?;
            if self.blobs.verify(&digest).is_err() {
                self.blobs.retire(&digest, &self.disk.tmp_name())?;
            }
        }
        for hex in &record.layers {
            let diff = Digest::from_hex(hex)?;
            if self.layers.has(&diff) && !self.layers.is_sound(&diff, &self.boot)? {
                self.layers.retire(&diff, &self.disk.tmp_name())?;
            }
        }
        self.write_index(&locked, &index)?;
        self.sweep(locked)
    }

    /// Reads every blob and every layer and compares them with what they were. With `mend`, layers are made anew, and images whose blobs are
    /// damaged are forgotten.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn verify(&self, mend: bool) -> Result<Verified, ImageError> {
        let mut verified = Verified::default();
        let index = {
            let _locked = self.disk.lock_to_read()?;
            self.index()?
        };
        for digest in self.blobs.all()? {
            verified.read += 1;
            if let Err(error) = self.blobs.verify(&digest) {
                verified.wrong.push(format!("blob {digest}: {}", error.chain()));
            }
        }
        for diff in self.layers.all()? {
            verified.read += 1;
            if !self.layers.is_sound(&diff, &self.boot)? {
                self.sound.lock().unwrap_or_else(PoisonError::into_inner).remove(&diff);
                self.layers.doubt(&diff)?;
                verified.wrong.push(format!("layer {diff}: its files are not those that were unpacked"));
            }
        }
        for (id, record) in &index.images {
            let missing = record.layers.iter().filter_map(|hex| Digest::from_hex(hex).ok());
            let missing = missing.filter(|diff| !self.layers.has(diff));
            verified.wrong.extend(missing.map(|diff| format!("layer {diff} of image sha256:{id}: it is not there")));
        }
        if mend && !verified.wrong.is_empty() {
            self.mend(index.images.keys(), &mut verified)?;
        }
        Ok(verified)
    }

    /// Puts right what can be put right, image by image.
    fn mend<'a>(&self, ids: impl Iterator<Item = &'a String>, verified: &mut Verified) -> Result<(), ImageError> {
        for id in ids {
            let blobs_are_sound = {
                let index = self.index()?;
                let content = index.images.get(id).and_then(|record| record.content.as_ref());
                content.is_none_or(|content| {
                    let mut blobs = content.blobs(id).filter_map(|hex| Digest::from_hex(hex).ok());
                    blobs.all(|digest| self.blobs.verify(&digest).is_ok())
                })
            };
            if !blobs_are_sound {
                self.forget_for_good(id)?;
                verified.mended.push(format!("image sha256:{id} was forgotten: pull or import it again"));
                continue;
            }
            match self.ensure_layers(id) {
                Ok(()) => {}
                Err(error) => verified.mended.push(error.chain()),
            }
        }
        verified.mended.push("layers that could be made anew were".to_owned());
        Ok(())
    }
}
