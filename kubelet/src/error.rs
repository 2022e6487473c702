//! Why the node agent cannot start or go on.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why there is no (longer a) kubelet.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// The runtime endpoint is not of the form `unix:///path`.
    #[error("container runtime endpoint `{endpoint}`: expected unix:///PATH")]
    Endpoint {
        /// As given.
        endpoint: String,
    },
    /// Nobody answers on the CRI socket.
    #[error("connect to the container runtime at {endpoint}")]
    Connect {
        /// As given.
        endpoint: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// A CRI call that the start depends on failed.
    #[error("container runtime: {call}: {reason}")]
    Runtime {
        /// The call.
        call: &'static str,
        /// Its answer.
        reason: String,
    },
    /// The API server refused something the start depends on.
    #[error("{operation}: {reason}")]
    Api {
        /// What was asked, with its operand.
        operation: String,
        /// The answer.
        reason: String,
    },
    /// The HTTPS API cannot listen.
    #[error("listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The certificates or the key do not work.
    #[error("kubelet TLS: {what}: {reason}")]
    Tls {
        /// Which of them.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The cgroups above all pods cannot be made.
    #[error("{message}")]
    Cgroup {
        /// Which, and why.
        message: String,
    },
    /// A kernel parameter is allowed that belongs to no pod.
    #[error("--allowed-unsafe-sysctls: {message}")]
    Sysctls {
        /// Which.
        message: String,
    },
    /// Plugins that know credentials for images cannot be used.
    #[error("plugins with credentials for images: {source}")]
    Plugins {
        /// Which, and why.
        source: skiff_pulls::ConfigError,
    },
    /// A folder cannot be made or read.
    #[error("{operation} {path}")]
    Folder {
        /// What was tried.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl KubeletError {
    /// The runtime's refusal of `call`.
    pub(crate) fn runtime(call: &'static str, status: &tonic::Status) -> Self {
        Self::Runtime { call, reason: crate::cri::said(status) }
    }

    /// The API server's refusal of `operation`.
    pub(crate) fn api(operation: impl Into<String>, error: &kube::Error) -> Self {
        Self::Api { operation: operation.into(), reason: skiff_client::sentence(error) }
    }
}
