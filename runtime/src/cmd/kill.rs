//! `kill`.

use super::Context;
use super::delete::is_anothers;
use crate::cli::{Opt, Takes, Words};
use crate::error::{Acts, Error, Result};
use crate::state::{Container, Status};
use crate::steps;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::str::FromStr;

pub(super) const OPTIONS: &[Opt] = &[Opt("all", Some('a'), Takes::Nothing), super::HELP];

/// The last signal number (`_NSIG`, signal(7)).
const SIGNAL_MAX: i32 = 64;

/// `kill [--all] ID [SIGNAL]`.
pub(super) fn kill(context: &Context, words: &Words) -> Result<u8> {
    let (container, acts) = context.container(words)?;
    let signal = number(words.positionals.get(1).map_or("TERM", String::as_str))?;
    if words.is_on("all") {
        return kill_all(context, &acts, &container, signal).map(|()| 0);
    }
    let status = container.status()?;
    let gone = || Error::Said(format!("container not running: {}", container.record.id));
    if status == Status::Stopped {
        return Err(gone());
    }
    let process = container.record.process;
    let mut reason = None;
    let sent = acts.step(&steps::PROCESS_SIGNAL, format!("{signal} to {}", process.pid), || {
        process.signal(signal).map_err(|error| {
            let errno = error.errno().unwrap_or(Errno::EINVAL);
            reason = Some(error);
            errno
        })
    });
    match (reason, sent) {
        (Some(error), _) | (None, Err(error)) => Err(error),
        (None, Ok(false)) => Err(gone()),
        (None, Ok(true)) => {
            // Version 1 delivers not even SIGKILL to a frozen process.
            if signal == Signal::SIGKILL as i32 && status == Status::Paused {
                container.record.cgroup.set_frozen(&acts, crate::cgroup::Frozen::No)?;
            }
            Ok(0)
        }
    }
}

fn kill_all(context: &Context, acts: &Acts, container: &Container, signal: i32) -> Result<()> {
    let signal =
        Signal::try_from(signal).map_err(|_| Error::Usage(format!("kill --all: signal {signal} has no name")))?;
    let record = &container.record;
    let has_ended = !record.process.is_alive();
    // Whoever is in the cgroup then is somebody else.
    if has_ended && (record.own_pid_namespace || is_anothers(context, &record.id, &record.cgroup)?) {
        return Ok(());
    }
    container.record.cgroup.signal(acts, signal)?;
    if signal == Signal::SIGKILL && container.record.cgroup.is_frozen()? {
        container.record.cgroup.set_frozen(acts, crate::cgroup::Frozen::No)?;
    }
    Ok(())
}

/// A signal by number or by name, with or without `SIG`, in any case.
pub(super) fn number(text: &str) -> Result<i32> {
    let unknown = || Error::Usage(format!("unknown signal `{}`", text.escape_debug()));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=SIGNAL_MAX).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = real_time(name) {
        return Ok(number);
    }
    Signal::from_str(&format!("SIG{name}")).map(|signal| signal as i32).map_err(|_| unknown())
}

/// `RTMIN+n` and `RTMAX-n`, as kill(1) counts them: the C library keeps 32 and 33 for itself.
fn real_time(name: &str) -> Option<i32> {
    const RTMIN: i32 = 34;
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        text => text.strip_prefix(sign)?.parse::<i32>().ok(),
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => RTMIN + offset(rest, '+')?,
        (None, Some(rest)) => SIGNAL_MAX - offset(rest, '-')?,
        (None, None) => return None,
    };
    (RTMIN..=SIGNAL_MAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, expected) in
            [("9", 9), ("KILL", 9), ("sigterm", 15), ("SIGUSR1", 10), ("RTMIN+3", 37), ("SIGRTMAX-1", 63)]
        {
            assert_eq!(number(text).unwrap(), expected, "{text}");
        }
        for bad in ["", "65", "-1", "SIGNOPE", "RTMIN+40", "RTMAX-", "99999999999"] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }
}
