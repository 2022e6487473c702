//! Where this host has which cgroup controller, and a container's files there.

use super::{Bundle, Said};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// The two interfaces of cgroups(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// The interface of `controller` and the root of its hierarchy; `cgroup` is version 2 itself.
pub(crate) fn find(controller: &str) -> Option<(Version, PathBuf)> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().find_map(|line| {
        let (mount, superblock) = line.split_once(" - ")?;
        let root = PathBuf::from(mount.split(' ').nth(4)?);
        let mut words = superblock.split(' ');
        match (words.next()?, words.nth(1)?) {
            ("cgroup", options) => options.split(',').any(|word| word == controller).then_some((Version::One, root)),
            ("cgroup2", _) => {
                let own = fs::read_to_string(root.join("cgroup.controllers")).unwrap();
                let has = controller == "cgroup" || own.split_whitespace().any(|word| word == controller);
                has.then_some((Version::Two, root))
            }
            _ => None,
        }
    })
}

impl Bundle {
    /// A file of the container's group under `controller`, without the last newline; `-` when there is none.
    pub(crate) fn shows(&self, controller: &str, file: &str) -> String {
        let Some(path) = self.group(controller) else { return "-".to_owned() };
        fs::read_to_string(path.join(file)).map_or_else(|_| "-".to_owned(), |text| text.trim_end().to_owned())
    }

    /// The container's folder under `controller`.
    pub(crate) fn group(&self, controller: &str) -> Option<PathBuf> {
        find(controller).map(|(_, root)| root.join(self.cgroup().trim_start_matches('/')))
    }
}

/// A container with `resources` that does nothing.
pub(crate) fn sleeping(resources: &Value) -> Bundle {
    Bundle::new("sleep 60", |config| config["linux"]["resources"] = resources.clone())
}

/// `update --resources`, from a file.
pub(crate) fn update(bundle: &Bundle, resources: &Value) -> Said {
    let file = bundle.path().join("update.json");
    fs::write(&file, resources.to_string()).unwrap();
    bundle.oci(&["update", "--resources", file.to_str().unwrap(), &bundle.id])
}
