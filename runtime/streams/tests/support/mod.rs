//! A runtime whose containers are a few lines of Rust, and clients that upgrade by hand.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use futures::FutureExt;
use futures::future::BoxFuture;
use skiff_streams::{
    AttachRequest, Duplex, ExecRequest, ExitStatus, PortForwardRequest, StreamError, StreamIo, StreamRuntime,
    StreamServer,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Runs "commands"; counts those that were dropped before their end.
#[derive(Default)]
pub struct Commands {
    pub dropped: Arc<AtomicUsize>,
}

struct Running(Option<Arc<AtomicUsize>>);

impl Running {
    fn finish(&mut self) {
        self.0 = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(dropped) = self.0.take() {
            dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn command(request: ExecRequest, mut io: StreamIo) -> Result<ExitStatus, StreamError> {
    let lost = |error: std::io::Error| StreamError::Failed(error.to_string());
    let words: Vec<&str> = request.command.iter().map(String::as_str).collect();
    match words[..] {
        ["cat"] => {
            let (mut stdin, mut stdout) = (io.stdin.take().unwrap(), io.stdout.take().unwrap());
            tokio::io::copy(&mut stdin, &mut stdout).await.map_err(lost)?;
        }
        // Reads all of its input and says how much that was, so that stdin must end.
        ["count"] => {
            let count = tokio::io::copy(&mut io.stdin.take().unwrap(), &mut tokio::io::sink()).await.map_err(lost)?;
            io.stdout.take().unwrap().write_all(count.to_string().as_bytes()).await.map_err(lost)?;
        }
        ["say", text, error] => {
            io.stdout.take().unwrap().write_all(text.as_bytes()).await.map_err(lost)?;
            io.stderr.take().unwrap().write_all(error.as_bytes()).await.map_err(lost)?;
        }
        ["yes", bytes] => {
            let mut stdout = io.stdout.take().unwrap();
            let source = tokio::io::repeat(b'y').take(bytes.parse().unwrap());
            tokio::io::copy(&mut tokio::io::BufReader::with_capacity(1 << 16, source), &mut stdout)
                .await
                .map_err(lost)?;
        }
        ["size"] => {
            let size = io.resizes.recv().await.unwrap();
            let text = format!("{}x{}", size.width, size.height);
            io.stdout.take().unwrap().write_all(text.as_bytes()).await.map_err(lost)?;
        }
        ["exit", code] => return Ok(ExitStatus(code.parse().unwrap())),
        ["hang"] => {
            let mut stdout = io.stdout.take().unwrap();
            stdout.write_all(b"up").await.map_err(lost)?;
            stdout.flush().await.map_err(lost)?;
            std::future::pending().await
        }
        _ => return Err(StreamError::NotFound(format!("container {} has no such command", request.container_id))),
    }
    Ok(ExitStatus(0))
}

impl StreamRuntime for Commands {
    fn exec(&self, request: ExecRequest, io: StreamIo) -> BoxFuture<'static, Result<ExitStatus, StreamError>> {
        let mut running = Running(Some(Arc::clone(&self.dropped)));
        async move {
            let result = command(request, io).await;
            running.finish();
            result
        }
        .boxed()
    }

    fn attach(&self, _: AttachRequest, io: StreamIo) -> BoxFuture<'static, Result<(), StreamError>> {
        let request = exec(&["cat"]);
        async move { command(request, io).await.map(drop) }.boxed()
    }

    fn port_forward(
        &self,
        _: String,
        port: u16,
        stream: Box<dyn Duplex>,
    ) -> BoxFuture<'static, Result<(), StreamError>> {
        async move {
            if port == 1 {
                return Err(StreamError::Failed("connection refused".into()));
            }
            let (mut read, mut write) = tokio::io::split(stream);
            // A server that closes first, as HTTP servers do, and then takes whatever still comes.
            if port == 2 {
                write.write_all(b"bye").await.unwrap();
                write.shutdown().await.unwrap();
                let _client_left = tokio::io::copy(&mut read, &mut tokio::io::sink()).await;
                return Ok(());
            }
            write.write_all(format!("port {port}: ").as_bytes()).await.unwrap();
            let _client_left = tokio::io::copy(&mut read, &mut write).await;
            let _client_left = write.shutdown().await;
            Ok(())
        }
        .boxed()
    }
}

pub fn exec(command: &[&str]) -> ExecRequest {
    ExecRequest {
        container_id: "c1".into(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        tty: false,
        stdin: matches!(command[0], "cat" | "count"),
        stdout: true,
        stderr: true,
    }
}

/// A server on a Unix socket.
pub struct World {
    pub server: StreamServer,
    pub dropped: Arc<AtomicUsize>,
    socket: PathBuf,
    _dir: Folder,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl World {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("skiff-streams-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        let socket = dir.join("s");
        let runtime = Commands::default();
        let dropped = Arc::clone(&runtime.dropped);
        let server = StreamServer::new(Arc::new(runtime), String::new());
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(axum::serve(listener, server.router()).into_future());
        Self { server, dropped, socket, _dir: Folder(dir) }
    }

    pub async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a request by hand; gives the answer's head and the connection after it.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (String, UnixStream) {
        let mut stream = self.connect().await;
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all((text + "\r\n").as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        (String::from_utf8(head).unwrap(), stream)
    }

    /// Upgrades to SPDY, offering these protocols.
    pub async fn spdy(&self, path: &str, protocols: &[&str]) -> (String, UnixStream) {
        let mut headers = vec![("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("Content-Length", "0")];
        headers.extend(protocols.iter().map(|name| ("X-Stream-Protocol-Version", *name)));
        self.request("POST", path, &headers).await
    }
}

pub fn ports(ports: &[u16]) -> PortForwardRequest {
    PortForwardRequest { sandbox_id: "s1".into(), ports: ports.to_vec() }
}
