//! The keyring of a session (keyrings(7)).

use nix::errno::Errno;

/// `KEYCTL_JOIN_SESSION_KEYRING` (linux/keyctl.h).
const JOIN_SESSION_KEYRING: libc::c_int = 1;

/// Gives this process a session keyring of its own, without a name and empty (keyctl(2)).
///
/// # Errors
/// `EDQUOT` when the user has too many keys, `ENOSYS` in a kernel without them.
pub fn leave_session() -> Result<(), Errno> {
    let no_name = std::ptr::null::<libc::c_char>();
    // SAFETY: the call takes a null pointer for "no name", and changes nothing but this process's credentials.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, no_name) };
    Errno::result(result).map(drop)
}
