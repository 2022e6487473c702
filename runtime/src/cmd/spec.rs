//! `spec`: a config.json to start from.
//!
//! It is `spec.json` beside this file: a shell with every namespace but the user's, few capabilities, and the kernel's
//! dangerous files hidden.

use super::{Context, path};
use crate::cli::{Opt, Takes, Words};
use crate::error::{Error, On, Result};
use nix::unistd::{getegid, geteuid};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;

pub(super) const OPTIONS: &[Opt] =
    &[Opt("bundle", Some('b'), Takes::Value), Opt("rootless", None, Takes::Nothing), super::HELP];

const TEMPLATE: &str = include_str!("spec.json");

/// `spec [--bundle DIR] [--rootless]`: writes `config.json`, never over another one.
pub(super) fn spec(_context: &Context, words: &Words) -> Result<u8> {
    let bundle = path(words, "bundle")?.map_or_else(|| std::env::current_dir().on("find", "working directory"), Ok)?;
    let file = bundle.join("config.json");
    let text = match words.is_on("rootless") {
        true => rootless(geteuid().as_raw(), getegid().as_raw())?,
        false => TEMPLATE.to_owned(),
    };
    let mut opened = match OpenOptions::new().write(true).create_new(true).open(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::Said(format!("{} exists: remove it first", file.display())));
        }
        result => result.on("create", file.display())?,
    };
    opened.write_all(text.as_bytes()).on("write", file.display())?;
    Ok(0)
}

/// For an ordinary user: in a user namespace where `uid` and `gid` are root and nobody else exists, in the host's network,
/// and without limits, which need rights to a cgroup.
fn rootless(uid: u32, gid: u32) -> Result<String> {
    let mut config: Value = serde_json::from_str(TEMPLATE).on("read", "spec.json")?;
    config["linux"]["resources"] = Value::Null;
    for (name, id) in [("uidMappings", uid), ("gidMappings", gid)] {
        config["linux"][name] = json!([{"containerID": 0, "hostID": id, "size": 1}]);
    }
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({"type": "user"}));
    }
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        if let Some(options) = mount["options"].as_array_mut() {
            // Nobody but root is mapped, so the group of terminals cannot own any.
            options.retain(|option| option.as_str().is_none_or(|option| !option.starts_with("gid=")));
        }
        // sysfs belongs to a network namespace, and only its owner may mount it (sysfs(5)).
        if mount["type"] == "sysfs" {
            let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
            *mount = json!({"destination": "/sys", "type": "none", "source": "/sys", "options": options});
        }
    }
    Ok(format!("{config:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Spec, config, config::Config};
    use std::path::Path;

    fn check(text: &str) -> (Config, Spec) {
        let config: Config = config::parse("", "spec.json", text.as_bytes()).unwrap();
        let spec = Spec::check("c", Path::new("/b"), &config).unwrap();
        (config, spec)
    }

    #[test]
    fn both_are_bundles_that_can_run() {
        let (_, spec) = check(TEMPLATE);
        assert!(spec.readonly_root && spec.process.no_new_privileges);
        let (config, spec) = check(&rootless(1000, 1001).unwrap());
        assert_eq!((spec.uid_maps[0].outside, spec.gid_maps[0].outside), (1000, 1001));
        assert!(spec.namespaces.makes(libc::CLONE_NEWUSER) && !spec.namespaces.has(libc::CLONE_NEWNET));
        assert!(config.linux.unwrap().resources.is_none());
    }
}
