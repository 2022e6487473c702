//! What a user does with images that are there: names, pins, who needs what room, what nobody needs.

use super::ImageStore;
use crate::documents::{self, IndexOrManifest};
use crate::index::{Index, Record};
use crate::{Digest, Image, ImageError, Reference, snapshots};
use std::collections::{BTreeMap, BTreeSet};

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDetail {
    /// `sha256:…` of the unpacked archive.
    pub diff_id: String,
    /// `sha256:…` of the packed one; nothing of an image that came before that was kept.
    pub digest: Option<String>,
    /// Bytes of the packed one.
    pub packed_bytes: Option<u64>,
    /// Bytes on the disk, unpacked.
    pub disk_bytes: u64,
}

/// What the documents say of an image beside its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// `sha256:…` of the manifest for this machine; nothing of an image that came before it was kept.
    pub manifest: Option<String>,
    /// The manifest's media type.
    pub media_type: Option<String>,
    /// Lowest first.
    pub layers: Vec<LayerDetail>,
    /// The configuration's `history`, as it is.
    pub history: Vec<serde_json::Value>,
}

/// The room that an image takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Which.
    pub image: Image,
    /// Bytes that go when it goes.
    pub own_bytes: u64,
    /// Bytes that other images need, too.
    pub shared_bytes: u64,
    /// Containers whose snapshots stand on it.
    pub containers: u64,
}

impl ImageStore {
    /// Gives the image one more name, which may be another image's until now.
    ///
    /// # Errors
    /// There is no such image, or the name has no tag.
    pub fn tag(&self, image: &str, name: &str) -> Result<Image, ImageError> {
        let name: Reference = name.parse()?;
        let tagged = name.tagged().filter(|_| name.digest().is_none());
        let tagged =
            tagged.ok_or_else(|| ImageError::malformed(name.to_string(), "a name that is given ends in a tag"))?;
        self.change(image, |record| {
            record.tags.insert(tagged);
            record.local = true;
        })
    }

    /// Keeps the image from being removed to make room, or no longer.
    ///
    /// # Errors
    /// There is no such image.
    pub fn pin(&self, image: &str, pinned: bool) -> Result<Image, ImageError> {
        self.change(image, |record| record.pinned = pinned)
    }

    /// Changes what is listed of an image, and lists it so.
    pub(crate) fn change(&self, image: &str, change: impl FnOnce(&mut Record)) -> Result<Image, ImageError> {
        let locked = self.disk.lock()?;
        let mut index = self.index()?;
        let id = index.find(image)?.ok_or_else(|| ImageError::NotFound(image.to_owned()))?;
        let mut record = index.images.get(&id).cloned().unwrap_or_default();
        change(&mut record);
        let digest = Digest::from_hex(&id)?;
        let (pinned, local) = (record.pinned, record.local);
        index.put(&digest, record);
        if let Some(record) = index.images.get_mut(&id) {
            (record.pinned, record.local) = (pinned, local);
        }
        self.write_index(&locked, &index)?;
        self.image(&index, &id)
    }

    /// What is known of the image beside its configuration.
    ///
    /// # Errors
    /// There is no such image, or its documents cannot be read.
    pub fn detail(&self, image: &str) -> Result<Detail, ImageError> {
        let _locked = self.disk.lock_to_read()?;
        let index = self.index()?;
        let id = index.find(image)?.ok_or_else(|| ImageError::NotFound(image.to_owned()))?;
        let record = index.images.get(&id).cloned().unwrap_or_default();
        let content = record.content.as_ref();
        let blobs = match content {
            None => Vec::new(),
            Some(content) => {
                let bytes = self.blobs.document(&Digest::from_hex(&content.manifest)?)?;
                documents::parse::<IndexOrManifest>("manifest", &bytes)?.layers.unwrap_or_default()
            }
        };
        let layer = |(position, hex): (usize, &String)| {
            let about = self.layers.about(&Digest::from_hex(hex)?)?;
            let blob = blobs.get(position);
            Ok(LayerDetail {
                diff_id: format!("sha256:{hex}"),
                digest: blob.map(|blob| blob.digest.clone()),
                packed_bytes: blob.map(|blob| blob.size),
                disk_bytes: about.disk_bytes.max(about.bytes),
            })
        };
        let layers = record.layers.iter().enumerate().map(layer).collect::<Result<_, ImageError>>()?;
        let config: serde_json::Value = documents::parse("image configuration", &self.configuration_bytes(&id)?)?;
        Ok(Detail {
            manifest: content.map(|content| format!("sha256:{}", content.manifest)),
            media_type: content.map(|content| content.media_type.clone()),
            layers,
            history: config["history"].as_array().cloned().unwrap_or_default(),
        })
    }

    /// What room each image takes, alone and with others.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn room(&self) -> Result<Vec<Room>, ImageError> {
        let _locked = self.disk.lock_to_read()?;
        let index = self.index()?;
        let mut users: BTreeMap<(bool, &str), u64> = BTreeMap::new();
        for (id, record) in &index.images {
            parts(id, record).into_iter().for_each(|part| *users.entry(part).or_default() += 1);
        }
        let stand_on = self.stand_on()?;
        let mut all = Vec::new();
        for (id, record) in &index.images {
            let (mut own_bytes, mut shared_bytes) = (0, 0);
            for part in parts(id, record) {
                let bytes = self.part_bytes(part)?;
                if users[&part] == 1 { own_bytes += bytes } else { shared_bytes += bytes }
            }
            let containers = stand_on.iter().filter(|image| image.strip_prefix("sha256:") == Some(id)).count() as u64;
            all.push(Room { image: self.image(&index, id)?, own_bytes, shared_bytes, containers });
        }
        Ok(all)
    }

    fn part_bytes(&self, (unpacked, hex): (bool, &str)) -> Result<u64, ImageError> {
        let digest = Digest::from_hex(hex)?;
        if unpacked {
            return self.layers.about(&digest).map(|about| about.disk_bytes.max(about.bytes));
        }
        Ok(std::fs::metadata(self.blobs.path(&digest)).map_or(0, |about| about.len()))
    }

    /// The images, by id, that containers' snapshots stand on; each as often as it is used.
    fn stand_on(&self) -> Result<Vec<String>, ImageError> {
        let records = snapshots::ids(&self.disk)?.into_iter().map(|id| snapshots::read(&self.disk, &id));
        records.filter_map(Result::transpose).map(|record| record.map(|record| record.image_id)).collect()
    }

    /// Removes images that have no tag, or with `all` those that no container uses; pinned ones stay. What is removed.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn prune(&self, all: bool) -> Result<Vec<Image>, ImageError> {
        let locked = self.disk.lock()?;
        let mut index = self.index()?;
        let used: BTreeSet<String> = self.stand_on()?.into_iter().collect();
        let goes = |id: &str, record: &Record| {
            !record.pinned && !used.contains(&format!("sha256:{id}")) && (all || record.tags.is_empty())
        };
        let ids: Vec<String> =
            index.images.iter().filter(|(id, record)| goes(id, record)).map(|(id, _)| id.clone()).collect();
        let removed = ids.iter().map(|id| self.image(&index, id)).collect::<Result<Vec<_>, _>>()?;
        ids.iter().for_each(|id| drop(index.images.remove(id)));
        self.write_index(&locked, &index)?;
        self.sweep(locked)?;
        Ok(removed)
    }

    /// What a container, a push or an archive needs of an image: its id, and what is listed of it.
    pub(crate) fn listed(&self, image: &str) -> Result<(String, Record), ImageError> {
        let _locked = self.disk.lock_to_read()?;
        let mut index: Index = self.index()?;
        let id = index.find(image)?.ok_or_else(|| ImageError::NotFound(image.to_owned()))?;
        let record = index.images.remove(&id).unwrap_or_default();
        Ok((id, record))
    }
}

/// What lies on the disk for an image: layers (true) and blobs, each once.
fn parts<'a>(id: &'a str, record: &'a Record) -> BTreeSet<(bool, &'a str)> {
    let layers = record.layers.iter().map(|hex| (true, hex.as_str()));
    let blobs = record.content.iter().flat_map(|content| content.blobs(id)).map(|hex| (false, hex));
    layers.chain(blobs).collect()
}
