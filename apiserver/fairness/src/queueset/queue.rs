//! One queue: who waits in it, and how far it has come in the virtual world.

use super::slots::{Slot, Slots, Ticket};
use crate::work::SeatNanos;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The oldest first: tickets are given in order.
    pub(super) waiting: VecDeque<Ticket>,
    /// The work of all that wait.
    pub(super) work_waiting: SeatNanos,
    /// Seats of all that wait, while they run and at most.
    pub(super) seats_waiting: [u32; 2],
    pub(super) executing: usize,
    /// Seats that its requests have, also those that have answered.
    pub(super) seats: u32,
    /// When its next request begins in the virtual world.
    pub(super) next: SeatNanos,
}

impl Queue {
    /// Whether it has work.
    pub(super) fn is_active(&self) -> bool {
        self.executing > 0 || !self.waiting.is_empty()
    }

    /// Whether nobody remembers it.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_active() && self.seats == 0
    }

    pub(super) fn push<W>(&mut self, ticket: Ticket, slot: &Slot<W>) {
        self.waiting.push_back(ticket);
        self.work_waiting += slot.total;
        self.seats_waiting[0] += slot.work.initial_seats;
        self.seats_waiting[1] += slot.work.seats();
    }

    pub(super) fn remove<W>(&mut self, ticket: Ticket, slot: &Slot<W>) {
        let Ok(at) = self.waiting.binary_search(&ticket) else { return };
        self.waiting.remove(at);
        self.work_waiting -= slot.total;
        self.seats_waiting[0] -= slot.work.initial_seats;
        self.seats_waiting[1] -= slot.work.seats();
    }

    /// When the oldest that waits would end in the virtual world.
    pub(super) fn next_end<W>(&self, slots: &Slots<W>) -> Option<SeatNanos> {
        let oldest = slots.get(*self.waiting.front()?)?;
        Some(self.next + oldest.total)
    }

    /// Nothing begins before it has arrived: a queue that was served little saves nothing up.
    pub(super) fn bound<W>(&mut self, slots: &Slots<W>) {
        if let Some(oldest) = self.waiting.front().and_then(|ticket| slots.get(*ticket)) {
            self.next = self.next.max(oldest.arrived_at_progress);
        }
    }
}
