//! `features`: what this runtime can do (runtime-spec features, features-linux).
//!
//! It is about the program and not about the host, by the specification: what a host lacks is refused when it is asked for.
//! The document is `features.json` beside this file. What it says can be checked without a kernel is checked here: every
//! word in it must be one that the reading of config.json takes.

use super::Context;
use crate::cli::Words;
use crate::error::{On, Result};
use crate::report::show;
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("features.json");

/// `features`.
pub(super) fn features(_context: &Context, _words: &Words) -> Result<u8> {
    show!("{:#}", document()?)?;
    Ok(0)
}

/// The words that tables of other modules know are taken from there.
fn document() -> Result<Value> {
    let mut document: Value = serde_json::from_str(DOCUMENT).on("read", "features.json")?;
    document["mountOptions"] = json!(crate::spec::MOUNT_OPTIONS);
    document["linux"]["seccomp"]["archs"] = json!(crate::seccomp::architectures());
    document["annotations"] = json!({"dev.skiff.oci.version": env!("CARGO_PKG_VERSION")});
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::config::{Config, Seccomp};
    use crate::spec::{MEMORY_FLAGS, MEMORY_MODES, Spec, VERSION};
    use std::collections::BTreeSet;
    use std::path::Path;

    fn document() -> Value {
        super::document().unwrap()
    }

    fn words(value: &Value) -> BTreeSet<String> {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn check(change: impl FnOnce(&mut Value)) -> Result<Spec> {
        let mut json = json!({
            "ociVersion": "1.2.0", "root": {"path": "r"}, "process": {"user": {}, "args": ["x"], "cwd": "/"},
            "linux": {"namespaces": [{"type": "mount"}]},
        });
        change(&mut json);
        let config: Config = serde_json::from_value(json).unwrap();
        Spec::check("c", Path::new("/b"), &config)
    }

    #[test]
    fn it_is_the_specifications_document() {
        let read: oci_spec::runtime::Features = serde_json::from_value(document()).unwrap();
        assert_eq!(read.oci_version_max(), VERSION);
        assert_eq!(words(&document()["linux"]["capabilities"]).len(), caps::all().len());
        assert!(
            words(&document()["linux"]["capabilities"]).iter().all(|name| name.parse::<caps::Capability>().is_ok())
        );
    }

    #[test]
    fn every_mount_option_of_it_is_taken_and_no_filesystem_gets_one_as_its_own() {
        for option in words(&document()["mountOptions"]) {
            let kind = if option == "tmpcopyup" { "tmpfs" } else { "bind" };
            let mut mount = json!({"destination": "/d", "type": kind, "source": "/s", "options": [option]});
            if option.contains("idmap") {
                let maps = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
                (mount["uidMappings"], mount["gidMappings"]) = (maps.clone(), maps);
            }
            let checked = check(|c| c["mounts"] = json!([mount]));
            assert!(checked.is_ok(), "{option}: {checked:?}");
        }
    }

    #[test]
    fn every_namespace_and_memory_policy_of_it_is_taken() {
        for kind in words(&document()["linux"]["namespaces"]) {
            let list = json!([{"type": "mount"}, {"type": kind, "path": "/p"}]);
            let checked = check(|c| c["linux"]["namespaces"] = list);
            assert!(kind == "mount" || checked.is_ok(), "{kind}: {checked:?}");
        }
        let names = |table: &[(&str, u32)]| table.iter().map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(words(&document()["linux"]["memoryPolicy"]["modes"]), names(MEMORY_MODES));
        assert_eq!(words(&document()["linux"]["memoryPolicy"]["flags"]), names(MEMORY_FLAGS));
    }

    #[test]
    fn every_seccomp_word_of_it_is_taken() {
        let seccomp = &document()["linux"]["seccomp"];
        for action in words(&seccomp["actions"]) {
            let written: Seccomp = serde_json::from_value(json!({"defaultAction": action})).unwrap();
            assert!(action == "SCMP_ACT_NOTIFY" || crate::seccomp::Filter::check(&written).is_ok(), "{action}");
        }
        for op in words(&seccomp["operators"]) {
            let rule =
                json!({"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": op}]});
            let written =
                json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule], "flags": seccomp["supportedFlags"]});
            assert!(crate::seccomp::Filter::check(&serde_json::from_value(written).unwrap()).is_ok(), "{op}");
        }
        assert!(words(&seccomp["knownFlags"]).is_superset(&words(&seccomp["supportedFlags"])));
    }
}
