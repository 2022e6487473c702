//! Findings: asked for, looked for after a push, and looked for again when the database has changed.

use super::{Answer, Registry, blocking};
use crate::Name;
use crate::digest::Digest;
use crate::plan::Reference;
use crate::refusal::{Code, Refusal};
use crate::scan::{self, Scanned, Scanner};
use http::StatusCode;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long after a push its scan begins at most: several pushes of one image's parts are one scan.
const REST: Duration = Duration::from_millis(200);

impl Registry {
    /// What is found in an image now.
    pub(super) async fn findings(&self, name: Name, reference: Reference) -> Result<Answer, Refusal> {
        let Some(scanner) = &self.scanner else {
            return Err(Refusal::new(
                404,
                Code::Unsupported,
                "this registry has no database of vulnerabilities (scanning.database)",
            ));
        };
        let scanned = self.scan(scanner.clone(), name, reference).await?;
        Ok(Answer::new(StatusCode::OK).json(&scanned.document()))
    }

    async fn scan(&self, scanner: Arc<Scanner>, name: Name, reference: Reference) -> Result<Scanned, Refusal> {
        let (digest, images) = scan::target(&self.store.state(), &name, &reference)?;
        // One at a time: unpacking takes a core, and pulls and pushes go on beside it.
        let _turn = self.scanning.lock().await;
        blocking(move || Ok(scanner.scan(&name, &digest, &images)?)).await
    }

    /// Refuses an image whose findings are too bad for its repository.
    pub(super) async fn refuse_vulnerable(&self, name: &Name, digest: &Digest) -> Result<(), Refusal> {
        let from = self.rules(name).refuse_severity;
        let (Some(from), Some(scanner)) = (from, &self.scanner) else { return Ok(()) };
        let scanned = self.scan(scanner.clone(), name.clone(), Reference::Digest(digest.clone())).await?;
        if !scan::is_refused(&scanned.report, Some(from)) {
            return Ok(());
        }
        let worst = scanned.report.worst().map_or("", skiff_scan::Severity::word);
        let text = format!(
            "image {digest} has findings of severity {worst}, and repository {name} refuses pulls from severity {} (refuseSeverity); \
             /v2/{name}/_skiff/findings/{digest} tells them",
            from.word()
        );
        Err(Refusal::new(403, Code::Denied, text))
    }

    /// The images that tags name.
    fn tagged(&self) -> BTreeSet<(Name, Digest)> {
        let state = self.store.state();
        let of = |(name, held): (&Name, &crate::state::Repository)| {
            held.tags.values().map(|tag| (name.clone(), tag.digest.clone())).collect::<Vec<_>>()
        };
        state.repositories().flat_map(of).collect()
    }

    /// Scans these images, and tells of those whose findings are others than before.
    async fn look(&self, scanner: &Arc<Scanner>, images: BTreeSet<(Name, Digest)>, stop: &CancellationToken) {
        for (name, digest) in images {
            if stop.is_cancelled() {
                return;
            }
            match self.scan(scanner.clone(), name.clone(), Reference::Digest(digest.clone())).await {
                Ok(scanned) if scanner.remember(&scanned) => self.listeners.tell_scan(&scanned),
                Ok(_) => {}
                // It was removed meanwhile.
                Err(refusal) if refusal.status == 404 => {}
                Err(refusal) => tracing::error!(%name, %digest, "scan: {}", refusal.message),
            }
        }
    }
}

/// Scans what is pushed, and everything again when the database has changed, until `stop`. Without a database it does nothing.
pub async fn keep_scanned(registry: Arc<Registry>, stop: CancellationToken) {
    let Some(scanner) = registry.scanner.clone() else { return };
    let every = Duration::from_secs(scanner.scanning().every_seconds);
    let (mut seen, mut known) = (None, BTreeSet::new());
    let mut pushes = registry.pushed.subscribe();
    while !stop.is_cancelled() {
        pushes.mark_unchanged();
        let database = skiff_scan::Database::at(&scanner.scanning().database);
        // Why it cannot be read is in the log; there are no findings then.
        let revision =
            blocking(move || Ok(database.revision().map_err(scan::ScanError::from)?)).await.unwrap_or_default();
        let tagged = registry.tagged();
        scanner.remember_only(&tagged);
        let changed = seen != Some(revision);
        let images = tagged.iter().filter(|image| changed || !known.contains(*image)).cloned().collect();
        registry.look(&scanner, images, &stop).await;
        (seen, known) = (Some(revision), tagged);
        let store = registry.store.clone();
        let forgetting = scanner.clone();
        let forgotten = blocking(move || Ok(forgetting.forget(&|digest| store.state().is_held(digest))?)).await;
        if let Err(refusal) = forgotten {
            tracing::error!("forget scans: {}", refusal.message);
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(every) => {}
            _ = pushes.changed() => tokio::time::sleep(REST).await,
        }
    }
}
