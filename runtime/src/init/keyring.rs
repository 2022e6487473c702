//! Whose session keyring the container's processes have.

use crate::error::{Acts, Result};
use crate::steps;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// Whose session keyring (session-keyring(7)) a process of the container has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Keyring {
    /// One of its own. runc gives it a name with the container's id, by which any process of the same user on the host can
    /// join it; ours has none, so each further process (`exec`) has one of its own too.
    Own,
    /// The caller's (`--no-new-keyring`).
    #[default]
    Callers,
}

impl Keyring {
    /// Leaves the caller's session keyring, unless it is to stay.
    ///
    /// # Errors
    /// The user has too many keys.
    pub(super) fn enter(self, acts: &Acts) -> Result<()> {
        if self == Self::Callers {
            return Ok(());
        }
        acts.step(&steps::SESSION_KEYRING, "", || match skiff_sys::keyring::leave_session() {
            // A kernel without keys, or a filter around us that lets nobody at them, the container included.
            Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES) => Ok(()),
            result => result,
        })
    }
}
