//! Stages to images: each step that changes files runs over the image of the step before, and what it wrote becomes a layer.
//!
//! The cache is the store itself. Every step has a key, made of the base and of all that was said and copied so far; it stands in the image's history, and a step
//! whose key some image has is not done again: the layers up to there are that image's. `skiff image prune` empties it.
//!
//! Mounts are made in a mount namespace of one thread, so a build that is killed leaves none.

mod cache; // which steps were done before
mod copy; // what a COPY does

use crate::container::{self, Network, Room};
use crate::dockerfile::{Dockerfile, Origin};
use crate::instruction::Step;
use crate::stage::{self, Building, Effect, Run, Work};
use crate::{BuildError, ignore::Ignore};
use cache::{Cache, Key};
use jiff::Timestamp;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use skiff_image::{Content, Digest, Found, Image, ImageStore, Item, Mounted, Packing};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of an image's list of users: 10,000 of 100 bytes.
const USERS_BYTES_MAX: u64 = 1 << 20;

/// What a build is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder whose files COPY takes.
    pub context: PathBuf,
    /// What `.dockerignore` says.
    pub ignore: String,
    /// The image's name; without one it has only an id.
    pub name: Option<String>,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// The stage that is wanted, by name or number; otherwise the last.
    pub target: Option<String>,
    /// How layers are written; its time is also the image's.
    pub packing: Packing,
    /// Whether steps that were done before are not done again.
    pub cached: bool,
    /// What RUN has.
    pub network: Network,
    /// The OCI runtime for RUN.
    pub runtime: PathBuf,
    /// An empty folder for mount points and bundles.
    pub work: PathBuf,
}

/// Who brings base images, and hears how far it is.
pub trait Bases: Sync {
    /// The image of this name, in the store.
    ///
    /// # Errors
    /// A sentence: there is no such image, or it could not be pulled.
    fn image(&self, name: &str) -> Result<Image, String>;

    /// A step begins, or was done before.
    fn step(&self, text: &str, done_before: bool);
}

/// Makes the image.
///
/// # Errors
/// The line that failed, and why. Nothing is named then; what was done so far is found again by the next try.
pub fn make(store: &ImageStore, file: &Dockerfile, options: &Options, bases: &dyn Bases) -> Result<Image, BuildError> {
    let whole = |why: String| BuildError::Whole(why);
    std::thread::scope(|scope| {
        let work = || {
            alone().map_err(|errno| BuildError::Whole(format!("make a mount namespace: {}", errno.desc())))?;
            let ignore = Ignore::read(&options.ignore).map_err(whole)?;
            forget_dead(store);
            let mut maker = Maker::new(store, file, options, bases, &ignore)?;
            let made = maker.all();
            maker.clean(made.is_ok());
            made
        };
        scope.spawn(work).join().unwrap_or_else(|_| Err(BuildError::Whole("the build panicked".to_owned())))
    })
}

/// A mount namespace for this thread; nothing that is mounted in it is seen outside.
fn alone() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
}

/// Releases what builds left that were killed.
fn forget_dead(store: &ImageStore) {
    for id in store.snapshots().unwrap_or_default() {
        if skiff_image::is_being_built(&id) == Some(false) {
            let _left_for_the_next = store.release(&id);
        }
    }
}

struct Maker<'a> {
    store: &'a ImageStore,
    file: &'a Dockerfile,
    options: &'a Options,
    bases: &'a dyn Bases,
    ignore: &'a Ignore,
    globals: BTreeMap<String, String>,
    cache: Cache,
    /// Images of stages that are done.
    stages: BTreeMap<usize, Image>,
    /// Images that stand for steps, in the order in which they were made.
    between: Vec<String>,
    /// Containers whose snapshots COPY --from reads.
    lent: Vec<String>,
    /// Mount points so far.
    mounts: u32,
}

/// A stage on its way.
struct Way<'a> {
    number: usize,
    building: Building<'a>,
    key: Key,
    /// The image of what there is so far, if one stands for it.
    image: Option<String>,
}

impl<'a> Maker<'a> {
    fn new(
        store: &'a ImageStore,
        file: &'a Dockerfile,
        options: &'a Options,
        bases: &'a dyn Bases,
        ignore: &'a Ignore,
    ) -> Result<Self, BuildError> {
        let mut globals = platform();
        globals.extend(file.global_values(&options.args)?);
        let cache = if options.cached { Cache::of(store) } else { Ok(Cache::default()) };
        let cache = cache.map_err(|error| BuildError::Whole(error.chain()))?;
        let (stages, between, lent) = (BTreeMap::new(), Vec::new(), Vec::new());
        Ok(Self { store, file, options, bases, ignore, globals, cache, stages, between, lent, mounts: 0 })
    }

    fn all(&mut self) -> Result<Image, BuildError> {
        let target = self.file.target(self.options.target.as_deref())?;
        let needed = self.file.needed(target, &self.globals)?;
        let globals = self.globals.clone();
        for (place, stage) in needed.iter().enumerate() {
            let image = self.stage(*stage, (place + 1, needed.len()), &globals)?;
            self.stages.insert(*stage, image);
        }
        let image = self.stages.get(&target).ok_or_else(|| BuildError::Whole("nothing was made".to_owned()))?;
        let Some(name) = &self.options.name else { return Ok(image.clone()) };
        self.store.tag(&image.id, name).map_err(|error| BuildError::Whole(error.chain()))
    }

    fn stage(
        &mut self,
        number: usize,
        of: (usize, usize),
        globals: &BTreeMap<String, String>,
    ) -> Result<Image, BuildError> {
        let stage = &self.file.stages[number];
        let prefix = if of.1 > 1 { format!("stage {}/{}, ", of.0, of.1) } else { String::new() };
        self.bases.step(&format!("[{prefix}step 1/{}] {}", stage.steps.len() + 1, stage.text), false);
        let (document, image) = self.base(number)?;
        let wrong = |why: String| BuildError::at(stage.line, format!("FROM: {why}"));
        let key = Key::of_base(image.as_deref(), self.options.packing);
        let building = Building::over(self.file, document, globals, &self.options.args).map_err(wrong)?;
        let mut way = Way { number, building, key, image };
        for (place, step) in stage.steps.iter().enumerate() {
            let text = format!("[{prefix}step {}/{}] {}", place + 2, stage.steps.len() + 1, step.text);
            self.step(&mut way, step, &text)?;
        }
        let last = way.building.document["history"].as_array().and_then(|all| all.last());
        let time = last.map_or_else(|| json!(self.time()), |entry| entry["created"].clone());
        way.building.document["created"] = self.options.packing.time_max.map_or(time, |_| json!(self.time()));
        let failed = |source| BuildError::Store { line: stage.line, instruction: stage.text.clone(), source };
        self.store.compose(&way.building.document, None, None).map_err(failed)
    }

    /// The configuration that the stage begins with, and the image that it is of.
    fn base(&self, number: usize) -> Result<(Value, Option<String>), BuildError> {
        let stage = &self.file.stages[number];
        let wrong = |why: String| BuildError::at(stage.line, format!("FROM: {why}"));
        if let Some(platform) = stage.platform.as_ref().filter(|platform| !platform.starts_with('$')) {
            let ours = &self.globals["TARGETPLATFORM"];
            if platform != ours {
                return Err(wrong(format!("--platform={platform}: images are made for this machine, {ours}")));
            }
        }
        let image = match self.file.base(number, &self.globals)? {
            Origin::Scratch => {
                return Ok((stage::scratch(&self.globals["TARGETOS"], &self.globals["TARGETARCH"]), None));
            }
            Origin::Stage(stage) => {
                self.stages.get(&stage).cloned().ok_or_else(|| wrong("it is not made".to_owned()))?
            }
            Origin::Image(name) => self.bases.image(&name).map_err(wrong)?,
        };
        let document = self.store.document(&image.id).map_err(|error| wrong(error.chain()))?;
        Ok((document, Some(image.id)))
    }

    fn step(&mut self, way: &mut Way<'_>, step: &Step, text: &str) -> Result<(), BuildError> {
        let Effect { said, work } = way.building.step(step)?;
        let wrong = |why: String| {
            let keyword = step.text.split_whitespace().next().unwrap_or_default();
            BuildError::at(step.line, format!("{keyword}: {why}"))
        };
        let copied = match &work {
            Work::Copy(copied) => Some(self.sources(way.number, copied).map_err(wrong)?),
            _ => None,
        };
        way.key = way.key.then(&said, copied.as_ref().map(|copied| copied.digest.as_str()));
        if let Some(known) = self.cache.get(&way.key) {
            self.bases.step(text, true);
            way.building.document["rootfs"]["diff_ids"] = json!(known.layers);
            way.building.document["history"] = json!(known.history);
            way.image = None;
            return Ok(());
        }
        self.bases.step(text, false);
        let mut entry = json!({"created": self.time(), "created_by": said, "comment": way.key.comment()});
        if matches!(work, Work::Nothing) {
            entry["empty_layer"] = json!(true);
            return push(&mut way.building.document["history"], entry).map_err(wrong);
        }
        let id = container::id(way.number, usize::try_from(step.line).unwrap_or(0));
        let done = self.over(way, &id, entry, |maker, rootfs| match &work {
            Work::Copy(_) => copied.as_ref().map_or(Ok(()), |copied| copied.put(rootfs)),
            Work::Folder(path, user) => folder(rootfs, path, user),
            Work::Run(run) => maker.run(rootfs, &id, run),
            Work::Nothing => Ok(()),
        });
        // What is left of a mount or a snapshot says nothing if the step failed: that is told.
        let _gone_or_told = self.store.release(&id);
        done.map_err(wrong)
    }

    /// Does work in the mounted image of what there is so far, and puts what was written on top of it.
    fn over(
        &mut self,
        way: &mut Way<'_>,
        id: &str,
        mut entry: Value,
        work: impl FnOnce(&mut Self, &Path) -> Result<(), String>,
    ) -> Result<(), String> {
        let image = match way.image.take() {
            Some(image) => image,
            None => self.stand_for(&way.building.document, None)?,
        };
        let text = |error: skiff_image::ImageError| error.chain();
        self.store.prepare(&image, id).map_err(text)?;
        let rootfs = self.mount(id)?;
        let done = work(self, &rootfs);
        self.store.unmount(&rootfs).map_err(text)?;
        done?;
        let layer = self.store.layer_of(id, self.options.packing).map_err(text)?;
        match &layer {
            Some(layer) => push(&mut way.building.document["rootfs"]["diff_ids"], json!(layer.diff_id))?,
            None => entry["empty_layer"] = json!(true),
        }
        push(&mut way.building.document["history"], entry)?;
        way.image = Some(self.stand_for(&way.building.document, layer)?);
        Ok(())
    }

    /// An image without a name for what there is so far.
    fn stand_for(&mut self, document: &Value, layer: Option<skiff_image::NewLayer>) -> Result<String, String> {
        let id = Digest::of(document.to_string().as_bytes()).to_string();
        let is_there = self.store.resolve(&id).is_ok_and(|found| found.is_some());
        let image = self.store.compose(document, layer, None).map_err(|error| error.chain())?;
        if !is_there {
            self.between.push(image.id.clone());
        }
        Ok(image.id)
    }

    /// Mounts the container's snapshot; the folder has no links on the way to it.
    fn mount(&mut self, id: &str) -> Result<PathBuf, String> {
        self.mounts += 1;
        let at = self.options.work.join(format!("root-{}", self.mounts));
        self.store.mount(id, &at, None).map_err(|error| error.chain())?;
        fs::canonicalize(&at).map_err(|error| format!("{}: {error}", at.display()))
    }

    fn run(&mut self, rootfs: &Path, id: &str, run: &Run) -> Result<(), String> {
        if run.args.is_empty() {
            return Err("there is nothing to run".to_owned());
        }
        let bundle = self.options.work.join(id);
        fs::create_dir_all(&bundle).map_err(|error| format!("{}: {error}", bundle.display()))?;
        let room = Room { runtime: &self.options.runtime, rootfs, bundle: &bundle, network: self.options.network };
        let (passwd, group) = users(rootfs)?;
        room.run(id, run, &container::user(&run.user, &passwd, &group)?)
    }

    fn time(&self) -> String {
        let now = || Timestamp::from_second(Timestamp::now().as_second());
        let time = self.options.packing.time_max.map_or_else(now, Timestamp::from_second);
        time.unwrap_or(Timestamp::UNIX_EPOCH).to_string()
    }

    /// Forgets images that stood for steps, but for those of stages; if the build failed, also not the last one, by which the next try finds its layers.
    fn clean(&mut self, made: bool) {
        for number in 1..=self.mounts {
            let _ends_with_the_thread = self.store.unmount(&self.options.work.join(format!("root-{number}")));
        }
        for id in &self.lent {
            let _left_for_the_next = self.store.release(id);
        }
        let mut kept: BTreeSet<String> = self.stages.values().map(|image| image.id.clone()).collect();
        kept.extend(self.between.last().filter(|_| !made).cloned());
        for id in self.between.iter().filter(|id| !kept.contains(*id)) {
            // It is an image like any other: whoever prunes finds it.
            let _left_for_prune = self.store.remove(id);
        }
    }
}

fn push(list: &mut Value, entry: Value) -> Result<(), String> {
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut()
        .map(|all| all.push(entry))
        .ok_or_else(|| "the base's configuration has no list where one belongs".to_owned())
}

/// What ARGs say of the machine without being told (Dockerfile reference, "Automatic platform ARGs").
fn platform() -> BTreeMap<String, String> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let whole = format!("linux/{architecture}");
    let all = ["BUILD", "TARGET"].into_iter().flat_map(|side| {
        [("PLATFORM", whole.as_str()), ("OS", "linux"), ("ARCH", architecture), ("VARIANT", "")]
            .map(|(name, value)| (format!("{side}{name}"), value.to_owned()))
    });
    all.collect()
}

/// The image's own `/etc/passwd` and `/etc/group`.
fn users(rootfs: &Path) -> Result<(String, String), String> {
    let mounted = Mounted::at(rootfs).map_err(|error| error.chain())?;
    let read = |path: &str| {
        let bytes = mounted.read(Path::new(path), USERS_BYTES_MAX).map_err(|error| error.chain())?;
        Ok::<_, String>(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    Ok((read("etc/passwd")?, read("etc/group")?))
}

/// Makes a working folder, unless there is one; it is the user's who works there.
fn folder(rootfs: &Path, path: &str, user: &str) -> Result<(), String> {
    let text = |error: skiff_image::ImageError| error.chain();
    let mounted = Mounted::at(rootfs).map_err(text)?;
    match mounted.find(Path::new(path)).map_err(text)? {
        Found::Folder => Ok(()),
        Found::Other => Err(format!("{path} is there and no folder")),
        Found::Nothing => {
            let (passwd, group) = users(rootfs)?;
            let user = container::user(user, &passwd, &group)?;
            mounted.put(&[new_folder(Path::new(path), (user.uid, user.gid))]).map_err(text)
        }
    }
}

fn new_folder(path: &Path, owner: (u32, u32)) -> Item {
    let mtime = Timestamp::now().as_second();
    Item { path: path.to_owned(), content: Content::Folder, owner, mode: 0o755, mtime, xattrs: Vec::new() }
}
