//! Several streams in one WebSocket: each message begins with the number of its channel.
//!
//! What a client sends counts as its coding says, whether it calls the message text or binary: Kubernetes' own server looks
//! at the bytes alone, and clients in Python send the input of a terminal as text (apimachinery/pkg/util/httpstream/wsstream).

use crate::protocol::Coding;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::SinkExt;
use futures::stream::SplitSink;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

/// Bytes of a message that we send.
const CHUNK_BYTES_MAX: usize = 16 << 10;
/// Messages that wait for the client.
pub(crate) const OUTGOING_MESSAGES: usize = 16;

/// Where messages wait for the client: the channel, and what it carries.
pub(crate) type Outgoing = mpsc::Sender<(u8, Bytes)>;

/// What a message of the client's means.
pub(crate) enum Decoded {
    /// Bytes for a channel.
    Data(u8, Bytes),
    /// Nothing to us: a ping, or no channel at all.
    Ignored,
    /// The client leaves, or cannot be understood.
    End,
}

pub(crate) fn decode(coding: Coding, message: &Message) -> Decoded {
    let bytes = match message {
        Message::Close(_) => return Decoded::End,
        Message::Binary(bytes) => bytes.clone(),
        Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
        Message::Ping(_) | Message::Pong(_) => return Decoded::Ignored,
    };
    let Some((&first, data)) = bytes.split_first() else { return Decoded::Ignored };
    match coding {
        Coding::Binary => Decoded::Data(first, bytes.slice(1..)),
        Coding::Base64 if first.is_ascii_digit() => match STANDARD.decode(data) {
            Ok(data) => Decoded::Data(first - b'0', data.into()),
            Err(_) => Decoded::End,
        },
        Coding::Base64 => Decoded::Ignored,
    }
}

fn encode(coding: Coding, channel: u8, data: &[u8]) -> Message {
    match coding {
        Coding::Binary => Message::Binary([&[channel], data].concat().into()),
        Coding::Base64 => Message::Text(format!("{channel}{}", STANDARD.encode(data)).into()),
    }
}

/// Sends what comes, and says goodbye when nothing more can come.
pub(crate) async fn send_all(
    mut sink: SplitSink<WebSocket, Message>,
    mut messages: mpsc::Receiver<(u8, Bytes)>,
    coding: Coding,
) {
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
pub(crate) struct ChannelWriter {
    channel: u8,
    outgoing: PollSender<(u8, Bytes)>,
}

impl ChannelWriter {
    pub(crate) fn new(channel: u8, outgoing: &Outgoing) -> Self {
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
