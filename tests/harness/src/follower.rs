//! Programs whose output is read as it comes.

use crate::{TestNode, skiff};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a line may take.
const LINE_MAX: Duration = Duration::from_secs(60);

/// A program whose output is read as it comes. Dropped: ended.
pub struct Follower {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Follower {
    /// Starts `skiff` with these words against the node.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn skiff(node: &TestNode, words: &[&str]) -> Self {
        let mut command = skiff();
        command.args(words).env("KUBECONFIG", node.kubeconfig());
        Self::start(command)
    }

    /// Starts any command.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = started.unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let (send, lines) = channel();
        let out = BufReader::new(child.stdout.take().expect("it was given a pipe"));
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, lines, seen: Vec::new() }
    }

    /// The next line that `is_it` takes.
    ///
    /// # Panics
    /// There is none within a minute; the message holds those that there were.
    #[track_caller]
    pub fn line(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + LINE_MAX;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no line with {what}; there were:\n{}", self.seen.join("\n"))
                }
            }
            match self.seen.last() {
                Some(line) if is_it(line) => return line.clone(),
                _ => {}
            }
        }
    }

    /// All lines so far.
    #[must_use]
    pub fn seen(&self) -> &[String] {
        &self.seen
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
