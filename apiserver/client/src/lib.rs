//! How everyone else talks to an API server: a [`kube::Client`] over HTTPS or in process.
//!
//! The controllers, the scheduler, the kubelet and the proxy take a `kube::Client` and cannot tell where it leads: to a
//! real kube-apiserver by kubeconfig ([`from_kubeconfig`]), or to our own server in the same process ([`in_process`]),
//! which spares TLS and sockets but speaks the same HTTP. What they follow they follow through [`Caches`], and what they have to
//! look at stands in a [`Queue`].
//!
//! What it leaves to others: deciding, and what is done about an error.

mod accounts;
pub mod affinity;
mod anyone;
mod caches;
mod connect;
mod election;
mod events;
pub mod expect;
mod figures;
mod identity;
pub mod loose;
mod presented;
mod queue;
mod replaceable;
mod sentence;
mod upgrade;
mod uses;

pub use accounts::Accounts;
pub use anyone::{anyone, trusting_tls};
pub use caches::{Cache, Caches, Change, Kept, MetadataCache, Subscription};
pub use connect::{ConnectError, authority_of_kubeconfig, from_kubeconfig, in_process};
pub use election::{Election, lead_if};
pub use events::{EventKind, event_about, record};
pub use figures::{Family, Histogram, figures, publish};
pub use identity::Identity;
pub use presented::Presented;
pub use queue::{Key, Queue};
pub use replaceable::Replaceable;
pub use sentence::sentence;
pub use upgrade::{is_upgrade, splice_upgrade};
pub use uses::{USES, Use};

pub use k8s_openapi;
pub use kube;
