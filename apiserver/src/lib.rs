//! The API server: REST and gRPC over a registry of typed objects over a store.
//!
//! A request passes, in this order: who asks (`tls`, `rest`'s authorization), what is asked (`rest::request`), the
//! object as its schema sees it (`skiff-schema`), admission (what the server adds or refuses), the registry (keys,
//! revisions, retries), the store (`skiff_store::backend::Backend`). The gRPC door opens on the same registry.
//!
//! What it leaves to others: everything that acts on objects. It never talks to a kubelet, except to pass logs, exec,
//! attach and port-forward on.

pub mod pki; // whose keys are these
mod server; // the doors, and how they close
mod tls; // who is at the other end

pub use pki::{Pki, PkiError};
pub use server::{ApiError, ApiServer, Config};
