//! Values are encrypted before they are stored, and decrypted when they are read (`--encryption-provider-config`). `skiff-encryption` knows
//! how; here it stands between the registry and the store.
//!
//! ```text
//!  registry, feeds ── plain ──► Encrypted ── k8s:enc:… ──► the embedded store, or any etcd
//!                                   ▲
//!         a file that changes ──► Keyring        stale values ──► written again
//! ```

mod keyring; // transformers by folder
mod options; // who encrypts
mod places; // which resource a key is one of
mod plugin; // somebody who encrypts keys
mod renew; // what would be written otherwise now
mod store; // a store whose values are encrypted

pub use options::{Encryption, EncryptionError};

use keyring::Keyring;
use plugin::Pace;
use skiff_store::backend::Backend;
use std::sync::Arc;
use std::time::Duration;
use store::Encrypted;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often the file is looked at (kube-apiserver: once a minute).
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The same store, whose values are encrypted as `encryption` says. Until `shutdown` what would be written otherwise now is written again, at
/// the start and whenever the file changes, if it is read again then.
pub async fn encrypted(
    backend: Arc<dyn Backend>,
    encryption: Encryption,
    shutdown: CancellationToken,
) -> Arc<dyn Backend> {
    Arc::new(started(backend, encryption, Pace::default(), shutdown).await)
}

async fn started(
    backend: Arc<dyn Backend>,
    encryption: Encryption,
    pace: Pace,
    shutdown: CancellationToken,
) -> Encrypted {
    let rotated = Arc::new(Notify::new());
    let keyring = Keyring::new(encryption.configuration.clone(), pace, &rotated).await;
    let store = Encrypted::new(backend, keyring);
    let follows = follow(store.clone(), encryption, pace, rotated);
    tokio::spawn(shutdown.run_until_cancelled_owned(follows));
    store
}

/// Writes again what is stale, now and whenever the file or the key of a plugin changes.
async fn follow(store: Encrypted, encryption: Encryption, pace: Pace, rotated: Arc<Notify>) {
    let Encryption { path, text: mut known, reload, .. } = encryption;
    let (mut renewed, mut readable) = (false, true);
    loop {
        if !renewed {
            renewed = renew_all(&store).await;
        }
        tokio::select! {
            () = rotated.notified() => {
                renewed = false;
                continue;
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if !reload {
            continue;
        }
        let read = tokio::fs::read(&path).await;
        if let Err(error) = &read
            && readable
        {
            let problem = error.to_string();
            tracing::error!(path = %path.display(), problem, "the encryption configuration cannot be read; what it said last stands");
        }
        readable = read.is_ok();
        match read {
            Ok(text) if text != known => known = text,
            _ => continue,
        }
        match options::parse(&known) {
            Ok(configuration) => {
                store.change(Keyring::new(configuration, pace, &rotated).await);
                renewed = false;
                tracing::info!(path = %path.display(), "the encryption configuration has changed");
            }
            Err(error) => {
                let problem = error.to_string();
                tracing::error!(path = %path.display(), problem, "the encryption configuration cannot be used; the one before it stands");
            }
        }
    }
}

/// Writes again what would be written otherwise now; whether that is done.
async fn renew_all(store: &Encrypted) -> bool {
    match renew::all(store).await {
        Ok(done) if done == renew::Renewed::default() => true,
        Ok(done) => {
            tracing::info!(written = done.written, unreadable = done.unreadable, "stored values were encrypted anew");
            true
        }
        Err(error) => {
            tracing::warn!(%error, "stored values are not encrypted anew yet");
            false
        }
    }
}

#[cfg(test)]
mod tests;
