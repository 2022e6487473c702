//! What a `.wh.` name means, and where it may stand (image-spec, layer.md, "Whiteouts").

use crate::ImageError;
use crate::inside::{self, Root};
use crate::tape::{Entry, Kind};
use nix::errno::Errno;
use nix::sys::stat::SFlag;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where AUFS, and thereby old docker, put files with several names: in the layer they are hard links to files in here.
pub(super) const PSEUDO_LINKS: &str = ".wh..wh.plnk";
/// Further bookkeeping of AUFS at the top of a layer.
const BOOKKEEPING: [&str; 2] = [".wh..wh.aufs", ".wh..wh.orph"];
const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What is to be hidden.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whiteout {
    /// Everything that lower layers have in this folder.
    Opaque,
    /// What lower layers have under this name.
    Name(OsString),
}

/// Whether the entry is AUFS's own and no part of the image. Files among the pseudo links are made, so that they can be linked to,
/// and [`clear`]ed at the end.
pub(super) fn is_bookkeeping(path: &Path, entry: &Entry) -> bool {
    let Some(top) = path.iter().next().and_then(OsStr::to_str) else { return false };
    let is_link_target = entry.kind == Kind::File && path.parent() == Some(Path::new(PSEUDO_LINKS));
    BOOKKEEPING.contains(&top) || (top == PSEUDO_LINKS && !is_link_target)
}

/// Removes the pseudo links; their other names stay.
pub(super) fn clear(root: &Root) -> Result<(), Errno> {
    let (top, name) = (root.folder(), OsStr::new(PSEUDO_LINKS));
    match inside::look(top, name)? {
        Some(about) => inside::remove(top, name, &about),
        None => Ok(()),
    }
}

/// Whether the entry is a whiteout, and of what.
pub(super) fn meaning(path: &Path, entry: &Entry) -> Result<Option<Whiteout>, ImageError> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let Some(hidden) = name.strip_prefix(PREFIX) else { return Ok(None) };
    let refuse = |reason: &str| Err(ImageError::malformed(path.to_string_lossy(), reason));
    if entry.kind != Kind::File {
        return refuse("a whiteout must be a file");
    }
    match hidden {
        _ if name == OPAQUE => Ok(Some(Whiteout::Opaque)),
        b"" | b"." | b".." => refuse("a whiteout of nothing, of the folder itself or of its parent"),
        _ if hidden.starts_with(PREFIX) => refuse("a whiteout of a whiteout"),
        _ => Ok(Some(Whiteout::Name(OsStr::from_bytes(hidden).to_owned()))),
    }
}

/// Nothing can be inside a whiteout.
pub(super) fn check_parents(parent: &Path) -> Result<(), ImageError> {
    if parent != Path::new(PSEUDO_LINKS) && parent.iter().any(|part| part.as_bytes().starts_with(PREFIX)) {
        return Err(ImageError::malformed(parent.to_string_lossy(), "a folder may not be named like a whiteout"));
    }
    Ok(())
}

/// Hides `name` of the layers below. What this very layer has under that name stays: a whiteout reaches lower layers only.
pub(super) fn put(parent: &File, name: &OsStr) -> Result<(), Errno> {
    match inside::look(parent, name)? {
        None => inside::make_whiteout(parent, name),
        Some(about) if inside::file_type(&about) == SFlag::S_IFDIR => {
            inside::make_opaque(&inside::open_child_folder(parent, name)?)
        }
        Some(_) => Ok(()),
    }
}
