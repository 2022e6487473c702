//! Values into files that the kernel has made, and out of them: those of cgroups, of resctrl, of procfs.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

/// Writes `value` with one write(2) to the file at `path`, which is never created: a name that the kernel does not know is an
/// error, and on a filesystem that is not the kernel's as well.
///
/// # Errors
/// Those of open(2) and write(2).
pub(crate) fn put(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

/// Most of these files fit in so many bytes, and then one read(2) has all of it and a second one its end.
const READ_BYTES: usize = 4096;

/// Reads the file at `path`. The kernel says of its files that they are empty, so the standard library asks for their length
/// in vain and begins with 32 bytes.
///
/// # Errors
/// Those of open(2) and read(2); it is not UTF-8.
pub(crate) fn get(path: &Path) -> io::Result<String> {
    let mut text = String::with_capacity(READ_BYTES);
    File::open(path)?.take(u64::MAX).read_to_string(&mut text)?;
    Ok(text)
}
