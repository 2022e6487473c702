//! What a test asks of the host before it starts a server.

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use std::net::TcpListener;
use std::path::Path;

/// A port of the loopback that nobody listens on. Somebody else may take it before we do; then the test fails to start its server and
/// says so.
///
/// # Panics
/// There is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    listener.local_addr().expect("it was bound").port()
}

/// Whether files of `folder` are in memory, where writing them durably costs nothing.
///
/// # Panics
/// There is no such folder.
#[must_use]
pub fn is_in_memory(folder: &Path) -> bool {
    let kind = statfs(folder).unwrap_or_else(|error| panic!("statfs {}: {error}", folder.display()));
    kind.filesystem_type() == TMPFS_MAGIC
}
