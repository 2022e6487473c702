//! SPDY/3.1, as much of it as Kubernetes speaks (draft-mbelshe-httpbis-spdy-00 and the session window of 3.1).
//!
//! One task reads frames and one writes them. A stream's data waits in a short queue, and when that is full the reader
//! waits, so a slow consumer slows its client down through TCP; writes wait for the writer in the same way.
//!
//! Flow control: we grant what we have taken, so that senders who keep to their windows go on. We do not wait for grants:
//! the Go library at the other end of every Kubernetes client gives none, ever, and would get 64 KiB of output.
//!
//! What it leaves to others: the HTTP upgrade, and what streams are for.

mod dictionary;
mod frame;
mod headers;
mod session;
mod stream;

pub use headers::Headers;
pub use session::{Role, Session, start};
pub use stream::{Stream, StreamReader, StreamWriter};

/// What the peer did that the protocol does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("SPDY: {0}")]
pub struct ProtocolError(pub(crate) &'static str);
