//! A node of its own for a test: in a box, in temporary folders, on a free port.

use crate::{Peer, Snapshot, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// The program under test: `SKIFF_BIN`, or what cargo built beside the test.
#[must_use]
pub fn skiff() -> Command {
    Command::new(program())
}

fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("SKIFF_BIN") {
        return path.into();
    }
    // target/debug/deps/test-… → target/debug/skiff
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors().nth(2).unwrap_or(Path::new(".")).join("skiff")
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; 255 for a signal.
    pub code: i32,
    /// What it wrote to stdout.
    pub out: String,
    /// What it wrote to stderr.
    pub err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(255),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// The output of a command that succeeded.
    ///
    /// # Panics
    /// It did not; the message holds what it wrote.
    #[must_use]
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.out, self.err);
        self.out
    }

    /// What a command that failed wrote to stderr.
    ///
    /// # Panics
    /// It succeeded.
    #[must_use]
    #[track_caller]
    pub fn refused(self) -> String {
        assert_ne!(self.code, 0, "it was to be refused; stdout: {}", self.out);
        self.err
    }
}

/// Flags of a node that is never short of space: the disk of the machine that tests is full of other things.
pub const NEVER_EVICT: [&str; 2] = ["--eviction-hard", "memory.available<1Mi"];

fn own_folder() -> TempDir {
    tempfile::Builder::new().prefix("skiff-test-").tempdir().unwrap_or_else(|error| panic!("{error}"))
}

/// A node in a box. Dropped: taken down, whatever state it is in.
#[derive(Debug)]
pub struct TestNode {
    folder: TempDir,
    data: PathBuf,
    flags: Vec<String>,
    process: Option<Child>,
    before: Snapshot,
    down: bool,
}

impl TestNode {
    /// Starts a node and waits until it is Ready.
    ///
    /// # Panics
    /// It does not become Ready.
    #[must_use]
    #[track_caller]
    pub fn up(flags: &[&str]) -> Self {
        let folder = own_folder();
        let data = folder.path().join("data");
        Self::up_in(folder, data, flags)
    }

    /// The same with the data folder on a disk of the test's, as [`crate::with_small_disk`] makes one.
    ///
    /// # Panics
    /// It does not become Ready.
    #[must_use]
    #[track_caller]
    pub fn up_on(disk: &Path, flags: &[&str]) -> Self {
        let folder = own_folder();
        let data = disk.join(folder.path().file_name().unwrap_or_default());
        Self::up_in(folder, data, flags)
    }

    #[track_caller]
    fn up_in(folder: TempDir, data: PathBuf, flags: &[&str]) -> Self {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut node = Self { folder, data, flags, process: None, before: Snapshot::take(), down: false };
        node.start();
        node
    }

    /// Starts the node's process again.
    ///
    /// # Panics
    /// It does not become Ready.
    #[track_caller]
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let log = std::fs::File::options().append(true).create(true).open(self.log_file());
        let mut process = self
            .up_command()
            .stdout(Stdio::piped())
            .stderr(log.map_or_else(|_| Stdio::null(), Stdio::from))
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", program().display()));
        let said = process.stdout.take().map(|out| BufReader::new(out).lines());
        let ready = said.into_iter().flatten().map_while(Result::ok).any(|line| line.contains("is Ready"));
        self.process = Some(process);
        assert!(ready, "the node did not become Ready:\n{}", self.log());
    }

    /// The command that starts this node's process, for a test that runs it with another environment.
    ///
    /// It has every flag of [`TestNode::start`]: a process that put its pods elsewhere, in another cgroup for one, would
    /// be another node over the same folders.
    #[must_use]
    pub fn up_command(&self) -> Command {
        let mut command = skiff();
        command.args(["up", "--isolated", "--api-listen", "127.0.0.1:0", "--node-name", "node"]);
        command.args(self.folders()).args(&self.flags);
        if !self.flags.iter().any(|flag| flag.starts_with("--eviction-hard")) {
            command.args(NEVER_EVICT);
        }
        command
    }

    fn folders(&self) -> [String; 6] {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let group = format!("/{}", self.mark());
        let data = self.data.display().to_string();
        ["--data-dir".into(), data, "--run-dir".into(), path("run"), "--cgroup-root".into(), group]
    }

    /// What everything of this node bears in its path, words or cgroup.
    #[must_use]
    pub fn mark(&self) -> String {
        self.folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What the node wrote to stderr.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The node's data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// The node's run folder.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// A folder for the test's own files.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.data().join("admin.kubeconfig")
    }

    /// The node's process id.
    ///
    /// # Panics
    /// It does not run.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let process = self.process.as_ref().unwrap_or_else(|| panic!("the node does not run"));
        i32::try_from(process.id()).unwrap_or_default()
    }

    /// Runs the built-in client: `node.skiff(["get", "pods"])`.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn skiff<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Ended {
        let output = skiff().args(words).env("KUBECONFIG", self.kubeconfig()).output();
        output.unwrap_or_else(|error| panic!("run skiff: {error}")).into()
    }

    /// Runs a peer with the node's kubeconfig and a home of its own (kubectl caches discovery there).
    ///
    /// # Panics
    /// It cannot be started.
    pub fn peer<S: AsRef<std::ffi::OsStr>>(&self, peer: &Peer, words: impl IntoIterator<Item = S>) -> Ended {
        let mut command = peer.command();
        command.args(words).env("KUBECONFIG", self.kubeconfig()).env("HOME", self.folder.path());
        command.output().unwrap_or_else(|error| panic!("run {}: {error}", peer.path().display())).into()
    }

    /// Runs a command in the box's network namespace, without changing anything else it sees.
    ///
    /// # Panics
    /// nsenter(1) cannot be started.
    pub fn inside<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Ended {
        let holder = self.holder();
        let output = Command::new("nsenter").arg(format!("--net=/proc/{holder}/ns/net")).arg("--").args(words).output();
        output.unwrap_or_else(|error| panic!("run nsenter: {error}")).into()
    }

    /// The process that holds the box.
    ///
    /// # Panics
    /// There is no box.
    #[must_use]
    pub fn holder(&self) -> i64 {
        let text = std::fs::read_to_string(self.run_dir().join("box.json")).unwrap_or_default();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        record["pid"].as_i64().unwrap_or_else(|| panic!("no box in {}", self.run_dir().display()))
    }

    /// `kubectl get … -o json`, without kubectl.
    ///
    /// # Panics
    /// The client fails.
    #[must_use]
    #[track_caller]
    pub fn json(&self, words: &[&str]) -> serde_json::Value {
        let text = self.skiff(["get", "-o", "json"].iter().chain(words)).ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Applies a manifest.
    ///
    /// # Panics
    /// It is refused.
    #[track_caller]
    pub fn apply(&self, manifest: &str) {
        let file = self.folder.path().join("applied.yaml");
        std::fs::write(&file, manifest).unwrap_or_else(|error| panic!("{error}"));
        drop(self.skiff(["apply".as_ref(), "-f".as_ref(), file.as_os_str()]).ok());
    }

    /// Waits until so many pods with this label are Running and ready; returns them.
    ///
    /// # Panics
    /// They do not get there.
    #[track_caller]
    pub fn ready_pods(&self, label: &str, number: usize) -> Vec<serde_json::Value> {
        eventually(&format!("{number} ready pods {label}"), || {
            let list = self.json(&["pods", "-l", label]);
            let pods = list["items"].as_array().cloned().unwrap_or_default();
            let ready = |pod: &&serde_json::Value| {
                let statuses = pod["status"]["containerStatuses"].as_array();
                statuses.is_some_and(|all| !all.is_empty() && all.iter().all(|one| one["ready"] == true))
            };
            let found = pods.iter().filter(ready).count();
            if found == number && pods.len() == number { Ok(pods) } else { Err(format!("{found} of {}", pods.len())) }
        })
    }

    /// Kills the node's process as an accident would; pods go on.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self) {
        let pid = self.pid();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_else(|error| panic!("kill {pid}: {error}"));
        self.reap();
    }

    /// Ends the node's process as a service manager would; pods go on.
    ///
    /// # Panics
    /// It does not run, or does not end well.
    #[track_caller]
    pub fn stop(&mut self) {
        let pid = self.pid();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap_or_else(|error| panic!("stop {pid}: {error}"));
        assert_eq!(self.reap(), Some(0), "the node ended badly:\n{}", self.log());
    }

    fn reap(&mut self) -> Option<i32> {
        self.process.take().and_then(|mut process| process.wait().ok()).and_then(|status| status.code())
    }

    /// Takes the node down; returns how `skiff down` ended.
    pub fn run_down(&mut self, flags: &[&str]) -> Ended {
        self.down = true;
        let ended = skiff().arg("down").args(self.folders()).args(flags).output();
        self.reap();
        ended.unwrap_or_else(|error| panic!("run skiff down: {error}")).into()
    }

    /// Takes the node down and looks for what it left.
    ///
    /// # Panics
    /// `skiff down` fails, or something is left.
    #[track_caller]
    pub fn down(mut self) {
        let ended = self.run_down(&["--purge"]);
        assert_eq!(ended.code, 0, "skiff down: {}\nthe node's log:\n{}", ended.err, self.log());
        self.before.assert_nothing_new_of(&self.mark());
        assert!(!self.data().exists(), "the data folder is still there");
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if !self.down {
            if std::thread::panicking() {
                eprintln!("the node's log:\n{}", self.log());
            }
            drop(self.run_down(&["--purge"]));
        }
    }
}
