//! The words between the stream server and whoever runs containers: requests, streams, exit status, errors.

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Run a command in a container (CRI `ExecRequest`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// In which container.
    pub container_id: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whether the command gets a terminal; its output then comes as stdout alone.
    pub tty: bool,
    /// Whether the client sends input.
    pub stdin: bool,
    /// Whether the client takes output.
    pub stdout: bool,
    /// Whether the client takes errors; never together with `tty`.
    pub stderr: bool,
}

/// Join a running container's streams (CRI `AttachRequest`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachRequest {
    /// To which container.
    pub container_id: String,
    /// Whether the container has a terminal.
    pub tty: bool,
    /// Whether the client sends input.
    pub stdin: bool,
    /// Whether the client takes output.
    pub stdout: bool,
    /// Whether the client takes errors; never together with `tty`.
    pub stderr: bool,
}

/// Reach ports of a pod (CRI `PortForwardRequest`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortForwardRequest {
    /// Of which pod sandbox.
    pub sandbox_id: String,
    /// Which ports; empty leaves the choice to the client (SPDY names the port in every stream).
    pub ports: Vec<u16>,
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct TerminalSize {
    /// Columns.
    #[serde(rename = "Width")]
    pub width: u16,
    /// Rows.
    #[serde(rename = "Height")]
    pub height: u16,
}

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What the client sends.
pub type Input = Box<dyn AsyncRead + Send + Unpin>;
/// What the client takes. Shutting it down or dropping it ends that stream; a full client makes writes wait.
pub type Output = Box<dyn AsyncWrite + Send + Unpin>;

/// The client's ends of the streams; only what the request asked for is present.
pub struct StreamIo {
    /// Ends when the client closes its input.
    pub stdin: Option<Input>,
    /// The command's output.
    pub stdout: Option<Output>,
    /// The command's errors.
    pub stderr: Option<Output>,
    /// Sizes of the client's terminal, the first one soon after the start; closes with the client. The newest counts.
    pub resizes: mpsc::Receiver<TerminalSize>,
}

/// How a command ended: its exit code, or 128 and the signal's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus(pub i32);

/// Why a stream could not be served; the text reaches the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// There is no such container or sandbox, or it does not run.
    #[error("{0}")]
    NotFound(String),
    /// The request cannot be served as it is.
    #[error("{0}")]
    Invalid(String),
    /// Something failed on the way.
    #[error("{0}")]
    Failed(String),
}

/// What the stream server needs from whoever runs containers. A future that is dropped (the client went away) must not
/// leave the command running attached to nothing; it is the implementor who decides whether to kill it.
pub trait StreamRuntime: Send + Sync + 'static {
    /// Runs the command to its end, its streams connected to `io`.
    fn exec(&self, request: ExecRequest, io: StreamIo) -> BoxFuture<'static, Result<ExitStatus, StreamError>>;

    /// Connects `io` to the container's streams until the container ends or the client goes.
    fn attach(&self, request: AttachRequest, io: StreamIo) -> BoxFuture<'static, Result<(), StreamError>>;

    /// Connects `stream` to a TCP port on the sandbox's loopback and copies until both directions have ended.
    fn port_forward(
        &self,
        sandbox_id: String,
        port: u16,
        stream: Box<dyn Duplex>,
    ) -> BoxFuture<'static, Result<(), StreamError>>;
}
