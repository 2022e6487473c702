//! What expressions cost: estimated before, counted while they run.

mod calls; // estimates of Kubernetes' functions
pub(crate) mod estimate; // of a whole expression
pub(crate) mod price; // of a call that runs
pub(crate) mod runtime; // as it runs

/// Part of a unit that looking at one character costs.
pub(crate) const TRAVERSAL: f64 = 0.1;

/// Part of a unit that one character of a pattern costs.
pub(crate) const PATTERN: f64 = 0.25;
