//! Why requests cannot be led to services.

use std::net::SocketAddr;
use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum IngressError {
    /// The access log cannot be opened.
    #[error("open the access log {path}")]
    AccessLog {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The address for health and metrics cannot be opened.
    #[error("listen on {address} for health and metrics")]
    Health {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}
