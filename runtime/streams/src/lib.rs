//! Exec, attach and port-forward streams over SPDY/3.1 and WebSocket.
//!
//! The server that CRI's `Exec`, `Attach` and `PortForward` refer their callers to: the call is answered with a URL that
//! works once, and the client (kubectl, through kubelet and API server) upgrades a connection to it.
//!
//! ```text
//! exec_url ─► token ─► GET/POST ─► upgrade ─┬─ SPDY ──────► remote::over_spdy ──────┐
//!                                           ├─ WebSocket ─► remote::over_websocket ─┼─► StreamRuntime
//!                                           ├─ SPDY, perhaps in WebSocket ─► forward┤
//!                                           └─ WebSocket ─► forward::over_websocket ┘
//! ```
//!
//! Nothing here grows with what flows through: every queue is bounded and makes its writer wait.
//!
//! What it leaves to others: running anything ([`StreamRuntime`]), and who may ask (the caller of CRI has decided that).

mod runtime; // what must the other side do?

mod protocol; // which protocol do we both speak?
mod server; // which connection is for which request?
mod tokens; // what does a URL stand for?

mod forward; // which streams make a forwarded connection?
mod remote; // which streams make an exec or attach?
mod status; // how is the ending told?

mod channels; // many streams in one WebSocket
pub mod spdy; // many streams in one connection
mod tunnel; // a WebSocket as a byte stream

pub use runtime::{
    AttachRequest, Duplex, ExecRequest, ExitStatus, Input, Output, PortForwardRequest, StreamError, StreamIo,
    StreamRuntime, TerminalSize,
};
pub use server::StreamServer;
