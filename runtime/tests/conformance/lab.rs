//! One runtime under test, and bundles to try it on. Nothing here knows which runtime it is.

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long something that must happen may take: it only bounds a failure.
const PATIENCE: Duration = Duration::from_secs(20);
const APPLETS: &[&str] = &[
    "sh", "cat", "echo", "id", "true", "sleep", "ls", "stat", "grep", "hostname", "touch", "mkdir", "readlink", "tty",
    "awk", "uname", "ionice", "ip", "head", "stty", "env", "test", "wc", "mount", "kill", "tr", "sort", "printf",
    "sed",
];

/// Why a row has no tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The runtime does otherwise.
    Breaks(String),
    /// This machine cannot show it.
    Skips(String),
}

/// What a row finds.
pub(crate) type Outcome = Result<(), Verdict>;

/// `Err` unless both are the same.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Outcome {
    must(got == wanted, || format!("{what}: {got:?} instead of {wanted:?}"))
}

/// `Err` with `text` unless `holds`.
pub(crate) fn must(holds: bool, text: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Verdict::Breaks(text())) }
}

/// A runtime.
#[derive(Debug, Clone)]
pub(crate) struct Lab {
    /// Heads a column of the table.
    pub(crate) name: String,
    /// The program.
    pub(crate) program: PathBuf,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Lab {
    /// A bundle whose shell runs `script`, with `change` made to its config.json.
    pub(crate) fn bundle(&self, script: &str, change: impl FnOnce(&mut Value)) -> Bundle {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("clause-{}-{number}", std::process::id());
        let bundle = Bundle { directory: tempfile::tempdir().unwrap(), program: self.program.clone(), id };
        for name in ["bin", "proc", "sys", "dev", "tmp", "etc"] {
            fs::create_dir_all(bundle.rootfs().join(name)).unwrap();
        }
        skiff_harness::copy_program("/bin/busybox", bundle.rootfs().join("bin/busybox"));
        for applet in APPLETS {
            symlink("busybox", bundle.rootfs().join("bin").join(applet)).unwrap();
        }
        let mut config = template(&bundle.cgroup(), script);
        change(&mut config);
        fs::write(bundle.path("config.json"), config.to_string()).unwrap();
        bundle
    }

    /// What a container prints that runs to its end.
    pub(crate) fn says(&self, script: &str, change: impl FnOnce(&mut Value)) -> Result<String, Verdict> {
        let bundle = self.bundle(script, change);
        let said = bundle.oci(&["run", &bundle.id]);
        must(said.code == 0, || format!("run: {said:?}"))?;
        Ok(said.out)
    }

    /// A container prints exactly `wanted`.
    pub(crate) fn prints(&self, script: &str, wanted: &str, change: impl FnOnce(&mut Value)) -> Outcome {
        same(script, self.says(script, change)?.as_str(), wanted)
    }

    /// A container prints `part`, among other things.
    pub(crate) fn shows(&self, script: &str, part: &str, change: impl FnOnce(&mut Value)) -> Outcome {
        let out = self.says(script, change)?;
        must(out.contains(part), || format!("{script}: no {part:?} in {out:?}"))
    }

    /// `create` is an error, and nothing is left of it (runtime, Errors).
    pub(crate) fn refuses(&self, change: impl FnOnce(&mut Value)) -> Outcome {
        let bundle = self.bundle("true", change);
        let said = bundle.create();
        must(said.code != 0, || "create succeeds".to_owned())?;
        must(bundle.oci(&["state", &bundle.id]).code != 0, || "the container exists after the error".to_owned())
    }
}

fn template(cgroup: &str, script: &str) -> Value {
    json!({
        "ociVersion": "1.0.0",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"]},
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}],
        },
    })
}

/// A bundle; what is left of its container goes with it.
pub(crate) struct Bundle {
    directory: tempfile::TempDir,
    program: PathBuf,
    pub(crate) id: String,
}

impl Bundle {
    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path("rootfs")
    }

    /// Below each hierarchy's root.
    pub(crate) fn cgroup(&self) -> String {
        format!("/skiff-test-{}", self.id)
    }

    /// The content of a file in it; empty while there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The runtime with `words`, in the bundle, its log in the file `log`.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.path("state")).arg("--log").arg(self.path("log")).args(["--log-format", "json"]);
        command.args(words).current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn oci(&self, words: &[&str]) -> Said {
        Said::of(self.command(words).output().unwrap())
    }

    /// `create` with output to files: a pipe of ours would stay open for as long as the container lives.
    pub(crate) fn create(&self) -> Said {
        self.create_with(&[])
    }

    /// `create` with further options.
    pub(crate) fn create_with(&self, options: &[&str]) -> Said {
        let file = |name: &str| fs::File::create(self.path(name)).unwrap();
        let words = [&["create"], options, &[self.id.as_str()]].concat();
        let status = self.command(&words).stdout(file("out")).stderr(file("err")).status().unwrap();
        Said { code: status.code().unwrap_or(-1), out: self.read("out"), err: self.read("err") }
    }

    /// `create` and `start`.
    pub(crate) fn start(&self) -> Outcome {
        let said = self.create();
        must(said.code == 0, || format!("create: {said:?}"))?;
        let said = self.oci(&["start", &self.id]);
        must(said.code == 0, || format!("start: {said:?}"))
    }

    /// The output of `state`.
    pub(crate) fn state(&self) -> Result<Value, Verdict> {
        let said = self.oci(&["state", &self.id]);
        serde_json::from_str(&said.out).map_err(|_| Verdict::Breaks(format!("state: {said:?}")))
    }

    /// The word of `state`; empty when there is none.
    pub(crate) fn status(&self) -> String {
        self.state().ok().and_then(|state| Some(state["status"].as_str()?.to_owned())).unwrap_or_default()
    }

    /// Waits until `state` says `wanted`.
    pub(crate) fn becomes(&self, wanted: &str) -> Outcome {
        eventually(&format!("status {wanted}"), || self.status() == wanted)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _as_well_as_it_can = self.oci(&["delete", "--force", &self.id]);
    }
}

/// Waits until `happened`.
pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) -> Outcome {
    let begun = Instant::now();
    while !happened() {
        must(begun.elapsed() < PATIENCE, || format!("did not happen: {what}"))?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// What a command said and how it ended.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// It succeeded.
    pub(crate) fn ok(self) -> Result<String, Verdict> {
        must(self.code == 0, || format!("{self:?}"))?;
        Ok(self.out)
    }
}

/// The host's directory of a cgroup `controller`, or the verdict that there is none.
pub(crate) fn hierarchy(controller: &str) -> Result<PathBuf, Verdict> {
    let of_version_1 = Path::new("/sys/fs/cgroup").join(controller);
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers");
    if of_version_1.is_dir() {
        return Ok(of_version_1);
    }
    let of_version_2 = if controller == "blkio" { "io" } else { controller };
    if fs::read_to_string(unified).is_ok_and(|list| list.split_whitespace().any(|name| name == of_version_2)) {
        return Ok("/sys/fs/cgroup".into());
    }
    Err(Verdict::Skips(format!("no cgroup controller {controller}")))
}
