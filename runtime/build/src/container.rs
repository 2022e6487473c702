//! A RUN in a container: the stage's files, namespaces of its own, the capabilities that every container has, no cgroup limits, and the
//! machine's network unless none is wanted.

use crate::stage::Run;
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What images are written for, since Docker's first days.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];
const MASKED: [&str; 8] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// Mount points that the runtime makes; what it made goes again, so that layers have nothing of it.
const POINTS: [&str; 5] = ["proc", "sys", "dev", "etc/resolv.conf", "etc/hosts"];

/// Which network a RUN has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The machine's.
    Host,
    /// None but its own loopback.
    None,
}

/// Who runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Where it runs.
pub(crate) struct Room<'a> {
    /// The OCI runtime.
    pub(crate) runtime: &'a Path,
    /// The mounted root.
    pub(crate) rootfs: &'a Path,
    /// A folder for the bundle and for the runtime's own state.
    pub(crate) bundle: &'a Path,
    pub(crate) network: Network,
}

impl Room<'_> {
    /// Runs the program to its end; what it writes goes to our standard error. It is an error if it fails.
    pub(crate) fn run(&self, id: &str, run: &Run, user: &User) -> Result<(), String> {
        let made = self.absent();
        let config = config(self, id, run, user).to_string();
        let at = self.bundle.join("config.json");
        fs::write(&at, config).map_err(|error| format!("write {}: {error}", at.display()))?;
        let ended = self.execute(id);
        made.iter().for_each(|path| self.take_away(path));
        ended
    }

    fn execute(&self, id: &str) -> Result<(), String> {
        let told = |error: std::io::Error| format!("{}: {error}", self.runtime.display());
        let out: OwnedFd = std::io::stderr().as_fd().try_clone_to_owned().map_err(told)?;
        let mut command = Command::new(self.runtime);
        command.arg("--root").arg(self.bundle.join("state")).arg("run").arg("--bundle").arg(self.bundle).arg(id);
        let status = command.stdin(Stdio::null()).stdout(Stdio::from(out)).status().map_err(told)?;
        match status.code() {
            Some(0) => Ok(()),
            Some(code) => Err(format!("it ended with exit code {code}")),
            None => Err(format!("the runtime ended: {status}")),
        }
    }

    /// Mount points that the image does not have.
    fn absent(&self) -> Vec<PathBuf> {
        let paths = POINTS.iter().map(|point| self.rootfs.join(point));
        paths.filter(|path| fs::symlink_metadata(path).is_err()).collect()
    }

    /// Removes an empty mount point; what the program put there stays.
    fn take_away(&self, path: &Path) {
        // A link on the way would lead out of the root.
        let is_inside = path.parent().is_some_and(|above| fs::canonicalize(above).is_ok_and(|real| real == above));
        let Ok(about) = fs::symlink_metadata(path) else { return };
        if !is_inside {
            return;
        }
        let _something_is_in_it = match about.is_dir() {
            true => fs::remove_dir(path),
            false if about.is_file() && about.len() == 0 => fs::remove_file(path),
            false => Ok(()),
        };
    }
}

fn config(room: &Room<'_>, id: &str, run: &Run, user: &User) -> Value {
    let mut env = run.env.clone();
    if !env.iter().any(|pair| pair.starts_with("HOME=")) {
        env.push(format!("HOME={}", user.home));
    }
    let mut namespaces =
        vec![json!({"type": "mount"}), json!({"type": "pid"}), json!({"type": "ipc"}), json!({"type": "uts"})];
    if room.network == Network::None {
        namespaces.push(json!({"type": "network"}));
    }
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
            "args": run.args,
            "env": env,
            "cwd": run.workdir,
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
        },
        "root": {"path": room.rootfs},
        "hostname": "build",
        "mounts": mounts(room),
        "linux": {
            "cgroupsPath": format!("/skiff/build/{id}"),
            "namespaces": namespaces,
            "maskedPaths": MASKED,
            "readonlyPaths": READONLY,
            "seccomp": seccomp(),
        },
    })
}

fn mounts(room: &Room<'_>) -> Vec<Value> {
    let mount = |to: &str, kind: &str, options: &[&str]| json!({"destination": to, "type": kind, "source": kind, "options": options});
    let mut all = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    if room.network == Network::Host {
        let names = ["/etc/resolv.conf", "/etc/hosts"].into_iter().filter(|file| Path::new(file).is_file());
        all.extend(
            names.map(|file| json!({"destination": file, "type": "bind", "source": file, "options": ["rbind", "ro"]})),
        );
    }
    all
}

/// Calls that change the machine rather than the container. Most fail without capabilities anyway; this closes doors of the kernel.
fn seccomp() -> Value {
    let refused = [
        "add_key",
        "bpf",
        "delete_module",
        "finit_module",
        "fsconfig",
        "fsmount",
        "fsopen",
        "fspick",
        "init_module",
        "io_uring_enter",
        "io_uring_register",
        "io_uring_setup",
        "kexec_file_load",
        "kexec_load",
        "keyctl",
        "mount",
        "mount_setattr",
        "move_mount",
        "open_by_handle_at",
        "open_tree",
        "perf_event_open",
        "pivot_root",
        "quotactl",
        "reboot",
        "request_key",
        "setns",
        "swapoff",
        "swapon",
        "umount2",
        "userfaultfd",
    ];
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": refused, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    })
}

/// The user of `name[:group]`, by the image's own files (passwd(5), group(5)).
pub(crate) fn user(text: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (name, wanted) = text.split_once(':').map_or((text, None), |(name, group)| (name, Some(group)));
    let name = if name.is_empty() { "0" } else { name };
    let number = name.parse::<u32>().ok();
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let fits = |fields: &Vec<&str>| {
        fields.len() >= 6 && (fields[0] == name || number.is_some_and(|uid| fields[2].parse() == Ok(uid)))
    };
    let known = fields.into_iter().find(fits);
    let (uid, gid, home, known_name) = match (&known, number) {
        (Some(fields), _) => {
            let of = |place: usize| {
                fields[place].parse::<u32>().map_err(|_| format!("user {name}: /etc/passwd has no number for it"))
            };
            (of(2)?, of(3)?, fields[5].to_owned(), fields[0])
        }
        (None, Some(uid)) => (uid, 0, "/".to_owned(), ""),
        (None, None) => return Err(format!("user {}: /etc/passwd of the image has no such user", name.escape_debug())),
    };
    let mut groups = Vec::new();
    let gid = match wanted {
        Some(wanted) => group_id(wanted, group)?,
        None => {
            groups = member_of(known_name, group);
            gid
        }
    };
    Ok(User { uid, gid, groups, home })
}

fn group_id(text: &str, group: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let mut lines = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = lines.find(|fields| fields[0] == text).and_then(|fields| fields.get(2)?.parse().ok());
    found.ok_or_else(|| format!("group {}: /etc/group of the image has no such group", text.escape_debug()))
}

fn member_of(name: &str, group: &str) -> Vec<u32> {
    let lines = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let is_in =
        |fields: &Vec<&str>| !name.is_empty() && fields.get(3).is_some_and(|all| all.split(',').any(|one| one == name));
    lines.filter(is_in).filter_map(|fields| fields[2].parse().ok()).collect()
}

/// A name for containers of this process that no other has.
pub(crate) fn id(stage: usize, step: usize) -> String {
    format!("build-{}-{stage}-{step}", Pid::this())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nann:x:7:8::/home/ann:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:bob,ann\n";

    #[test]
    fn users_are_looked_up_in_the_image() {
        let of = |text: &str| user(text, PASSWD, GROUP);
        assert_eq!(of("").unwrap(), User { uid: 0, gid: 0, groups: vec![], home: "/root".to_owned() });
        assert_eq!(of("ann").unwrap(), User { uid: 7, gid: 8, groups: vec![50], home: "/home/ann".to_owned() });
        assert_eq!(of("7").unwrap().gid, 8);
        assert_eq!((of("ann:staff").unwrap().gid, of("9:9").unwrap().gid, of("9").unwrap().gid), (50, 9, 0));
        assert!(of("zed").unwrap_err().contains("zed") && of("ann:zed").unwrap_err().contains("group zed"));
    }
}
