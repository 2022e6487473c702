//! `exec --cgroup [CONTROLLERS:]PATH`: a directory below the container's own cgroup.

use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use std::path::{Component, Path};

/// `cgroup` with the directories that `words` name in place of those above them: one path for all (version 2), or one for
/// each list of controllers (version 1).
///
/// # Errors
/// A controller that is not there or is named twice, a path that is not below the container's, a directory that is missing.
pub(super) fn below(cgroup: &Cgroup, words: &[&str]) -> Result<Cgroup> {
    let mut changed = cgroup.clone();
    let mut seen: Vec<&str> = Vec::new();
    for word in words {
        let (controllers, path) = match word.split_once(':') {
            Some((controllers, path)) => (controllers.split(',').collect::<Vec<_>>(), path),
            None if words.len() == 1 => (Vec::new(), *word),
            None => return Err(refused(word, "has no controllers before a colon")),
        };
        if let Some(twice) = controllers.iter().find(|controller| seen.contains(controller) || controller.is_empty()) {
            return Err(refused(word, &format!("controller `{twice}` is empty or named twice")));
        }
        descend(&mut changed, cgroup, &controllers, word, path)?;
        seen.extend(controllers);
    }
    Ok(changed)
}

fn descend(changed: &mut Cgroup, cgroup: &Cgroup, controllers: &[&str], word: &str, path: &str) -> Result<()> {
    let path = Path::new(path.trim_start_matches('/'));
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(refused(word, "is not a path below the container's cgroup"));
    }
    for controller in controllers {
        if cgroup.directory(controller).is_none() {
            return Err(refused(word, &format!("the container has no cgroup with controller `{controller}`")));
        }
    }
    for (directory, own) in changed.directories.iter_mut().zip(&cgroup.directories) {
        let is_named = |name: &String| controllers.contains(&name.as_str());
        if controllers.is_empty() || directory.controllers.iter().any(is_named) {
            directory.path = own.path.join(path);
            if !directory.path.is_dir() {
                return Err(refused(word, &format!("{} does not exist", directory.path.display())));
            }
        }
    }
    Ok(())
}

fn refused(word: &str, reason: &str) -> Error {
    Error::Usage(format!("--cgroup {}: {reason}", word.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(root: &Path) -> Cgroup {
        let directory = |names: &[&str], path: &str| serde_json::json!({"controllers": names, "unified": false, "path": root.join(path), "made_from": null});
        let json =
            serde_json::json!({"directories": [directory(&["cpu", "cpuacct"], "cpu"), directory(&["pids"], "pids")]});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn only_what_is_named_and_there_changes() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("cpu/a/b")).unwrap();
        std::fs::create_dir_all(root.path().join("pids")).unwrap();
        let cgroup = cgroup(root.path());
        let changed = below(&cgroup, &["cpu:/a/b"]).unwrap();
        assert_eq!(changed.directories[0].path, root.path().join("cpu/a/b"));
        assert_eq!(changed.directories[1].path, root.path().join("pids"));
        assert_eq!(below(&cgroup, &[]).unwrap().directories[0].path, root.path().join("cpu"));
        for bad in [
            &["cpu:a", "cpuacct:c"][..],
            &["a"],
            &["cpu:../x"],
            &["x:a"],
            &["cpu:a", "cpu:a"],
            &[":a"],
            &["cpu:a", "a"],
        ] {
            assert!(below(&cgroup, bad).is_err(), "{bad:?}");
        }
    }
}
