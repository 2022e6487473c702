//! The requests of a level: places that are used again, so that a request costs no memory of its own.

use super::{QueueSet, Waiter};
use crate::flow::Flow;
use crate::work::{SeatNanos, Work};
use std::sync::Arc;
use std::time::Duration;

/// Of a request that never was in a queue.
pub(super) const NO_QUEUE: usize = usize::MAX;

/// A request at a level, while it is there. Later requests have later tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    sequence: u64,
    place: u32,
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// In a queue.
    Waiting,
    /// On its seats.
    Executing,
    /// Answered, its seats still taken.
    Lingering,
}

/// What a request that waits is about, for those who look at queues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// What tells its flow from others of its schema.
    pub distinguisher: String,
    /// Who asks.
    pub user: String,
    /// For what: `list`.
    pub verb: String,
    /// The path.
    pub path: String,
    /// Of what it names.
    pub namespace: String,
    /// Of what it names.
    pub name: String,
    /// Group and version: `apps/v1`.
    pub api_version: String,
    /// The plural.
    pub resource: String,
    /// The part of it.
    pub part: String,
}

/// One request.
#[derive(Debug)]
pub(super) struct Slot<W> {
    sequence: u64,
    pub(super) phase: Phase,
    pub(super) queue: usize,
    pub(super) work: Work,
    pub(super) total: SeatNanos,
    pub(super) arrived: Duration,
    pub(super) arrived_at_progress: SeatNanos,
    pub(super) started: Duration,
    pub(super) flow: Arc<Flow>,
    pub(super) waiter: Option<W>,
    pub(super) details: Option<Box<Details>>,
}

impl<W> Slot<W> {
    /// One that arrives, at a time in both worlds.
    pub(super) fn new(work: Work, flow: &Arc<Flow>, queue: usize, (now, progress): (Duration, SeatNanos)) -> Self {
        Self {
            sequence: 0,
            phase: Phase::Waiting,
            queue,
            work,
            total: work.total(),
            arrived: now,
            arrived_at_progress: progress,
            started: now,
            flow: Arc::clone(flow),
            waiter: None,
            details: None,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Slots<W> {
    places: Vec<Option<Slot<W>>>,
    free: Vec<u32>,
    last: u64,
}

impl<W> Default for Slots<W> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), last: 0 }
    }
}

impl<W> Slots<W> {
    pub(super) fn put(&mut self, mut slot: Slot<W>) -> Ticket {
        self.last += 1;
        slot.sequence = self.last;
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            // So many requests do not fit into any memory.
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        self.places[place as usize] = Some(slot);
        Ticket { sequence: self.last, place }
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Slot<W>> {
        self.places.get(ticket.place as usize)?.as_ref().filter(|slot| slot.sequence == ticket.sequence)
    }

    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Slot<W>> {
        self.places.get_mut(ticket.place as usize)?.as_mut().filter(|slot| slot.sequence == ticket.sequence)
    }

    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Slot<W>> {
        let place = self.places.get_mut(ticket.place as usize)?;
        if place.as_ref().is_none_or(|slot| slot.sequence != ticket.sequence) {
            return None;
        }
        self.free.push(ticket.place);
        place.take()
    }

    fn all(&self) -> impl Iterator<Item = &Slot<W>> {
        self.places.iter().flatten()
    }
}

/// One request, for those who look.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its schema.
    pub schema: String,
    /// Its queue; `None`: it has none.
    pub queue: Option<usize>,
    /// Its place in the queue; `None`: it is being executed.
    pub place: Option<usize>,
    /// How far it is.
    pub phase: Phase,
    /// When it came, and when it got its seats.
    pub arrived: Duration,
    /// See above.
    pub started: Option<Duration>,
    /// What it needs.
    pub work: Work,
    /// What it is about, if it has waited.
    pub details: Option<Details>,
}

/// One queue, for those who look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueRow {
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that are executed.
    pub executing: usize,
    /// Seats that are taken.
    pub seats: u32,
    /// When its next request begins in the virtual world.
    pub next: SeatNanos,
    /// Seats of those that wait, while they run.
    pub initial_seats_waiting: u32,
    /// The same at most.
    pub seats_waiting: u32,
    /// Work of those that wait.
    pub work_waiting: SeatNanos,
}

impl<W: Waiter> QueueSet<W> {
    /// Its queues.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueRow> {
        let row = |queue: &super::Queue| QueueRow {
            waiting: queue.waiting.len(),
            executing: queue.executing,
            seats: queue.seats,
            next: queue.next,
            initial_seats_waiting: queue.seats_waiting[0],
            seats_waiting: queue.seats_waiting[1],
            work_waiting: queue.work_waiting,
        };
        self.queues.iter().map(row).collect()
    }

    /// Its requests: those that wait in order, then those that are executed.
    #[must_use]
    pub fn requests(&self) -> Vec<Row> {
        let row = |slot: &Slot<W>, place| Row {
            schema: slot.flow.schema.to_string(),
            queue: Some(slot.queue).filter(|queue| *queue != NO_QUEUE),
            place,
            phase: slot.phase,
            arrived: slot.arrived,
            started: Some(slot.started).filter(|_| slot.phase != Phase::Waiting),
            work: slot.work,
            details: slot.details.as_deref().cloned(),
        };
        let mut rows = Vec::new();
        for queue in &self.queues {
            let waiting = queue.waiting.iter().enumerate();
            rows.extend(waiting.filter_map(|(place, ticket)| Some(row(self.slots.get(*ticket)?, Some(place)))));
        }
        rows.extend(self.slots.all().filter(|slot| slot.phase == Phase::Executing).map(|slot| row(slot, None)));
        rows
    }
}
