//! One pod's life on this node.
//!
//! ```text
//!  API watch ─┐                          ┌─► act      (CRI calls, files, hooks)
//!  CRI events ┼─► worker ─► plan ─► steps┤      │ outcome
//!  probes ────┘     ▲                    └─► status ─► API
//!                   └───────────────────────────┘
//! ```
//!
//! [`plan`] and [`status`] are pure; [`worker`] is the one task that owns a pod's memory; [`act`] performs.

pub(crate) mod backoff; // when may it be tried again
pub(crate) mod wanted; // what the API asks for
pub(crate) mod observed; // what the runtime has
pub(crate) mod memory; // what we remember in between
pub(crate) mod plan; // what to do next; no I/O
pub(crate) mod status; // what to report; no I/O
mod conditions; // the conditions of the report; no I/O
pub(crate) mod resources; // quantities, QoS classes, shares
pub(crate) mod names; // hostname, DNS, /etc/hosts
pub(crate) mod env; // a container's environment; no I/O
mod security; // users, capabilities, seccomp as CRI says them
pub(crate) mod sandbox; // the CRI sandbox of a pod; no I/O
pub(crate) mod container; // the CRI container of a pod; no I/O
pub(crate) mod sources; // config maps, secrets, services from the API
pub(crate) mod cgroup; // the pod's cgroup
pub(crate) mod act; // performs one step
mod start; // performs the longest one
mod last_words; // termination messages
mod hooks; // postStart and preStop
pub(crate) mod worker; // the task that owns it all
mod report; // writes the status
pub(crate) mod dispatch; // from the watch to the workers
mod runtime_events; // what the runtime reports
mod orphans; // sandboxes whose pod is gone
