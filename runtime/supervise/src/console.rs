//! Where the OCI runtime delivers a terminal: it connects to a unix socket and sends the master (runc, docs/terminals.md).

use skiff_sys::pass::recv_with_fds;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// A socket that waits for one terminal; its file goes away with it.
#[derive(Debug)]
pub(crate) struct Console {
    listener: UnixListener,
    name: String,
}

impl Console {
    /// Listens in the working directory, which is the sandbox's folder.
    pub(crate) fn listen(number: u64) -> io::Result<Self> {
        let name = format!("tty-{number}.sock");
        let listener = UnixListener::bind(&name)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, name })
    }

    /// The path for `--console-socket`: short, since a socket's path may have 107 bytes at most (unix(7)), and valid
    /// whatever directory the runtime works in.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/cwd/{}", std::process::id(), self.name))
    }

    /// The terminal that the runtime delivered before it ended; so nothing here waits.
    pub(crate) fn receive(&self) -> io::Result<OwnedFd> {
        let (stream, _) = self.listener.accept()?;
        let (_, mut fds) = recv_with_fds(stream.as_fd(), &mut [0; 4096])?;
        if fds.len() != 1 {
            return Err(io::Error::other(format!(
                "console socket: expected one terminal, got {} descriptors",
                fds.len()
            )));
        }
        Ok(fds.remove(0))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // The folder is removed with the sandbox; a socket file left until then harms nobody.
        let _goes_with_its_folder = fs::remove_file(&self.name);
    }
}
