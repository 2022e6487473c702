//! A bundle with a busybox rootfs, and the runtime's command line around it. Dropping a bundle deletes its container and
//! checks that no cgroup is left.

// A helper of tests may fail like a test.
#![allow(clippy::unwrap_used)]
// Each file of tests uses what it needs.
#![allow(dead_code)]

pub(crate) mod call;
pub(crate) mod groups;

use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for something that must happen: long enough for a loaded machine, since it only bounds a failure.
const PATIENCE: Duration = Duration::from_secs(60);
const APPLETS: &[&str] = &[
    "sh", "cat", "wc", "echo", "id", "true", "sleep", "ls", "stat", "grep", "hostname", "touch", "mkdir", "readlink",
    "tty",
];

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A bundle and the folder for the state of its container.
pub(crate) struct Bundle {
    directory: tempfile::TempDir,
    /// What starts the runtime, where that is not the test itself.
    before: Vec<String>,
    /// Ours, or a peer with the same command line.
    runtime: OsString,
    /// Global options.
    options: Vec<String>,
    /// The container's id, different for every bundle.
    pub(crate) id: String,
}

impl Bundle {
    /// A bundle whose shell runs `script`, with `change` made to its config.json.
    pub(crate) fn new(script: &str, change: impl FnOnce(&mut Value)) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("test-{}-{number}", std::process::id());
        let bundle = Self {
            directory: tempfile::tempdir().unwrap(),
            before: Vec::new(),
            runtime: program(),
            options: Vec::new(),
            id,
        };
        let rootfs = bundle.rootfs();
        for name in ["bin", "proc", "sys", "dev", "tmp", "etc"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        skiff_harness::copy_program("/bin/busybox", rootfs.join("bin/busybox"));
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        let mut config = bundle.template(script);
        change(&mut config);
        fs::write(bundle.config(), config.to_string()).unwrap();
        bundle
    }

    fn template(&self, script: &str) -> Value {
        let tmpfs = |path: &str, mode: &str| json!({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", mode]});
        json!({
            "ociVersion": "1.2.0",
            "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", script], "cwd": "/",
                        "env": ["PATH=/bin", "TERM=xterm"], "noNewPrivileges": true},
            "root": {"path": "rootfs"},
            "hostname": "box",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                tmpfs("/dev", "mode=755"),
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
            ],
            "linux": {
                "cgroupsPath": self.cgroup(),
                "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}],
            },
        })
    }

    /// The same, whose runtime is started by `words`.
    pub(crate) fn through(mut self, words: &[&str]) -> Self {
        self.before = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// The same, with a global option in every command.
    pub(crate) fn through_option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// The same, run by a peer with runc's command line, if `SKIFF_PEERS` has it.
    pub(crate) fn by_peer(mut self, name: &str) -> Option<Self> {
        let program = PathBuf::from(std::env::var_os("SKIFF_PEERS")?).join(name);
        program.exists().then(|| {
            self.runtime = program.into();
            self
        })
    }

    /// The container's cgroup, below each hierarchy's root.
    pub(crate) fn cgroup(&self) -> String {
        format!("/skiff-test-{}", self.id)
    }

    /// The content of a file of the container's cgroup, where `controller` has it.
    pub(crate) fn cgroup_file(&self, controller: &str, file: &str) -> String {
        let hierarchy = if is_unified() { String::new() } else { format!("/{controller}") };
        let path = format!("/sys/fs/cgroup{hierarchy}{}/{file}", self.cgroup());
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("config.json")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path().join("state")
    }

    /// `skiff-oci --root … WORDS`, with stdio away from the terminal.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut start = self.before.iter().map(OsString::from).chain([self.runtime.clone()]);
        let mut command = Command::new(start.next().unwrap());
        command
            .args(start)
            .args(&self.options)
            .arg("--root")
            .arg(self.root())
            .args(words)
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn oci(&self, words: &[&str]) -> Said {
        Said::of(self.command(words).output().unwrap())
    }

    /// `run`, to its end.
    pub(crate) fn run(&self) -> Said {
        self.oci(&["run", &self.id])
    }

    /// `create`, with the container's output in a file: a pipe of ours would stay open for as long as the container lives.
    pub(crate) fn create(&self) {
        let out = fs::File::create(self.path().join("out")).unwrap();
        let err = self.path().join("err");
        let status = self.command(&["create", &self.id]).stdout(out).stderr(fs::File::create(&err).unwrap()).status();
        assert!(status.unwrap().success(), "create: {}", fs::read_to_string(&err).unwrap());
    }

    /// [`Bundle::create`] and `start`.
    pub(crate) fn start(&self) {
        self.create();
        let started = self.oci(&["start", &self.id]);
        assert_eq!(started.code, 0, "{started:?}");
    }

    /// The output of a started container so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.path().join("out")).unwrap()
    }

    /// The word of `state`.
    pub(crate) fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    /// The whole of `state`.
    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.oci(&["state", &self.id]).out).unwrap()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let deleted = self.oci(&["delete", "--force", &self.id]);
        if !std::thread::panicking() {
            assert_eq!((deleted.code, deleted.err.as_str()), (0, ""));
            assert_eq!(self.cgroups_left(), Vec::<PathBuf>::new(), "left behind");
            assert!(!self.root().join(&self.id).exists());
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!mounts.contains(self.path().to_str().unwrap()), "a mount is left on the host");
        }
    }
}

impl Bundle {
    /// The directories of the container's cgroup that there are.
    pub(crate) fn cgroups_left(&self) -> Vec<PathBuf> {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
        let places = hierarchies.chain(["/sys/fs/cgroup".into()]);
        let places = places.map(|hierarchy| hierarchy.join(self.cgroup().trim_start_matches('/')));
        places.filter(|place| place.exists()).collect()
    }

    /// Gives the rootfs another program of busybox.
    pub(crate) fn applet(&self, name: &str) {
        let link = self.rootfs().join("bin").join(name);
        if !link.exists() {
            symlink("busybox", link).unwrap();
        }
    }
}

/// Starts a program of the host that stays until it is killed.
pub(crate) fn holder(words: &[&str]) -> std::process::Child {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().unwrap()
}

/// Whether the host has this program.
pub(crate) fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).exists())
}

/// Says that a test cannot run here, in the words that are counted.
pub(crate) fn skipped(test: &str, why: &str) {
    println!("SKIPPED: {test}: {why}");
}

/// Whether this host has cgroups of version 2 only.
pub(crate) fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// A folder of the host that is a mount of its own, with files and mounts in it, all gone when dropped.
pub(crate) struct Host(tempfile::TempDir);

impl Host {
    /// A private tmpfs.
    pub(crate) fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        mount_tmpfs(host.path());
        host
    }

    /// A private folder on the filesystem of temporary folders: before Linux 6.3, a tmpfs cannot map its owners.
    pub(crate) fn on_disk() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        bind_private(host.path());
        host
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        fs::write(self.path().join(name), content).unwrap();
    }

    pub(crate) fn directory(&self, name: &str) {
        fs::create_dir_all(self.path().join(name)).unwrap();
    }

    /// Mounts a tmpfs at `name`.
    pub(crate) fn tmpfs(&self, name: &str) {
        self.directory(name);
        mount_tmpfs(&self.path().join(name));
    }

    /// Mounts a folder of the same filesystem at `name`.
    pub(crate) fn bind(&self, name: &str) {
        self.directory(name);
        bind_private(&self.path().join(name));
    }

    /// Lets mounts below it spread to its copies and back.
    pub(crate) fn share(&self) {
        use nix::mount::{MsFlags, mount};
        let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
        mount(None::<&str>, self.path(), None::<&str>, flags, None::<&str>).unwrap();
    }

    /// Takes away what may be mounted at `name`.
    pub(crate) fn unmount(&self, name: &str) {
        let _nothing_may_be_there = nix::mount::umount2(&self.path().join(name), nix::mount::MntFlags::MNT_DETACH);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        nix::mount::umount2(self.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}

fn bind_private(at: &Path) {
    use nix::mount::{MsFlags, mount};
    mount(Some(at), at, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    mount(None::<&str>, at, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>).unwrap();
}

fn mount_tmpfs(at: &Path) {
    use nix::mount::{MsFlags, mount};
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).unwrap();
    mount(None::<&str>, at, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>).unwrap();
}

/// The runtime under test: `SKIFF_OCI` where the test does not run beside its build (in a virtual machine, say).
pub(crate) fn program() -> OsString {
    std::env::var_os("SKIFF_OCI").unwrap_or_else(|| env!("CARGO_BIN_EXE_skiff-oci").into())
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Asserts success and returns the output.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }
}

/// Waits until `happened`, or fails with `what`.
pub(crate) fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < PATIENCE, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
