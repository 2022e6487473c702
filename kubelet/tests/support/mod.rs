//! What the kubelet's tests run it against: a small API server in memory, and a runtime that only pretends.

pub(crate) mod api;
pub(crate) mod runtime;
