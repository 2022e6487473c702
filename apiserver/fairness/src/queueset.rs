//! The queues of one level, and who sits on its seats (KEP-1040, "Fair queuing").
//!
//! ```text
//!  arrive ──► a queue of the flow's hand ──► a seat ──► leave ──► the seat stays taken while watchers are told ──► free
//!     └─ refused: queue full                  ▲ the queue whose next request would end first in virtual time
//! ```
//!
//! In the virtual world all queues that have work are served at once, each at the same rate; `progress` is how much each has got. A queue's
//! next request begins there at its `next`, and ends when its work is done. The real world takes, whenever seats are free, the request
//! that would end first there. Differences between the expected and the real time of a request are settled when it ends.
//!
//! Everything that happens is told with its time; nothing here looks at a clock. Who calls is told in `alarm` when to look again.

mod queue; // one queue, in both worlds
mod slots; // the requests of a level

pub use slots::{Details, Phase, QueueRow, Row, Ticket};

use crate::dealer::Dealer;
use crate::demand::{Demand, Seen};
use crate::flow::{Flow, Rejection};
use crate::work::{self, EXPECTED, SeatNanos, Work};
use queue::Queue;
use slots::{NO_QUEUE, Slot, Slots};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

/// Queues of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queuing {
    /// How many, and how many of them a flow may use.
    pub dealer: Dealer,
    /// How many there are.
    pub queues: usize,
    /// The most requests that wait in one.
    pub length_max: usize,
}

/// What becomes of a request for which no seat is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// It gets one all the same.
    Exempt,
    /// It is refused.
    Reject,
    /// It waits.
    Queue(Queuing),
}

/// Who is told that a waiting request has got its seats.
pub trait Waiter {
    /// It has.
    fn wake(&mut self);
}

/// What becomes of a request that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It has its seats.
    Executes(Ticket),
    /// Its waiter will be told.
    Waits(Ticket),
    /// It gets none.
    Rejected(Rejection),
}

/// How many requests and seats there are at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests in queues.
    pub waiting: usize,
    /// Their seats.
    pub seats_waiting: u32,
    /// Requests that are executed.
    pub executing: usize,
    /// Seats that are taken, also by requests that have answered.
    pub seats_in_use: u32,
    /// Requests that got seats, were refused, and gave up waiting, since the level is there.
    pub dispatched: u64,
    /// See above.
    pub rejected: u64,
    /// See above.
    pub cancelled: u64,
}

/// See the module.
#[derive(Debug)]
pub struct QueueSet<W> {
    response: Response,
    limit: u32,
    queues: Vec<Queue>,
    slots: Slots<W>,
    /// When seats come free by themselves.
    lapses: BinaryHeap<Reverse<(Duration, Ticket)>>,
    /// When somebody will look.
    alarmed: Option<Duration>,
    /// How far each queue that has work has come in the virtual world.
    progress: SeatNanos,
    now: Duration,
    /// Queues that have work.
    active: usize,
    robin: usize,
    dealt: usize,
    totals: Totals,
    demand: Demand,
}

impl<W: Waiter> QueueSet<W> {
    /// An empty one.
    #[must_use]
    pub fn new(now: Duration, response: Response, limit: u32) -> Self {
        let mut set = Self {
            response,
            limit,
            queues: Vec::new(),
            slots: Slots::default(),
            lapses: BinaryHeap::new(),
            alarmed: None,
            progress: 0,
            now,
            active: 0,
            robin: 0,
            dealt: 0,
            totals: Totals::default(),
            demand: Demand::since(now),
        };
        set.configure(now, response, limit);
        set
    }

    /// Has other queues or another limit from now on. Who waits in a queue that is no longer dealt stays there until it is served.
    pub fn configure(&mut self, now: Duration, response: Response, limit: u32) {
        self.advance(now);
        (self.response, self.limit) = (response, limit);
        let wanted = self.wanted_queues();
        if wanted > self.queues.len() {
            self.queues.resize_with(wanted, Queue::default);
        }
        self.drop_idle_queues();
        self.dispatch();
    }

    /// A request of the flow with this hash comes. Only if it has to wait, `wait` is asked for its waiter and for what it is about.
    pub fn arrive(
        &mut self,
        now: Duration,
        hash: u64,
        work: Work,
        flow: &Arc<Flow>,
        wait: impl FnOnce() -> (W, Details),
    ) -> Arrival {
        self.advance(now);
        let Response::Queue(queuing) = self.response else {
            return self.arrive_without_queue(work, flow);
        };
        let queue = self.shortest(queuing.dealer, hash);
        let is_full = self.queues[queue].waiting.len() >= queuing.length_max;
        if is_full && self.totals.seats_in_use >= self.limit {
            return self.reject(flow, Rejection::QueueFull);
        }
        let ticket = self.slots.put(Slot::new(work, flow, queue, (now, self.progress)));
        if !self.queues[queue].is_active() {
            self.queues[queue].next = self.progress;
            self.active += 1;
        }
        if self.totals.waiting == 0 && self.totals.seats_in_use < self.limit && self.accommodates(work.seats()) {
            self.begin(queue, ticket);
            self.note_demand();
            return Arrival::Executes(ticket);
        }
        self.enqueue(queue, ticket);
        self.dispatch();
        match self.slots.get_mut(ticket) {
            Some(slot) if slot.phase == Phase::Waiting => {
                let (waiter, details) = wait();
                (slot.waiter, slot.details) = (Some(waiter), Some(Box::new(details)));
                Arrival::Waits(ticket)
            }
            _ => Arrival::Executes(ticket),
        }
    }

    fn arrive_without_queue(&mut self, work: Work, flow: &Arc<Flow>) -> Arrival {
        if !self.accommodates(work.seats()) {
            return self.reject(flow, Rejection::ConcurrencyLimit);
        }
        let ticket = self.slots.put(Slot::new(work, flow, NO_QUEUE, (self.now, self.progress)));
        self.begin(NO_QUEUE, ticket);
        self.note_demand();
        Arrival::Executes(ticket)
    }

    /// A request has ended, or is wanted no longer, in whatever state it is: its seats come free, at once or after a while.
    pub fn leave(&mut self, now: Duration, ticket: Ticket) {
        self.advance(now);
        self.end(ticket);
        self.dispatch();
    }

    /// A request that is executed ends at `until` at the latest: what is left of it is its client's work.
    pub fn end_by(&mut self, until: Duration, ticket: Ticket) {
        self.lapses.push(Reverse((until, ticket)));
    }

    /// Lets time pass.
    pub fn pass(&mut self, now: Duration) {
        self.advance(now);
        self.dispatch();
    }

    /// The same, once: nobody else need look until [`Self::ring`] is called.
    pub fn take_alarm(&mut self) -> Option<Duration> {
        let next = self.alarm()?;
        if self.alarmed.is_some_and(|at| at <= next) {
            return None;
        }
        self.alarmed = Some(next);
        Some(next)
    }

    /// Lets time pass, because the time of an alarm has come.
    pub fn ring(&mut self, now: Duration) {
        if self.alarmed.is_some_and(|at| at <= now) {
            self.alarmed = None;
        }
        self.pass(now);
    }

    /// When somebody has to let time pass, because a request waits for seats that come free by themselves.
    #[must_use]
    pub fn alarm(&self) -> Option<Duration> {
        let next = self.lapses.peek().map(|Reverse((at, _))| *at);
        next.filter(|_| self.totals.waiting > 0)
    }

    /// How many seats there are.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// How many there are of everything.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// How far each queue that has work has come.
    #[must_use]
    pub fn progress(&self) -> SeatNanos {
        self.progress
    }

    /// Whether nobody waits or is executed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.totals.waiting == 0 && self.totals.executing == 0
    }

    /// What was seen of the demand since it was last asked for.
    pub fn take_demand(&mut self, now: Duration) -> Seen {
        self.advance(now);
        self.demand.take(now)
    }

    fn wanted_queues(&self) -> usize {
        if let Response::Queue(queuing) = self.response { queuing.queues } else { 0 }
    }

    /// Time passes, in both worlds; seats come free that were taken until now.
    fn advance(&mut self, now: Duration) {
        while let Some(Reverse((at, ticket))) = self.lapses.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.lapses.pop();
            self.advance_to(at);
            match self.slots.get(ticket).map(|slot| slot.phase) {
                Some(Phase::Executing) => self.end(ticket),
                Some(Phase::Lingering) => self.release(ticket),
                Some(Phase::Waiting) | None => continue,
            }
            self.dispatch();
        }
        self.advance_to(now);
    }

    fn advance_to(&mut self, now: Duration) {
        let passed = work::nanos(now.saturating_sub(self.now));
        self.now = self.now.max(now);
        if self.active > 0 {
            let wanted = self.totals.seats_in_use.saturating_add(self.totals.seats_waiting);
            self.progress += SeatNanos::from(wanted.min(self.limit)) * passed / self.active as SeatNanos;
        }
    }

    /// The queue of a flow's hand that has the least work waiting.
    fn shortest(&mut self, dealer: Dealer, hash: u64) -> usize {
        let hand = dealer.deal(hash);
        let cards = hand.cards();
        let offset = self.dealt % cards.len();
        self.dealt = self.dealt.wrapping_add(1);
        let (first, rest) = (&cards[offset..], &cards[..offset]);
        let in_turn = first.iter().chain(rest).copied();
        in_turn.min_by_key(|card| self.queues[*card].work_waiting).unwrap_or_default()
    }

    fn reject(&mut self, flow: &Flow, why: Rejection) -> Arrival {
        flow.reject(why);
        self.totals.rejected += 1;
        Arrival::Rejected(why)
    }

    fn accommodates(&self, seats: u32) -> bool {
        match self.response {
            Response::Exempt => true,
            // What is wider than the level has it for itself.
            _ if seats > self.limit => self.totals.executing == 0,
            _ => self.totals.seats_in_use + seats <= self.limit,
        }
    }

    fn enqueue(&mut self, queue: usize, ticket: Ticket) {
        let Some(slot) = self.slots.get(ticket) else { return };
        let seats = slot.work.seats();
        self.queues[queue].push(ticket, slot);
        slot.flow.waiting.enter(seats);
        slot.flow.queue_length.note(u32::try_from(self.queues[queue].waiting.len()).unwrap_or(u32::MAX));
        self.totals.waiting += 1;
        self.totals.seats_waiting += seats;
        self.queues[queue].bound(&self.slots);
        self.note_demand();
    }

    fn dispatch(&mut self) {
        while self.totals.waiting > 0 && self.totals.seats_in_use < self.limit && self.dispatch_one() {}
    }

    /// Gives seats to the request that would end first in the virtual world, if there are enough for it; others do not overtake it.
    fn dispatch_one(&mut self) -> bool {
        let count = self.queues.len();
        let mut first: Option<(SeatNanos, usize)> = None;
        for step in 1..=count {
            let at = (self.robin + step) % count;
            let Some(end) = self.queues[at].next_end(&self.slots) else { continue };
            if first.is_none_or(|(earliest, _)| end < earliest) {
                first = Some((end, at));
            }
        }
        let Some((_, queue)) = first else { return false };
        let Some(ticket) = self.queues[queue].waiting.front().copied() else { return false };
        let Some(seats) = self.slots.get(ticket).map(|slot| slot.work.seats()) else { return false };
        if !self.accommodates(seats) {
            if let Some(slot) = self.slots.get(ticket) {
                slot.flow.unaccommodated.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            return false;
        }
        self.robin = queue;
        self.unqueue(queue, ticket);
        if let Some(slot) = self.slots.get_mut(ticket) {
            slot.work = slot.work.narrowed(self.limit);
        }
        self.begin(queue, ticket);
        self.queues[queue].bound(&self.slots);
        self.note_demand();
        if let Some(waiter) = self.slots.get_mut(ticket).and_then(|slot| slot.waiter.as_mut()) {
            waiter.wake();
        }
        true
    }

    fn unqueue(&mut self, queue: usize, ticket: Ticket) {
        let Some(slot) = self.slots.get(ticket) else { return };
        let seats = slot.work.seats();
        self.queues[queue].remove(ticket, slot);
        slot.flow.waiting.leave(seats);
        self.totals.waiting -= 1;
        self.totals.seats_waiting -= seats;
    }

    /// Takes seats.
    fn begin(&mut self, queue: usize, ticket: Ticket) {
        let now = self.now;
        let Some(slot) = self.slots.get_mut(ticket) else { return };
        let seats = slot.work.seats();
        (slot.phase, slot.started) = (Phase::Executing, now);
        slot.flow.executing.enter(seats);
        slot.flow.dispatched.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if queue != NO_QUEUE {
            let total = slot.total;
            let queue = &mut self.queues[queue];
            (queue.executing, queue.seats, queue.next) = (queue.executing + 1, queue.seats + seats, queue.next + total);
        }
        self.totals.dispatched += 1;
        self.totals.executing += 1;
        self.totals.seats_in_use += seats;
    }

    fn end(&mut self, ticket: Ticket) {
        match self.slots.get(ticket).map(|slot| slot.phase) {
            Some(Phase::Waiting) => self.give_up(ticket),
            Some(Phase::Executing) => self.finish(ticket),
            // It ends by itself, or has.
            Some(Phase::Lingering) | None => {}
        }
    }

    fn give_up(&mut self, ticket: Ticket) {
        let Some(slot) = self.slots.get(ticket) else { return };
        let queue = slot.queue;
        slot.flow.reject(Rejection::TimeOut);
        self.unqueue(queue, ticket);
        self.totals.rejected += 1;
        self.totals.cancelled += 1;
        self.slots.take(ticket);
        self.queues[queue].bound(&self.slots);
        self.settle(queue);
        self.note_demand();
    }

    /// What a request did in fact becomes known; its seats may stay taken.
    fn finish(&mut self, ticket: Ticket) {
        let now = self.now;
        let Some(slot) = self.slots.get_mut(ticket) else { return };
        slot.phase = Phase::Lingering;
        let (work, queue) = (slot.work, slot.queue);
        let took = work::nanos(now.saturating_sub(slot.started));
        self.totals.executing -= 1;
        if queue != NO_QUEUE {
            let more = SeatNanos::from(work.initial_seats) * (took - work::nanos(EXPECTED));
            let it = &mut self.queues[queue];
            (it.executing, it.next) = (it.executing - 1, it.next + more);
            it.bound(&self.slots);
            self.settle(queue);
        }
        if work.latency.is_zero() {
            self.release(ticket);
        } else {
            self.lapses.push(Reverse((now + work.latency, ticket)));
        }
    }

    /// Its seats are free.
    fn release(&mut self, ticket: Ticket) {
        let Some(slot) = self.slots.take(ticket) else { return };
        let (seats, queue) = (slot.work.seats(), slot.queue);
        slot.flow.executing.leave(seats);
        self.totals.seats_in_use -= seats;
        if queue != NO_QUEUE {
            self.queues[queue].seats -= seats;
            self.drop_idle_queues();
        }
        self.note_demand();
    }

    /// A queue has lost a request; it may have been its last work.
    fn settle(&mut self, queue: usize) {
        if !self.queues[queue].is_active() {
            self.active -= 1;
        }
    }

    /// Queues that are dealt no longer go when they are empty, from the end.
    fn drop_idle_queues(&mut self) {
        let wanted = self.wanted_queues();
        while self.queues.len() > wanted && self.queues.last().is_some_and(Queue::is_empty) {
            self.queues.pop();
        }
    }

    fn note_demand(&mut self) {
        let seats = f64::from(self.totals.seats_in_use) + f64::from(self.totals.seats_waiting);
        self.demand.set(self.now, seats);
    }
}

#[cfg(test)]
mod tests;
