//! A place of its own for an engine: namespaces, a cgroup, folders, an image; and nothing of it left afterwards.
//!
//! A thread may have a mount and a network namespace different from its process's, and what it starts inherits them
//! (unshare(2)). So a test runs in a thread of its own whose `/run` is empty and whose network is a loopback. What an engine
//! starts and forgets (monitors, shims, containers) is found through two cgroups: one holds the engine's processes, the
//! other is the parent of all its containers' cgroups.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skiff_harness::{Peer, peer, skip};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long one command of an engine may take.
const COMMAND_MAX: Duration = Duration::from_secs(60);
/// How long killed processes may take to go.
const CLEANUP_MAX: Duration = Duration::from_secs(10);
const CGROUPS: &str = "/sys/fs/cgroup";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The place.
pub(crate) struct Arena {
    folder: PathBuf,
    name: String,
}

/// Runs `test` in a place of its own with the peers of these names, or says which is missing.
pub(crate) fn with_peers(names: &[&str], test: impl FnOnce(&Arena, &[Peer]) + Send + 'static) {
    let mut peers = Vec::new();
    for name in names {
        match peer(name) {
            Some(found) => peers.push(found),
            None => return skip(&format!("no {name} in the folder that SKIFF_PEERS names")),
        }
    }
    let name = format!("skiff-test-engine-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = tempfile::Builder::new().prefix("skiff-engine-").tempdir().unwrap();
    let arena = Arena { folder: folder.path().to_owned(), name };
    let cleanup = Cleanup { name: arena.name.clone() };
    // Named like the test, for the line that says why one is skipped.
    let thread = std::thread::current().name().unwrap_or("engines").to_owned();
    let running = std::thread::Builder::new().name(thread).spawn(move || {
        arena.enter();
        test(&arena, &peers);
    });
    let ended = running.unwrap().join();
    drop(cleanup);
    // Our namespace never saw the mounts below it, so nothing of the host can be deleted through them.
    drop(folder);
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

impl Arena {
    fn enter(&self) {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        let nothing = None::<&str>;
        // Nothing reaches the host any more; among ourselves it is as on most hosts.
        for propagation in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
            mount(nothing, "/", nothing, MsFlags::MS_REC | propagation, nothing).unwrap();
        }
        mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755")).unwrap();
        fs::create_dir_all("/run/lock").unwrap();
        // For `--userns auto`: who may map which ids.
        let ids = self.write("subid", "containers:100000:1000000\nroot:100000:1000000\n");
        for file in ["/etc/subuid", "/etc/subgid"] {
            if Path::new(file).exists() {
                mount(Some(&ids), file, nothing, MsFlags::MS_BIND, nothing).unwrap();
            }
        }
        for tree in hierarchies() {
            fs::create_dir(tree.join(format!("{}-own", self.name))).unwrap();
            fs::create_dir(tree.join(&self.name)).unwrap();
            inherit_cpuset(&tree.join(&self.name));
        }
        assert!(self.run("ip", ["link", "set", "lo", "up"]).code == 0);
        self.make_image_root();
    }

    /// A root file system of busybox with a few users.
    fn make_image_root(&self) {
        let root = self.path("image");
        for name in ["bin", "etc", "tmp", "proc", "sys", "dev", "root", "home"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        skiff_harness::copy_program("/bin/busybox", root.join("bin/busybox"));
        let applets = Command::new("/bin/busybox").arg("--list").output().unwrap();
        for applet in String::from_utf8(applets.stdout).unwrap().lines().filter(|name| *name != "busybox") {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\n").unwrap();
        let (tar, root) = (self.path("image.tar"), root.display().to_string());
        assert_eq!(self.run("tar", ["-C", &root, "-cf", &tar.display().to_string(), "."]).code, 0);
    }

    /// The image `localhost/box:latest` as an archive of one layer, written by hand: containerd reads nothing simpler.
    pub(crate) fn make_layout(&self) -> String {
        let script = r#"set -e
            mkdir -p "$1/blobs/sha256" && cd "$1"
            put() { sum=$(sha256sum <"$1" | cut -d' ' -f1); size=$(stat -c %s "$1"); mv "$1" blobs/sha256/$sum; }
            blob() { printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%s%s}' "$1" $sum $size "$2"; }
            cp "$2" layer && put layer && layer=$sum layers=$(blob layer.v1.tar)
            printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["sleep","100000"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' $layer >config
            put config && config=$(blob config.v1+json)
            printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' "$config" "$layers" >manifest
            put manifest && named=',"annotations":{"io.containerd.image.name":"localhost/box:latest"}'
            printf '{"schemaVersion":2,"manifests":[%s]}' "$(blob manifest.v1+json "$named")" >index.json
            echo '{"imageLayoutVersion":"1.0.0"}' >oci-layout
            tar -cf "$1.tar" ."#;
        let folder = self.text("layout");
        self.run("sh", ["-c", script, "sh", &folder, &self.text("image.tar")]).ok();
        format!("{folder}.tar")
    }

    /// A name in the private folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The same as text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file there.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The parent of the containers' cgroups.
    pub(crate) fn cgroup(&self) -> String {
        format!("/{}", self.name)
    }

    /// The content of `file` in the only cgroup of `controller` that stands below [`Arena::cgroup`] and whose name holds
    /// `part`, at any depth.
    pub(crate) fn limit(&self, controller: &str, part: &str, file: &str) -> String {
        let found = self.limit_if_any(controller, part, file);
        found.unwrap_or_else(|| panic!("the cgroup of {part} in {controller} has no {file}"))
    }

    /// The same where this kernel may not have the file.
    pub(crate) fn limit_if_any(&self, controller: &str, part: &str, file: &str) -> Option<String> {
        let version1 = Path::new(CGROUPS).join(controller);
        let tree = if version1.is_dir() { version1 } else { PathBuf::from(CGROUPS) };
        let mut found = Vec::new();
        below(&tree.join(&self.name), &mut found);
        let is_it = |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(part));
        let all: Vec<_> = found.iter().filter(is_it).collect();
        let path = all.first().unwrap_or_else(|| panic!("no cgroup of {part} in {controller}: {found:?}"));
        fs::read_to_string(path.join(file)).ok().map(|text| text.trim().to_owned())
    }

    /// Removes a cgroup that an engine makes below the root whatever it is told, and those in it, if nothing runs in them.
    pub(crate) fn remove_empty_cgroup(&self, name: &str) {
        let mut found = Vec::new();
        hierarchies().iter().for_each(|tree| below(&tree.join(name), &mut found));
        for cgroup in found {
            let _others_use_it = fs::remove_dir(cgroup);
        }
    }

    /// A command that runs as one of the engine's processes.
    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        words: impl IntoIterator<Item = S>,
    ) -> Command {
        let own = process_tree().join(format!("{}-own/cgroup.procs", self.name));
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ >"$0" && exec "$@""#]).arg(own).arg(program).args(words);
        // conmon leaves a file `oom` where it was started.
        command.env("HOME", &self.folder).current_dir(&self.folder);
        command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, program: impl AsRef<OsStr>, words: impl IntoIterator<Item = S>) -> Said {
        Said::of(self.command(program, words))
    }

    /// Starts something that stays; its output goes to a file.
    pub(crate) fn start(&self, mut command: Command, log: &str) -> Child {
        let log = fs::File::create(self.path(log)).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }
}

/// Where processes are told apart: the hierarchy without controllers, or the only one.
fn process_tree() -> PathBuf {
    let tree = Path::new(CGROUPS);
    let named = ["systemd", "pids"].map(|name| tree.join(name));
    named.into_iter().find(|path| path.join("cgroup.procs").exists()).unwrap_or_else(|| tree.to_owned())
}

fn hierarchies() -> Vec<PathBuf> {
    let tree = Path::new(CGROUPS);
    if tree.join("cgroup.procs").exists() {
        return vec![tree.to_owned()];
    }
    let entries = fs::read_dir(tree).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| !path.is_symlink() && path.join("cgroup.procs").exists()).collect()
}

/// A cpuset of version 1 starts empty, and no process may enter it so (cpuset(7)).
fn inherit_cpuset(cgroup: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(above) = fs::read_to_string(cgroup.parent().unwrap().join(file))
            && cgroup.join(file).exists()
        {
            fs::write(cgroup.join(file), above.trim()).unwrap();
        }
    }
}

/// The cgroups below `at` and itself, the deepest first.
fn below(at: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(at).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        below(&entry.path(), found);
    }
    found.push(at.to_owned());
}

/// Ends what is left in the cgroups, then removes them. Only processes that this test brought into being can be there.
struct Cleanup {
    name: String,
}

impl Cleanup {
    fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for tree in hierarchies() {
            for name in [format!("{}-own", self.name), self.name.clone()] {
                if tree.join(&name).is_dir() {
                    below(&tree.join(&name), &mut found);
                }
            }
        }
        found
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        let started = Instant::now();
        loop {
            let cgroups = self.cgroups();
            for cgroup in &cgroups {
                // Version 1 delivers not even SIGKILL to what is frozen.
                let _not_a_freezer = fs::write(cgroup.join("freezer.state"), "THAWED");
                let pids = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
                for pid in pids.lines().filter_map(|pid| pid.parse().ok()) {
                    let _ended_meanwhile = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                let _busy_for_now = fs::remove_dir(cgroup);
            }
            if cgroups.is_empty() {
                return;
            }
            if started.elapsed() > CLEANUP_MAX {
                assert!(std::thread::panicking(), "left behind: {cgroups:?}");
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What a command said and how it ended.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Runs `command` to its end.
    pub(crate) fn of(command: Command) -> Self {
        Self::with_input(command, "")
    }

    /// The same with something on its standard input.
    pub(crate) fn with_input(command: Command, input: &str) -> Self {
        Self::speak(command, input, drop)
    }

    /// The same at the terminal that script(1) makes, with plain line ends. The input stays open, as a person's does: behind an
    /// input that has ended, podman 4.3 was seen to print nothing of a program that was quick.
    pub(crate) fn at_terminal(script: Command, input: &str) -> Self {
        let mut open = None;
        let mut said = Self::speak(script, input, |stdin| open = Some(stdin));
        said.out = said.out.replace("\r\n", "\n");
        said
    }

    fn speak(mut command: Command, input: &str, afterwards: impl FnOnce(ChildStdin)) -> Self {
        use std::io::Write;
        let shown = format!("{command:?}");
        let mut timed = Command::new("timeout");
        timed.arg(COMMAND_MAX.as_secs().to_string()).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => timed.env(key, value),
                None => timed.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            timed.current_dir(folder);
        }
        command = timed;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        // A program that does not read it may have ended.
        let _unread = stdin.write_all(input.as_bytes());
        afterwards(stdin);
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self { code: status.code().unwrap_or(-1), out: text(&stdout), err: text(&stderr) }
    }

    /// Asserts success and returns the output without the space around it.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out.trim().to_owned()
    }

    /// Asserts failure with this code and these words.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(words), "not `{words}`: {self:?}");
    }
}
