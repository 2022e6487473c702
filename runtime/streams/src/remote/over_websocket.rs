//! Exec and attach over WebSocket: each message begins with the number of its channel.

use super::{ENDING_WITHIN, Remote, STDIN_BYTES, resize};
use crate::channels::{ChannelWriter, Decoded, OUTGOING_MESSAGES, decode, send_all};
use crate::protocol::{Coding, Version};
use crate::status::last_words;
use crate::{Input, Output, StreamIo, StreamRuntime};
use axum::extract::ws::WebSocket;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::SplitStream;
use std::sync::Arc;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Version 5: the next byte names a channel that its sender has closed.
const CLOSE: u8 = 255;

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
