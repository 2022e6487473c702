//! ExecSync, and the streams of exec, attach and port-forward.

use crate::bundle::exec_process;
use crate::disk::{ContainerPhase, ContainerRecord, SandboxPhase};
use crate::error::{CriError, During};
use crate::sandbox::folder;
use crate::state::Service;
use crate::supervisor::{Connection, bundle_process, unexpected};
use futures::future::BoxFuture;
use skiff_proto::cri::v1 as pb;
use skiff_streams::{
    AttachRequest, Duplex, ExecRequest, ExitStatus, Input, Output, StreamError, StreamIo, StreamRuntime, TerminalSize,
};
use skiff_supervise::wire::{Attach, Exec, Reply, Request};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The most that ExecSync answers per stream: with headroom below gRPC's usual limit of 16 MiB that the kubelet sets.
const SYNC_BYTES_MAX: usize = 7 * 1024 * 1024;

impl Service {
    /// ExecSync; `timeout` zero waits for ever.
    pub(crate) async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<pb::ExecSyncResponse, CriError> {
        let run = self.exec_to_end(id, command);
        if timeout.is_zero() {
            return run.await;
        }
        // Dropping it closes its connection, and with that the supervisor kills the process.
        tokio::time::timeout(timeout, run).await.unwrap_or_else(|_| {
            Err(CriError::Timeout(format!("exec in container {id}: no end within {} s", timeout.as_secs())))
        })
    }

    async fn exec_to_end(&self, id: &str, command: &[String]) -> Result<pb::ExecSyncResponse, CriError> {
        let pipes = || "make pipes for exec".to_owned();
        let ((stdout, to_stdout), (stderr, to_stderr)) = (io::pipe().during(pipes)?, io::pipe().during(pipes)?);
        let mut exec = self.exec_request(id, command, Terminal::Without)?;
        (exec.1.stdout, exec.1.stderr) = (true, true);
        let mut connection = Connection::open(&exec.0)?;
        let (reply, _) = connection.call(&Request::Exec(exec.1), &[to_stdout.as_fd(), to_stderr.as_fd()]).await?;
        drop((to_stdout, to_stderr));
        if !matches!(reply, Reply::ExecStarted { .. }) {
            return Err(unexpected("exec", &reply));
        }
        let (mut out, mut err) = (Collected::new(stdout)?, Collected::new(stderr)?);
        let exit_code = loop {
            tokio::select! {
                answer = connection.next() => match answer? {
                    (Reply::Exited(exit), _) => break exit.exit_code,
                    (other, _) => return Err(unexpected("exec", &other)),
                },
                read = out.read(), if !out.ended => read?,
                read = err.read(), if !err.ended => read?,
            }
        };
        // Everything that the process wrote is in the pipes now; what its children may still write is not waited for.
        Ok(pb::ExecSyncResponse { stdout: out.finish()?, stderr: err.finish()?, exit_code })
    }

    /// The sandbox's folder and the request without streams.
    fn exec_request(
        &self,
        id: &str,
        command: &[String],
        terminal: Terminal,
    ) -> Result<(std::path::PathBuf, Exec), CriError> {
        let record = self.running(id)?;
        let process = bundle_process(&self.disk.folder::<ContainerRecord>(&record.id))?;
        let terminal = terminal == Terminal::With;
        let exec = Exec {
            process: exec_process(&process, command, terminal)?,
            container: record.id,
            terminal,
            stdin: false,
            stdout: false,
            stderr: false,
        };
        Ok((folder(self, &record.sandbox_id), exec))
    }

    /// The record of a container that runs.
    pub(crate) fn running(&self, id: &str) -> Result<ContainerRecord, CriError> {
        let record = self.container(id)?.record();
        if record.phase != ContainerPhase::Running {
            return Err(CriError::Precondition(format!("container {}: it does not run", record.id)));
        }
        Ok(record)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Terminal {
    With,
    Without,
}

/// Output that is collected up to a limit; what is beyond it is read and dropped, so that the process goes on.
struct Collected {
    pipe: pipe::Receiver,
    bytes: Vec<u8>,
    ended: bool,
}

impl Collected {
    fn new(pipe: PipeReader) -> Result<Self, CriError> {
        let pipe = receiver(pipe).during(|| "read the output of exec".to_owned())?;
        Ok(Self { pipe, bytes: Vec::new(), ended: false })
    }

    async fn read(&mut self) -> Result<(), CriError> {
        let mut buffer = [0; 16 * 1024];
        let count = self.pipe.read(&mut buffer).await.during(|| "read the output of exec".to_owned())?;
        self.ended = count == 0;
        self.take(&buffer[..count]);
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = SYNC_BYTES_MAX.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish(mut self) -> Result<Vec<u8>, CriError> {
        let operation = || "read the output of exec".to_owned();
        let mut file = File::from(self.pipe.into_nonblocking_fd().during(operation)?);
        let (mut buffer, mut drained) = ([0; 16 * 1024], 0);
        // A child that writes for ever must not keep us here.
        while !self.ended && drained < SYNC_BYTES_MAX {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    drained += count;
                    let room = SYNC_BYTES_MAX.saturating_sub(self.bytes.len());
                    self.bytes.extend_from_slice(&buffer[..count.min(room)]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).during(operation),
            }
        }
        Ok(self.bytes)
    }
}

/// The service behind the stream server's URLs.
pub(crate) struct Streams(pub(crate) Arc<Service>);

impl StreamRuntime for Streams {
    fn exec(&self, request: ExecRequest, io: StreamIo) -> BoxFuture<'static, Result<ExitStatus, StreamError>> {
        let service = self.0.clone();
        Box::pin(async move {
            if request.tty { service.exec_terminal(request, io).await } else { service.exec_pipes(request, io).await }
                .map_err(to_stream)
        })
    }

    fn attach(&self, request: AttachRequest, io: StreamIo) -> BoxFuture<'static, Result<(), StreamError>> {
        let service = self.0.clone();
        Box::pin(async move { service.attach(request, io).await.map_err(to_stream) })
    }

    fn port_forward(
        &self,
        sandbox_id: String,
        port: u16,
        stream: Box<dyn Duplex>,
    ) -> BoxFuture<'static, Result<(), StreamError>> {
        let service = self.0.clone();
        Box::pin(async move { service.port_forward(&sandbox_id, port, stream).await.map_err(to_stream) })
    }
}

fn to_stream(error: CriError) -> StreamError {
    match error {
        CriError::NotFound { .. } | CriError::Precondition(_) => StreamError::NotFound(error.chain()),
        CriError::Invalid(_) => StreamError::Invalid(error.chain()),
        other => StreamError::Failed(other.chain()),
    }
}

impl Service {
    async fn exec_pipes(&self, request: ExecRequest, io: StreamIo) -> Result<ExitStatus, CriError> {
        let (dir, mut exec) = self.exec_request(&request.container_id, &request.command, Terminal::Without)?;
        let (theirs, ours) = split(io)?;
        (exec.stdin, exec.stdout, exec.stderr) =
            (theirs.stdin.is_some(), theirs.stdout.is_some(), theirs.stderr.is_some());
        let mut connection = Connection::open(&dir)?;
        connection.call(&Request::Exec(exec), &theirs.fds()).await?;
        drop(theirs);
        let ended = CancellationToken::new();
        let exit = async {
            let exit = connection.next().await;
            ended.cancel();
            exit
        };
        let (exit, ()) = tokio::join!(exit, ours.copy(&ended));
        let exit = exit?;
        exit_status(&exit.0)
    }

    async fn exec_terminal(&self, request: ExecRequest, io: StreamIo) -> Result<ExitStatus, CriError> {
        let (dir, exec) = self.exec_request(&request.container_id, &request.command, Terminal::With)?;
        let mut connection = Connection::open(&dir)?;
        let (_, master) = connection.call(&Request::Exec(exec), &[]).await?;
        let master = master.ok_or_else(|| CriError::Runtime("exec: the supervisor sent no terminal".to_owned()))?;
        let master = crate::terminal::Terminal::new(master).during(|| "use the terminal of exec".to_owned())?;
        let StreamIo { stdin, stdout, stderr: _, mut resizes } = io;
        let ended = CancellationToken::new();
        let exit = async {
            let exit = connection.next().await;
            ended.cancel();
            exit
        };
        let whole = async { tokio::join!(exit, master.copy_out(stdout, &ended)).0 };
        let endless = async { tokio::join!(master.copy_in(stdin), master.follow_sizes(&mut resizes)).0 };
        let exit = tokio::select! {
            exit = whole => exit?,
            never = endless => match never {},
        };
        exit_status(&exit.0)
    }

    async fn attach(&self, request: AttachRequest, io: StreamIo) -> Result<(), CriError> {
        let record = self.running(&request.container_id)?;
        let (theirs, mut ours) = split(io)?;
        let attach = Attach {
            container: record.id.clone(),
            stdin: theirs.stdin.is_some(),
            stdout: theirs.stdout.is_some(),
            stderr: theirs.stderr.is_some(),
        };
        let dir = folder(self, &record.sandbox_id);
        Connection::open(&dir)?.call(&Request::Attach(attach), &theirs.fds()).await?;
        drop(theirs);
        // The supervisor closes the pipes at the container's end.
        let endless = CancellationToken::new();
        let (closed, none) = mpsc::channel(1);
        drop(closed);
        let mut resizes = std::mem::replace(&mut ours.resizes, none);
        let resize = async {
            while let Some(TerminalSize { width, height }) = resizes.recv().await {
                let request = Request::Resize { container: record.id.clone(), columns: width, rows: height };
                if let Err(error) = crate::supervisor::ask(&dir, &request).await {
                    tracing::debug!("container {}: {error}", record.id);
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            () = ours.copy(&endless) => Ok(()),
            never = resize => never,
        }
    }

    async fn port_forward(&self, sandbox_id: &str, port: u16, mut stream: Box<dyn Duplex>) -> Result<(), CriError> {
        let record = self.sandbox(sandbox_id)?.record();
        if record.phase != SandboxPhase::Ready {
            return Err(CriError::Precondition(format!("sandbox {}: it is not ready", record.id)));
        }
        let pid = record.supervisor_pid.unwrap_or_default();
        let mut inside = crate::terminal::dial_in_namespace(pid, port).await?;
        let copied = tokio::io::copy_bidirectional(&mut stream, &mut inside).await;
        copied.map(drop).during(|| format!("forward port {port} of sandbox {}", record.id))
    }
}

fn exit_status(reply: &Reply) -> Result<ExitStatus, CriError> {
    match reply {
        Reply::Exited(exit) => Ok(ExitStatus(exit.exit_code)),
        other => Err(unexpected("exec", other)),
    }
}

/// The pipe ends that the process gets.
#[derive(Default)]
struct Theirs {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Theirs {
    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        [&self.stdin, &self.stdout, &self.stderr].into_iter().flatten().map(AsFd::as_fd).collect()
    }
}

/// Our pipe ends, each with the client's stream that belongs to it.
struct Ours {
    stdin: Option<(Input, pipe::Sender)>,
    stdout: Option<(pipe::Receiver, Output)>,
    stderr: Option<(pipe::Receiver, Output)>,
    resizes: mpsc::Receiver<TerminalSize>,
}

fn split(io: StreamIo) -> Result<(Theirs, Ours), CriError> {
    let operation = || "make pipes for a stream".to_owned();
    let mut theirs = Theirs::default();
    let mut ours = Ours { stdin: None, stdout: None, stderr: None, resizes: io.resizes };
    if let Some(input) = io.stdin {
        let (reader, writer) = io::pipe().during(operation)?;
        theirs.stdin = Some(reader.into());
        ours.stdin = Some((input, sender(writer).during(operation)?));
    }
    let outputs =
        [(io.stdout, &mut theirs.stdout, &mut ours.stdout), (io.stderr, &mut theirs.stderr, &mut ours.stderr)];
    for (output, their_end, our_end) in outputs {
        let Some(output) = output else { continue };
        let (reader, writer) = io::pipe().during(operation)?;
        *their_end = Some(writer.into());
        *our_end = Some((receiver(reader).during(operation)?, output));
    }
    Ok((theirs, ours))
}

impl Ours {
    /// Copies until all output has ended, or the process has and its pipes are empty; input never holds it up. Errors
    /// mean that one end is gone, which ends that copy.
    async fn copy(self, ended: &CancellationToken) {
        let input = async {
            if let Some((mut from, mut to)) = self.stdin {
                let _gone = tokio::io::copy(&mut from, &mut to).await;
            }
            std::future::pending::<()>().await;
        };
        let outputs = async { tokio::join!(copy_output(self.stdout, ended), copy_output(self.stderr, ended)) };
        tokio::select! {
            _ = outputs => {}
            () = input => {}
        }
    }
}

/// A client may be slow, so nothing here has a time limit: what a process wrote before its end is in the pipe, and is
/// delivered; what its children may still write to the pipe is not waited for.
async fn copy_output(end: Option<(pipe::Receiver, Output)>, ended: &CancellationToken) {
    let Some((mut from, mut to)) = end else { return };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = tokio::select! {
            biased;
            () = ended.cancelled() => nix::unistd::read(&from, &mut buffer).unwrap_or(0),
            read = from.read(&mut buffer) => read.unwrap_or(0),
        };
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    let _gone = to.shutdown().await;
}

fn receiver(reader: PipeReader) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd_unchecked(nonblocking(reader.into())?)
}

fn sender(writer: PipeWriter) -> io::Result<pipe::Sender> {
    pipe::Sender::from_owned_fd_unchecked(nonblocking(writer.into())?)
}

/// The flag is the open file's, and the other end of a pipe is another open file (pipe(2)).
pub(crate) fn nonblocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(fd)
}
