//! Replaces a whole set of files at once.
//!
//! ```text
//!  ..2026_11_21.x7/   the files                 written first
//!  ..data      → ..2026_11_21.x7                one rename(2) switches
//!  key         → ..data/key                     what containers open
//! ```
//!
//! A reader sees the old set or the new one, never a mixture (Kubernetes, "atomic writer").

use super::content::{File, Payload};
use nix::unistd::{Gid, Uid, chown};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// Whether the files were the same already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// They were.
    Unchanged,
    /// They were replaced.
    Replaced,
}

/// Makes `folder` show exactly `payload`; files belong to `group`, if one is given.
pub(super) fn write(folder: &Path, payload: &Payload, group: Option<u32>) -> io::Result<Change> {
    let current = fs::read_link(folder.join(DATA)).ok();
    if current.as_ref().is_some_and(|set| holds(&folder.join(set), payload)) {
        return Ok(Change::Unchanged);
    }
    let set = PathBuf::from(format!("..{}", uuid::Uuid::new_v4()));
    for (path, file) in payload {
        write_file(&folder.join(&set), path, file, group)?;
    }
    fs::create_dir_all(folder.join(&set))?;
    let next = folder.join(DATA_NEXT);
    remove_if_there(&next)?;
    symlink(&set, &next)?;
    fs::rename(&next, folder.join(DATA))?;
    show(folder, payload)?;
    if let Some(old) = current {
        fs::remove_dir_all(folder.join(old))?;
    }
    Ok(Change::Replaced)
}

fn write_file(set: &Path, path: &Path, file: &File, group: Option<u32>) -> io::Result<()> {
    let at = set.join(path);
    if let Some(parent) = at.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&at, &file.data)?;
    // The group must be able to read what it owns, whatever the mode says (Kubernetes, fsGroup).
    let mode = if group.is_some() { file.mode | 0o040 } else { file.mode };
    chown(&at, file.owner.map(Uid::from_raw), group.map(Gid::from_raw))?;
    fs::set_permissions(&at, fs::Permissions::from_mode(mode))
}

fn holds(set: &Path, payload: &Payload) -> bool {
    let same = |(path, file): (&PathBuf, &File)| fs::read(set.join(path)).is_ok_and(|data| data == file.data);
    payload.iter().all(same) && count_files(set).is_ok_and(|count| count == payload.len())
}

fn count_files(folder: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { count_files(&entry.path())? } else { 1 };
    }
    Ok(count)
}

/// Links the first component of each path, and removes links that lead nowhere now.
fn show(folder: &Path, payload: &Payload) -> io::Result<()> {
    let mut names: Vec<_> = payload.keys().filter_map(|path| path.components().next()).collect();
    names.dedup();
    for name in &names {
        let link = folder.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = name.to_string_lossy().starts_with("..");
        // A folder is what a subPath without a key made: a container may be looking at it.
        if !ours && entry.file_type()?.is_symlink() && !names.iter().any(|known| known.as_os_str() == name) {
            fs::remove_file(folder.join(name))?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |data: &str| File { data: data.into(), mode: 0o644, owner: None };
        files.iter().map(|(path, data)| (PathBuf::from(path), file(data))).collect()
    }

    #[test]
    fn a_set_replaces_a_set() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        assert_eq!(write(at, &payload(&[("a", "1"), ("d/b", "2")]), None).unwrap(), Change::Replaced);
        assert_eq!(fs::read_to_string(at.join("d/b")).unwrap(), "2");
        assert_eq!(write(at, &payload(&[("a", "1"), ("d/b", "2")]), None).unwrap(), Change::Unchanged);
        assert_eq!(write(at, &payload(&[("a", "3")]), None).unwrap(), Change::Replaced);
        assert_eq!(fs::read_to_string(at.join("a")).unwrap(), "3");
        assert!(fs::symlink_metadata(at.join("d")).is_err(), "the link to what is gone is gone");
        assert_eq!(fs::read_dir(at).unwrap().count(), 3, "one set, ..data and one link");
    }

    #[test]
    fn a_folder_that_a_sub_path_made_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        write(at, &payload(&[("a", "1")]), None).unwrap();
        fs::create_dir(at.join("made")).unwrap();
        assert_eq!(write(at, &payload(&[("b", "1")]), None).unwrap(), Change::Replaced);
        assert!(at.join("made").is_dir() && at.join("b").is_file());
    }

    #[test]
    fn an_empty_set_is_a_set() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(write(folder.path(), &payload(&[]), None).unwrap(), Change::Replaced);
        assert_eq!(write(folder.path(), &payload(&[]), None).unwrap(), Change::Unchanged);
    }
}
