//! An ordinary user runs containers (runc's rootless mode): a user namespace is the only right they have.

// A helper of tests may fail like a test.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Bundle, Said, wait_until};

/// A user that this host does not know otherwise.
const USER: u32 = 54_321;

/// A bundle of the user's. Its container is in the user's own folder, so it is deleted there when a test fails.
struct Owned(Bundle);

impl Deref for Owned {
    type Target = Bundle;

    fn deref(&self) -> &Bundle {
        &self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let deleted = oci(self, &["delete", "--force", &self.id]);
        assert!(std::thread::panicking() || deleted.code == 0, "{deleted:?}");
    }
}

/// A bundle that belongs to the user, with one's own id mapped to root.
fn bundle(script: &str, change: impl FnOnce(&mut Value)) -> Owned {
    let bundle = Bundle::new(script, |c| {
        let own = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
        c["linux"]["uidMappings"] = own.clone();
        c["linux"]["gidMappings"] = own;
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        c["linux"].as_object_mut().unwrap().remove("cgroupsPath");
        change(c);
    });
    give_to_user(bundle.path());
    Owned(bundle)
}

fn give_to_user(path: &Path) {
    std::os::unix::fs::lchown(path, Some(USER), Some(USER)).unwrap();
    let meta = fs::symlink_metadata(path).unwrap();
    if meta.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give_to_user(&entry.unwrap().path()));
    }
}

/// The program, where the user may execute it.
fn program(bundle: &Bundle) -> std::path::PathBuf {
    let copy = bundle.path().join("program");
    if !copy.exists() {
        skiff_harness::copy_program(env!("CARGO_BIN_EXE_skiff-oci"), &copy);
    }
    copy
}

/// Runs the runtime as the user, its state below `XDG_RUNTIME_DIR`.
fn command(bundle: &Bundle, words: &[&str]) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(program(bundle));
    command.args(words).current_dir(bundle.path()).stdin(Stdio::null());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("XDG_RUNTIME_DIR", bundle.path());
    command.uid(USER).gid(USER);
    command
}

fn oci(bundle: &Bundle, words: &[&str]) -> Said {
    Said::of(command(bundle, words).output().unwrap())
}

fn start(bundle: &Bundle) {
    let out = fs::File::create(bundle.path().join("out")).unwrap();
    let mut create = command(bundle, &["create", &bundle.id]);
    let created = create.stdout(out.try_clone().unwrap()).stderr(out).status().unwrap();
    assert!(created.success(), "{}", bundle.output());
    oci(bundle, &["start", &bundle.id]).ok();
}

#[test]
fn an_ordinary_user_is_root_inside_and_nobody_outside() {
    let script = "id -u; id -g; hostname; tr -s ' ' < /proc/self/uid_map; ls /proc/1/fd; echo $$; \
                  stat -c '%u %a' /dev /bin/busybox; echo x > /dev/null; touch /made && stat -c %u /made; cat /proc/self/setgroups";
    let bundle = bundle(script, |_| ());
    bundle.applet("tr");
    let out = oci(&bundle, &["run", &bundle.id]).ok();
    assert_eq!(out, format!("0\n0\nbox\n 0 {USER} 1\n0\n1\n2\n1\n0 755\n0 755\n0\ndeny\n"));
    assert_eq!(fs::metadata(bundle.rootfs().join("made")).unwrap().uid(), USER);
    assert_eq!(fs::read_dir(bundle.path().join("skiff-oci")).unwrap().count(), 0, "nothing of its state is left");
}

#[test]
fn a_rootless_container_lives_as_any_other() {
    let bundle = bundle("trap 'exit 3' TERM; echo up; while true; do sleep 0.05; done", |c| {
        c["mounts"].as_array_mut().unwrap().extend([
            json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid"]}),
            json!({"destination": "/host", "type": "none", "source": "/bin", "options": ["rbind", "ro"]}),
        ]);
        c["linux"]["maskedPaths"] = json!(["/proc/keys", "/proc/acpi"]);
        c["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
        c["root"]["readonly"] = json!(true);
    });
    start(&bundle);
    wait_until("start", || bundle.output() == "up\n");
    let state: Value = serde_json::from_str(&oci(&bundle, &["state", &bundle.id]).ok()).unwrap();
    assert_eq!(state["status"], "running");
    let pid = state["pid"].as_i64().unwrap();
    assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), USER);
    let script = "id -u; readlink /proc/self/ns/pid; ls /host/busybox; touch /x 2>/dev/null || echo ro; \
                  echo 1 2>/dev/null > /proc/sys/kernel/ctrl-alt-del || echo no";
    let out = oci(&bundle, &["exec", &bundle.id, "sh", "-c", script]).ok();
    let namespace = fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
    assert_eq!(out, format!("0\n{}\n/host/busybox\nro\nno\n", namespace.display()));
    oci(&bundle, &["kill", &bundle.id, "TERM"]).ok();
    wait_until("end", || oci(&bundle, &["state", &bundle.id]).out.contains("stopped"));
    oci(&bundle, &["delete", &bundle.id]).ok();
    assert_eq!(oci(&bundle, &["list", "-q"]).ok(), "");
}

#[test]
fn without_cgroup_rights_only_limits_are_refused() {
    let limited = bundle("true", |c| c["linux"]["resources"] = json!({"pids": {"limit": 5}}));
    let said = oci(&limited, &["run", &limited.id]);
    assert!(said.code == 1 && said.err.contains("linux.resources: this user has no rights over cgroups"), "{said:?}");
    let rules = bundle("echo fine", |c| {
        c["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
        c["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}));
        fs::create_dir_all("/tmp").unwrap();
    });
    fs::create_dir_all(rules.rootfs().join("sys/fs/cgroup")).unwrap();
    give_to_user(rules.path());
    assert_eq!(oci(&rules, &["run", &rules.id]).ok(), "fine\n");
}

#[test]
fn without_a_user_namespace_the_reason_is_given() {
    let bundle = bundle("true", |c| {
        c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}]);
        c["linux"].as_object_mut().unwrap().retain(|key, _| !key.ends_with("Mappings"));
    });
    let said = oci(&bundle, &["run", &bundle.id]);
    assert!(said.err.contains("linux.namespaces: an ordinary user needs a user namespace"), "{said:?}");
}

#[test]
fn more_ids_than_ones_own_need_the_helpers() {
    let bundle = bundle("true", |c| {
        c["linux"]["uidMappings"] =
            json!([{"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": 300_000, "size": 10}]);
    });
    let mut command = command(&bundle, &["run", &bundle.id]);
    let said = Said::of(command.env("PATH", "/nowhere").output().unwrap());
    assert!(said.code == 1 && said.err.contains("linux.uidMappings: ") && said.err.contains("newuidmap"), "{said:?}");
}

/// Debian's helpers with a /etc/subuid of the test's own, in a mount namespace of the test's own.
#[test]
fn the_helpers_map_what_subuid_gives() {
    let name = "the_helpers_map_what_subuid_gives";
    if !support::has_program("newuidmap") {
        return support::skipped(name, "newuidmap is not installed");
    }
    let bundle = bundle("tr -s ' ' < /proc/self/uid_map; id -u; cat /proc/self/setgroups", |c| {
        let maps =
            json!([{"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": 300_000, "size": 10}]);
        c["linux"]["uidMappings"] = maps.clone();
        c["linux"]["gidMappings"] = maps;
        c["process"]["user"] = json!({"uid": 5, "gid": 5});
    });
    bundle.applet("tr");
    let etc = bundle.path().join("etc");
    fs::create_dir(&etc).unwrap();
    for (file, line) in [
        ("passwd", format!("plain:x:{USER}:{USER}::/:/bin/sh\n")),
        ("subuid", "plain:300000:10\n".to_owned()),
        ("subgid", "plain:300000:10\n".to_owned()),
    ] {
        let own = fs::read_to_string(Path::new("/etc").join(file)).unwrap_or_default();
        fs::write(etc.join(file), own + &line).unwrap();
        chown(etc.join(file), Some(0), Some(0)).unwrap();
    }
    let run = format!(
        "touch /etc/subuid /etc/subgid; for f in passwd subuid subgid; do mount --bind {0}/etc/$f /etc/$f; done; \
         export XDG_RUNTIME_DIR={0}; exec setpriv --reuid {USER} --regid {USER} --clear-groups {1} run {2}",
        bundle.path().display(),
        program(&bundle).display(),
        bundle.id
    );
    let mut outer = Command::new("unshare");
    outer.args(["-m", "--propagation", "private", "sh", "-ec", &run]).current_dir(bundle.path());
    let said = Said::of(outer.output().unwrap());
    assert_eq!(said.ok(), format!(" 0 {USER} 1\n 1 300000 10\n5\nallow\n"));
}
