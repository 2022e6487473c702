//! A bundle as podman makes it by default: all namespaces, limits, its profile of some 400 names, masks, device rules,
//! the files that it binds.

use super::programs;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// What podman leaves to a container's root (containers.conf(5), default_capabilities).
const CAPS: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A bundle of one program, with its own id, state folder and cgroup.
pub(crate) struct Bundle {
    directory: tempfile::TempDir,
    /// In memory, where every runtime keeps its state by default.
    state: tempfile::TempDir,
    pub(crate) id: String,
}

impl Bundle {
    /// A bundle for the runtime `name`, which executes `args`.
    pub(crate) fn new(name: &str, args: &[&str]) -> Self {
        let words = args.len();
        let id = format!("skiff-bench-{}-{}-{words}", name.replace(['.', ',', ' '], "-"), std::process::id());
        let state = tempfile::tempdir_in("/run").unwrap();
        let bundle = Self { directory: tempfile::tempdir().unwrap(), state, id };
        let rootfs = bundle.rootfs();
        for name in ["bin", "proc", "sys", "dev", "etc", "run", "tmp"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("Debian's busybox-static is installed");
        ["true", "sleep"].iter().for_each(|applet| symlink("busybox", rootfs.join("bin").join(applet)).unwrap());
        for file in ["etc/hosts", "etc/hostname", "etc/resolv.conf", "run/.containerenv"] {
            fs::write(rootfs.join(file), "").unwrap();
        }
        fs::write(bundle.path().join("bound"), "").unwrap();
        bundle.write(args, None);
        bundle
    }

    /// Writes config.json, with another memory limit if one is given.
    pub(crate) fn write(&self, args: &[&str], memory_bytes: Option<u64>) {
        let mut config = self.config(args);
        if let Some(bytes) = memory_bytes {
            config["linux"]["resources"]["memory"] = json!({"limit": bytes, "swap": bytes});
        }
        fs::write(self.path().join("config.json"), config.to_string()).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.path().join("pid")
    }

    fn mounts(&self) -> Value {
        let mount = |to: &str, kind: &str, options: &[&str]| json!({"destination": to, "type": kind, "source": kind, "options": options});
        let bound = |to: &str| json!({"destination": to, "type": "bind", "source": self.path().join("bound"), "options": ["bind", "rprivate"]});
        json!([
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536000"]),
            bound("/etc/hosts"),
            bound("/etc/hostname"),
            bound("/etc/resolv.conf"),
            bound("/run/.containerenv"),
        ])
    }

    fn config(&self, args: &[&str]) -> Value {
        let kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup"];
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0, "umask": 18, "additionalGids": [0]}, "args": args, "cwd": "/",
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "container=podman"],
                "capabilities": {"bounding": CAPS, "effective": CAPS, "permitted": CAPS},
                "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}, {"type": "RLIMIT_NPROC", "soft": 1024, "hard": 1024}],
                "noNewPrivileges": true, "oomScoreAdj": 0,
            },
            "root": {"path": self.rootfs()}, "hostname": "bench", "mounts": self.mounts(),
            "linux": {
                "cgroupsPath": format!("/{}", self.id),
                "namespaces": kinds.map(|kind| json!({"type": kind})),
                "resources": {
                    "devices": [{"allow": false, "access": "rwm"}],
                    "memory": {"limit": 268_435_456_u64, "swap": 536_870_912_u64}, "pids": {"limit": 2048},
                    "cpu": {"shares": 512, "quota": 150_000, "period": 100_000},
                },
                "seccomp": profile(),
                "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
                    "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/dev/block", "/sys/devices/virtual/powercap",
                    "/sys/firmware", "/sys/fs/selinux"],
                "readonlyPaths": ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            },
        })
    }
}

/// podman's profile for x86-64 and its default capabilities.
fn profile() -> Value {
    let written: Value =
        serde_json::from_slice(&fs::read(programs::profile().expect("was looked for first")).unwrap()).unwrap();
    let has = |rule: &Value, side: &str, key: &str, any: &dyn Fn(&str) -> bool| {
        let list = rule[side][key].as_array();
        list.map(|list| list.iter().any(|word| any(word.as_str().unwrap())))
    };
    let is_here = |word: &str| word == "amd64";
    let is_kept = |word: &str| CAPS.contains(&word);
    let applies = |rule: &&Value| {
        has(rule, "includes", "arches", &is_here) != Some(false)
            && has(rule, "includes", "caps", &is_kept) != Some(false)
            && has(rule, "excludes", "caps", &is_kept) != Some(true)
    };
    let rule = |rule: &Value| {
        let mut meant = json!({"names": rule["names"], "action": rule["action"]});
        for key in ["args", "errnoRet"] {
            if !rule[key].is_null() {
                meant[key] = rule[key].clone();
            }
        }
        meant
    };
    let rules: Vec<Value> = written["syscalls"].as_array().unwrap().iter().filter(applies).map(rule).collect();
    json!({"defaultAction": written["defaultAction"], "defaultErrnoRet": written["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": rules})
}
