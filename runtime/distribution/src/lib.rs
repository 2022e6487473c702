//! A client of registries: the distribution API (distribution-spec 1.1), who is asked for an image's name, and as whom.
//!
//! ```text
//! registry's name ─► hosts ─► endpoints, in order ─┐
//!                    (hosts.toml)                  ├─► repository ─► exchange ─► connect
//! credentials ─► challenge, realm ─► token ────────┘   (manifests,    (redirects,  (TCP, TLS)
//!                                                        blobs, push)   401, 429)
//! ```
//!
//! Answers are bounded in bytes and in how long nothing comes. Credentials go to whom they belong and to nobody whom a server names
//! (see [`realm`]). What it leaves to others: digests of what comes (the store checks them while it writes), and what a manifest means.

mod error;
mod toml; // the part of TOML that hosts.toml is written in

mod challenge; // what a 401 asks for
mod credentials; // who we are, to whom
mod hosts; // who is asked for a registry's images
pub mod realm; // who may be asked for a token

mod connect; // connections
mod exchange; // one request and its answer
mod tags; // which are there?
mod token; // tokens that were given

mod push; // uploads
mod repository; // what is in a repository

pub use credentials::{AuthFile, Credentials};
pub use error::{Kind, RegistryError, chain};
pub use hosts::Registries;
pub use push::{Sent, Upload};
pub use repository::{Blob, Document, Repository};
