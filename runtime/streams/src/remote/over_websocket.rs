//! Exec and attach over WebSocket: each message begins with the number of its channel.

use super::{ENDING_WITHIN, Remote, STDIN_BYTES, resize};
use crate::protocol::{Coding, Version};
use crate::status::last_words;
use crate::{Input, Output, StreamIo, StreamRuntime};
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::PollSender;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Version 5: the next byte names a channel that its sender has closed.
const CLOSE: u8 = 255;
/// Bytes of a message that we send.
const CHUNK_BYTES_MAX: usize = 16 << 10;
/// Messages that wait for the client.
const OUTGOING_MESSAGES: usize = 16;

type Outgoing = mpsc::Sender<(u8, Bytes)>;

/// Serves the request on an upgraded connection.
pub(crate) async fn serve(
    socket: WebSocket,
    request: Remote,
    version: Version,
    coding: Coding,
    runtime: Arc<dyn StreamRuntime>,
) {
    let (sink, stream) = socket.split();
    let (outgoing, messages) = mpsc::channel(OUTGOING_MESSAGES);
    let sending = tokio::spawn(send_all(sink, messages, coding));
    let wanted = request.wanted();
    let (stdin, stdin_end) = if wanted.stdin { split_pipe() } else { (None, None) };
    let (sizes, resizes) = resize::channel();
    let output = |wanted: bool, channel| wanted.then(|| Box::new(ChannelWriter::new(channel, &outgoing)) as Output);
    let io = StreamIo { stdin, stdout: output(wanted.stdout, STDOUT), stderr: output(wanted.stderr, STDERR), resizes };
    // Clients take the first message, even an empty one, for the sign that the connection stands.
    let first = if wanted.stdout {
        STDOUT
    } else if wanted.stderr {
        STDERR
    } else {
        ERROR
    };
    let _left = outgoing.send((first, Bytes::new())).await;
    let incoming = Incoming { stream, coding, version, stdin: stdin_end, sizes };
    tokio::select! {
        result = request.run(runtime, io) => {
            let _left = outgoing.send((ERROR, last_words(version, &result).into())).await;
        }
        () = incoming.take_all() => {}
    }
    drop(outgoing);
    let abort = sending.abort_handle();
    if timeout(ENDING_WITHIN, sending).await.is_err() {
        abort.abort();
    }
}

fn split_pipe() -> (Option<Input>, Option<DuplexStream>) {
    let (ours, theirs) = tokio::io::duplex(STDIN_BYTES);
    (Some(Box::new(theirs)), Some(ours))
}

struct Incoming {
    stream: SplitStream<WebSocket>,
    coding: Coding,
    version: Version,
    stdin: Option<DuplexStream>,
    sizes: resize::Resizes,
}

impl Incoming {
    /// Hands on what the client sends until it leaves. A command that does not read its input makes the client wait.
    async fn take_all(mut self) {
        while let Some(Ok(message)) = self.stream.next().await {
            match decode(self.coding, &message) {
                Decoded::Data(channel, data) => self.take(channel, &data).await,
                Decoded::Ignored => {}
                Decoded::End => return,
            }
        }
    }

    async fn take(&mut self, channel: u8, data: &[u8]) {
        match (channel, &mut self.stdin) {
            (STDIN, Some(stdin)) => {
                let command_has_closed_it = stdin.write_all(data).await.is_err();
                if command_has_closed_it {
                    self.stdin = None;
                }
            }
            (RESIZE, _) => self.sizes.take(data),
            (CLOSE, _) if self.version >= Version::V5 && data.first() == Some(&STDIN) => self.stdin = None,
            // Other channels are ours to write.
            _ => {}
        }
    }
}

enum Decoded {
    Data(u8, Bytes),
    Ignored,
    End,
}

fn decode(coding: Coding, message: &Message) -> Decoded {
    match (coding, message) {
        (_, Message::Close(_)) => Decoded::End,
        (Coding::Binary, Message::Binary(bytes)) if !bytes.is_empty() => Decoded::Data(bytes[0], bytes.slice(1..)),
        (Coding::Base64, Message::Text(text)) => match text.as_bytes().split_first() {
            Some((digit @ b'0'..=b'9', data)) => match STANDARD.decode(data) {
                Ok(data) => Decoded::Data(digit - b'0', data.into()),
                Err(_) => Decoded::End,
            },
            _ => Decoded::Ignored,
        },
        _ => Decoded::Ignored,
    }
}

fn encode(coding: Coding, channel: u8, data: &[u8]) -> Message {
    match coding {
        Coding::Binary => Message::Binary([&[channel], data].concat().into()),
        Coding::Base64 => Message::Text(format!("{channel}{}", STANDARD.encode(data)).into()),
    }
}

async fn send_all(mut sink: SplitSink<WebSocket, Message>, mut messages: mpsc::Receiver<(u8, Bytes)>, coding: Coding) {
    while let Some((channel, data)) = messages.recv().await {
        if sink.send(encode(coding, channel, &data)).await.is_err() {
            return;
        }
    }
    let goodbye = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    let _left = sink.send(Message::Close(Some(goodbye))).await;
    let _left = sink.close().await;
}

/// Writes to one channel; waits while too many messages wait.
struct ChannelWriter {
    channel: u8,
    outgoing: PollSender<(u8, Bytes)>,
}

impl ChannelWriter {
    fn new(channel: u8, outgoing: &Outgoing) -> Self {
        Self { channel, outgoing: PollSender::new(outgoing.clone()) }
    }
}

impl AsyncWrite for ChannelWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.outgoing.poll_reserve(cx)).map_err(closed)?;
        let piece = &data[..data.len().min(CHUNK_BYTES_MAX)];
        let message = (self.channel, Bytes::copy_from_slice(piece));
        self.outgoing.send_item(message).map_err(closed)?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The protocol has no word for the end of an output; the connection's end is it.
        self.outgoing.close();
        Poll::Ready(Ok(()))
    }
}
