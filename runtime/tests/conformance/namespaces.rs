//! config-linux.md: namespaces, made and entered; who is who; time; network devices.

use super::lab::{Bundle, Lab, Outcome, Verdict, must, same};
use super::{Row, row};
use serde_json::{Value, json};
use std::fs;

/// The specification's names and those of `/proc/PID/ns`.
const KINDS: [(&str, &str); 7] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn own(file: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{file}")).unwrap().display().to_string()
}

fn list(kinds: &[&str]) -> Value {
    kinds.iter().map(|kind| json!({"type": kind})).collect()
}

/// The namespace of kind `file` that a container with `namespaces` is in.
fn inside(lab: &Lab, file: &str, namespaces: Value) -> Result<String, Verdict> {
    let out = lab.says(&format!("readlink /proc/self/ns/{file}"), |c| c["linux"]["namespaces"] = namespaces)?;
    Ok(out.trim().to_owned())
}

/// A container that enters the namespace `kind` of another one.
fn enters(lab: &Lab, kind: &str, file: &str) -> Outcome {
    let other = lab.bundle("sleep 60", |c| {
        let all = c["linux"]["namespaces"].as_array_mut().unwrap();
        if !all.iter().any(|namespace| namespace["type"] == kind) {
            all.push(json!({"type": kind}));
        }
    });
    other.start()?;
    let path = format!("/proc/{}/ns/{file}", other.state()?["pid"]);
    let wanted = fs::read_link(&path).unwrap().display().to_string();
    let namespaces = KINDS.iter().filter(|(name, _)| ["mount", "pid", kind].contains(name));
    let namespaces = namespaces
        .map(|(name, _)| if *name == kind { json!({"type": name, "path": path}) } else { json!({"type": name}) });
    same(kind, inside(lab, file, namespaces.collect())?, wanted)
}

fn maps() -> Value {
    json!([{"containerID": 0, "hostID": 100_000, "size": 1000}, {"containerID": 1000, "hostID": 200_000, "size": 5}])
}

fn users(c: &mut Value) {
    c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    (c["linux"]["uidMappings"], c["linux"]["gidMappings"]) = (maps(), maps());
}

/// A bundle that people without rights can reach.
fn reachable(lab: &Lab, script: &str, change: impl FnOnce(&mut Value)) -> Bundle {
    use std::os::unix::fs::PermissionsExt;
    let bundle = lab.bundle(script, change);
    fs::set_permissions(bundle.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    bundle
}

pub(crate) const ROWS: &[Row] = &[
    row("config-linux, Namespaces", "each type without a path is a new one", |lab| {
        KINDS.iter().try_for_each(|(kind, file)| {
            let mut kinds = vec!["mount", "pid", "network", "ipc", "uts"];
            if !kinds.contains(kind) {
                kinds.push(kind);
            }
            let inside = inside(lab, file, list(&kinds))?;
            must(!inside.is_empty() && inside != own(file), || format!("{kind}: the container is in {inside:?}"))
        })
    }),
    row("config-linux, Namespaces", "each type that is not listed is the runtime's", |lab| {
        [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup"), ("time", "time"), ("user", "user")]
            .iter()
            .try_for_each(|(kind, file)| same(kind, inside(lab, file, list(&["mount", "pid"]))?, own(file)))
    }),
    row("config-linux, Namespaces: path", "pid", |lab| enters(lab, "pid", "pid")),
    row("config-linux, Namespaces: path", "network", |lab| enters(lab, "network", "net")),
    row("config-linux, Namespaces: path", "ipc", |lab| enters(lab, "ipc", "ipc")),
    row("config-linux, Namespaces: path", "uts", |lab| enters(lab, "uts", "uts")),
    row("config-linux, Namespaces: path", "cgroup", |lab| enters(lab, "cgroup", "cgroup")),
    row("config-linux, Namespaces: path", "time", |lab| enters(lab, "time", "time")),
    row("config-linux, Namespaces: path", "of another type is an error", |lab| {
        lab.refuses(|c| {
            c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "network", "path": "/proc/self/ns/uts"}])
        })
    }),
    row("config-linux, Namespaces: path", "must be absolute", |lab| {
        lab.refuses(|c| c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "network", "path": "ns"}]))
    }),
    row("config-linux, Namespaces: type", "twice is an error", |lab| {
        lab.refuses(|c| c["linux"]["namespaces"] = list(&["mount", "uts", "uts"]))
    }),
    row("config-linux, Namespaces: type", "an unknown one is an error", |lab| {
        lab.refuses(|c| c["linux"]["namespaces"] = list(&["mount", "dream"]))
    }),
    row("config-linux, User namespace mappings", "are the kernel's maps", |lab| {
        let bundle = reachable(lab, "cat /proc/self/uid_map /proc/self/gid_map", users);
        let out = bundle.oci(&["run", &bundle.id]).ok()?;
        let words: Vec<_> = out.split_whitespace().collect();
        same("maps", words.join(" ").as_str(), "0 100000 1000 1000 200000 5 0 100000 1000 1000 200000 5")
    }),
    row("config-linux, User namespace mappings", "root inside is nobody special outside", |lab| {
        let bundle = reachable(lab, "sleep 60", users);
        bundle.start()?;
        let status = fs::read_to_string(format!("/proc/{}/status", bundle.state()?["pid"])).unwrap();
        must(status.contains("Uid:\t100000\t"), || status)
    }),
    row("config-linux, User namespace mappings", "a new user namespace without them is an error", |lab| {
        lab.refuses(|c| c["linux"]["namespaces"] = list(&["mount", "pid", "user"]))
    }),
    row("config-linux, Offset for Time Namespace", "moves the clocks of a new time namespace", |lab| {
        lab.shows("cat /proc/self/timens_offsets", "boottime      1000000", |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
            c["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000}});
        })
    }),
    row("config-linux, Network Devices", "a device moves into the container, under its new name, and is up", |lab| {
        let bundle =
            lab.bundle("ip link show inner", |c| c["linux"]["netDevices"] = json!({"outer0": {"name": "inner"}}));
        let script = "ip link add outer0 type dummy || exit 77; exec \"$0\" \"$@\"";
        let runtime = bundle.command(&["run", &bundle.id]);
        let mut shell = std::process::Command::new("unshare");
        shell
            .args(["-n", "sh", "-c", script])
            .arg(runtime.get_program())
            .args(runtime.get_args())
            .current_dir(bundle.path(""));
        let output = shell.stdin(std::process::Stdio::null()).output().unwrap();
        if output.status.code() == Some(77) {
            return Err(Verdict::Skips("no dummy devices, or no ip".to_owned()));
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        must(said.contains("inner") && said.contains("UP"), || {
            format!("{said:?} {}", String::from_utf8_lossy(&output.stderr))
        })
    }),
    row("config-linux, Network Devices", "one that is not there is an error", |lab| {
        lab.refuses(|c| c["linux"]["netDevices"] = json!({"nosuchdevice0": {}}))
    }),
];
