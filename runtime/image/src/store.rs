//! The store: what the public methods do, in terms of index, layers and snapshots.

mod compose; // how are images made step by step?
mod heal; // are the layers what they were?
mod intake; // how do images come in?
mod names; // what does a user do with them?
mod save; // how do they go out?

pub use compose::NewLayer;
pub use heal::Verified;
pub(crate) use intake::{Entering, Staged};
pub use names::{Detail, LayerDetail, Room};

use crate::blobs::{self, Blobs};
use crate::configuration;
use crate::disk::{Disk, Locked, remove_tree};
use crate::documents::{self, Contents, Found};
use crate::error::{On, expect};
use crate::index::Index;
use crate::layers::Layers;
use crate::pull::Pulls;
use crate::seal;
use crate::source::Source;
use crate::users::Users;
use crate::{Builtin, Digest, Image, ImageError, Recipe, Reference, Snapshot, Usage, demo, snapshots};
use oci_spec::image::ImageConfiguration;
use skiff_step::{Engine, Step};
use skiff_sys::overlay::{Durability, Overlay};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

const IMPORT: Step = Step::new("image.import", "image-spec image-layout.md");
pub(crate) const UNPACK: Step = Step::new("image.unpack", "image-spec layer.md, Applying Changesets");
const COMMIT: Step = Step::new("image.commit", "syncfs(2), rename(2)");
const PREPARE: Step = Step::new("snapshot.prepare", "kernel overlayfs.rst, Upper and Lower");
const MOUNT: Step = Step::new("overlay.mount", "kernel overlayfs.rst, Multiple lower layers");
const UNMOUNT: Step = Step::new("overlay.unmount", "umount2(2), MNT_DETACH");
const RELEASE: Step = Step::new("snapshot.release", "cri-api RemoveContainer");

/// Images and snapshots below one folder. Cheap to clone; several processes may share the folder.
#[derive(Debug, Clone)]
pub struct ImageStore {
    pub(crate) disk: Disk,
    pub(crate) layers: Layers,
    pub(crate) blobs: Blobs,
    builtin: Builtin,
    pub(crate) engine: Engine,
    pub(crate) pulls: Pulls,
    /// Held while the demo image is built: ten pods that ask at once wait for one build.
    building: Arc<Mutex<()>>,
    /// Configurations that were read, by hexadecimal id. They never change: the id is their digest.
    read: Arc<Mutex<BTreeMap<String, ImageConfiguration>>>,
    /// This run of the machine.
    boot: Arc<str>,
    /// Layers that were compared since it began.
    sound: Arc<Mutex<BTreeSet<Digest>>>,
}

impl ImageStore {
    /// Opens (and makes) the store in `dir`; removes what a crash left unfinished.
    ///
    /// # Errors
    /// The folder cannot be made or read, or its name has a character that overlayfs separates folders with.
    pub fn open(dir: &Path, builtin: Builtin, engine: Engine) -> Result<Self, ImageError> {
        let store = Self::over(Disk::open(dir)?, builtin, engine);
        let locked = store.disk.lock()?;
        blobs::write_layout(&store.disk, &store.index()?.layout())?;
        drop(locked);
        Ok(store)
    }

    fn over(disk: Disk, builtin: Builtin, engine: Engine) -> Self {
        Self {
            layers: Layers::new(disk.layers()),
            blobs: Blobs::new(disk.blobs()),
            disk,
            builtin,
            engine,
            pulls: Pulls::default(),
            building: Arc::default(),
            read: Arc::default(),
            boot: seal::boot().into(),
            sound: Arc::default(),
        }
    }

    /// The same store, whose steps carry `id` (`<pod uid>/<attempt>`) in the trace.
    #[must_use]
    pub fn correlated(&self, id: Option<&str>) -> Self {
        Self { engine: self.engine.correlated(id), ..self.clone() }
    }

    /// Takes in the images of a docker-archive, an OCI archive or an OCI layout folder; `name` names the single image.
    ///
    /// # Errors
    /// The archive is malformed, hostile, too large or for another platform; nothing of it counts then.
    pub fn import(&self, archive_or_layout: &Path, name: Option<&str>) -> Result<Vec<Image>, ImageError> {
        let operand = || archive_or_layout.display().to_string();
        self.engine.run(&IMPORT, operand, || {
            let scratch = self.disk.scratch()?;
            let source = Source::open(archive_or_layout, scratch.path())?;
            let Contents { mut images, mut notes } = documents::contents(&source)?;
            if let Some(name) = name {
                rename_single(&mut images, name.parse()?)?;
            }
            let taken = self.take_in(&source, &images, &mut notes)?;
            for note in notes {
                tracing::warn!("import {}: {note}", operand());
            }
            Ok(taken)
        })
    }

    /// The image of this name, digest, id or unambiguous beginning of an id (12 digits at least).
    ///
    /// # Errors
    /// The text is neither a reference nor an id, or the store cannot be read.
    pub fn resolve(&self, reference_or_id: &str) -> Result<Option<Image>, ImageError> {
        let _locked = self.disk.lock()?;
        let index = self.index()?;
        index.find(reference_or_id)?.map(|id| self.image(&index, &id)).transpose()
    }

    /// All images, by id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        let _locked = self.disk.lock_to_read()?;
        let index = self.index()?;
        index.images.keys().map(|id| self.image(&index, id)).collect()
    }

    /// The same of the store in `dir`, which is not opened: nothing is made there, and nothing cleaned. No store has no images.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn list_at_rest(dir: &Path) -> Result<Vec<Image>, ImageError> {
        Self::over(Disk::at(dir)?, Builtin::default(), Engine::off()).list()
    }

    /// The demo image, built here unless it is there.
    pub(crate) fn demo(&self) -> Result<Image, ImageError> {
        // A builder that panicked left nothing half-made behind (see `import`), so its lock may be taken over.
        let _building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        match self.resolve(demo::NAME)? {
            Some(built_meanwhile) => Ok(built_meanwhile),
            None => self.build_demo(),
        }
    }

    /// Makes an image of what is on this host.
    ///
    /// # Errors
    /// The recipe makes no sense, or a file of it cannot be read; the store has no image of it then.
    pub fn build(&self, recipe: &Recipe) -> Result<Image, ImageError> {
        let scratch = self.disk.scratch()?;
        let archive = scratch.path().join("image.tar");
        recipe.write(scratch.path(), &archive)?;
        let mut images = self.import(&archive, None)?;
        images.pop().ok_or_else(|| ImageError::NotFound(recipe.name.clone()))
    }

    fn build_demo(&self) -> Result<Image, ImageError> {
        let scratch = self.disk.scratch()?;
        let archive = scratch.path().join("demo.tar");
        demo::build(self.builtin.web.as_deref(), &archive)?;
        let mut images = self.import(&archive, None)?;
        images.pop().ok_or_else(|| ImageError::NotFound(demo::NAME.to_owned()))
    }

    /// Forgets the image with all its names; its layers go when neither images nor snapshots need them. Absent is fine.
    ///
    /// # Errors
    /// The text is neither a reference nor an id, or the store cannot be written.
    pub fn remove(&self, reference_or_id: &str) -> Result<(), ImageError> {
        let locked = self.disk.lock()?;
        let mut index = self.index()?;
        if let Some(id) = index.find(reference_or_id)? {
            index.images.remove(&id);
            self.read.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            self.write_index(&locked, &index)?;
        }
        self.sweep(locked)
    }

    /// What images occupy, packed and unpacked, as `du` counts it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn usage(&self) -> Result<Usage, ImageError> {
        let _locked = self.disk.lock_to_read()?;
        let mut usage = Usage { at: self.disk.dir().to_owned(), bytes_used: 0, inodes_used: 0 };
        for diff in self.layers.all()? {
            let about = self.layers.about(&diff)?;
            usage.bytes_used += if about.disk_bytes > 0 { about.disk_bytes } else { about.bytes };
            usage.inodes_used += about.inodes;
        }
        for digest in self.blobs.all()? {
            let about = fs::metadata(self.blobs.path(&digest)).on("stat", self.blobs.path(&digest))?;
            usage.bytes_used += about.blocks() * 512;
            usage.inodes_used += 1;
        }
        Ok(usage)
    }

    /// Makes the container's snapshot, or gives the one it has.
    ///
    /// # Errors
    /// No such image, an id that is no file name, or the container has a snapshot of another image.
    pub fn prepare(&self, image_id: &str, container_id: &str) -> Result<Snapshot, ImageError> {
        snapshots::check_id(container_id)?;
        self.engine.run(
            &PREPARE,
            || format!("{container_id} of {image_id}"),
            || {
                self.ensure_layers(image_id)?;
                let _locked = self.disk.lock()?;
                let index = self.index()?;
                let id = index.find(image_id)?.ok_or_else(|| ImageError::NotFound(image_id.to_owned()))?;
                let wanted =
                    snapshots::Record { image_id: format!("sha256:{id}"), layers: index.images[&id].layers.clone() };
                match snapshots::read(&self.disk, container_id)? {
                    None => snapshots::make(&self.disk, &self.layers, container_id, &wanted)?,
                    Some(present) if present == wanted => {}
                    Some(present) => {
                        let reason = format!("it has a snapshot of {}, not of {}", present.image_id, wanted.image_id);
                        return Err(ImageError::malformed(format!("container {container_id}"), reason));
                    }
                }
                snapshots::describe(&self.disk, &self.layers, container_id, &wanted)
            },
        )
    }

    /// Mounts the container's snapshot at `at` (made if absent), without devices. For `users` of the container's own the image's files
    /// belong to those who have their owners' numbers there; they must be the same ones at each mount of a snapshot.
    ///
    /// # Errors
    /// No such snapshot, or the kernel refuses the overlay.
    pub fn mount(&self, container_id: &str, at: &Path, users: Option<&Users>) -> Result<(), ImageError> {
        let snapshot = self.snapshot(container_id)?;
        if !at.is_dir() {
            fs::create_dir(at).on("make folder", at)?;
        }
        // The kernel's mark of a volatile mount before this one; the machine has not lost power since, or nobody would come back to
        // the snapshot.
        remove_tree(&snapshot.work_dir.join("work/incompat"))?;
        let overlay = Overlay {
            lower: &snapshot.lower_dirs,
            upper: &snapshot.upper_dir,
            work: &snapshot.work_dir,
            durability: Durability::Volatile,
        };
        self.engine.run(
            &MOUNT,
            || format!("{container_id} at {}", at.display()),
            || {
                let mounted = match users {
                    None => overlay.mount(at),
                    Some(users) => {
                        snapshots::give_root(&snapshot, users)?;
                        overlay.mount_for(users.namespace.as_fd(), at)
                    }
                };
                mounted.map_err(std::io::Error::other).on("mount the snapshot at", at)
            },
        )
    }

    /// Unmounts what is mounted at `at`; nothing there is fine.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn unmount(&self, at: &Path) -> Result<(), ImageError> {
        use nix::errno::Errno;
        use nix::mount::{MntFlags, umount2};
        self.engine.run(
            &UNMOUNT,
            || at.display().to_string(),
            || {
                match umount2(at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                    // Not a mount point, or not there.
                    Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
                    unmounted => unmounted.on("unmount", at),
                }
            },
        )
    }

    /// Removes the container's snapshot and what it wrote. Absent is fine. Unmount it first.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn release(&self, container_id: &str) -> Result<(), ImageError> {
        self.retire(container_id)?.remove()
    }

    /// The first half of [`ImageStore::release`]: the container has no snapshot any more, and its files are aside, where the
    /// next opening of the store finds them if nobody removes them.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn retire(&self, container_id: &str) -> Result<snapshots::Retired, ImageError> {
        snapshots::check_id(container_id)?;
        self.engine.run(
            &RELEASE,
            || container_id.to_owned(),
            || {
                let locked = self.disk.lock()?;
                let stood_on = snapshots::read(&self.disk, container_id)?.map(|record| record.layers);
                let left = snapshots::retire(&self.disk, container_id)?;
                let images: BTreeSet<String> = self.index()?.layers().cloned().collect();
                // Only the layers of an image that was removed meanwhile can have become superfluous.
                if stood_on.is_none_or(|layers| layers.iter().all(|layer| images.contains(layer))) {
                    drop(locked);
                } else {
                    self.sweep(locked)?;
                }
                Ok(left)
            },
        )
    }

    /// The containers that have a snapshot.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn snapshots(&self) -> Result<Vec<String>, ImageError> {
        snapshots::ids(&self.disk)
    }

    /// The container's snapshot.
    ///
    /// # Errors
    /// There is none.
    pub fn snapshot(&self, container_id: &str) -> Result<Snapshot, ImageError> {
        snapshots::check_id(container_id)?;
        let record = snapshots::read(&self.disk, container_id)?;
        let record = record.ok_or_else(|| ImageError::NoSnapshot(container_id.to_owned()))?;
        snapshots::describe(&self.disk, &self.layers, container_id, &record)
    }

    /// What the container has written over its image.
    ///
    /// # Errors
    /// There is no such snapshot.
    pub fn snapshot_usage(&self, container_id: &str) -> Result<Usage, ImageError> {
        self.snapshot(container_id)?;
        let (bytes_used, inodes_used) = snapshots::written(&self.disk, container_id)?;
        Ok(Usage { at: self.disk.dir().to_owned(), bytes_used, inodes_used })
    }

    /// Removes layers, blobs and configurations that nothing needs. What is being taken in stands aside until it is listed.
    fn sweep(&self, locked: Locked) -> Result<(), ImageError> {
        let index = self.index()?;
        let mut needed: BTreeSet<String> = index.layers().cloned().collect();
        for id in snapshots::ids(&self.disk)? {
            needed.extend(snapshots::read(&self.disk, &id)?.into_iter().flat_map(|record| record.layers));
        }
        let mut retired = Vec::new();
        for diff in self.layers.all()?.into_iter().filter(|diff| !needed.contains(&diff.hex())) {
            let away = self.disk.tmp_name();
            self.layers.retire(&diff, &away)?;
            retired.push(away);
        }
        let needed: BTreeSet<&str> = index.blobs().collect();
        for digest in self.blobs.all()?.into_iter().filter(|digest| !needed.contains(digest.hex().as_str())) {
            let away = self.disk.tmp_name();
            self.blobs.retire(&digest, &away)?;
            retired.push(away);
        }
        for entry in fs::read_dir(self.disk.configs()).on("list", self.disk.configs())? {
            let entry = entry.on("list", self.disk.configs())?;
            if !index.images.contains_key(entry.file_name().to_string_lossy().as_ref()) {
                remove_tree(&entry.path())?;
            }
        }
        drop(locked);
        retired.iter().try_for_each(|path| remove_tree(path))
    }

    fn index(&self) -> Result<Index, ImageError> {
        let path = self.disk.index();
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Index::default()),
            read => read.on("read", &path)?,
        };
        serde_json::from_slice(&text).map_err(|error| ImageError::malformed(path.to_string_lossy(), error.to_string()))
    }

    fn write_index(&self, _locked: &Locked, index: &Index) -> Result<(), ImageError> {
        let text =
            serde_json::to_vec_pretty(index).map_err(|error| ImageError::malformed("index", error.to_string()))?;
        self.disk.write(&self.disk.index(), &text)?;
        blobs::write_layout(&self.disk, &index.layout())
    }

    fn image(&self, index: &Index, id: &str) -> Result<Image, ImageError> {
        let record = index.images.get(id).ok_or_else(|| ImageError::NotFound(id.to_owned()))?;
        Ok(Image {
            id: format!("sha256:{id}"),
            repo_tags: record.tags.iter().cloned().collect(),
            repo_digests: record.digests.iter().cloned().collect(),
            size_bytes: record.size_bytes,
            pinned: record.pinned,
            config: self.configuration(id)?,
        })
    }

    fn configuration(&self, id: &str) -> Result<ImageConfiguration, ImageError> {
        // A panic while it was held leaves whole configurations: each is put there at once.
        if let Some(config) = self.read.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(config.clone());
        }
        let text = self.configuration_bytes(id)?;
        let config = configuration::read(&text)?;
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), config.clone());
        Ok(config)
    }

    /// The document, checked against the id.
    fn configuration_bytes(&self, id: &str) -> Result<Vec<u8>, ImageError> {
        let digest = Digest::from_hex(id)?;
        if self.blobs.has(&digest) {
            return self.blobs.document(&digest);
        }
        // Images that came before content was kept have it elsewhere.
        let path = self.disk.configs().join(id);
        let text = fs::read(&path).on("read", &path)?;
        expect(path.display(), &digest, &Digest::of(&text))?;
        Ok(text)
    }
}

fn rename_single(found: &mut [Found], name: Reference) -> Result<(), ImageError> {
    let count = found.len();
    let [single] = found else {
        let reason = format!("it holds {count} images, and {name} can name only one");
        return Err(ImageError::malformed("archive", reason));
    };
    single.names = vec![name];
    Ok(())
}
