//! The cluster's DNS server: services and endpoint slices to answers, everything else to the host's resolvers.
//!
//! What it answers is Kubernetes' "DNS-Based Service Discovery" 1.1.0, and where that is silent what CoreDNS answers with the
//! Corefile of Kubernetes' installers. It holds nothing that it could lose: the zone is an index over the watch cache, and each
//! change of an object changes as much of the index as the object has entries.
//!
//! ```text
//! watch ─► follow ─► zone ◄─ answer ◄─ screen ◄─ server ◄─ pods
//!                              └─ not ours ─► forward ─► the host's resolvers
//! ```
//!
//! What it leaves to others: leading packets for the service's address here (the service proxy's work), and what pods are
//! told about it (the kubelet's).

mod answer; // a question to a message; no I/O
mod error; // why not
mod follow; // the watch cache to the zone
mod forward; // what is not ours
mod labels; // a name, lower case and from its right end
mod publish; // the service and the slice that lead here
mod screen; // which messages are questions at all; no I/O
mod server; // sockets
mod wire; // messages to bytes, cut to what fits; no I/O
mod zone; // what objects say about names; no I/O

pub use error::DnsError;
pub use forward::Upstreams;
pub use labels::Labels;
pub use publish::{Published, publish, publish_slice, withdraw};
pub use server::{Dns, DnsConfig};
pub use zone::{Endpoint, Found, Port, Range, Serving, Zone};

/// What the benchmark and the properties of this crate drive: bytes to bytes, without sockets.
#[doc(hidden)]
pub mod pure {
    pub use crate::answer::{Reply, reply};
    pub use crate::screen::{Screened, screen};
    pub use crate::wire::{UDP_BYTES_MAX, encode, udp_limit};
}
