//! The pod's own users: a user namespace that owns the pod's other namespaces, while the supervisor itself stays a user of the
//! host, whose rights it needs to run the OCI runtime.
//!
//! ```text
//!  supervisor ──clone──► a process in new user, network, IPC and UTS namespaces, which does nothing
//!      │  writes its maps, keeps the user namespace by a descriptor, moves into the others
//!      └──ends it
//! ```

use crate::options::Maps;
use nix::sched::CloneFlags;
use nix::sys::wait::waitpid;
use nix::unistd::{Gid, Pid, Uid, fchown, setgroups, setresgid, setresuid};
use skiff_sys::namespace::enter_all;
use skiff_sys::process::{Born, Cloned, Kin, clone, exit_now};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Command, Stdio};

/// The argument that makes `skiff-oci supervise` leave a pid namespace's first process behind, which belongs to the users whose
/// namespace is at the path that follows.
pub(crate) const PAUSE_AS: &str = "--pause-as";

/// The pod's users.
#[derive(Debug)]
pub(crate) struct Users {
    /// Keeps the namespace, and leads others to it (`/proc/<pid>/fd/<number>`).
    namespace: File,
    /// Who root of the pod is on the host.
    root: (Uid, Gid),
}

impl Users {
    /// Makes a user namespace with these maps, and new namespaces of the kinds `others`, which belong to it and which this process
    /// then lives in.
    pub(crate) fn enter(maps: &Maps, others: CloneFlags) -> io::Result<Self> {
        let (mut hold, held) = io::pipe()?;
        let kinds = others | CloneFlags::CLONE_NEWUSER;
        let born = match clone(kinds.bits(), None, Kin::Child)? {
            Cloned::Child => {
                drop(held);
                // It is there until its namespaces are taken, or the one who wants them has ended.
                let _only_its_end_counts = hold.read(&mut [0]);
                exit_now(0)
            }
            Cloned::Parent(born) => born,
        };
        let taken = Self::take(&born, maps, others);
        drop(held);
        let _may_have_ended = skiff_sys::pidfd::kill(born.pidfd.as_fd());
        let _reaped = waitpid(Pid::from_raw(born.pid), None);
        taken
    }

    fn take(born: &Born, maps: &Maps, others: CloneFlags) -> io::Result<Self> {
        let file = |name: &str| format!("/proc/{}/{name}", born.pid);
        fs::write(file("uid_map"), maps.uids.text())?;
        fs::write(file("gid_map"), maps.gids.text())?;
        let namespace = File::open(file("ns/user"))?;
        if !others.is_empty() {
            enter_all(born.pidfd.as_fd(), others.bits())?;
        }
        let root = (Uid::from_raw(maps.uids.root()), Gid::from_raw(maps.gids.root()));
        Ok(Self { namespace, root })
    }

    /// The number of the descriptor that keeps the namespace.
    pub(crate) fn descriptor(&self) -> i32 {
        self.namespace.as_raw_fd()
    }

    /// Gives a pipe to the pod's root. A pipe that belongs to a user of the host could not be opened again by its path
    /// (`/dev/stdout`), and the OCI runtime may give it to the container's user only if it belongs to one of the pod's.
    pub(crate) fn own(&self, pipe: impl AsFd) -> io::Result<()> {
        Ok(fchown(pipe, Some(self.root.0), Some(self.root.1))?)
    }

    /// Starts the first process of a new pid namespace that belongs to these users; its process id.
    pub(crate) fn start_pause(&self) -> io::Result<i32> {
        let namespace = format!("/proc/{}/fd/{}", std::process::id(), self.descriptor());
        let mut command = Command::new("/proc/self/exe");
        command.args(["supervise", PAUSE_AS, &namespace]).stdin(Stdio::null());
        let output = command.output()?;
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let pid = String::from_utf8_lossy(&output.stdout).trim().parse();
        pid.map_err(|_| io::Error::other(if words.is_empty() { output.status.to_string() } else { words }))
    }
}

/// In the helper: enters the namespace at `path`, and clones the first process of a pid namespace as our parent's child. Returns in
/// the helper with that process's id, and in the process with nothing.
pub(crate) fn leave_pause(path: &Path) -> io::Result<Option<i32>> {
    let namespace = File::open(path)?;
    skiff_sys::namespace::enter(namespace.as_fd(), CloneFlags::CLONE_NEWUSER.bits())?;
    drop(namespace);
    // It is root of the pod: a process of the host's root must not be there to be looked at.
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    match clone(CloneFlags::CLONE_NEWPID.bits(), None, Kin::Sibling)? {
        Cloned::Child => Ok(None),
        Cloned::Parent(born) => Ok(Some(born.pid)),
    }
}
