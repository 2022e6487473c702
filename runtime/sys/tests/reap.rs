//! Ends of children, in a process of its own: waiting takes any child, and another test's too.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

use nix::errno::Errno;
use nix::libc;
use skiff_sys::reap::{Ending, kill, reap};
use std::process::Command;
use std::time::Duration;

#[test]
#[expect(clippy::zombie_processes, reason = "reap() is what waits here")]
fn every_way_to_end_is_reported() {
    let rtmin = libc::SIGRTMIN();
    for (script, ending) in [
        ("exit 0".to_owned(), Ending::Exited(0)),
        ("exit 255".to_owned(), Ending::Exited(255)),
        ("kill -9 $$".to_owned(), Ending::Signalled(9)),
        (format!("kill -{rtmin} $$"), Ending::Signalled(rtmin)),
    ] {
        let child = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        let found = loop {
            match reap().unwrap() {
                Some(found) => break found,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        assert_eq!(found, (i32::try_from(child.id()).unwrap(), ending), "{script}");
    }
    assert_eq!(reap(), Err(Errno::ECHILD));
    assert_eq!(kill(libc::pid_t::try_from(std::process::id()).unwrap(), 1000), Err(Errno::EINVAL));
}
