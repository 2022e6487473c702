//! Users and groups as numbers that are somebody's.

use crate::error::{Error, Result};

/// As many groups as the kernel takes (setgroups(2), NGROUPS_MAX).
const GROUPS_MAX: usize = 65_536;

/// The number that means "no change" to setresuid(2), chown(2) and their like: who asked for it would keep what the runtime
/// is, root.
const NO_CHANGE: u32 = u32::MAX;

/// `id`, which stands at `field`, if it can be somebody's.
///
/// # Errors
/// It is the number that means no change.
pub(crate) fn checked(field: impl FnOnce() -> String, id: u32) -> Result<u32> {
    if id != NO_CHANGE {
        return Ok(id);
    }
    Err(Error::refused(field(), format!("{NO_CHANGE} (-1) is nobody's id: to the kernel it means no change")))
}

/// All of `ids`, which stand at `field`.
///
/// # Errors
/// One is nobody's, or there are more than a process can have.
pub(super) fn all_checked(field: &str, ids: &[u32]) -> Result<Vec<u32>> {
    if ids.len() > GROUPS_MAX {
        let reason = format!("has {} groups, and a process can have {GROUPS_MAX}", ids.len());
        return Err(Error::refused(field, reason));
    }
    ids.iter().enumerate().map(|(index, id)| checked(|| format!("{field}[{index}]"), *id)).collect()
}

/// Whether a mount's option such as `uid=…` names nobody: filesystems read it as a number without a sign.
pub(super) fn is_nobodys(key: &str, value: &str) -> bool {
    ["uid", "gid"].contains(&key) && ["-1", "4294967295"].contains(&value)
}
