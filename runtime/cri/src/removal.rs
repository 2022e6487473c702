//! What goes with a container, in two halves: at its end what it holds of the kernel, at its removal its files.
//!
//! ```text
//!  exit ──► clear: `delete` of the OCI runtime, mounts      beside whatever is asked meanwhile
//!  RemoveContainer ──► clear, if it has not been; the layer's folder is renamed away; record and bundle
//! ```
//!
//! The first half waits for the kernel (cgroups that empty, an overlay that lets go of its layers), so that a removal that did
//! both took ten times as long as one of files. Nothing remembers on disk that a container was cleared: after a restart its
//! removal does it again, which finds nothing to do.

use crate::disk::{ContainerPhase, ContainerRecord};
use crate::error::CriError;
use crate::sandbox::{blocking, folder};
use crate::state::{Change, Container, Service};
use crate::supervisor::{ask, if_there};
use skiff_proto::cri::v1::ContainerEventType as Event;
use skiff_step::Step;
use skiff_supervise::wire::Request;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const CLEAR: Step = Step::new("container.clear", "OCI runtime-spec, runtime.md, Delete; umount2(2)");
const REMOVE: Step = Step::new("container.remove", "CRI v1, RemoveContainer");

impl Service {
    /// Begins to clear a container that has ended. What it cannot give back now its removal tries again, and says.
    pub(crate) fn clear_soon(self: &Arc<Self>, container: &Arc<Container>) {
        let (service, container) = (self.clone(), container.clone());
        tokio::spawn(async move { service.clear_ended(&container).await });
    }

    /// Clears a container that has ended, or waits for whoever is at it.
    pub(crate) async fn clear_ended(self: &Arc<Self>, container: &Container) {
        let _held = container.lifecycle.lock().await;
        let record = container.record();
        if !matches!(record.phase, ContainerPhase::Exited(_)) || container.cleared.load(Ordering::Acquire) {
            return;
        }
        let left = self.clear(&record).await;
        if left.is_empty() {
            container.cleared.store(true, Ordering::Release);
        } else {
            tracing::warn!("container {}: not yet given back: {}", record.id, left.join("; "));
        }
    }

    /// RemoveContainer: kills it if it runs.
    pub(crate) async fn remove_container(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), CriError> {
        let _held = container.lifecycle.lock().await;
        self.stop_container(container, Duration::ZERO).await?;
        container.update(&self.disk, |record| {
            record.phase = ContainerPhase::Removing;
            Change::Made
        })?;
        let record = container.record();
        let left = match container.cleared.load(Ordering::Acquire) {
            true => self.drop_files(&record).await,
            false => self.destroy_container(&record).await,
        };
        if !left.is_empty() {
            return Err(CriError::Left(left.join("; ")));
        }
        self.forget_container(&record.id);
        if let Ok(sandbox) = self.sandbox(&record.sandbox_id) {
            self.announce(Event::ContainerDeletedEvent, &record.id, &sandbox);
        }
        Ok(())
    }

    /// Takes away everything of a container, as far as it goes; tells what is left behind.
    pub(crate) async fn destroy_container(self: &Arc<Self>, record: &ContainerRecord) -> Vec<String> {
        let mut left = self.clear(record).await;
        left.extend(self.drop_files(record).await);
        left
    }

    /// What the container holds of the kernel; tells what is left behind.
    async fn clear(self: &Arc<Self>, record: &ContainerRecord) -> Vec<String> {
        let (service, engine, id) = (self.clone(), self.engine_for(record), record.id.clone());
        let deleted = engine.run_async(&CLEAR, || id.clone(), self.delete_in_runtime(record)).await;
        let unmounted = blocking(move || service.unmount_container(&id));
        [deleted, unmounted.await].into_iter().filter_map(|result| result.err().map(|error| error.chain())).collect()
    }

    /// The root file system and the images of volumes; what is not mounted is fine.
    pub(crate) fn unmount_container(&self, id: &str) -> Result<(), CriError> {
        self.images.unmount(&self.disk.folder::<ContainerRecord>(id).join("rootfs"))?;
        self.unmount_image_volumes(id)
    }

    async fn drop_files(self: &Arc<Self>, record: &ContainerRecord) -> Vec<String> {
        let (service, engine, id) = (self.clone(), self.engine_for(record), record.id.clone());
        let removed = blocking(move || engine.run(&REMOVE, || id.clone(), || service.remove_files(&id)));
        removed.await.err().map(|error| error.chain()).into_iter().collect()
    }

    /// Snapshots, bundle and record: the record last, since without it nobody would look for the others before the next start.
    pub(crate) fn remove_files(&self, id: &str) -> Result<(), CriError> {
        self.release_image_volumes(id)?;
        self.images.release_soon(id)?;
        self.disk.remove::<ContainerRecord>(id)
    }

    /// Through the supervisor if there is one, since it knows whether a `create` is still under way.
    async fn delete_in_runtime(&self, record: &ContainerRecord) -> Result<(), CriError> {
        let request = Request::Delete { container: record.id.clone() };
        match if_there(ask(&folder(self, &record.sandbox_id), &request).await)? {
            Some(_) => Ok(()),
            None => self.delete_by_runtime(&record.id).await,
        }
    }
}
