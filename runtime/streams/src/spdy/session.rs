//! A connection with its streams: one task reads, one writes.

use super::ProtocolError;
use super::frame::{self, Control, HEAD_BYTES, Head};
use super::headers::{Compressor, Decompressor, Headers};
use super::stream::{CHUNK_BYTES_MAX, Stream, StreamReader, StreamWriter};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Frames that wait to be written: 32 of 16 KiB are half a MiB a connection.
const OUTGOING_FRAMES: usize = 32;
/// Pieces of data that wait in a stream: eight of 16 KiB.
const INCOMING_PIECES: usize = 8;
/// Streams that nobody has accepted yet.
const NEW_STREAMS: usize = 16;
/// Streams whose peer may still send; a forwarded connection has two.
const STREAMS_MAX: usize = 512;
/// How much of a window we take before we grant it again; the initial window is 64 KiB.
const GRANT_BYTES: u32 = 16 << 10;
/// How long a peer may keep its side open after we are done.
const LINGER: Duration = Duration::from_secs(5);

/// Who opened the connection, and so whose streams have odd numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We did.
    Client,
    /// The peer did.
    Server,
}

/// What is to be written.
#[derive(Debug)]
pub(super) enum Out {
    Open { id: u32, headers: Headers },
    Reply { id: u32 },
    Data { id: u32, bytes: Bytes, fin: bool },
    Control(Control),
}

/// A SPDY connection. It ends when this and all writers of its streams are gone and what they wrote is sent.
pub struct Session {
    outgoing: mpsc::Sender<Out>,
    streams: Arc<Streams>,
    next_id: AtomicU32,
    gone: CancellationToken,
}

#[derive(Default)]
struct Streams(Mutex<HashMap<u32, Incoming>>);

/// Our end of what the peer sends on a stream.
#[derive(Clone)]
struct Incoming {
    pieces: mpsc::Sender<Bytes>,
    reset: Arc<AtomicBool>,
    /// Bytes taken whose window the peer does not have back yet.
    ungranted: Arc<AtomicU32>,
}

/// Starts a session on a connection; streams that the peer opens come out of the receiver.
pub fn start<T>(io: T, role: Role) -> (Session, mpsc::Receiver<Stream>)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(io);
    let (outgoing, frames) = mpsc::channel(OUTGOING_FRAMES);
    let (accepted, accept) = mpsc::channel(NEW_STREAMS);
    let (gone, written) = (CancellationToken::new(), CancellationToken::new());
    let streams = Arc::new(Streams::default());
    let reader = Reader {
        io: BufReader::new(read),
        decompressor: Decompressor::new(),
        streams: Arc::clone(&streams),
        // Weak, so that the writer ends when those who write are gone, although we still read.
        outgoing: outgoing.downgrade(),
        accepted,
        peer_parity: u32::from(role == Role::Server),
        last_id: 0,
        ungranted: AtomicU32::new(0),
    };
    tokio::spawn(read_until(reader, gone.clone(), written.clone()));
    tokio::spawn(async move {
        let _guard = written.drop_guard();
        // An error means that the peer is gone, which the reader notices and tells.
        let _peer_gone = write_all(write, frames).await;
    });
    let next_id = AtomicU32::new(if role == Role::Client { 1 } else { 2 });
    (Session { outgoing, streams, next_id, gone }, accept)
}

impl Session {
    /// Opens a stream.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn open(&self, headers: Headers) -> io::Result<Stream> {
        let id = self.next_id.fetch_add(2, Ordering::Relaxed);
        let (stream, incoming) = stream(id, headers.clone(), self.outgoing.clone());
        self.streams.lock().insert(id, incoming);
        let sent = self.outgoing.send(Out::Open { id, headers }).await;
        sent.map(|()| stream).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Waits until the peer has closed the connection, or broken it or the protocol.
    pub async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Tells the peer that no more streams are accepted.
    pub async fn go_away(&self) {
        let _peer_gone = self.outgoing.send(Out::Control(Control::GoAway { last: 0, status: 0 })).await;
    }
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Incoming>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stream(id: u32, headers: Headers, outgoing: mpsc::Sender<Out>) -> (Stream, Incoming) {
    let (pieces, incoming) = mpsc::channel(INCOMING_PIECES);
    let reset = Arc::new(AtomicBool::new(false));
    let writer = StreamWriter::new(id, outgoing, Arc::clone(&reset));
    (
        Stream { id, headers, reader: StreamReader::new(incoming), writer },
        Incoming { pieces, reset, ungranted: Arc::default() },
    )
}

struct Reader<T> {
    io: BufReader<ReadHalf<T>>,
    decompressor: Decompressor,
    streams: Arc<Streams>,
    outgoing: mpsc::WeakSender<Out>,
    accepted: mpsc::Sender<Stream>,
    peer_parity: u32,
    last_id: u32,
    ungranted: AtomicU32,
}

async fn read_until<T: AsyncRead>(mut reader: Reader<T>, gone: CancellationToken, written: CancellationToken) {
    let lingered = async {
        written.cancelled().await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        // Whatever ends it, the streams end with it; a protocol error has nobody to go to but the peer.
        _ended = reader.run() => {}
        () = lingered => {}
    }
    for (_, incoming) in reader.streams.lock().drain() {
        incoming.reset.store(true, Ordering::Release);
    }
    gone.cancel();
}

impl<T: AsyncRead> Reader<T> {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let mut head = [0; HEAD_BYTES];
            self.io.read_exact(&mut head).await?;
            match frame::parse_head(head).map_err(io::Error::other)? {
                Head::Data { id, fin, length } => self.take_data(id, fin, length).await?,
                Head::Control { kind, flags, length } => {
                    let mut payload = vec![0; length];
                    self.io.read_exact(&mut payload).await?;
                    let control = frame::parse_control(kind, flags, &payload).map_err(io::Error::other)?;
                    self.take_control(control).await.map_err(io::Error::other)?;
                }
            }
        }
    }

    async fn take_data(&mut self, id: u32, fin: bool, length: usize) -> io::Result<()> {
        let incoming = self.streams.lock().get(&id).cloned();
        let mut left = length;
        while left > 0 {
            let mut piece = BytesMut::zeroed(left.min(CHUNK_BYTES_MAX));
            self.io.read_exact(&mut piece).await?;
            left -= piece.len();
            let count = u32::try_from(piece.len()).unwrap_or(GRANT_BYTES);
            if let Some(incoming) = &incoming {
                // Nobody reads that half any more: its data is dropped, as a closed socket would.
                let _unread = incoming.pieces.send(piece.freeze()).await;
                self.grant(id, count, &incoming.ungranted);
            }
            self.grant(0, count, &self.ungranted);
        }
        if fin {
            self.streams.lock().remove(&id);
        }
        Ok(())
    }

    /// Gives the peer back the window that its data took; stream 0 is the whole connection. When the queue is full, a
    /// later grant makes up for it.
    fn grant(&self, id: u32, count: u32, ungranted: &AtomicU32) {
        let delta = ungranted.fetch_add(count, Ordering::Relaxed) + count;
        let Some(outgoing) = self.outgoing.upgrade() else { return };
        if delta >= GRANT_BYTES && outgoing.try_send(Out::Control(Control::WindowUpdate { id, delta })).is_ok() {
            ungranted.fetch_sub(delta, Ordering::Relaxed);
        }
    }

    async fn take_control(&mut self, control: Control) -> Result<(), ProtocolError> {
        match control {
            Control::SynStream { id, fin, block } => {
                let headers = self.decompressor.headers(&block)?;
                self.take_stream(id, fin, headers).await;
            }
            // Their headers say nothing to us, but the decompressor must see them.
            Control::SynReply { id, fin, block } | Control::Headers { id, fin, block } => {
                self.decompressor.headers(&block)?;
                if fin {
                    self.streams.lock().remove(&id);
                }
            }
            Control::Reset { id, .. } => {
                if let Some(incoming) = self.streams.lock().remove(&id) {
                    incoming.reset.store(true, Ordering::Release);
                }
            }
            // A ping with one of our numbers would be an answer; we ask nothing.
            Control::Ping(id) if id % 2 == self.peer_parity => self.try_send(Out::Control(Control::Ping(id))),
            // After GOAWAY the peer finishes its streams and closes the connection.
            Control::Ping(_) | Control::GoAway { .. } | Control::WindowUpdate { .. } | Control::Other => {}
        }
        Ok(())
    }

    async fn take_stream(&mut self, id: u32, fin: bool, headers: Headers) {
        let Some(outgoing) = self.outgoing.upgrade() else { return };
        let refusal = if id % 2 != self.peer_parity || id <= self.last_id {
            Some(frame::PROTOCOL_ERROR)
        } else if self.streams.lock().len() >= STREAMS_MAX {
            Some(frame::REFUSED_STREAM)
        } else {
            None
        };
        if let Some(status) = refusal {
            return self.try_send(Out::Control(Control::Reset { id, status }));
        }
        self.last_id = id;
        let (stream, incoming) = stream(id, headers, outgoing.clone());
        if !fin {
            self.streams.lock().insert(id, incoming);
        }
        let _written_or_gone = outgoing.send(Out::Reply { id }).await;
        // Nobody accepts any more: dropping the stream closes our half.
        let _dropped = self.accepted.send(stream).await;
    }

    /// For answers that a peer who does not read must do without.
    fn try_send(&self, out: Out) {
        if let Some(outgoing) = self.outgoing.upgrade() {
            let _full = outgoing.try_send(out);
        }
    }
}

async fn write_all<T: AsyncWrite>(write: WriteHalf<T>, mut frames: mpsc::Receiver<Out>) -> io::Result<()> {
    let mut write = BufWriter::with_capacity(2 * CHUNK_BYTES_MAX, write);
    let mut compressor = Compressor::new();
    while let Some(out) = frames.recv().await {
        write_one(&mut write, &mut compressor, out).await?;
        if frames.is_empty() {
            write.flush().await?;
        }
    }
    write.shutdown().await
}

async fn write_one<W: AsyncWrite + Unpin>(write: &mut W, compressor: &mut Compressor, out: Out) -> io::Result<()> {
    let control = match out {
        Out::Data { id, bytes, fin } => {
            write.write_all(&frame::data_head(id, fin, bytes.len())).await?;
            return write.write_all(&bytes).await;
        }
        Out::Open { id, headers } => {
            let block = compressor.block(&headers).map_err(io::Error::other)?;
            Control::SynStream { id, fin: false, block }
        }
        Out::Reply { id } => {
            let block = compressor.block(&Headers::default()).map_err(io::Error::other)?;
            Control::SynReply { id, fin: false, block }
        }
        Out::Control(control) => control,
    };
    write.write_all(&frame::control(&control)).await
}
