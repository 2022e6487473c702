//! A container's standard streams: read its output, log it, copy it to attached clients, and feed its input.
//!
//! Everything is non-blocking. A client that does not take its output is detached at [`PENDING_BYTES_MAX`]: a container
//! must never wait for a spectator.

use crate::log::{Framer, LogFile, Stream, entry, timestamp};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFlags;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::SystemTime;

/// How much output waits for a slow attached client, per stream.
const PENDING_BYTES_MAX: usize = 1024 * 1024;
/// How much is read at once: what a pipe holds by default (pipe(7)).
const READ_BYTES: usize = 64 * 1024;
/// What is still read of a container that ended: no pipe holds more without privilege (pipe(7), pipe-max-size).
const DRAIN_BYTES_MAX: usize = 1024 * 1024;

/// One end that poll(2) should look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Output(Stream),
    Input,
    ClientInput(u64),
    ClientOutput(u64, Stream),
}

/// All ends of one container.
#[derive(Debug, Default)]
pub(crate) struct ContainerIo {
    sources: Vec<Source>,
    input: Option<Sink>,
    input_ends_with_client: bool,
    /// Where output is logged.
    pub(crate) log: Option<LogFile>,
    clients: Vec<Client>,
    clients_made: u64,
    /// The terminal's master, if the container has one.
    pub(crate) terminal: Option<File>,
}

#[derive(Debug)]
struct Source {
    stream: Stream,
    file: File,
    framer: Framer,
}

/// Something to write to, and what it has not taken yet.
#[derive(Debug)]
struct Sink {
    file: File,
    pending: Vec<u8>,
}

#[derive(Debug)]
struct Client {
    id: u64,
    input: Option<File>,
    outputs: Vec<(Stream, Sink)>,
}

/// The client's ends of an attach.
#[derive(Debug, Default)]
pub(crate) struct ClientEnds {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

impl ContainerIo {
    /// Reads the container's output from `fd`.
    pub(crate) fn add_source(&mut self, stream: Stream, fd: OwnedFd) -> io::Result<()> {
        let file = nonblocking(fd)?;
        self.sources.push(Source { stream, file, framer: Framer::default() });
        Ok(())
    }

    /// Writes attached clients' input to `fd`; `ends_with_client` closes it when the first such client ends.
    pub(crate) fn set_input(&mut self, fd: OwnedFd, ends_with_client: bool) -> io::Result<()> {
        self.input = Some(Sink { file: nonblocking(fd)?, pending: Vec::new() });
        self.input_ends_with_client = ends_with_client;
        Ok(())
    }

    /// Uses a terminal's master for everything.
    pub(crate) fn set_terminal(
        &mut self,
        master: OwnedFd,
        takes_input: bool,
        ends_with_client: bool,
    ) -> io::Result<()> {
        self.add_source(Stream::Stdout, master.try_clone()?)?;
        if takes_input {
            self.set_input(master.try_clone()?, ends_with_client)?;
        }
        self.terminal = Some(File::from(master));
        Ok(())
    }

    /// Adds a client until the container or the client ends.
    pub(crate) fn attach(&mut self, ends: ClientEnds) -> io::Result<()> {
        let sink = |fd: OwnedFd| nonblocking(fd).map(|file| Sink { file, pending: Vec::new() });
        let mut outputs = Vec::new();
        for (stream, fd) in [(Stream::Stdout, ends.stdout), (Stream::Stderr, ends.stderr)] {
            if let Some(fd) = fd {
                outputs.push((stream, sink(fd)?));
            }
        }
        let input = ends.stdin.map(nonblocking).transpose()?;
        self.clients_made += 1;
        self.clients.push(Client { id: self.clients_made, input, outputs });
        Ok(())
    }

    /// What to wait for.
    pub(crate) fn interests(&self) -> Vec<(End, BorrowedFd<'_>, PollFlags)> {
        let mut all: Vec<_> = self
            .sources
            .iter()
            .map(|source| (End::Output(source.stream), source.file.as_fd(), PollFlags::POLLIN))
            .collect();
        let input_pending = self.input.as_ref().filter(|input| !input.pending.is_empty());
        if let Some(input) = input_pending {
            all.push((End::Input, input.file.as_fd(), PollFlags::POLLOUT));
        }
        for client in &self.clients {
            // A client's input waits while the container has not taken what came before.
            if let (Some(file), None) = (&client.input, input_pending) {
                all.push((End::ClientInput(client.id), file.as_fd(), PollFlags::POLLIN));
            }
            for (stream, sink) in &client.outputs {
                // Without pending output we still want to hear that the reader is gone (POLLERR comes unasked).
                let wanted = if sink.pending.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
                all.push((End::ClientOutput(client.id, *stream), sink.file.as_fd(), wanted));
            }
        }
        all
    }

    /// Does what can be done at `end`; an end that fails is closed.
    pub(crate) fn ready(&mut self, end: End, flags: PollFlags) {
        match end {
            End::Output(stream) => drop(self.read_output(stream)),
            End::Input => self.write_input(),
            End::ClientInput(id) => self.read_client(id),
            End::ClientOutput(id, stream) => self.write_client(id, stream, flags),
        }
    }

    /// The first process ended: takes what is still in the pipes, and closes all but unfinished clients.
    pub(crate) fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut drained = 0;
            while drained < DRAIN_BYTES_MAX {
                match self.read_output(stream) {
                    0 => break,
                    count => drained += count,
                }
            }
            self.end_source(stream);
        }
        (self.input, self.terminal) = (None, None);
        for client in &mut self.clients {
            client.input = None;
            client.outputs.retain(|(_, sink)| !sink.pending.is_empty());
        }
        self.forget_idle_clients();
    }

    /// What is in the error pipe, unlogged: what a runtime said last when it could not create the container.
    pub(crate) fn last_words(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; READ_BYTES];
        let source = self.sources.iter_mut().find(|source| source.stream == Stream::Stderr);
        let count = source.and_then(|source| source.file.read(&mut buffer).ok()).unwrap_or(0);
        buffer.truncate(count);
        buffer
    }

    /// Reads once; zero at the end or when nothing is there.
    fn read_output(&mut self, stream: Stream) -> usize {
        let mut buffer = [0; READ_BYTES];
        let Some(source) = self.sources.iter_mut().find(|source| source.stream == stream) else { return 0 };
        match source.file.read(&mut buffer) {
            Ok(count) if count > 0 => {
                self.take_output(stream, &buffer[..count]);
                count
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            // A terminal whose last user is gone says EIO where a pipe says 0.
            Ok(_) | Err(_) => {
                self.end_source(stream);
                self.end_client_outputs(stream);
                0
            }
        }
    }

    fn take_output(&mut self, stream: Stream, bytes: &[u8]) {
        for client in &mut self.clients {
            client.outputs.retain_mut(|(of, sink)| *of != stream || sink.offer(bytes));
        }
        self.forget_idle_clients();
        let (Some(source), Some(log)) = (self.sources.iter_mut().find(|source| source.stream == stream), &mut self.log)
        else {
            return;
        };
        let (mut entries, at) = (Vec::with_capacity(bytes.len() + 64), timestamp(SystemTime::now()));
        source.framer.push(bytes, |tag, text| entry(&mut entries, &at, stream, tag, text));
        log.append(&entries);
    }

    fn end_source(&mut self, stream: Stream) {
        let Some(at) = self.sources.iter().position(|source| source.stream == stream) else { return };
        let mut source = self.sources.remove(at);
        let (mut entries, at) = (Vec::new(), timestamp(SystemTime::now()));
        source.framer.finish(|tag, text| entry(&mut entries, &at, stream, tag, text));
        if let Some(log) = &mut self.log {
            log.append(&entries);
        }
    }

    fn end_client_outputs(&mut self, stream: Stream) {
        for client in &mut self.clients {
            client.outputs.retain(|(of, sink)| *of != stream || !sink.pending.is_empty());
        }
        self.forget_idle_clients();
    }

    fn write_input(&mut self) {
        if self.input.as_mut().is_some_and(|input| !input.flush()) {
            self.input = None;
        }
    }

    fn read_client(&mut self, id: u64) {
        let mut buffer = [0; READ_BYTES];
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else { return };
        let Some(file) = &mut client.input else { return };
        match file.read(&mut buffer) {
            Ok(count) if count > 0 => {
                if self.input.as_mut().is_some_and(|input| !input.offer(&buffer[..count])) {
                    self.input = None;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Ok(_) | Err(_) => {
                client.input = None;
                if self.input_ends_with_client {
                    self.input = None;
                }
                self.forget_idle_clients();
            }
        }
    }

    fn write_client(&mut self, id: u64, stream: Stream, flags: PollFlags) {
        let gone = flags.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL);
        let source_ended = !self.sources.iter().any(|source| source.stream == stream);
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            client.outputs.retain_mut(|(of, sink)| {
                *of != stream || (!gone && sink.flush() && !(source_ended && sink.pending.is_empty()))
            });
        }
        self.forget_idle_clients();
    }

    fn forget_idle_clients(&mut self) {
        self.clients.retain(|client| client.input.is_some() || !client.outputs.is_empty());
    }
}

impl Sink {
    /// Writes or keeps `bytes`; false when the reader is gone or too slow.
    fn offer(&mut self, bytes: &[u8]) -> bool {
        self.pending.extend_from_slice(bytes);
        self.flush() && self.pending.len() <= PENDING_BYTES_MAX
    }

    /// Writes what is kept as far as the reader takes it; false when it is gone.
    fn flush(&mut self) -> bool {
        while !self.pending.is_empty() {
            match self.file.write(&self.pending) {
                Ok(0) => return false,
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

fn nonblocking(fd: OwnedFd) -> io::Result<File> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(File::from(fd))
}
