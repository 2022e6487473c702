//! Exec and attach: one request, up to five streams, one ending, over either transport.

pub(crate) mod over_spdy;
pub(crate) mod over_websocket;
mod resize;

use crate::{AttachRequest, ExecRequest, ExitStatus, StreamError, StreamIo, StreamRuntime};
use std::sync::Arc;
use std::time::Duration;

/// How long a client may take to open its streams (kubelet's stream creation timeout).
const STREAMS_WITHIN: Duration = Duration::from_secs(30);
/// How long a client may take to read the ending.
const ENDING_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of input that wait for a command that does not read.
const STDIN_BYTES: usize = 64 << 10;

/// What is to be done over the streams.
#[derive(Debug, Clone)]
pub(crate) enum Remote {
    Exec(ExecRequest),
    Attach(AttachRequest),
}

/// Which streams there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    resize: bool,
}

impl Remote {
    fn wanted(&self) -> Wanted {
        let (tty, stdin, stdout, stderr) = match self {
            Self::Exec(request) => (request.tty, request.stdin, request.stdout, request.stderr),
            Self::Attach(request) => (request.tty, request.stdin, request.stdout, request.stderr),
        };
        // A terminal has one output.
        Wanted { stdin, stdout, stderr: stderr && !tty, resize: tty }
    }

    async fn run(self, runtime: Arc<dyn StreamRuntime>, io: StreamIo) -> Result<ExitStatus, StreamError> {
        match self {
            Self::Exec(request) => runtime.exec(request, io).await,
            Self::Attach(request) => runtime.attach(request, io).await.map(|()| ExitStatus(0)),
        }
    }
}
