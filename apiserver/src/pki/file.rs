//! Private files: readable by their owner only, and after a crash either the old or the new one.

use super::PkiError;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PkiError {
    let path = path.to_owned();
    move |source| PkiError::File { operation, path, source }
}

/// Makes `directory` with mode 0700 unless it exists.
pub(super) fn create_private_directory(directory: &Path) -> Result<(), PkiError> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed("create folder", directory))
}

/// The text of `path`; `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Puts `text` at `path` with mode 0600.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), PkiError> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_private_directory(parent)?;
    }
    write_beside_and_rename(path, text).map_err(failed("write", path))
}

fn write_beside_and_rename(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    // Left over from a crash: create_new must not follow or reuse it.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}
