//! Bodies of requests: received in batches, of which one is written while the next arrives. Nobody may send too slowly or too much.

use crate::error::StorageError;
use crate::refusal::{Code, Refusal};
use crate::serve::{blocking, panicked};
use crate::store::Store;
use crate::uploads::Taken;
use bytes::Bytes;
use http_body_util::BodyExt;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

/// What is written at once: enough that waking a thread for it does not count, little enough for hundreds of uploads at a time.
const BATCH_BYTES: usize = 1024 * 1024;

/// How slowly a body may come.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// In each stretch of so long …
    pub window: Duration,
    /// … so many bytes must come, or its end.
    pub bytes_min: u64,
}

impl Default for Pace {
    fn default() -> Self {
        // 1 KiB/s: slower than any line that can load an image, and it holds no upload for ever.
        Self { window: Duration::from_secs(60), bytes_min: 60 * 1024 }
    }
}

/// A body that is read within its pace.
struct Steady<B> {
    body: B,
    pace: Pace,
    until: Instant,
    bytes: u64,
}

/// Bodies as we read them; hyper's, or a test's.
pub trait Incoming: http_body::Body<Data = Bytes, Error: std::fmt::Display + Send> + Unpin + Send {}
impl<B: http_body::Body<Data = Bytes, Error: std::fmt::Display + Send> + Unpin + Send> Incoming for B {}

impl<B: Incoming> Steady<B> {
    fn new(body: B, pace: Pace) -> Self {
        Self { body, pace, until: Instant::now() + pace.window, bytes: 0 }
    }

    /// The next bytes; `None`: that was all.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let frame = match timeout_at(self.until, self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    return Err(Refusal::new(400, Code::BlobUploadInvalid, format!("the body broke off: {error}")));
                }
                Err(_) if self.bytes >= self.pace.bytes_min => {
                    (self.until, self.bytes) = (Instant::now() + self.pace.window, 0);
                    continue;
                }
                Err(_) => return Err(Refusal::new(408, Code::BlobUploadInvalid, "the body comes too slowly")),
            };
            // Trailers say nothing here.
            let Ok(data) = frame.into_data() else { continue };
            self.bytes += data.len() as u64;
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
    }

    /// A batch, of what has come until it was enough, or until something went wrong: that much is kept.
    ///
    /// The flag says that it is the last one.
    async fn batch(&mut self) -> (Vec<Bytes>, Result<bool, Refusal>) {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES {
            match self.next().await {
                Ok(None) => return (batch, Ok(true)),
                Ok(Some(piece)) => {
                    bytes += piece.len();
                    batch.push(piece);
                }
                Err(refusal) => return (batch, Err(refusal)),
            }
        }
        (batch, Ok(false))
    }
}

type Writing = JoinHandle<(Taken, File, Result<(), StorageError>)>;

/// Writes a body to the end of an upload, and makes it durable.
///
/// While one batch is digested and written by a thread, the next arrives; so an upload takes the longer of both, not their sum, and two
/// batches of memory.
/// What came before a failure stays, and the client may go on behind it.
///
/// # Errors
/// The body breaks off, comes too slowly, or is longer than `bytes_max` with what is there; or the disk fails.
pub(crate) async fn append(
    store: &Arc<Store>,
    upload: Taken,
    body: impl Incoming,
    pace: Pace,
    bytes_max: Option<u64>,
) -> Result<Taken, Refusal> {
    let mut body = Steady::new(body, pace);
    let mut allowed = bytes_max.unwrap_or(u64::MAX).saturating_sub(upload.bytes);
    let file = upload.open()?;
    let mut writing = write(store, upload, file, Vec::new());
    loop {
        let (batch, end) = body.batch().await;
        let bytes = batch.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let (upload, file, written) = joined(writing).await?;
        written?;
        if bytes > allowed {
            return Err(too_large());
        }
        allowed -= bytes;
        writing = write(store, upload, file, batch);
        if end? {
            break;
        }
    }
    let (upload, file, written) = joined(writing).await?;
    written?;
    let store = store.clone();
    blocking(move || {
        upload.sync(&store.disk, &file)?;
        Ok(upload)
    })
    .await
}

fn too_large() -> Refusal {
    Refusal::new(403, Code::Denied, "the upload is larger than what the repository's quota has left")
}

async fn joined(writing: Writing) -> Result<(Taken, File, Result<(), StorageError>), Refusal> {
    writing.await.map_err(panicked)
}

fn write(store: &Arc<Store>, mut upload: Taken, mut file: File, batch: Vec<Bytes>) -> Writing {
    let store = store.clone();
    spawn_blocking(move || {
        let written = upload.write(&store.disk, &mut file, &batch);
        (upload, file, written)
    })
}

/// The whole of a small body.
///
/// # Errors
/// It is longer than `bytes_max`, breaks off, or comes too slowly.
pub(crate) async fn whole(
    body: impl Incoming,
    pace: Pace,
    bytes_max: usize,
    too_long: impl Fn() -> Refusal,
) -> Result<Vec<u8>, Refusal> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_long());
    }
    let mut body = Steady::new(body, pace);
    let mut all = Vec::new();
    while let Some(piece) = body.next().await? {
        if all.len() + piece.len() > bytes_max {
            return Err(too_long());
        }
        all.extend_from_slice(&piece);
    }
    Ok(all)
}
