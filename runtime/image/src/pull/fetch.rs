//! One blob: fetched into `ingest/<hex>`, digested while it is written, gone on with where it broke off, from the next server if one delivers
//! something else. Whoever fetches holds the file's lock, and so does who waits for it to be listed.

use super::{Progress, Stage, blocking};
use crate::disk::remove_tree;
use crate::error::{On, expect};
use crate::{Digest, ImageError, ImageStore};
use bytes::Bytes;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};
use skiff_distribution::{RegistryError, Repository};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often in a row nothing may come before a blob is given up.
const BREAKS_MAX: u32 = 5;
/// Chunks between the network and the disk; each is at most some hundred kilobytes.
const CHUNKS: usize = 4;
/// Bytes of a packed layer: as many as a layer may have unpacked.
const BLOB_BYTES_MAX: u64 = 32 << 30;

/// A blob that has come and waits for its image to be listed.
pub(super) struct Fetched {
    /// What it is; checked.
    pub(super) digest: Digest,
    /// Where it lies until then.
    pub(super) path: PathBuf,
    /// Lets nobody else write it.
    _held: Flock<File>,
}

/// For whom blobs are fetched.
pub(super) struct Fetch<'a> {
    /// Where they go.
    pub(super) store: &'a ImageStore,
    /// The image, for refusals.
    pub(super) reference: &'a str,
    /// Who watches.
    pub(super) progress: &'a dyn Progress,
}

/// A file that grows, and the digest of what is in it.
struct Growing {
    /// Open and locked.
    file: Flock<File>,
    /// Its name in `ingest/`.
    path: PathBuf,
    /// Of what it has.
    hash: Sha256,
    /// Bytes that it has.
    have: u64,
}

/// How an attempt ended that did not bring the blob.
enum Broken {
    /// The rest may come.
    Off(RegistryError),
    /// What came is something else.
    Wrong(ImageError),
}

impl Fetch<'_> {
    /// Sees to it that the blob is there; none if it is in the store.
    pub(super) async fn blob(
        &self,
        repository: &Repository,
        digest: Digest,
        bytes: u64,
    ) -> Result<Option<Fetched>, ImageError> {
        if bytes > BLOB_BYTES_MAX {
            let limit = format!("{BLOB_BYTES_MAX} bytes");
            return Err(ImageError::TooLarge { what: format!("layer {digest}"), limit });
        }
        let store = self.store.clone();
        let Some(mut growing) = blocking(move || Growing::open(&store, &digest, bytes)).await? else {
            return Ok(None);
        };
        let mut asked = repository.clone();
        let (mut breaks, mut began_with) = (0, growing.have);
        // What somebody delivered says more than that nobody else delivers anything.
        let mut lie = None;
        loop {
            let before = growing.have;
            let (origin, ended);
            (growing, origin, ended) = self.attempt(&asked, growing, digest, bytes).await?;
            let error = match ended {
                Ok(()) => {
                    let Growing { file, path, .. } = growing;
                    return Ok(Some(Fetched { digest, path, _held: file }));
                }
                Err(error) => error,
            };
            match error {
                Broken::Off(error) => {
                    breaks = if growing.have > before { 1 } else { breaks + 1 };
                    if breaks >= BREAKS_MAX || !error.is_passing() || (lie.is_some() && growing.have == 0) {
                        growing.remove_if_empty();
                        return Err(lie.unwrap_or_else(|| self.failed(error)));
                    }
                    tracing::debug!("{error}: going on at byte {}", growing.have);
                    tokio::time::sleep(Duration::from_millis(100) * 2_u32.pow(breaks)).await;
                }
                Broken::Wrong(error) => {
                    growing = blocking(move || growing.anew()).await?;
                    // What an earlier pull left may have been spoiled by a power cut: once more from the beginning.
                    if began_with > 0 {
                        began_with = 0;
                        continue;
                    }
                    tracing::warn!("{}: {}", origin.as_deref().unwrap_or("a registry"), error.chain());
                    let next = origin.and_then(|origin| asked.without(&origin));
                    let Some(next) = next else {
                        growing.remove();
                        return Err(error);
                    };
                    (asked, lie) = (next, Some(error));
                }
            }
        }
    }

    fn failed(&self, source: RegistryError) -> ImageError {
        ImageError::Registry { operation: "pull", reference: self.reference.to_owned(), source }
    }

    /// Reads what comes from where we are, and compares the whole when it is there. The outer error is the disk's.
    async fn attempt(
        &self,
        repository: &Repository,
        mut growing: Growing,
        digest: Digest,
        bytes: u64,
    ) -> Result<(Growing, Option<String>, Result<(), Broken>), ImageError> {
        let mut origin = None;
        if growing.have < bytes || bytes == 0 {
            let mut blob = match repository.blob(&digest.to_string(), growing.have).await {
                Ok(blob) => blob,
                Err(error) => return Ok((growing, None, Err(Broken::Off(error)))),
            };
            origin = Some(blob.origin.clone());
            if blob.from != growing.have {
                growing = blocking(move || growing.anew()).await?;
            }
            if let Some(total) = blob.total
                && let Err(wrong) =
                    expect(format!("layer {digest}"), &format!("{bytes} bytes"), &format!("{total} bytes"))
            {
                return Ok((growing, origin, Err(Broken::Wrong(wrong))));
            }
            let (sender, receiver) = mpsc::channel(CHUNKS);
            let writing = blocking(move || growing.write(receiver));
            let reading = self.read(&mut blob, sender, digest, bytes);
            let (written, read) = tokio::join!(writing, reading);
            growing = written?;
            if let Err(error) = read {
                return Ok((growing, origin, Err(error)));
            }
        }
        let ended = expect("layer", &digest, &Digest::of_hash(growing.hash.clone())).map_err(Broken::Wrong);
        Ok((growing, origin, ended))
    }

    /// Passes on what comes, as much of it as there may be.
    async fn read(
        &self,
        blob: &mut skiff_distribution::Blob,
        sender: mpsc::Sender<Bytes>,
        digest: Digest,
        bytes: u64,
    ) -> Result<(), Broken> {
        let mut have = blob.from;
        self.progress.layer(&digest, Stage::Fetching, have, bytes);
        while let Some(chunk) = blob.chunk().await.map_err(Broken::Off)? {
            have += chunk.len() as u64;
            if have > bytes {
                let limit = format!("the {bytes} bytes that the manifest says");
                return Err(Broken::Wrong(ImageError::TooLarge { what: format!("layer {digest}"), limit }));
            }
            if sender.send(chunk).await.is_err() {
                // The disk's error is what is told.
                return Ok(());
            }
            self.progress.layer(&digest, Stage::Fetching, have, bytes);
        }
        if have < bytes {
            let text = format!("layer {digest} ended after {have} of {bytes} bytes");
            return Err(Broken::Off(RegistryError::new(skiff_distribution::Kind::Failed, text)));
        }
        Ok(())
    }
}

impl Growing {
    /// Takes the blob's file over, with what an earlier pull left in it; none if the blob has come into the store meanwhile.
    fn open(store: &ImageStore, digest: &Digest, bytes: u64) -> Result<Option<Self>, ImageError> {
        let path = store.disk.ingest().join(digest.hex());
        loop {
            if store.blobs.has(digest) {
                return Ok(None);
            }
            let options = || File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let file = Flock::lock(options().on("open", &path)?, FlockArg::LockExclusive);
            let file = file.map_err(|(_, errno)| errno).on("lock", &path)?;
            // While we waited it may have become the blob, which nobody may write, or have been cleaned away.
            let own = file.metadata().on("stat", &path)?;
            if std::fs::symlink_metadata(&path).is_ok_and(|there| there.ino() == own.ino()) {
                let mut growing = Self { file, path, hash: Sha256::new(), have: 0 };
                growing.take_over(bytes)?;
                return Ok(Some(growing));
            }
        }
    }

    /// Digests what is there; more than there may be is nothing.
    fn take_over(&mut self, bytes: u64) -> Result<(), ImageError> {
        if self.file.metadata().on("stat", &self.path)?.len() > bytes {
            self.file.set_len(0).on("truncate", &self.path)?;
        }
        let mut buffer = vec![0; 1 << 16];
        loop {
            match (&*self.file).read(&mut buffer).on("read", &self.path)? {
                0 => return Ok(()),
                count => {
                    self.hash.update(&buffer[..count]);
                    self.have += count as u64;
                }
            }
        }
    }

    /// Writes what comes.
    fn write(mut self, mut chunks: mpsc::Receiver<Bytes>) -> Result<Self, ImageError> {
        while let Some(chunk) = chunks.blocking_recv() {
            if let Err(error) = self.file.write_all(&chunk) {
                let path = self.path.clone();
                // A disk without room gets back what we took.
                self.remove();
                return Err(error).on("write", &path);
            }
            self.hash.update(&chunk);
            self.have += chunk.len() as u64;
        }
        Ok(self)
    }

    /// Forgets what has come.
    fn anew(mut self) -> Result<Self, ImageError> {
        self.file.set_len(0).on("truncate", &self.path)?;
        self.file.seek(SeekFrom::Start(0)).on("rewind", &self.path)?;
        (self.hash, self.have) = (Sha256::new(), 0);
        Ok(self)
    }

    fn remove(self) {
        remove(&self.path);
    }

    /// What has come is there for the next pull.
    fn remove_if_empty(self) {
        if self.have == 0 {
            remove(&self.path);
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = remove_tree(path) {
        tracing::warn!("{}", error.chain());
    }
}
