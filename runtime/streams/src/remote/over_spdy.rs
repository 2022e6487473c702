//! Exec and attach over SPDY: the client opens a stream for each purpose and names it in `streamType`.

use super::{ENDING_WITHIN, Remote, STREAMS_WITHIN, Wanted, resize};
use crate::protocol::Version;
use crate::spdy::{Role, Session, Stream, StreamWriter, start};
use crate::status::last_words;
use crate::{Input, Output, StreamIo, StreamRuntime};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The client's streams, by purpose.
#[derive(Default)]
struct Opened {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

/// Serves the request on an upgraded connection.
pub(crate) async fn serve<T>(io: T, request: Remote, version: Version, runtime: Arc<dyn StreamRuntime>)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (session, mut accept) = start(io, Role::Server);
    let mut wanted = request.wanted();
    wanted.resize &= version >= Version::V3;
    // A client that does not open what it asked for gets its connection closed.
    let Ok(Some(opened)) = timeout(STREAMS_WITHIN, opened(&mut accept, wanted)).await else { return };
    let (error, io) = connect(opened);
    let Some(error) = error else { return };
    let result = tokio::select! {
        result = request.run(runtime, io) => result,
        () = session.gone() => return,
    };
    let words = last_words(version, &result);
    let _client_does_not_read = timeout(ENDING_WITHIN, end(session, error, &words)).await;
}

/// All wanted streams, or none if the client opens another one or leaves.
async fn opened(accept: &mut mpsc::Receiver<Stream>, wanted: Wanted) -> Option<Opened> {
    let mut opened = Opened::default();
    while !opened.is_complete(wanted) {
        let stream = accept.recv().await?;
        let place = match stream.headers.get("streamtype")? {
            "error" => &mut opened.error,
            "stdin" => &mut opened.stdin,
            "stdout" => &mut opened.stdout,
            "stderr" => &mut opened.stderr,
            "resize" => &mut opened.resize,
            _ => return None,
        };
        if place.replace(stream).is_some() {
            return None;
        }
    }
    Some(opened)
}

impl Opened {
    fn is_complete(&self, wanted: Wanted) -> bool {
        let there = |wanted: bool, stream: &Option<Stream>| !wanted || stream.is_some();
        self.error.is_some()
            && there(wanted.stdin, &self.stdin)
            && there(wanted.stdout, &self.stdout)
            && there(wanted.stderr, &self.stderr)
            && there(wanted.resize, &self.resize)
    }
}

/// The error stream's writer, and the rest as the runtime takes it. Halves that nobody uses close here: clients
/// do not look at them, but for stdin's.
fn connect(opened: Opened) -> (Option<StreamWriter>, StreamIo) {
    let (sizes, resizes) = resize::channel();
    if let Some(stream) = opened.resize {
        tokio::spawn(sizes.take_all(stream.reader));
    }
    let output = |stream: Stream| Box::new(stream.writer) as Output;
    let io = StreamIo {
        stdin: opened.stdin.map(|stream| Box::new(Stdin(stream)) as Input),
        stdout: opened.stdout.map(output),
        stderr: opened.stderr.map(output),
        resizes,
    };
    (opened.error.map(|stream| stream.writer), io)
}

/// The client's input. Clients stop sending when our half of the stream closes, which must not happen before the command
/// has dropped its input.
struct Stdin(Stream);

impl AsyncRead for Stdin {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0.reader).poll_read(cx, buffer)
    }
}

async fn end(session: Session, mut error: StreamWriter, words: &[u8]) {
    // A client that left does not hear them.
    let _left = error.write_all(words).await;
    let _left = error.shutdown().await;
    session.go_away().await;
    // Keep the connection until the client, who now has everything, closes it.
    session.gone().await;
}
