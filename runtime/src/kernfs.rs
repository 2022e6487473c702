//! Values into files that the kernel has made: those of cgroups and of resctrl.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// Writes `value` with one write(2) to the file at `path`, which is never created: a name that the kernel does not know is an
/// error, and on a filesystem that is not the kernel's as well.
///
/// # Errors
/// Those of open(2) and write(2).
pub(crate) fn put(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}
