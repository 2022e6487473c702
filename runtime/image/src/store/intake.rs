//! How images come into the store: what is missing of them is written aside, made durable, and put in place under the lock, all of it or
//! nothing.

use super::{COMMIT, ImageStore, UNPACK};
use crate::codec::{Codec, MAGIC_BYTES};
use crate::disk::{Disk, Scratch, sync_filesystem, sync_folder};
use crate::documents::{self, Found, Layer};
use crate::error::On;
use crate::index::{Content, Record};
use crate::layers::{self, Made};
use crate::source::Source;
use crate::unpack::Limits;
use crate::{Digest, Image, ImageError, Reference};
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// How often what was there at first may have gone by the time of the commit, because somebody removed an image.
const TRIES: u32 = 8;

/// An image that is about to be listed.
pub(crate) struct Entering {
    pub(crate) id: Digest,
    pub(crate) record: Record,
}

/// What waits for the commit.
pub(crate) struct Staged {
    scratch: Scratch,
    layers: BTreeMap<Digest, PathBuf>,
    blobs: BTreeMap<Digest, PathBuf>,
}

impl Staged {
    pub(crate) fn new(disk: &Disk) -> Result<Self, ImageError> {
        Ok(Self { scratch: disk.scratch()?, layers: BTreeMap::new(), blobs: BTreeMap::new() })
    }

    /// A path in the scratch folder that nothing has.
    pub(crate) fn place(&self, kind: &str, digest: &Digest) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // An earlier try may have left something of the same name that is not known any more.
        self.scratch.path().join(format!("{kind}-{}-{}", digest.hex(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// A document; its digest is what it is.
    pub(crate) fn document(&mut self, bytes: &[u8]) -> Result<Digest, ImageError> {
        let digest = Digest::of(bytes);
        let at = self.place("blob", &digest);
        if let Entry::Vacant(place) = self.blobs.entry(digest) {
            let mut file = File::options().write(true).create_new(true).open(&at).on("create", &at)?;
            file.write_all(bytes).on("write", &at)?;
            place.insert(at);
        }
        Ok(digest)
    }

    /// A blob that lies somewhere on the same filesystem, checked.
    pub(crate) fn blob(&mut self, digest: Digest, at: PathBuf) {
        self.blobs.insert(digest, at);
    }

    /// A layer that was unpacked.
    pub(crate) fn layer(&mut self, diff: Digest, at: PathBuf) {
        self.layers.insert(diff, at);
    }
}

impl ImageStore {
    /// Stages what is missing of images of an archive, then lists them, all of them or none.
    pub(super) fn take_in(
        &self,
        source: &Source,
        found: &[Found],
        notes: &mut Vec<String>,
    ) -> Result<Vec<Image>, ImageError> {
        let mut staged = Staged::new(&self.disk)?;
        for _try in 0..TRIES {
            let stage = |image| self.stage(source, image, &mut staged, notes);
            let entering = found.iter().map(stage).collect::<Result<Vec<_>, _>>()?;
            if let Some(images) = self.commit(&staged, &entering)? {
                return Ok(images);
            }
        }
        Err(ImageError::malformed("archive", "others removed its layers again and again while it was taken in"))
    }

    fn stage(
        &self,
        source: &Source,
        image: &Found,
        staged: &mut Staged,
        notes: &mut Vec<String>,
    ) -> Result<Entering, ImageError> {
        let mut blobs = Vec::new();
        for layer in &image.layers {
            blobs.push(self.stage_layer(source, layer, staged, notes)?);
        }
        let id = staged.document(&image.config_bytes)?;
        let manifest = match &image.manifest {
            Some(manifest) => manifest.clone(),
            None => documents::manifest_for(&image.config_bytes, &self.described(&blobs, staged)?),
        };
        staged.document(&manifest.bytes)?;
        let content = Content {
            manifest: manifest.digest.hex(),
            media_type: manifest.media_type,
            manifest_bytes: manifest.bytes.len() as u64,
            index: None,
            layers: blobs.iter().map(Digest::hex).collect(),
        };
        let mut record = Record {
            tags: image.names.iter().filter_map(Reference::tagged).collect(),
            layers: image.layers.iter().map(|layer| layer.diff.hex()).collect(),
            size_bytes: image.size_bytes,
            content: Some(content),
            local: true,
            ..Record::default()
        };
        if let Some(manifest) = &image.manifest {
            record.digests = image.names.iter().map(|name| format!("{}@{}", name.name(), manifest.digest)).collect();
        }
        Ok(Entering { id, record })
    }

    /// The packed layer's digest; it and the unpacked layer are in the store, or staged.
    fn stage_layer(
        &self,
        source: &Source,
        layer: &Layer,
        staged: &mut Staged,
        notes: &mut Vec<String>,
    ) -> Result<Digest, ImageError> {
        let unpacked = self.layers.has(&layer.diff) || staged.layers.contains_key(&layer.diff);
        let known = layer.blob.map(|(digest, _)| digest).or_else(|| self.made_of(&layer.diff, staged));
        let kept = known.filter(|blob| self.blobs.has(blob) || staged.blobs.contains_key(blob));
        if let (true, Some(blob)) = (unpacked, kept) {
            return Ok(blob);
        }
        let copy = self.engine.run(
            &UNPACK,
            || layer.diff.to_string(),
            || {
                let keep = staged.place("packed", &layer.diff);
                if unpacked {
                    let blob = layers::copy(layer, source.read(&layer.file)?, &keep, Limits::GENEROUS)?;
                    return Ok::<_, ImageError>((blob, keep));
                }
                let at = staged.place("layer", &layer.diff);
                let blob = source.read(&layer.file)?;
                // An earlier try may have copied the packed one when only that was missing.
                let copy = kept.is_none().then_some(keep.as_path());
                let Made { left_out, blob } = layers::make(layer, blob, &at, copy, Limits::GENEROUS)?;
                notes.extend(left_out);
                staged.layer(layer.diff, at);
                Ok((blob, keep))
            },
        );
        let (blob, at) = copy?;
        // Two layers of one archive may be the same bytes under two names, and one of them is enough.
        if kept.is_none() {
            staged.blobs.entry(blob).or_insert(at);
        }
        Ok(blob)
    }

    /// The packed layer that an unpacked one came from, if that is known.
    fn made_of(&self, diff: &Digest, staged: &Staged) -> Option<Digest> {
        let about = match staged.layers.get(diff) {
            Some(at) => layers::about(at),
            None => self.layers.about(diff),
        };
        Digest::from_hex(&about.ok()?.blob?).ok()
    }

    fn described(&self, blobs: &[Digest], staged: &Staged) -> Result<Vec<(Digest, u64, &'static str)>, ImageError> {
        let describe = |digest: &Digest| {
            let path = staged.blobs.get(digest).cloned().unwrap_or_else(|| self.blobs.path(digest));
            let (size, codec) = look_at(&path)?;
            Ok((*digest, size, codec.layer_type()))
        };
        blobs.iter().map(describe).collect()
    }

    /// Lists the images; none if something that was counted on has been removed meanwhile.
    pub(crate) fn commit(&self, staged: &Staged, entering: &[Entering]) -> Result<Option<Vec<Image>>, ImageError> {
        let operand = || format!("{} layers, {} blobs", staged.layers.len(), staged.blobs.len());
        self.engine.run(&COMMIT, operand, || {
            sync_filesystem(staged.scratch.path())?;
            let locked = self.disk.lock()?;
            if !entering.iter().all(|image| self.is_complete(&image.id.hex(), &image.record, Some(staged))) {
                return Ok(None);
            }
            self.put_in_place(staged)?;
            let mut index = self.index()?;
            for Entering { id, record } in entering {
                index.put(id, record.clone());
            }
            self.write_index(&locked, &index)?;
            entering.iter().map(|image| self.image(&index, &image.id.hex())).collect::<Result<_, _>>().map(Some)
        })
    }

    /// Gives the image that has this digest under the reference's name the reference's tag; none if there is no such image, or if it is not whole.
    pub(crate) fn name_again(&self, reference: &Reference, digest: &Digest) -> Result<Option<Image>, ImageError> {
        let locked = self.disk.lock()?;
        let mut index = self.index()?;
        let Some(id) = index.find(&format!("{}@{digest}", reference.name()))? else { return Ok(None) };
        let digest = Digest::from_hex(&id)?;
        let whole = |record: &&Record| record.content.is_some() && self.is_complete(&id, record, None);
        let Some(record) = index.images.get(&id).filter(whole) else { return Ok(None) };
        let tag = reference.tagged().filter(|tag| reference.digest().is_none() && !record.tags.contains(tag));
        if let Some(tag) = tag {
            let named = Record { tags: BTreeSet::from([tag]), ..record.clone() };
            index.put(&digest, named);
            self.write_index(&locked, &index)?;
        }
        self.image(&index, &id).map(Some)
    }

    /// The image of this name, if it was taken in here and not pulled.
    pub(crate) fn resolve_local(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        let _locked = self.disk.lock_to_read()?;
        let index = self.index()?;
        let id = index.find(reference)?.filter(|id| index.images.get(id).is_some_and(|record| record.local));
        id.map(|id| self.image(&index, &id)).transpose()
    }

    /// Whether everything of the image is in the store, or staged.
    fn is_complete(&self, id: &str, record: &Record, staged: Option<&Staged>) -> bool {
        let is_staged_layer = |diff: &Digest| staged.is_some_and(|staged| staged.layers.contains_key(diff));
        let is_staged_blob =
            |blob: &Digest| staged.and_then(|staged| staged.blobs.get(blob)).is_some_and(|at| at.is_file());
        let has_layer = |diff: &Digest| self.layers.has(diff) || is_staged_layer(diff);
        let has_blob = |blob: &Digest| self.blobs.has(blob) || is_staged_blob(blob);
        let mut blobs = record.content.iter().flat_map(|content| content.blobs(id));
        let is = |hex: &str, has: &dyn Fn(&Digest) -> bool| Digest::from_hex(hex).is_ok_and(|digest| has(&digest));
        record.layers.iter().all(|hex| is(hex, &has_layer)) && blobs.all(|hex| is(hex, &has_blob))
    }

    fn put_in_place(&self, staged: &Staged) -> Result<(), ImageError> {
        for (digest, at) in &staged.blobs {
            // Of an earlier try, or another pull's.
            if at.is_file() {
                self.blobs.commit(at, digest)?;
            }
        }
        for (diff, at) in &staged.layers {
            if at.is_dir() {
                self.layers.commit(at, diff)?;
            }
        }
        sync_folder(&self.disk.blobs())?;
        sync_folder(&self.disk.layers())
    }
}

/// Bytes of a packed layer, and how it is packed.
fn look_at(path: &Path) -> Result<(u64, Codec), ImageError> {
    let mut start = Vec::new();
    let file = File::open(path).on("open", path)?;
    let size = fs::metadata(path).on("stat", path)?.len();
    file.take(MAGIC_BYTES as u64).read_to_end(&mut start).on("read", path)?;
    Ok((size, Codec::of(&start, || path.display().to_string())?))
}
