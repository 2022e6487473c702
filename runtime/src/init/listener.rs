//! Handing the listener of a filter with open answers to the agent that gives them.
//!
//! From the moment such a filter is loaded, any call of its process may wait for the agent, and the agent has nothing to
//! answer with until it holds the listener. So the process tells its descriptor's number through shared memory, without a
//! call, and the runtime fetches the descriptor and sends it on:
//!
//! ```text
//!  process                     runtime                                  agent
//!    seccomp(2) ──number──►    pidfd_getfd(2) ──state and listener──►   answers
//!    goes on    ◄──done────
//! ```

use crate::error::{Error, On, Result};
use crate::seccomp::Agent;
use crate::steps;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use skiff_sys::process::Born;
use skiff_sys::shared::Word;
use std::io::Write;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::net::UnixStream;

/// What the word holds once the agent has the listener; before that a descriptor's number and 1, or an errno below zero.
const DONE: i32 = i32::MAX;
/// How often the process looks before it gives up on a runtime that was killed: some seconds, whatever one look costs.
const LOOKS_MAX: u64 = 1_000_000_000;
/// Milliseconds between two looks of the runtime, at the process too: it may have been killed.
const LOOK_MS: u8 = 1;

/// Both sides of the handing over.
#[derive(Debug)]
pub(crate) struct Handover(Word);

impl Handover {
    /// Prepares one, before the clone, if there is an agent.
    ///
    /// # Errors
    /// There is no memory.
    pub(crate) fn prepare(agent: Option<&Agent>) -> Result<Option<Self>> {
        agent.map(|_| Word::new().on("share", "a word").map(Self)).transpose()
    }

    /// The process: tells how loading went and waits until the listener has gone. Makes no system call.
    ///
    /// # Errors
    /// The filter could not be loaded; `ETIMEDOUT` when the runtime has gone.
    pub(super) fn give(&self, loaded: std::result::Result<Option<RawFd>, Errno>) -> std::result::Result<(), Errno> {
        let listener = loaded.inspect_err(|errno| self.0.set(-(*errno as i32)))?;
        self.0.set(listener.ok_or(Errno::EINVAL)?.saturating_add(1));
        for _ in 0..LOOKS_MAX {
            if self.0.get() == DONE {
                return Ok(());
            }
            std::hint::spin_loop();
        }
        Err(Errno::ETIMEDOUT)
    }

    /// The runtime: fetches the listener of `born` and sends it to `agent` with `state`.
    ///
    /// # Errors
    /// The filter could not be loaded, or nobody takes the listener.
    pub(super) fn take(&self, born: &Born, agent: &Agent, state: &Value) -> Result<()> {
        let number = self.await_number(born)?;
        let listener = skiff_sys::pidfd::copy_fd(born.pidfd.as_fd(), number).on("fetch", "seccomp listener")?;
        let text = message(born.pid, agent, state).to_string();
        let path = agent.socket.display();
        let mut stream = UnixStream::connect(&agent.socket).on("connect to seccomp agent", path)?;
        let sent = skiff_sys::pass::send_with_fds(stream.as_fd(), text.as_bytes(), &[listener.as_fd()]);
        let sent = sent.on("tell seccomp agent", agent.socket.display())?;
        let rest = text.as_bytes().get(sent..).unwrap_or_default();
        stream.write_all(rest).on("tell seccomp agent", agent.socket.display())?;
        self.0.set(DONE);
        Ok(())
    }

    fn await_number(&self, born: &Born) -> Result<RawFd> {
        loop {
            match self.0.get() {
                0 => (),
                errno if errno < 0 => {
                    return Err(Errno::from_raw(-errno)).on(steps::SECCOMP_LOAD.id, "with a listener");
                }
                number => return Ok(number - 1),
            }
            let mut ended = [PollFd::new(born.pidfd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ended, PollTimeout::from(LOOK_MS)) {
                Ok(0) | Err(Errno::EINTR) => (),
                Ok(_) => return Err(Error::Said("container process ended before its filter was loaded".to_owned())),
                Err(errno) => return Err(errno).on("wait for", "seccomp listener"),
            }
        }
    }
}

/// runtime-spec config-linux, The Container Process State.
fn message(pid: i32, agent: &Agent, state: &Value) -> Value {
    let mut message = json!({"ociVersion": state["ociVersion"], "fds": ["seccompFd"], "pid": pid, "state": state});
    if !agent.metadata.is_empty() {
        message["metadata"] = agent.metadata.as_str().into();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_the_specifications_fields() {
        let mut agent = Agent { socket: "/a".into(), metadata: String::new() };
        let state = json!({"ociVersion": "1.2.1", "id": "web"});
        let expected = json!({"ociVersion": "1.2.1", "fds": ["seccompFd"], "pid": 7, "state": state});
        assert_eq!(message(7, &agent, &state), expected);
        agent.metadata = "about".to_owned();
        assert_eq!(message(7, &agent, &state)["metadata"], "about");
    }
}
