//! CVE-2023-25809: cgroups of the host are writable in the container of an ordinary user.

use crate::control::{Victim, prove};
use crate::support::{self, Bundle, wait_until};
use serde_json::json;
use std::fs;
use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

const USER: u32 = 54_322;

/// A cgroup that the user owns on the host, as an engine or systemd delegates one.
struct Delegated(PathBuf);

impl Delegated {
    fn new() -> Self {
        let tree = if support::is_unified() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" };
        let path = Path::new(tree).join(format!("skiff-test-delegated-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(USER), Some(USER)).unwrap();
        Self(path)
    }

    fn child(&self) -> PathBuf {
        self.0.join("evil")
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let _not_made = fs::remove_dir(self.child());
        wait_until("the cgroup to go", || fs::remove_dir(&self.0).is_ok());
    }
}

/// Whether a rootless container makes a cgroup of the host below one that its user owns.
fn writes(victim: Victim) -> bool {
    let delegated = Delegated::new();
    let script = format!("mkdir {} 2>&1; true", delegated.child().display());
    let bundle = Bundle::new(&script, |c| {
        let own = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
        c["linux"]["uidMappings"] = own.clone();
        c["linux"]["gidMappings"] = own;
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        c["linux"].as_object_mut().unwrap().remove("cgroupsPath");
        c["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}));
    });
    fs::create_dir_all(bundle.rootfs().join("sys/fs/cgroup")).unwrap();
    let program = bundle.path().join("runtime");
    skiff_harness::copy_program(victim.program().unwrap(), &program);
    give(bundle.path());
    let mut command = std::process::Command::new(&program);
    if let Victim::Mutant(mistake) = victim {
        command.env("SKIFF_VULNERABLE", mistake);
    }
    command.arg("--root").arg(bundle.root()).args(["run", &bundle.id]).current_dir(bundle.path());
    let said = support::Said::of(command.uid(USER).gid(USER).output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    delegated.child().exists()
}

fn give(path: &Path) {
    lchown(path, Some(USER), Some(USER)).unwrap();
    if fs::symlink_metadata(path).unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

#[test]
fn cve_2023_25809_cgroups_of_the_host_are_to_be_looked_at_only() {
    prove(writes, &[Victim::Mutant("CVE-2023-25809")]);
}
