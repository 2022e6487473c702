//! Schemas of custom resources.

#![allow(dead_code, reason = "the kinds move here one by one")]

/// Limits that a custom resource sets on a value, beyond its shape.
#[derive(Debug, Default)]
pub(crate) struct Limits {}
