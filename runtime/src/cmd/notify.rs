//! `NOTIFY_SOCKET`: a container that tells the service manager when it is ready (sd_notify(3)), as runc does it.
//!
//! The program gets a socket of ours at `/run/notify`. What it says there is not passed on as it is: only that it is ready,
//! with the pid that the manager knows it by. Nothing else in it can be trusted to be meant for the host.
//!
//! ```text
//!  program ── READY=1 ──► notify.sock of the container ── READY=1, MAINPID=…, BARRIER=1 ──► NOTIFY_SOCKET
//! ```

use crate::error::{On, Result};
use crate::spec::config::{Config, Mount};
use crate::state::Folder;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::Permissions;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// Where the program finds its socket.
const INSIDE: &str = "/run/notify";
/// The longest message that can matter: `READY=1` among a few other lines.
const MESSAGE_BYTES_MAX: usize = 4096;
/// How long the manager may take to take note (sd_notify_barrier(3) is often given 30 s).
const BARRIER_MS: u16 = 30_000;

/// The manager's socket, if this process was given one.
fn manager() -> Option<PathBuf> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Adds the container's socket to `written`; the directory that it will be in must be made with the container's folder.
pub(super) fn add(written: &mut Config, folder: &Folder) -> Option<PathBuf> {
    manager()?;
    let directory = folder.path().join("notify");
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec();
    written.mounts.get_or_insert_default().push(Mount {
        destination: INSIDE.into(),
        kind: Some("bind".to_owned()),
        source: Some(directory.clone()),
        options: Some(options),
        ..Mount::default()
    });
    let pair = format!("NOTIFY_SOCKET={INSIDE}/notify.sock");
    if let Some(process) = &mut written.process {
        process.env.get_or_insert_default().push(pair);
    }
    Some(directory)
}

/// The socket of one container, before it starts.
pub(super) struct Notify {
    socket: UnixDatagram,
    manager: PathBuf,
}

impl Notify {
    /// Opens it, if there is a manager and the container was created with one.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn listen(folder: &Folder) -> Result<Option<Self>> {
        let Some(manager) = manager() else { return Ok(None) };
        let directory = folder.path().join("notify");
        let Ok(opened) = std::fs::File::open(&directory) else { return Ok(None) };
        // Named through its directory: the whole path may be longer than an address allows (108 bytes, unix(7)).
        let path = skiff_sys::fd::path_of(opened.as_fd()).join("notify.sock");
        let socket = UnixDatagram::bind(&path).on("listen at", directory.display())?;
        // Whoever the program runs as.
        std::fs::set_permissions(&path, Permissions::from_mode(0o777)).on("open up", directory.display())?;
        Ok(Some(Self { socket, manager }))
    }

    /// Waits until the program says that it is ready, and tells the manager that `pid` is its main process. Returns early
    /// when `end` or `interrupted` has something to read: the program has ended, or somebody wants something else of us.
    ///
    /// # Errors
    /// The manager is not there.
    pub(super) fn forward(&self, pid: i32, end: BorrowedFd<'_>, interrupted: Option<BorrowedFd<'_>>) -> Result<()> {
        loop {
            let mut polled =
                vec![PollFd::new(self.socket.as_fd(), PollFlags::POLLIN), PollFd::new(end, PollFlags::POLLIN)];
            polled.extend(interrupted.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            poll(&mut polled, PollTimeout::NONE).on("wait for", "the program's notification")?;
            if polled[0].any().unwrap_or(false) {
                let mut buffer = [0; MESSAGE_BYTES_MAX];
                let count = self.socket.recv(&mut buffer).on("read", "the program's notification")?;
                if is_ready(&buffer[..count]) {
                    return self.tell(pid);
                }
            } else if polled[1..].iter().any(|fd| fd.any().unwrap_or(false)) {
                return Ok(());
            }
        }
    }

    fn tell(&self, pid: i32) -> Result<()> {
        let manager = UnixDatagram::unbound().on("open", "socket")?;
        manager.connect(&self.manager).on("connect to NOTIFY_SOCKET", self.manager.display())?;
        manager.send(b"READY=1\n").on("tell", "service manager")?;
        manager.send(format!("MAINPID={pid}\n").as_bytes()).on("tell", "service manager")?;
        // The manager closes its copy of the pipe when it has read what came before (sd_notify_barrier(3)).
        let (reader, writer) = std::io::pipe().on("open", "pipe")?;
        skiff_sys::pass::send_with_fds(manager.as_fd(), b"BARRIER=1", &[writer.as_fd()])
            .on("tell", "service manager")?;
        drop(writer);
        let mut closed = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        poll(&mut closed, BARRIER_MS).on("wait for", "service manager").map(drop)
    }
}

fn is_ready(message: &[u8]) -> bool {
    message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_line_means_ready() {
        assert!(is_ready(b"READY=1") && is_ready(b"STATUS=x\nREADY=1\n"));
        assert!(!is_ready(b"READY=0") && !is_ready(b"XREADY=1") && !is_ready(b"READY=1x") && !is_ready(b""));
    }
}
