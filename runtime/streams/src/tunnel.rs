//! A WebSocket as a byte stream: each binary message is a piece of it (KEP-4006, tunnelled port-forward).

use axum::extract::ws::{Message, WebSocket};
use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Bytes that wait in each direction.
const PIPE_BYTES: usize = 64 << 10;
/// Bytes of a message that we send.
const CHUNK_BYTES_MAX: usize = 32 << 10;

/// The other end of the tunnel; dropping it closes the socket.
pub(crate) fn open(socket: WebSocket) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    tokio::spawn(carry(socket, theirs));
    ours
}

async fn carry(socket: WebSocket, pipe: DuplexStream) {
    let (mut sink, mut stream) = socket.split();
    let (mut read, mut write) = tokio::io::split(pipe);
    let incoming = async {
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Message::Binary(bytes) if write.write_all(&bytes).await.is_ok() => {}
                Message::Ping(_) | Message::Pong(_) => {}
                _ => break,
            }
        }
        let _closed_already = write.shutdown().await;
    };
    let outgoing = async {
        let mut piece = BytesMut::with_capacity(CHUNK_BYTES_MAX);
        while let Ok(1..) = read.read_buf(&mut piece).await {
            if sink.send(Message::Binary(piece.split().freeze())).await.is_err() {
                return;
            }
            piece.reserve(CHUNK_BYTES_MAX);
        }
        let _left = sink.send(Message::Close(None)).await;
        let _left = sink.close().await;
    };
    tokio::join!(incoming, outgoing);
}
