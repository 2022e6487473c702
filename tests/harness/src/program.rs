//! Programs put where a test wants to execute them.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Copies a program to where anybody may execute it. Another process does it: a file that this one had open for writing
/// could be inherited by a child of another test that has not executed its own program yet, and would be busy until then
/// (execve(2), ETXTBSY).
///
/// # Panics
/// It is not there, or cannot be copied.
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let (from, to) = (from.as_ref(), to.as_ref());
    let copied = Command::new("cp").args([from, to]).status();
    assert!(copied.is_ok_and(|status| status.success()), "{} is not there, or cannot be copied", from.display());
    set_permissions(to, Permissions::from_mode(0o755)).expect("it was just made");
}
