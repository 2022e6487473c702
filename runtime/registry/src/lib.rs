//! A registry of images: the OCI distribution specification 1.1 over a folder.
//!
//! ```text
//! server ─► serve ─► route (which call?) ─► plan (may it, and what changes?) ─► store (content, then journal)
//! ```
//!
//! The decisions are pure functions over a [`State`]; [`Store`] performs them, content first, so that a tag never points nowhere whatever
//! crashes. Begin with [`Registry::answer`].
//!
//! A push, from outside to inside:
//!
//! 1. `POST …/blobs/uploads/` begins an upload: a folder below `uploads/` ([`Store`] has them all, also those that an earlier process left).
//! 2. `PATCH` and `PUT` bring bytes, which are digested while a thread writes the batch before.
//! 3. The last one has the digest: the file is synced, gets its name below `blobs/`, and one line of the journal says who holds it.
//! 4. `PUT …/manifests/<tag>` is read, its needs are looked for, its bytes are placed like a blob's, and one line says what the tag names.
//!
//! Tests and programs that embed it need three things:
//!
//! ```no_run
//! # use skiff_registry::{Registry, Store, Terms};
//! let store = Store::open("/var/lib/images".as_ref(), skiff_step::Engine::off())?;
//! let registry = std::sync::Arc::new(Registry::new(store, Terms::default()));
//! # Ok::<(), skiff_registry::StorageError>(())
//! ```
//!
//! What it leaves to others: containers, unpacking, everything of Kubernetes but the form of its tokens.

pub mod access; // who may do what?
pub mod config; // as it is written
pub mod digest; // names of content
pub mod htpasswd; // users and passwords
pub mod lifecycle; // which images go?
pub mod manifest; // what does a manifest refer to?
mod name; // names of repositories and tags
pub mod refusal; // why not, in the protocol's words
pub mod rules; // what holds for a repository
pub mod state; // what is known

mod garbage; // what does nobody need?
mod happened; // what is told of a call
mod lists; // pages
mod plan; // what does a request change?
mod range; // which bytes?
pub mod replicate; // which images go to others and come from them?
mod route; // which call is it?
mod text; // percent-encoding
mod tokens; // tokens of ours and of clusters

mod disk; // how do files survive a crash?
mod error;
mod journal; // how does what is known?
mod store; // content, then journal
mod uploads; // what arrives

mod body; // what is sent
mod keep; // housekeeping
mod login; // who asks?
mod receive; // what comes
pub mod scan; // what is vulnerable?
mod serve; // one call, one answer
mod server; // connections
mod tell; // records and webhooks
mod upstream; // what other registries have

pub use body::Body;
pub use error::StorageError;
pub use happened::Metrics;
pub use keep::{KeepError, Removed, keep};
pub use login::{Login, Remembered, Review};
pub use name::{Name, Tag};
pub use plan::Reference;
pub use receive::Pace;
pub use replicate::{Replication, Replicator, replicate};
pub use route::Action;
pub use scan::{Scanned, Scanner, Scanning};
pub use serve::{Registry, Terms, keep_scanned};
pub use server::{Remote, serve};
pub use state::State;
pub use store::Store;
pub use tell::Listeners;
pub use tokens::{Cluster, Tokens};
pub use upstream::{Upstream, Upstreams};
