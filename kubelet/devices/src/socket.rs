//! Where the kubelet listens for those on its own machine.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;

/// Listens at `path`, in whose place a socket of a kubelet before us may be.
///
/// # Errors
/// The folder or the socket cannot be made.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListenerStream> {
    make_folder(path.parent().unwrap_or(path))?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Ok(UnixListenerStream::new(UnixListener::bind(path)?))
}

/// A folder for those who are root.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(path)
}
