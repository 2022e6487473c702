//! What the audit log says of a request (`audit.k8s.io/v1`): whether a policy wants it recorded and how much of it, the event as JSON or as a
//! line of text, and lines that hang on one another so that none can be taken away unseen.
//!
//! ```text
//!  method, path, query ──► Attributes ──policy──► Decision ──► Event, at each stage ──► line ──chain──► file
//! ```
//!
//! Pure: no I/O, no clock. The API server says when a request comes, who sends it and what it is answered; it writes what comes out.
//!
//! Begin with [`Policy::decide`], then [`Event::json`], then [`Chain`].

mod attributes; // what is asked for
mod chain; // lines that hang on one another
mod durable; // what must be on disk before the answer
mod event; // one event
mod legacy; // an event as a line of text
mod managed; // objects without their managed fields
mod policy; // which requests are recorded
mod read; // a policy as it is written
mod truncate; // events that are too large

pub use attributes::{Attributes, Object};
pub use chain::{Chain, Fault, Finding, Verifier};
pub use durable::is_durable;
pub use event::{Event, Level, ObjectRef, Stage, Stages, User};
pub use managed::without_managed_fields;
pub use policy::{Decision, Policy};
pub use read::{PolicyError, ReadPolicy};
pub use truncate::{Fit, fitted};

/// The group and version of events and policies.
pub const API_VERSION: &str = "audit.k8s.io/v1";
