//! Credentials for images: whose they are, which plugin knows some, and who may use an image that is there already.
//!
//! ```text
//!  pod ──► secrets, plugins ──► credentials with their sources ──► pull ──► record: with whose credentials it succeeded
//!                                                                            │
//!  another pod, the image is there ──► policy, record, its credentials ──────┴──► use it, or pull again
//! ```
//!
//! Rules are Kubernetes' ("Configure a kubelet image credential provider", "Ensure secret pulled images"), and so are the files: a
//! kubelet of Kubernetes reads the records that ours wrote, and the other way round. What it leaves to others: asking the API server,
//! and pulling.

mod cache; // answers of plugins, for a while
mod config; // which plugins there are
mod name; // images' names, and patterns for them
mod plugin; // one run of a plugin
mod policy; // whose credentials are looked at
mod provider; // plugins as they are asked
mod record; // with whose credentials an image was pulled
mod records; // records as files

pub use config::{Attributes, ConfigError, ProviderConfig};
pub use name::{matches, repository, without_tag};
pub use policy::{Policy, PolicyError};
pub use provider::{About, Accounts, Found, Providers};
pub use record::{Account, Credentials, Record, Secret, Verdict};
pub use records::Records;

/// Where credentials come from; those of the node itself have no source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A secret of the pod's namespace, with the sum of what it holds for the image.
    Secret(Secret),
    /// What a plugin made of a token of the pod's service account.
    Account(Account),
}
