//! A registry of images: the OCI distribution specification 1.1 over a folder.
//!
//! ```text
//! server ─► serve ─► route (which call?) ─► plan (may it, and what changes?) ─► store (content, then journal)
//! ```
//!
//! The decisions are pure functions over a [`State`]; [`Store`] performs them, content first, so that a tag never points nowhere whatever
//! crashes. Begin with [`Registry::answer`].
//!
//! What it leaves to others: containers, unpacking, everything of Kubernetes but the form of its tokens.

pub mod digest; // names of content
pub mod manifest; // what does a manifest refer to?
mod name; // names of repositories and tags
pub mod refusal; // why not, in the protocol's words
pub mod rules; // what holds for a repository
pub mod state; // what is known

mod lists; // pages
mod plan; // what does a request change?
mod range; // which bytes?
mod route; // which call is it?
mod text; // percent-encoding

mod disk; // how do files survive a crash?
mod error;
mod journal; // how does what is known?
mod store; // content, then journal
mod uploads; // what arrives

mod body; // what is sent
mod receive; // what comes
mod serve; // one call, one answer
mod server; // connections

pub use body::Body;
pub use error::StorageError;
pub use name::{Name, Tag};
pub use plan::Reference;
pub use receive::Pace;
pub use route::Action;
pub use serve::Registry;
pub use server::serve;
pub use state::State;
pub use store::Store;
