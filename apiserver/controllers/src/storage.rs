//! Volumes and claims: which belongs to which, who holds them, and what pods need of them.
//!
//! The volumes themselves are made, grown and removed by drivers; what is written here is what the drivers and the kubelets
//! read.

mod attach; // which volumes are attached to which nodes
mod binder; // which volume a claim gets
mod ephemeral; // claims that live as long as a pod
mod protection; // what is used stays
mod provision; // has a driver make volumes
mod users; // which claims a pod uses

pub(crate) use attach::run as attach;
pub(crate) use binder::run as bind;
pub(crate) use ephemeral::run as ephemeral;
pub(crate) use protection::{attributes as protect_attributes, claims as protect_claims, volumes as protect_volumes};
pub use provision::Provisioner;
pub(crate) use provision::run as provision;
