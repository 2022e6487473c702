//! Clients that vanish without a word: a machine that loses power sends no FIN, and its connection and watches would stay for ever.
//!
//! Over HTTP/2 a silent client is asked for a sign of life by a ping. The kernel does the same beneath every connection, and gives up one
//! whose client does not take what was sent. Each waits so long, twice at most, one after the other.

use nix::sys::socket::{setsockopt, sockopt};
use std::time::Duration;
use tokio::net::TcpStream;

/// Probes of the kernel's that go unanswered.
const PROBES: u32 = 3;

/// Lets the kernel end a connection whose other end has been silent, or has not taken what was sent, for `silence`.
///
/// # Errors
/// Those of setsockopt(2).
pub fn notice_gone(socket: &TcpStream, silence: Duration) -> std::io::Result<()> {
    let seconds = u32::try_from(silence.as_secs()).unwrap_or(u32::MAX).clamp(1, 32_767);
    let milliseconds = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX);
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &seconds)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &(seconds / PROBES).max(1))?;
    setsockopt(socket, sockopt::TcpKeepCount, &PROBES)?;
    // Also for a client whose kernel answers that it has no room: tcp(7) does not say so, tcp_probe_timer() does.
    setsockopt(socket, sockopt::TcpUserTimeout, &milliseconds)?;
    Ok(())
}
