//! `events`: what a container uses, as lines of JSON in the shape of runc, and when it runs out of memory.

use super::Context;
use crate::cgroup::{Seen, Watch};
use crate::cli::{Opt, Takes, Words};
use crate::error::{Error, On, Result};
use crate::report::show;
use crate::state::Container;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

pub(super) const OPTIONS: &[Opt] =
    &[Opt("stats", None, Takes::Nothing), Opt("interval", None, Takes::Value), super::HELP];

/// How often, unless `--interval` says otherwise (as in runc).
const INTERVAL_DEFAULT: Duration = Duration::from_secs(5);

/// `events [--stats] [--interval D] ID`: once with `--stats`, else until the container ends.
pub(super) fn events(context: &Context, words: &Words) -> Result<u8> {
    let interval = words.value("interval").map_or(Some(INTERVAL_DEFAULT), duration).filter(|time| !time.is_zero());
    let interval = interval.ok_or_else(|| Error::Usage("--interval: not a time above zero, such as 5s".to_owned()))?;
    let (container, acts) = context.container(words)?;
    let leader = container.record.process.open()?;
    let leader =
        leader.ok_or_else(|| Error::Said(format!("container with id {} is not running", container.record.id)))?;
    if words.is_on("stats") {
        return print_stats(&container).map(|()| 0);
    }
    let mut watch = container.record.cgroup.watch(&acts)?;
    let mut next = Instant::now() + interval;
    loop {
        match wait(&leader, watch.as_ref(), next)? {
            Woken::Time => {
                print_stats(&container)?;
                // Where statistics take longer than the interval, what was missed is left out.
                next = (next + interval).max(Instant::now());
            }
            Woken::Memory => match watch.as_mut().map(Watch::look).transpose()? {
                Some(Seen::OutOfMemory) => print_oom(&container)?,
                Some(Seen::Gone) => watch = None,
                Some(Seen::Nothing) | None => (),
            },
            Woken::End => {
                // Its last moment may have been the one without memory.
                if watch.as_mut().map(Watch::look).transpose()? == Some(Seen::OutOfMemory) {
                    print_oom(&container)?;
                }
                return Ok(0);
            }
        }
    }
}

/// What there is to do.
enum Woken {
    Time,
    Memory,
    End,
}

/// What is there to see comes before what is due: else a slow machine would never see the end.
fn wait(leader: &OwnedFd, watch: Option<&Watch>, next: Instant) -> Result<Woken> {
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let mut polled = vec![PollFd::new(leader.as_fd(), PollFlags::POLLIN)];
        polled.extend(watch.map(Watch::polled).map(|(fd, flags)| PollFd::new(fd, flags)));
        // A part of a millisecond more rather than a busy loop.
        let more = if left.is_zero() { Duration::ZERO } else { Duration::from_millis(1) };
        match poll(&mut polled, PollTimeout::try_from(left.saturating_add(more)).unwrap_or(PollTimeout::MAX)) {
            Ok(0) if left.is_zero() => return Ok(Woken::Time),
            Ok(0) | Err(Errno::EINTR) => (),
            Ok(_) if polled[0].any().unwrap_or(false) => return Ok(Woken::End),
            Ok(_) => return Ok(Woken::Memory),
            Err(errno) => return Err(errno).on("wait for", "container"),
        }
    }
}

fn print_stats(container: &Container) -> Result<()> {
    print(&json!({"type": "stats", "id": container.record.id, "data": container.record.cgroup.stats()}))
}

fn print_oom(container: &Container) -> Result<()> {
    print(&json!({"type": "oom", "id": container.record.id}))
}

/// A line at once: readers follow it.
fn print(event: &Value) -> Result<()> {
    show!("{event}")
}

/// A time as Go writes it: `5s`, `1m30s`, `1.5h`, `250ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number * unit;
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_those_of_go() {
        let millis = |text| duration(text).map(|time| time.as_millis());
        assert_eq!(["5s", "1m30s", "1.5h", "250ms"].map(millis), [5000, 90_000, 5_400_000, 250].map(Some));
        assert_eq!(["5", "s", "5x", "-5s", "1.2.3s", "99999999999999999999h"].map(millis), [None; 6]);
    }

    #[test]
    fn an_end_is_seen_also_when_a_report_is_overdue() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let leader = skiff_sys::pidfd::open(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(matches!(wait(&leader, None, Instant::now()), Ok(Woken::Time)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(wait(&leader, None, Instant::now()), Ok(Woken::End)));
    }

    proptest! {
        #[test]
        fn no_time_makes_it_panic(text in "[-0-9.hmsnuµ ]{0,16}") {
            let _either_way = duration(&text);
        }
    }
}
