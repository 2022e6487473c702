//! API priority and fairness (KEP-1040): which requests go first, which wait, and which are refused.
//!
//! ```text
//!  a request ──► schema: the first that matches ──► level ──► queue of its flow's hand ──► seats
//!                (plan)                              (levels)                    (queueset)
//! ```
//!
//! Begin with `plan.rs` (which schema and level a request belongs to), `levels.rs` (what follows from the stored objects, and how levels
//! lend each other seats) and `queueset.rs` (one level's queues). All of it is told what time it is, as a time since some beginning.

mod allocate; // seats divided among levels
mod asked; // what a request asks for, by its path
mod bootstrap; // the objects that every cluster has
mod dealer; // queues of a flow
mod demand; // seats that a level could use
mod dropped; // when the refused should come again
mod dump; // what is there, for those who look
mod estimate; // seats of a request
mod flow; // what is counted
mod level; // one level
mod levels; // all levels
mod metrics; // what is counted, as text
mod plan; // which level a request belongs to
mod queueset; // the queues of one level
mod schema; // one FlowSchema
mod watches; // who is told of a write
mod work; // what a request needs

pub use asked::{Asked, Named, Query};
pub use bootstrap::{Step, objects, step, step_of_other};
pub use dealer::{Dealer, HAND_MAX, Hand};
pub use demand::{Demand, Seen};
pub use dropped::Dropped;
pub use dump::{dump_levels, dump_queues, dump_requests};
pub use estimate::{Size, list_work, write_work};
pub use flow::{Flow, Rejection};
pub use level::{Level, LevelSpec};
pub use levels::{Dangling, Levels, Limits, Seats};
pub use metrics::metrics;
pub use plan::{Entry, Plan, User};
pub use queueset::{Arrival, Details, Phase, QueueRow, QueueSet, Queuing, Response, Row, Ticket, Totals, Waiter};
pub use schema::{By, Schema};
pub use watches::{Watched, Watches};
pub use work::{SeatNanos, Work};

/// The group of the objects that configure it.
pub const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// The kinds that configure it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// FlowSchema.
    Schema,
    /// PriorityLevelConfiguration.
    Level,
}

impl Kind {
    /// Both; levels first, because schemas name them.
    pub const ALL: [Self; 2] = [Self::Level, Self::Schema];

    /// The plural.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Schema => "flowschemas",
            Self::Level => "prioritylevelconfigurations",
        }
    }

    /// The kind's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Schema => "FlowSchema",
            Self::Level => "PriorityLevelConfiguration",
        }
    }
}
