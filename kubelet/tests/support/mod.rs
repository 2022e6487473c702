//! What the kubelet's tests run it against: a small API server in memory, and a runtime that only pretends.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

pub(crate) mod api;
pub(crate) mod runtime;
