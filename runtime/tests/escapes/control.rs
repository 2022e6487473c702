//! Who is attacked: our runtime, a build of it with a known mistake, or an old peer.

use crate::support::{self, Bundle, Said};
use std::path::PathBuf;
use std::process::Command;

/// A runtime under attack.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Victim {
    /// Ours.
    Ours,
    /// Ours with the mistake of this name.
    Mutant(&'static str),
    /// A program of this name in `SKIFF_PEERS`.
    Peer(&'static str),
}

impl Victim {
    /// The program, if it is here.
    pub(crate) fn program(self) -> Option<PathBuf> {
        let path = match self {
            Self::Ours => PathBuf::from(env!("CARGO_BIN_EXE_skiff-oci")),
            Self::Mutant(_) => PathBuf::from(std::env::var_os("SKIFF_MUTANT")?),
            Self::Peer(name) => PathBuf::from(std::env::var_os("SKIFF_PEERS")?).join(name),
        };
        path.exists().then_some(path)
    }

    /// `RUNTIME --root … WORDS` in the bundle's folder.
    pub(crate) fn command(self, bundle: &Bundle, words: &[&str]) -> Command {
        let program = self.program().expect("is asked only when it is here");
        // crun refuses a host with both versions of cgroups; without the tree of version 2 it takes this for version 1.
        let mut command = if matches!(self, Self::Peer(name) if name.starts_with("crun")) {
            let hide = "umount -l /sys/fs/cgroup/unified 2>/dev/null; exec \"$0\" \"$@\"";
            let mut command = Command::new("unshare");
            command.args(["-m", "--propagation", "private", "sh", "-c", hide]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.arg("--root").arg(bundle.root()).args(words).current_dir(bundle.path());
        command.stdin(std::process::Stdio::null());
        if let Self::Mutant(mistake) = self {
            command.env("SKIFF_VULNERABLE", mistake);
        }
        command
    }

    /// Runs a command to its end.
    pub(crate) fn says(self, bundle: &Bundle, words: &[&str]) -> Said {
        Said::of(self.command(bundle, words).output().unwrap())
    }

    /// `run`, to its end.
    pub(crate) fn run(self, bundle: &Bundle) -> Said {
        let said = self.says(bundle, &["run", &bundle.id]);
        self.forget(bundle);
        said
    }

    /// `create` and `start`, with the container's output in the bundle's file.
    pub(crate) fn start(self, bundle: &Bundle) -> bool {
        let out = std::fs::File::create(bundle.path().join("out")).unwrap();
        let mut create = self.command(bundle, &["create", &bundle.id]);
        let created = create.stdout(out.try_clone().unwrap()).stderr(out).status().unwrap();
        created.success() && self.says(bundle, &["start", &bundle.id]).code == 0
    }

    /// Deletes what another runtime may have left: ours deletes its own when the bundle is dropped.
    pub(crate) fn forget(self, bundle: &Bundle) {
        if matches!(self, Self::Peer(_)) {
            self.says(bundle, &["delete", "--force", &bundle.id]);
            // On a busy machine an old runc gives up on a cgroup whose last process has not quite ended.
            support::wait_until("the peer's cgroups to go", || {
                bundle.cgroups_left().iter().all(|left| std::fs::remove_dir(left).is_ok())
            });
        }
    }
}

/// Asserts that `attack`, which says whether it succeeded, fails on ours and succeeds on every control that is here.
pub(crate) fn prove(attack: impl Fn(Victim) -> bool, controls: &[Victim]) {
    assert!(!attack(Victim::Ours), "our runtime is open to this attack");
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    for control in controls {
        match control.program() {
            Some(_) => {
                let why = "the attack has lost its teeth, or this place stops it (are devices usable in TMPDIR?)";
                assert!(attack(*control), "{control:?} withstood: {why}");
            }
            None => support::skipped(&test, &format!("no control {control:?} here, only our own runtime was attacked")),
        }
    }
}
