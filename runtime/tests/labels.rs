//! Profiles of AppArmor, where the kernel has it on and `apparmor_parser` (of Debian, beside the peers) can load one. The
//! guests of `tests/vm` are such places.

// A helper of tests may fail like a test.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Bundle, Said, skipped};

const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";

/// A profile that the kernel knows until this is dropped: everything is allowed but writing to `/denied`.
struct Profile {
    name: String,
    folder: tempfile::TempDir,
    parser: PathBuf,
}

impl Profile {
    fn load(test: &str) -> Option<Self> {
        let parser = skiff_harness::peers_folder().join("apparmor_parser");
        if !is_on() || !parser.is_file() {
            skipped(test, "AppArmor is not on in this kernel, or apparmor_parser is not among the peers");
            return None;
        }
        let profile = Self { name: format!("skiff-test-{test}"), folder: tempfile::tempdir().unwrap(), parser };
        let rules = "capability, network, signal, ptrace, umount, mount, file, deny /denied w,";
        let text = format!("profile {} flags=(attach_disconnected,mediate_deleted) {{ {rules} }}\n", profile.name);
        fs::write(profile.file(), text).unwrap();
        profile.parse("--replace").ok();
        Some(profile)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("profile")
    }

    /// In mounts of its own, since the filesystem through which profiles come may not be mounted here.
    fn parse(&self, action: &str) -> Said {
        let script = "test -d /sys/kernel/security/apparmor || mount -t securityfs securityfs /sys/kernel/security; \
                      exec \"$0\" \"$1\" --skip-cache --base \"$2\" \"$3\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-ec", script]).arg(&self.parser).arg(action);
        Said::of(command.arg(self.folder.path()).arg(self.file()).output().unwrap())
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let removed = self.parse("--remove");
        assert!(std::thread::panicking() || removed.code == 0, "{removed:?}");
    }
}

fn is_on() -> bool {
    fs::read_to_string(ENABLED).is_ok_and(|text| text.starts_with('Y'))
}

fn bundle(script: &str, profile: Option<&str>) -> Bundle {
    Bundle::new(script, |c| c["process"]["apparmorProfile"] = profile.map_or(Value::Null, |name| json!(name)))
}

/// Who it is, and what it may write.
const SCRIPT: &str = "cat /proc/self/attr/current; echo x 2>/dev/null > /allowed && echo wrote; \
                      echo x 2>/dev/null > /denied || echo denied";

#[test]
fn a_container_runs_under_its_profile_and_so_does_what_joins() {
    let Some(profile) = Profile::load("first-process") else { return };
    let confined = format!("{} (enforce)\nwrote\ndenied\n", profile.name);
    assert_eq!(bundle(SCRIPT, Some(&profile.name)).run().ok(), confined);
    let long = bundle("sleep 60", Some(&profile.name));
    long.start();
    let pid = long.state()["pid"].to_string();
    let seen = fs::read_to_string(Path::new("/proc").join(pid).join("attr/current")).unwrap();
    assert_eq!(seen, format!("{} (enforce)\n", profile.name), "as the host sees it");
    assert_eq!(long.oci(&["exec", &long.id, "sh", "-c", SCRIPT]).ok(), confined);
}

#[test]
fn exec_may_have_a_profile_of_its_own() {
    let Some(profile) = Profile::load("joining") else { return };
    let free = bundle("sleep 60", None);
    free.start();
    let said = free.oci(&["exec", "--apparmor", &profile.name, &free.id, "sh", "-c", SCRIPT]);
    assert_eq!(said.ok(), format!("{} (enforce)\nwrote\ndenied\n", profile.name));
    assert_eq!(free.oci(&["exec", &free.id, "cat", "/proc/self/attr/current"]).ok(), "unconfined\n");
    let mut by_file = free.command(&["exec", "--process", "process.json", &free.id]);
    let process = json!({"user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", SCRIPT], "cwd": "/", "env": ["PATH=/bin"],
        "apparmorProfile": profile.name});
    fs::write(free.path().join("process.json"), process.to_string()).unwrap();
    let said = Said::of(by_file.stdin(Stdio::null()).output().unwrap());
    assert!(said.ok().starts_with(&profile.name));
}

#[test]
fn a_profile_that_is_not_loaded_is_an_error() {
    let unknown = bundle("echo ran", Some("skiff-test-nobody-loaded-this"));
    let said = unknown.run();
    let why = if is_on() { "label.set" } else { "process.apparmorProfile: this kernel has no AppArmor" };
    assert!(said.code == 1 && said.out.is_empty() && said.err.contains(why), "{said:?}");
}
