//! The attack corpus of container runtimes: every published escape, tried on ours.
//!
//! A case passes when a tree of the host is byte for byte what it was, the container sees nothing outside its root, and the
//! same attack succeeds on a positive control: an old peer of Debian (`SKIFF_PEERS`), or a build of our own that makes the
//! mistake on purpose (`SKIFF_MUTANT`, see src/mutant.rs). A control that is missing is said and counted. The table with all
//! cases is docs/security.md.

// A test may fail like one.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod binary;
mod canary;
mod cgroups;
mod control;
mod descriptors;
mod devices;
mod paths;
mod privileges;
mod procfs;
mod users;
