//! Housekeeping while the registry serves: images that their policy lets go, blobs that nobody needs, uploads that nobody goes on with.

use crate::config::{Config, Garbage};
use crate::error::StorageError;
use crate::garbage;
use crate::lifecycle::Expired;
use crate::name::Name;
use crate::refusal::Refusal;
use crate::state::Record;
use crate::store::{Store, now};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What one round removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// Images that their policies let go.
    pub images: u64,
    /// Pieces of content that nobody held.
    pub pieces: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Uploads that nobody went on with.
    pub uploads: u64,
}

/// What stopped a round.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The folder.
    #[error("remove what nobody needs")]
    Storage(#[from] StorageError),
    /// A change was refused.
    #[error("remove what nobody needs")]
    Refused(#[from] Refusal),
}

impl Store {
    /// One round of it; blocks.
    ///
    /// # Errors
    /// The folder or the journal cannot be written.
    pub fn clean(&self, config: &Config) -> Result<Removed, KeepError> {
        let mut removed = Removed::default();
        let names: Vec<Name> = self.state().repositories().map(|(name, _)| name.clone()).collect();
        let Garbage { blobs_after_seconds, uploads_after_seconds, .. } = config.garbage;
        let grace = i64::try_from(blobs_after_seconds).unwrap_or(i64::MAX);
        for name in names {
            // Each repository is decided while nothing changes, and pushes go on between two of them.
            let policy = config.lifecycle(&name);
            removed.images += self.commit(|state| {
                let Some(held) = state.repository(&name) else { return Ok(Vec::new()) };
                let expired = policy.map_or_else(Vec::new, |policy| policy.expired(held, now()));
                let gone = |one: Expired| Record::DropManifest { repository: name.clone(), digest: one.digest };
                Ok(expired.into_iter().map(gone).collect())
            })?;
            self.commit(|state| {
                let held = state.repository(&name);
                Ok(held.map_or_else(Vec::new, |held| garbage::plan(&name, held, grace, now())))
            })?;
        }
        (removed.pieces, removed.bytes) = self.remove_unheld()?;
        removed.uploads = self.end_uploads(Duration::from_secs(uploads_after_seconds))?;
        Ok(removed)
    }
}

/// Does it again and again, until `stop`.
pub async fn keep(store: Arc<Store>, config: Arc<Config>, stop: CancellationToken) {
    let every = Duration::from_secs(config.garbage.every_seconds);
    while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        let (store, config) = (store.clone(), config.clone());
        match tokio::task::spawn_blocking(move || store.clean(&config)).await {
            Ok(Ok(removed)) if removed == Removed::default() => {}
            Ok(Ok(Removed { images, pieces, bytes, uploads })) => {
                tracing::info!(images, pieces, bytes, uploads, "removed")
            }
            Ok(Err(error)) => tracing::error!(%error, "housekeeping"),
            Err(error) => tracing::error!(%error, "housekeeping"),
        }
    }
}
