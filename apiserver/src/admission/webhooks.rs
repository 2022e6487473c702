//! Webhooks: servers of others that are asked about writes, as `MutatingWebhookConfiguration` and `ValidatingWebhookConfiguration` say.
//!
//! ```text
//!  hooks, by name of their configuration ──► rules, selectors, match conditions ──► AdmissionReview ──► call ──► answer checked
//!      mutating: one after the other, each sees what those before it made; a second round for those that want it
//!      validating: all at once
//! ```

mod answer; // what a hook said; no I/O
mod call; // one hook is asked
mod failure; // what becomes of a write whose hook gives no answer
mod hook; // one of them, read
mod mutating; // those that change objects
pub(super) mod review; // what it is asked; no I/O
mod validating; // those that refuse
pub(super) mod versions; // an object in the version that a hook wants

pub(super) use mutating::PLUGIN as MUTATING;
pub(super) use validating::PLUGIN as VALIDATING;

pub(crate) use hook::{Hooks, compile};
