//! Cgroup paths: which one a container gets, and taking away what we made.
//!
//! The OCI runtime makes a container's cgroup and takes it away; its parents are ours (if we chose them) or the caller's.

use crate::error::{CriError, During};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// Where the hierarchies are mounted (cgroups(7)): on v2 the folder itself, on v1 its children.
const MOUNTS: &str = "/sys/fs/cgroup";

/// The parent of a sandbox's containers: the caller's choice, or ours.
pub(crate) fn parent(asked: &str, root: &str, sandbox_id: &str) -> Result<String, CriError> {
    if asked.is_empty() {
        return Ok(format!("{}/pods/{sandbox_id}", root.trim_end_matches('/')));
    }
    let plain = Path::new(asked).components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !asked.starts_with('/') || !plain {
        return Err(CriError::Invalid(format!("cgroup_parent `{asked}`: expected an absolute path without `..`")));
    }
    Ok(asked.trim_end_matches('/').to_owned())
}

/// Removes a cgroup that is ours and whatever is left below it, in every hierarchy; absent is fine.
pub(crate) fn remove(path: &str) -> Result<(), CriError> {
    let mut failed = Vec::new();
    for hierarchy in hierarchies() {
        if let Err(error) = remove_below(&hierarchy.join(path.trim_start_matches('/'))) {
            failed.push(error.chain());
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(CriError::Left(failed.join("; "))) }
}

/// All hierarchies' roots.
fn hierarchies() -> Vec<PathBuf> {
    if Path::new(MOUNTS).join("cgroup.controllers").exists() {
        return vec![PathBuf::from(MOUNTS)];
    }
    let entries = fs::read_dir(MOUNTS).into_iter().flatten().flatten();
    // v1 names some hierarchies twice, by links such as cpu -> cpu,cpuacct.
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn remove_below(folder: &Path) -> Result<(), CriError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).during(|| format!("list cgroup {}", folder.display())),
    };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_below(&entry.path())?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).during(|| format!("remove cgroup {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// A file of a cgroup: `controller` names the v1 hierarchy, v2 has only one.
pub(crate) fn read(controller: &str, path: &str, file: &str) -> Option<String> {
    let path = path.trim_start_matches('/');
    let v1 = Path::new(MOUNTS).join(controller).join(path).join(file);
    fs::read_to_string(v1).or_else(|_| fs::read_to_string(Path::new(MOUNTS).join(path).join(file))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_the_callers_or_ours() {
        assert_eq!(parent("", "/skiff", "abc").unwrap(), "/skiff/pods/abc");
        assert_eq!(parent("/kubepods/burstable/pod1/", "/skiff", "abc").unwrap(), "/kubepods/burstable/pod1");
        for bad in ["kubepods", "/a/../b", "system.slice:x:y"] {
            assert!(parent(bad, "/skiff", "abc").is_err(), "{bad}");
        }
    }
}
