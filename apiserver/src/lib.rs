//! The API server: REST and gRPC over a registry of typed objects over a store.
//!
//! A request passes, in this order: who asks (`tls`, `auth`), what is asked (`rest::dispatch`, `grpc`), the object as its
//! schema sees it (`skiff-schema`), admission (what the server adds or refuses), the registry (keys, revisions, retries), the
//! store (`skiff_store::backend::Backend`). Both doors open on the same registry.
//!
//! What it leaves to others: everything that acts on objects. It never talks to a kubelet, except to pass logs, exec,
//! attach, port-forward and proxied requests on.

pub mod pki; // whose keys are these
mod server; // the doors, and how they close

mod grpc; // our own API
mod rest; // the Kubernetes API

mod aggregation; // API servers behind this one
mod app; // what every handler can reach
mod audit; // what is recorded of who did what
mod auth; // who may do what
mod author; // who owns what is written
mod authority; // who decides that
mod caller; // who asks, and as whom
mod fairness; // who goes first
mod tls; // who is at the other end

mod admission; // what the server adds and refuses
pub mod asked; // what may be said beside an object, and what becomes of it
mod binding; // a pod gets its node
mod bootstrap; // what every cluster has
mod connections; // what is done with what runs
mod definitions; // custom resources come and go
mod encryption; // how values are stored
mod eviction; // a pod goes, if its budget allows it
mod operations; // a JSON Patch, within bounds
mod options; // the same, checked
mod over; // values of which little is read
mod registrations; // what is served is registered
mod registry; // typed objects over keys
mod remote; // servers of others that are asked
mod request; // who asks for what
mod reviews; // questions that are answered and not kept
mod scale; // replicas, seen alone
mod status; // how the server refuses
mod verbs; // what each verb does, whichever door it came through
mod yaml; // keys that stand there twice

mod kubelet; // logs, exec, attach, port-forward
mod metrics; // what nodes and pods use
mod proxy; // requests to what pods, services and nodes serve

pub use admission::{AdmissionFile, AdmissionFileError, AdmissionPlugins};
pub use audit::{Audit, AuditBatch, AuditError, AuditLimits, AuditLog, AuditMode, AuditWebhook, Rotation};
pub use authority::{Authorization, ChainError};
pub use caller::{Authentication, FrontProxy, ServiceAccounts, TokenWebhook};
pub use encryption::{Encryption, EncryptionError, encrypted};
pub use fairness::Limits;
pub use pki::{Pki, PkiError};
pub use server::{ApiError, ApiServer, Config};
