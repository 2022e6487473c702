//! COPY and ADD: sources are read before the image is mounted, so that a step that was done before is known without it.

use super::{Maker, new_folder, users};
use crate::container;
use crate::context::{self, Change, Source, Tree};
use crate::dockerfile::Origin;
use crate::ignore::Ignore;
use crate::instruction::Copied;
use skiff_image::{Found, ImageError, Item, Mounted};
use std::path::{Path, PathBuf};

/// What a COPY is about to put into an image.
pub(super) struct Copying<'a> {
    tree: Tree<'a>,
    sources: Vec<Source>,
    copied: Copied,
    mode: Option<u32>,
    /// Files of the context are root's, those of another image whose they were.
    keeps_owners: bool,
    time_max: Option<i64>,
    /// Of everything that is copied.
    pub(super) digest: String,
}

const NOTHING: &Ignore = &Ignore::none();

impl<'a> Maker<'a> {
    pub(super) fn sources(&mut self, stage: usize, copied: &Copied) -> Result<Copying<'a>, String> {
        let tree = match &copied.from {
            None => Tree::at(&self.options.context, self.ignore, "the context".to_owned())?,
            Some(from) => Tree::at(&self.mounted(stage, from)?, NOTHING, from.clone())?,
        };
        let sources = tree.find(&copied.sources)?;
        let mode = copied.mode.as_ref().map(|mode| octal(mode)).transpose()?;
        if copied.sources.len() > 1 && !copied.to.ends_with('/') {
            return Err(format!("{}: a place for several sources ends with /", copied.to));
        }
        let keeps_owners = copied.from.is_some();
        let owner = (!keeps_owners).then_some((0, 0));
        let change = Change { owner, mode, time_max: self.options.packing.time_max };
        let mut digests = Vec::new();
        for source in &sources {
            let items = tree.items(source, source.name(), change)?;
            digests.push(context::digest(&items)?);
        }
        let (digest, time_max) = (digests.join(" "), change.time_max);
        Ok(Copying { tree, sources, copied: copied.clone(), mode, keeps_owners, time_max, digest })
    }

    /// The root of another stage or image, mounted until the build ends.
    fn mounted(&mut self, stage: usize, from: &str) -> Result<PathBuf, String> {
        let image = match self.file.source(from, stage)? {
            Origin::Stage(other) => self.stages.get(&other).cloned().ok_or("it is not made")?,
            Origin::Image(name) => self.bases.image(&name)?,
            Origin::Scratch => return Err("--from=scratch: nothing is in it".to_owned()),
        };
        let id = container::id(stage, usize::try_from(self.mounts).unwrap_or(0)) + "-from";
        self.store.prepare(&image.id, &id).map_err(|error| error.chain())?;
        let at = self.mount(&id);
        self.lent.push(id);
        at
    }
}

impl Copying<'_> {
    /// Puts everything into the image that is mounted at `rootfs`.
    pub(super) fn put(&self, rootfs: &Path) -> Result<(), String> {
        let text = |error: ImageError| error.chain();
        let mounted = Mounted::at(rootfs).map_err(text)?;
        let owner = match &self.copied.owner {
            Some(owner) => Some(owner_of(owner, rootfs)?),
            None => (!self.keeps_owners).then_some((0, 0)),
        };
        let change = Change { owner, mode: self.mode, time_max: self.time_max };
        let to = Path::new(&self.copied.to);
        let found = mounted.find(to).map_err(text)?;
        let into_folder = self.copied.to.ends_with('/') || self.sources.len() > 1 || found == Found::Folder;
        for source in &self.sources {
            if self.copied.add && !source.is_folder() && mounted.unpack(source.real(), to).map_err(text)? {
                continue;
            }
            let place = if source.is_folder() || !into_folder { to.to_owned() } else { to.join(source.name()) };
            let needs_folder = if source.is_folder() { Some(to) } else { place.parent() };
            let mut items = Vec::new();
            if let Some(folder) = needs_folder {
                items.extend(missing(&mounted, folder, owner.unwrap_or((0, 0)))?);
            }
            items.extend(self.tree.items(source, &place, change)?);
            mounted.put(&items).map_err(text)?;
        }
        Ok(())
    }
}

/// The folders on the way to `folder`, and itself, as far as they are not there.
fn missing(mounted: &Mounted, folder: &Path, owner: (u32, u32)) -> Result<Vec<Item>, String> {
    let mut all = Vec::new();
    for path in folder.ancestors() {
        match mounted.find(path).map_err(|error| error.chain())? {
            Found::Folder => break,
            Found::Nothing => all.push(new_folder(path, owner)),
            Found::Other => return Err(format!("{} is there and no folder", path.display())),
        }
    }
    all.reverse();
    Ok(all)
}

/// `user[:group]`; a user alone gives its number to both.
fn owner_of(text: &str, rootfs: &Path) -> Result<(u32, u32), String> {
    let (passwd, group) = users(rootfs)?;
    let user = container::user(text, &passwd, &group).map_err(|why| format!("--chown={text}: {why}"))?;
    match (text.contains(':'), text.parse::<u32>()) {
        (false, Ok(uid)) => Ok((uid, uid)),
        _ => Ok((user.uid, user.gid)),
    }
}

fn octal(text: &str) -> Result<u32, String> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o7777);
    mode.ok_or_else(|| format!("--chmod={}: of modes only octal ones are implemented, as 0755", text.escape_debug()))
}
