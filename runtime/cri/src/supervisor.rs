//! The supervisor of a sandbox, from our side: start it, talk to it.

use crate::error::{CriError, During};
use crate::state::Settings;
use crate::users::PodUsers;
use serde_json::Value;
use skiff_image::IdRange;
use skiff_proto::cri::v1::{NamespaceMode, PodSandboxConfig};
use skiff_supervise::client::{Decoder, connect, encode, is_gone};
use skiff_supervise::wire::{Ready, Reply, Request};
use skiff_sys::pass::{recv_with_fds, send_with_fds};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::process::Command;

/// Starts a supervisor for the sandbox whose folder is `dir`, and waits until it serves.
pub(crate) async fn start(
    settings: &Settings,
    id: &str,
    dir: &Path,
    config: &PodSandboxConfig,
) -> Result<Ready, CriError> {
    let operation = || format!("start supervisor {}", settings.supervisor.display());
    let log_path = dir.join("supervise.log");
    let log = File::create(&log_path).during(|| format!("create {}", log_path.display()))?;
    let mut command = Command::new(&settings.supervisor);
    command.arg("supervise").args(["--sandbox", id]).arg("--dir").arg(dir);
    command.arg("--runtime").arg(&settings.oci_runtime).arg("--oci-root").arg(&settings.oci_root);
    let namespaces = crate::bundle::pod_namespaces(config);
    for (option, mode) in
        [("--network", namespaces.network()), ("--uts", namespaces.network()), ("--ipc", namespaces.ipc())]
    {
        command.args([option, if mode == NamespaceMode::Node { "host" } else { "pod" }]);
    }
    if let Some(users) = PodUsers::asked(&namespaces)? {
        command.args(["--uids", &ranges(&users.uids), "--gids", &ranges(&users.gids)]);
    }
    if !config.hostname.is_empty() {
        command.args(["--hostname", &config.hostname]);
    }
    // Only what programs need to be found, and what our own programs obey; see skiff-step.
    command.env_clear();
    for name in ["PATH", skiff_step::TRACE_VARIABLE, skiff_step::FAULT_VARIABLE] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    if let Some(path) = settings.engine.trace_path() {
        command.env(skiff_step::TRACE_VARIABLE, path);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    skiff_sys::files::with_limit_as_found(command.as_std_mut());
    let mut child = command.spawn().during(operation)?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).await.during(operation)?;
    }
    // Somebody must take its exit status one day, or a zombie stays; the end itself is noticed on its socket.
    tokio::spawn(async move { child.wait().await });
    let ready: Result<Ready, _> = serde_json::from_str(&line);
    ready.map_err(|_| {
        let words = std::fs::read_to_string(&log_path).unwrap_or_default();
        CriError::Runtime(format!("{}: it did not become ready: {}", operation(), words.trim()))
    })
}

fn ranges(all: &[IdRange]) -> String {
    let one = |range: &IdRange| format!("{}:{}:{}", range.inside, range.outside, range.count);
    all.iter().map(one).collect::<Vec<_>>().join(",")
}

/// A connection to a supervisor.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    decoder: Decoder,
}

/// What a request was answered with, and the descriptor that came along.
pub(crate) type Answer = (Reply, Option<OwnedFd>);

impl Connection {
    /// Connects to the supervisor of the sandbox folder `dir`; [`CriError::Gone`] if there is none.
    pub(crate) fn open(dir: &Path) -> Result<Self, CriError> {
        // connect(2) on a unix socket does not wait: the kernel queues us.
        let open = || {
            let stream = connect(dir)?;
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        };
        let stream =
            open().map_err(|error| told(error, || format!("connect to the supervisor in {}", dir.display())))?;
        Ok(Self { stream, decoder: Decoder::default() })
    }

    /// Sends a request; what it does is its answer. A refusal is an error, and so is a peer that ends meanwhile
    /// ([`CriError::Gone`]).
    pub(crate) async fn call(&mut self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Answer, CriError> {
        self.send(request, fds).await.map_err(|error| told(error, || "ask the supervisor".to_owned()))?;
        self.next().await
    }

    async fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let line = encode(request)?;
        let (mut rest, mut fds) = (&line[..], fds);
        while !rest.is_empty() {
            self.stream.writable().await?;
            let sent = self.stream.try_io(Interest::WRITABLE, || Ok(send_with_fds(self.stream.as_fd(), rest, fds)?));
            match sent {
                Ok(count) => (rest, fds) = (&rest[count..], &[]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for the next answer; a refusal is an error.
    pub(crate) async fn next(&mut self) -> Result<Answer, CriError> {
        match self.receive().await.map_err(|error| told(error, || "hear from the supervisor".to_owned()))? {
            (Reply::Failed { message }, _) => Err(CriError::Runtime(message)),
            answer => Ok(answer),
        }
    }

    async fn receive(&mut self) -> io::Result<Answer> {
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some(answer) = self.decoder.next()? {
                return Ok(answer);
            }
            self.stream.readable().await?;
            let received =
                self.stream.try_io(Interest::READABLE, || Ok(recv_with_fds(self.stream.as_fd(), &mut buffer)?));
            match received {
                Ok((0, _)) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok((count, fds)) => self.decoder.push(&buffer[..count], fds),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// One request on a connection of its own.
pub(crate) async fn ask(dir: &Path, request: &Request) -> Result<Reply, CriError> {
    Ok(Connection::open(dir)?.call(request, &[]).await?.0)
}

/// What was answered, or that nobody is there to answer: for those to whom that is as good.
pub(crate) fn if_there<T>(answer: Result<T, CriError>) -> Result<Option<T>, CriError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(CriError::Gone(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A peer that has ended is told from everything else that can go wrong between us.
fn told(source: io::Error, operation: impl FnOnce() -> String) -> CriError {
    if is_gone(&source) { CriError::Gone(operation()) } else { CriError::Io { operation: operation(), source } }
}

/// An answer of another kind than its request has: the supervisor is of another version, or wrong.
pub(crate) fn unexpected(request: &str, reply: &Reply) -> CriError {
    CriError::Runtime(format!("{request}: the supervisor answered {reply:?}"))
}

/// The container's own `process` from its bundle; what an exec starts from.
pub(crate) fn bundle_process(container_dir: &Path) -> Result<Value, CriError> {
    let file = container_dir.join("config.json");
    let operation = || format!("read {}", file.display());
    let bytes = std::fs::read(&file).during(operation)?;
    let mut config: Value = serde_json::from_slice(&bytes).map_err(io::Error::from).during(operation)?;
    Ok(config["process"].take())
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_supervise::wire::SOCKET_NAME;
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    /// What a caller hears from a supervisor that ends as `end` says: fault C1.
    async fn ask_one_that(end: fn(UnixListener)) -> CriError {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap();
        let mut connection = Connection::open(dir.path()).unwrap();
        let peer = std::thread::spawn(move || end(listener));
        let answer = connection.call(&Request::Shutdown, &[]).await.unwrap_err();
        peer.join().unwrap();
        answer
    }

    #[tokio::test]
    async fn a_peer_that_ends_while_it_is_asked_is_gone_however_far_it_came() {
        let before_it_took_us = ask_one_that(drop).await;
        let before_it_read = ask_one_that(|listener| drop(listener.accept())).await;
        let after_it_read = ask_one_that(|listener| {
            let mut stream = listener.accept().unwrap().0;
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        })
        .await;
        for error in [before_it_took_us, before_it_read, after_it_read] {
            assert!(matches!(error, CriError::Gone(_)), "{error:?}");
            assert!(if_there(Err::<(), _>(error)).unwrap().is_none());
        }
    }

    #[test]
    fn no_socket_and_a_dead_one_are_nobody_but_other_failures_are_not() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Connection::open(dir.path()), Err(CriError::Gone(_))));
        drop(UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap());
        assert!(matches!(Connection::open(dir.path()), Err(CriError::Gone(_))));
        let crowded = told(io::Error::from_raw_os_error(nix::errno::Errno::EMFILE as i32), || "ask".to_owned());
        assert!(if_there(Err::<(), _>(crowded)).is_err(), "a supervisor that we could not reach may still be there");
    }
}
