//! Scans of what the registry has: what an image has installed is read once and kept in the folder `scans`; what is known of it is looked up each
//! time that it is asked for, in a database that others renew.

use crate::digest::Digest;
use crate::disk::blob_below;
use crate::error::{On, StorageError};
use crate::name::Name;
use crate::plan::Reference;
use crate::refusal::{Code, Refusal};
use crate::rules::matches;
use crate::state::{Repository, State};
use serde::Deserialize;
use serde_json::Value;
use skiff_scan::layer::Layer;
use skiff_scan::{Inventory, Report, Suppression};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use skiff_scan::{Database, Severity};

/// Scanning, as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scanning {
    /// The folder of the database.
    pub database: PathBuf,
    /// How often it is looked whether the database has changed.
    #[serde(default = "five_minutes")]
    pub every_seconds: u64,
    /// Findings that are accepted.
    #[serde(default)]
    pub suppressions: Vec<Suppression>,
}

fn five_minutes() -> u64 {
    300
}

impl Scanning {
    /// With this database, and nothing accepted.
    #[must_use]
    pub fn with(database: PathBuf) -> Self {
        Self { database, every_seconds: five_minutes(), suppressions: Vec::new() }
    }

    /// Whether its words are ones.
    ///
    /// # Errors
    /// What is wrong, with the field.
    pub fn check(&self) -> Result<(), String> {
        if self.every_seconds == 0 {
            return Err("everySeconds: a positive number is needed".to_owned());
        }
        for (index, one) in self.suppressions.iter().enumerate() {
            let is_day = |text: &String| text.parse::<jiff::civil::Date>().is_ok_and(|day| day.to_string() == *text);
            if !one.until.as_ref().is_none_or(is_day) {
                return Err(format!("suppressions[{index}].until: a day in the form of 2026-01-31 is needed"));
            }
        }
        Ok(())
    }
}

/// Findings of an image that are not accepted, by severity.
pub type Counts = BTreeMap<&'static str, usize>;

/// Scans the images of a registry's folder.
pub struct Scanner {
    root: PathBuf,
    scanning: Scanning,
    /// What was found last of each image that a tag names.
    found: Mutex<BTreeMap<(Name, Digest), Counts>>,
}

/// A report, and of what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Scanned {
    /// The repository.
    pub repository: Name,
    /// The image or index.
    pub digest: Digest,
    /// How often the database had been changed.
    pub database_revision: Option<u64>,
    /// What was found.
    pub report: Report,
}

impl Scanned {
    /// The document that callers get.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = serde_json::to_value(&self.report).unwrap_or_default();
        document["repository"] = self.repository.as_str().into();
        document["digest"] = self.digest.as_str().into();
        document["databaseRevision"] = self.database_revision.into();
        document
    }
}

/// What stopped a scan.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The registry's folder.
    #[error("scan an image")]
    Storage(#[from] StorageError),
    /// The database.
    #[error("look into the database of vulnerabilities")]
    Database(#[from] skiff_scan::DatabaseError),
}

impl From<ScanError> for Refusal {
    fn from(error: ScanError) -> Self {
        tracing::error!(error = skiff_distribution::chain(&error), "scan");
        Self::new(500, Code::Unknown, "the image could not be scanned; the registry's log says why")
    }
}

impl Scanner {
    /// Scans the images of the registry in `root`.
    #[must_use]
    pub fn new(root: &Path, scanning: Scanning) -> Self {
        Self { root: root.to_owned(), scanning, found: Mutex::default() }
    }

    /// How it was told to scan.
    #[must_use]
    pub fn scanning(&self) -> &Scanning {
        &self.scanning
    }

    /// Scans an image, or all images of an index that are here. `images` are its image manifests, as [`images`] finds them.
    ///
    /// # Errors
    /// The folder or the database cannot be read.
    pub fn scan(&self, repository: &Name, digest: &Digest, images: &[Digest]) -> Result<Scanned, ScanError> {
        let mut inventory = Inventory::default();
        for image in images {
            inventory.join(self.inventory(image)?);
        }
        let database = Database::at(&self.scanning.database);
        let database_revision = database.revision()?;
        let (known, absent) = database.known(&inventory)?;
        inventory.unscanned.extend(absent);
        if images.is_empty() {
            inventory.unscanned.insert("this has no layers of an image".to_owned());
        }
        let is_here = |one: &&Suppression| one.repositories.iter().any(|name| matches(name, repository.as_str()));
        let suppressions: Vec<&Suppression> = self.scanning.suppressions.iter().filter(is_here).collect();
        let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        let report = Report::of(&inventory, &known, &suppressions, &today);
        Ok(Scanned { repository: repository.clone(), digest: digest.clone(), database_revision, report })
    }

    /// What an image has installed: what was kept, or what its layers tell.
    fn inventory(&self, image: &Digest) -> Result<Inventory, StorageError> {
        let kept = self.kept(image);
        match fs::read(&kept) {
            // What is damaged is read anew.
            Ok(bytes) => {
                if let Ok(inventory) = serde_json::from_slice(&bytes) {
                    return Ok(inventory);
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).on("read", &kept),
        }
        let (inventory, whole) = self.read_layers(image)?;
        if whole {
            self.keep(&kept, &inventory)?;
        }
        Ok(inventory)
    }

    /// The inventory that an image's layers make, and whether all layers are here.
    fn read_layers(&self, image: &Digest) -> Result<(Inventory, bool), StorageError> {
        let path = blob_below(&self.root, image);
        let manifest: Value = serde_json::from_slice(&fs::read(&path).on("read", &path)?).unwrap_or_default();
        let (mut layers, mut unscanned, mut whole) = (Vec::new(), BTreeSet::new(), true);
        for descriptor in manifest["layers"].as_array().into_iter().flatten() {
            let Some(digest) = descriptor["digest"].as_str().and_then(|text| text.parse::<Digest>().ok()) else {
                continue;
            };
            match File::open(blob_below(&self.root, &digest)).map(Layer::read) {
                Ok(Ok(layer)) => layers.push(layer),
                Ok(Err(error)) => {
                    unscanned.insert(format!("layer {digest}: {error}"));
                }
                Err(error) => {
                    whole = false;
                    unscanned.insert(format!("layer {digest}: {error}"));
                }
            }
        }
        let mut inventory = Inventory::of(&layers);
        inventory.unscanned.extend(unscanned);
        Ok((inventory, whole))
    }

    fn scans(&self) -> PathBuf {
        self.root.join("scans")
    }

    fn kept(&self, image: &Digest) -> PathBuf {
        self.scans().join(format!("{}-{}.json", image.algorithm().name(), image.hex()))
    }

    /// Keeps an inventory. It can be made again, so a power cut may take it, but never halve it: who reads half of it reads none.
    fn keep(&self, path: &Path, inventory: &Inventory) -> Result<(), StorageError> {
        let folder = self.scans();
        fs::create_dir_all(&folder).on("make folder", &folder)?;
        let made = path.with_extension(format!("{}.new", uuid::Uuid::new_v4().simple()));
        fs::write(&made, serde_json::to_vec(inventory).unwrap_or_default()).on("write", &made)?;
        fs::rename(&made, path).on("rename", &made)
    }

    /// Removes what is kept of images that nobody holds any more.
    pub(crate) fn forget(&self, state: &dyn Fn(&Digest) -> bool) -> Result<(), StorageError> {
        let folder = self.scans();
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.on("list", &folder)?,
        };
        for entry in entries {
            let path = entry.on("list", &folder)?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).map(|stem| stem.replacen('-', ":", 1));
            let is_held = stem.and_then(|text| text.parse::<Digest>().ok()).is_some_and(|digest| state(&digest));
            if !is_held {
                fs::remove_file(&path).on("remove", &path)?;
            }
        }
        Ok(())
    }

    /// Remembers what was found; whether it is something else than before.
    pub(crate) fn remember(&self, scanned: &Scanned) -> bool {
        let key = (scanned.repository.clone(), scanned.digest.clone());
        let counts = scanned.report.counts.clone();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(key, counts.clone()).as_ref() != Some(&counts)
    }

    /// Forgets images that are not among these.
    pub(crate) fn remember_only(&self, images: &BTreeSet<(Name, Digest)>) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).retain(|image, _| images.contains(image));
    }

    /// Findings in all images that tags name.
    pub(crate) fn totals(&self) -> Counts {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut totals = Counts::new();
        for (word, count) in found.values().flatten() {
            *totals.entry(word).or_default() += count;
        }
        totals
    }
}

/// Whether a report is too bad to be pulled.
pub(crate) fn is_refused(report: &Report, from: Option<Severity>) -> bool {
    from.is_some_and(|from| report.worst().is_some_and(|worst| worst >= from))
}

/// The image manifests behind a manifest that a repository holds: itself, or those that an index lists.
#[must_use]
pub fn images(held: &Repository, digest: &Digest) -> Vec<Digest> {
    let mut images = Vec::new();
    held.add_with_parts(digest, &mut BTreeSet::new(), &mut images);
    // What is about another image is a signature or a list of parts.
    images.retain(|one| {
        let about = held.manifests.get(one).map(|manifest| &manifest.about);
        about.is_some_and(|about| about.manifests.is_empty() && about.blobs.len() > 1 && about.subject.is_none())
    });
    images
}

/// Which manifest a reference names in what is known, with its images.
///
/// # Errors
/// There is none.
pub fn target(state: &State, name: &Name, reference: &Reference) -> Result<(Digest, Vec<Digest>), Refusal> {
    let (digest, _) = crate::plan::resolve(state, name, reference)?;
    let held = state.repository(name).ok_or_else(|| Refusal::no_repository(name))?;
    let images = images(held, &digest);
    Ok((digest, images))
}
