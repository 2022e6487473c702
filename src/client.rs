//! The small client: what its commands share.

mod connect; // from a kubeconfig to our gRPC API
mod manifest; // YAML with the line of every field
mod refusal; // the server's error, with the line of the manifest it is about
mod resource; // `po`, `deploy/hello`: which resource is meant
mod table; // what the server answers as a table
mod warning; // what the server does, but not as one may think

pub(crate) use connect::{Server, connect, must_exist};
pub(crate) use manifest::{Document, read_manifests};
pub(crate) use refusal::{explain, refusal};
pub(crate) use resource::{Known, Target};
pub(crate) use table::{Width, plain_table, print_rows, text};
pub(crate) use warning::print_warnings;
