//! A seat: whoever has one gives it back by dropping it, whatever becomes of the request.

use super::{Entered, Fairness, Refused};
use crate::request::ADMINISTRATORS;
use skiff_client::Identity;
use skiff_fairness::{Asked, Entry, Flow, Level, Limits, Named, Ticket, Waiter, Watched, Watches};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep_until;

/// How long an answer that is still being sent keeps its seat.
const SENDING_MAX: Duration = Duration::from_secs(1);

/// A request that waits, and is told over a channel.
pub(super) struct Waiting(Option<oneshot::Sender<()>>);

impl Waiting {
    pub(super) fn new(sender: oneshot::Sender<()>) -> Self {
        Self(Some(sender))
    }
}

impl Waiter for Waiting {
    fn wake(&mut self) {
        // Who is not there any more gives the seat back itself.
        let _told = self.0.take().map(|sender| sender.send(()));
    }
}

/// A place at a level, in a queue or on a seat.
pub(crate) struct Seat(Held);

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Held::Level(held) => write!(f, "Seat({}, {})", held.level.name, held.flow.schema),
            Held::Plain(..) => f.write_str("Seat"),
        }
    }
}

enum Held {
    Level(AtLevel),
    Plain(Arc<Plain>, bool),
}

struct AtLevel {
    fairness: Arc<Fairness>,
    level: Arc<Level<Waiting>>,
    flow: Arc<Flow>,
    ticket: Ticket,
    /// When it was executed.
    began: Option<Duration>,
    is_watch: bool,
    counted: Option<Counted>,
}

/// A watch that is counted among those that are told of writes.
pub(crate) struct Counted {
    watches: Arc<Watches>,
    watched: Watched,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.watches.end(self.watched);
    }
}

impl Seat {
    pub(super) fn new(fairness: &Arc<Fairness>, entry: &Entry<Waiting>, ticket: Ticket, is_watch: bool) -> Self {
        Self(Held::Level(AtLevel {
            fairness: Arc::clone(fairness),
            level: Arc::clone(&entry.level),
            flow: Arc::clone(&entry.flow),
            ticket,
            began: None,
            is_watch,
            counted: None,
        }))
    }

    /// It is executed from now on.
    pub(super) fn begin(&mut self) {
        if let Held::Level(held) = &mut self.0 {
            held.began = Some(held.fairness.now());
        }
    }

    /// Somebody waits: seats that come free by themselves must not go unnoticed.
    pub(super) fn arm(&self) {
        if let Held::Level(held) = &self.0 {
            held.arm();
        }
    }

    /// The request is a watch of what is named.
    pub(super) fn count(&mut self, watches: &Arc<Watches>, named: &Named<'_>) {
        if let Held::Level(held) = &mut self.0 {
            held.counted = Some(Counted { watches: Arc::clone(watches), watched: watches.begin(named) });
        }
    }

    /// The watch, which lasts longer than its seat.
    pub(crate) fn counted(&mut self) -> Option<Counted> {
        if let Held::Level(held) = &mut self.0 { held.counted.take() } else { None }
    }

    /// Its answer is on its way; a slow reader keeps the seat for a while only.
    pub(super) fn is_being_sent(&self) {
        if let Held::Level(held) = &self.0 {
            held.level.lock().end_by(held.fairness.now() + SENDING_MAX, held.ticket);
            held.arm();
        }
    }
}

impl AtLevel {
    /// Lets somebody look when seats come free by themselves for which others wait.
    fn arm(&self) {
        let Some(at) = self.level.lock().take_alarm() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (fairness, level) = (Arc::clone(&self.fairness), Arc::clone(&self.level));
        runtime.spawn(async move {
            let mut next = Some(at);
            while let Some(at) = next {
                sleep_until(fairness.begin + at).await;
                let mut set = level.lock();
                set.ring(fairness.now());
                next = set.take_alarm();
            }
        });
    }
}

impl Drop for AtLevel {
    fn drop(&mut self) {
        let now = self.fairness.now();
        if let Some(began) = self.began {
            self.flow.note_execution(now.saturating_sub(began), self.is_watch);
        }
        self.level.lock().leave(now, self.ticket);
        self.arm();
    }
}

/// Requests that are served at the same time without regard to who asks: those that read, and those that write.
pub(super) struct Plain {
    limits: Limits,
    reading: AtomicU32,
    mutating: AtomicU32,
}

impl Plain {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, reading: AtomicU32::new(0), mutating: AtomicU32::new(0) }
    }

    fn side(&self, mutating: bool) -> (&AtomicU32, u32) {
        if mutating { (&self.mutating, self.limits.mutating) } else { (&self.reading, self.limits.reading) }
    }

    /// Watches are not counted, and administrators are served whatever there is; no limit is none.
    pub(super) fn enter(self: Arc<Self>, who: &Identity, asked: &Asked<'_>) -> Result<Entered, Refused> {
        let mutating = asked.is_mutating();
        let (count, limit) = self.side(mutating);
        if limit == 0 || asked.verb == "watch" {
            return Ok(Entered { seat: None, marks: None });
        }
        let more = |count: u32| (count < limit).then_some(count + 1);
        if count.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok() {
            return Ok(Entered { seat: Some(Seat(Held::Plain(self, mutating))), marks: None });
        }
        if who.groups.iter().any(|group| group == ADMINISTRATORS) {
            return Ok(Entered { seat: None, marks: None });
        }
        Err(Refused { seconds: 1, marks: None })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Self::Plain(plain, mutating) = self {
            plain.side(*mutating).0.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
