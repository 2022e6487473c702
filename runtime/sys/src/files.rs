//! How many files a process may have open (getrlimit(2), `RLIMIT_NOFILE`): servers need many, what they start expects what it always had.
//!
//! The soft limit is low for programs that use select(2), and theirs to raise. So a server raises its own to the hard one, as Go's
//! runtime does, and gives what it starts the limit that it found itself.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

/// The limits before they were raised: soft and hard.
static FOUND: OnceLock<(u64, u64)> = OnceLock::new();

/// Raises our soft limit to the hard one. Call it before there are threads that start programs.
///
/// # Errors
/// Those of getrlimit(2) and setrlimit(2).
pub fn raise_limit() -> Result<(), Errno> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        // Whoever raised it first found what counts.
        let _first_found_counts = FOUND.set((soft, hard));
    }
    Ok(())
}

/// Gives what `command` starts the limit that we had before we raised ours.
pub fn with_limit_as_found(command: &mut Command) -> &mut Command {
    let Some(&(soft, hard)) = FOUND.get() else { return command };
    let restore = move || Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?);
    // SAFETY: between fork and exec the closure makes one system call with numbers that it owns, and nothing else.
    unsafe { command.pre_exec(restore) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault S6.
    #[test]
    fn ours_is_raised_and_what_we_start_has_what_we_found() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let low = hard.min(300);
        setrlimit(Resource::RLIMIT_NOFILE, low, hard).unwrap();
        raise_limit().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
        let told = |command: &mut Command| String::from_utf8(command.output().unwrap().stdout).unwrap();
        let ask = || {
            let mut command = Command::new("sh");
            command.args(["-c", "ulimit -Sn"]);
            command
        };
        assert_eq!(told(with_limit_as_found(&mut ask())).trim(), low.to_string());
        assert_eq!(told(&mut ask()).trim(), hard.to_string(), "as it would be");
    }
}
