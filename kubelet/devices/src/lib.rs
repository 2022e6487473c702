//! Devices that plugins count and hand out (Kubernetes, "Device Plugins", v1beta1), and which container has which.
//!
//! ```text
//!  plugin ─► Register, at kubelet.sock                [registration]
//!  kubelet ─► ListAndWatch: devices and their health   [manager] ─► [ledger] ─► capacity of the node
//!  pod admitted ─► GetPreferredAllocation, Allocate ─► [checkpoint]
//!  container starts ─► PreStartContainer ─► variables, mounts, devices, annotations, CDI names
//!  monitor ─► List, Get, GetAllocatableResources       [listing]
//! ```
//!
//! Left out: devices are not aligned with processors and memory of one NUMA node, because nothing on the node pins those; what a
//! plugin says about NUMA nodes is passed on to monitors.

mod checkpoint; // what was handed out, on the disk
mod ledger; // what there is and who holds it; no I/O
mod listing; // the API for monitors
mod manager; // the one that asks plugins
mod plugin; // one plugin, and how it is called
mod registration; // how plugins make themselves known
mod socket; // where the kubelet listens

pub use ledger::{Figure, Health, Options};
pub use listing::{PodNames, serve as serve_listing};
pub use manager::Devices;
pub use registration::serve as serve_registration;

/// What a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// The pod's uid.
    pub pod: String,
    /// Its containers in starting order.
    pub containers: Vec<AskedContainer>,
}

/// What a container asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedContainer {
    /// Its name.
    pub name: String,
    /// What becomes of its devices when it has ended.
    pub after: After,
    /// How many of each resource that has a domain in its name; also of those that no plugin offers.
    pub limits: Vec<(String, u64)>,
}

/// What becomes of a container's devices when it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The containers after it may have them: it is an init container.
    GivenOn,
    /// They stay its own, for its next run.
    Kept,
}
