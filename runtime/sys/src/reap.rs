//! Children that ended, with every signal there is: nix has no names for real-time signals, and refuses a status that has one.

use nix::errno::Errno;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal, as in signal(7).
    Signalled(i32),
}

/// Takes one child that has ended, if there is one (waitpid(2), WNOHANG).
///
/// # Errors
/// `ECHILD` when there is no child at all.
pub fn reap() -> Result<Option<(libc::pid_t, Ending)>, Errno> {
    let mut status = 0;
    // SAFETY: waitpid writes one int to the address, which outlives the call.
    let pid = Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) })?;
    // Without WUNTRACED and WCONTINUED only ends are reported.
    let ending = if libc::WIFSIGNALED(status) {
        Ending::Signalled(libc::WTERMSIG(status))
    } else {
        Ending::Exited(libc::WEXITSTATUS(status))
    };
    Ok((pid != 0).then_some((pid, ending)))
}

/// Sends a signal by its number (kill(2)).
///
/// # Errors
/// `ESRCH` when there is no such process, `EINVAL` for a number that is no signal.
pub fn kill(pid: libc::pid_t, signal: libc::c_int) -> Result<(), Errno> {
    // SAFETY: kill takes two numbers.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// From now on every signal that can be survived is: all that end or stop a process and do not report a mistake of its own.
///
/// They are caught and not ignored: what is caught means again what it first meant after execve(2), what is ignored stays
/// ignored, and programs that we start must end when they are told to.
///
/// # Errors
/// Those of sigaction(2).
pub fn outlive_signals() -> Result<(), Errno> {
    use libc::{
        SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPIPE, SIGPROF, SIGPWR, SIGQUIT, SIGSTKFLT, SIGTERM, SIGTSTP, SIGTTIN,
        SIGTTOU, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
    };
    use nix::sys::signal::{SaFlags, SigSet};
    extern "C" fn nothing(_: libc::c_int) {}
    let named = [
        SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPIPE, SIGPROF, SIGPWR, SIGQUIT, SIGSTKFLT, SIGTERM, SIGTSTP, SIGTTIN,
        SIGTTOU, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
    ];
    let mask = *SigSet::empty().as_ref();
    for signal in named.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
        let mut action = libc::sigaction {
            sa_sigaction: nothing as extern "C" fn(libc::c_int) as libc::sighandler_t,
            sa_mask: mask,
            sa_flags: SaFlags::SA_RESTART.bits(),
            sa_restorer: None,
        };
        // SAFETY: the handler does nothing, so it may run at any moment; `action` outlives the call.
        Errno::result(unsafe { libc::sigaction(signal, &raw mut action, std::ptr::null_mut()) })?;
    }
    Ok(())
}
