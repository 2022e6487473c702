//! The Node object and its lease: how the cluster knows this node, and that it lives.

mod lease; // the heartbeat
mod machine; // what the machine is
mod pod_range; // the range of its pods, for the runtime
mod register; // writes the object
mod status; // what it says; no I/O

pub(crate) use machine::Machine;
pub(crate) use pod_range::PodRange;
pub(crate) use register::{Keeper, register};
pub(crate) use status::NodeInputs;
