//! Which requests share a commit: those that came during the last one, and those of clients who will be back in a moment.
//!
//! Clients that were just answered mostly ask again at once. A writer that begins its next commit with the first of them makes the
//! others wait for that one and then for their own: two waits for the disk instead of one. So it waits for as many as were answered
//! or queued when the last commit ended, but no longer than half of what a commit takes, and not at all for a single client.

use crate::writer::Work;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// However slow the disk is, nobody waits longer for others.
const PATIENCE_MAX: Duration = Duration::from_millis(5);
/// How long it sleeps at least before it looks again: about what waking up costs.
const NAP_MIN: Duration = Duration::from_micros(50);

/// Requests on their way to the writer.
pub(crate) struct Gatherer {
    queue: Receiver<Work>,
    /// Those that came before the last answers were given.
    waiting: VecDeque<Work>,
    patience: Patience,
}

/// How many requests to expect, and until when. Pure.
#[derive(Debug, Default)]
struct Patience {
    /// What a commit takes, on average of late.
    commit: Duration,
    expected: usize,
    until: Option<Instant>,
}

impl Patience {
    /// A commit of `answered` requests took `took` and ended now; `waiting` came meanwhile.
    fn committed(&mut self, answered: usize, waiting: usize, took: Duration, now: Instant) {
        self.commit = if self.until.is_none() { took } else { (self.commit * 3 + took) / 4 };
        self.expected = answered + waiting;
        self.until = Some(now + (self.commit / 2).min(PATIENCE_MAX));
    }

    /// How long to wait for more when there are `gathered`; `None`: not at all.
    fn nap(&self, gathered: usize, now: Instant) -> Option<Duration> {
        let left = self.until?.checked_duration_since(now).filter(|left| !left.is_zero())?;
        let whole = (self.commit / 2).min(PATIENCE_MAX);
        (gathered < self.expected).then(|| left.min((whole / 8).max(NAP_MIN)))
    }
}

impl Gatherer {
    /// From a queue.
    pub(crate) fn new(queue: Receiver<Work>) -> Self {
        Gatherer { queue, waiting: VecDeque::new(), patience: Patience::default() }
    }

    /// The next request; `None`: there was none until `due`.
    pub(crate) fn first(&mut self, due: Option<Instant>) -> Result<Option<Work>, RecvTimeoutError> {
        if let Some(work) = self.waiting.pop_front() {
            return Ok(Some(work));
        }
        let received = match due {
            Some(due) => self.queue.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Err(RecvTimeoutError::Timeout) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Another one for a commit that has `gathered` already.
    pub(crate) fn more(&mut self, gathered: usize) -> Option<Work> {
        loop {
            if let Some(work) = self.now() {
                return Some(work);
            }
            std::thread::sleep(self.patience.nap(gathered, Instant::now())?);
        }
    }

    /// One that is here.
    pub(crate) fn now(&mut self) -> Option<Work> {
        self.waiting.pop_front().or_else(|| self.queue.try_recv().ok())
    }

    /// A commit took `took`; its `answers` are about to be given.
    pub(crate) fn committed(&mut self, answers: usize, took: Duration) {
        self.waiting.extend(self.queue.try_iter());
        self.patience.committed(answers, self.waiting.len(), took, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_is_never_made_to_wait() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        assert_eq!(patience.nap(0, now), None, "nothing is known yet");
        patience.committed(1, 0, Duration::from_millis(4), now);
        assert_eq!(patience.nap(1, now), None);
    }

    #[test]
    fn many_are_waited_for_a_part_of_a_commit() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        patience.committed(40, 24, Duration::from_millis(4), now);
        assert_eq!(patience.nap(24, now), Some(Duration::from_micros(250)));
        assert_eq!(patience.nap(64, now), None, "all are here");
        let late = now + Duration::from_micros(1900);
        assert_eq!(patience.nap(24, late), Some(Duration::from_micros(100)), "to the end of its patience");
        assert_eq!(patience.nap(24, now + Duration::from_millis(2)), None, "and no longer");
        patience.committed(40, 24, Duration::from_secs(9), now);
        assert_eq!(patience.nap(24, now + PATIENCE_MAX), None, "a slow disk changes nothing about that");
    }
}
