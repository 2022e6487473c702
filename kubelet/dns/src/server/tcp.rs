//! Streams: each message behind its length (RFC 1035, 4.2.2), many on one connection, answered in the order in which the answers
//! come (RFC 7766).

use super::ask::{Core, Now, Transport};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

/// Connections at once.
const CONNECTIONS_MAX: usize = 512;
/// Answers of one connection that wait to be sent.
const ANSWERS_MAX: usize = 64;
/// How long a connection may say nothing (RFC 7766, 6.2.3: a few seconds).
const IDLE_MAX: Duration = Duration::from_secs(10);
/// How long we wait before we accept again after a refusal, such as too many open files.
const REFUSED_DELAY: Duration = Duration::from_millis(100);

/// Accepts for ever.
pub(super) async fn serve(core: Arc<Core>, listener: TcpListener) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        match listener.accept().await {
            Ok((stream, _)) => {
                let core = Arc::clone(&core);
                tokio::spawn(async move {
                    // A client that leaves, or says nothing, ends its connection.
                    let _ended = converse(core, stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(error = skiff_client::sentence(&error), "accept a connection for DNS");
                tokio::time::sleep(REFUSED_DELAY).await;
            }
        }
    }
}

async fn converse(core: Arc<Core>, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reading, writing) = stream.into_split();
    let (answers, ready) = mpsc::channel(ANSWERS_MAX);
    // Both end when either does: the writer with the last sender, the reader when nobody takes its answers.
    let (read, written) = tokio::join!(read(core, reading, answers), write(writing, ready));
    read.and(written)
}

async fn read(core: Arc<Core>, mut stream: OwnedReadHalf, answers: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    let from = stream.peer_addr()?.ip();
    loop {
        let Ok(length) = tokio::time::timeout(IDLE_MAX, stream.read_u16()).await else { return Ok(()) };
        let mut question = vec![0; usize::from(length?)];
        tokio::time::timeout(IDLE_MAX, stream.read_exact(&mut question)).await??;
        let mut answer = Vec::new();
        match core.now(from, &question, Transport::Tcp, &mut answer) {
            Now::Nothing => return Ok(()),
            Now::Answered => answers.send(answer).await.map_err(io::Error::other)?,
            Now::Later(pending) => {
                let (core, answers) = (Arc::clone(&core), answers.clone());
                tokio::spawn(async move {
                    if core.later(*pending, &mut answer).await {
                        let _gone_with_its_connection = answers.send(answer).await;
                    }
                });
            }
        }
    }
}

async fn write(mut stream: OwnedWriteHalf, mut ready: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(answer) = ready.recv().await {
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes(), &answer[..]].concat();
        tokio::time::timeout(IDLE_MAX, stream.write_all(&framed)).await??;
    }
    Ok(())
}
