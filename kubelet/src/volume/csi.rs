//! Drivers of volumes: programs beside the kubelet that put volumes in their places (CSI v1).
//!
//! ```text
//!  socket in plugins_registry ─► GetInfo, NodeGetInfo ─► CSINode        [registration]
//!  NodeStageVolume ─► NodePublishVolume ─► containers                   [publish]
//!  NodeUnpublishVolume ─► NodeUnstageVolume, by the last pod            [unpublish]
//! ```
//!
//! Everything that a driver was told to set up is in a [record](super::record) before it is told, so it is also taken away.

mod asked; // what a driver is told about a volume; no I/O
mod driver; // one driver, and how it is called
mod expand; // a volume that has grown
mod node_object; // which drivers a node has
mod publish; // puts a volume in its place
mod registration; // finds drivers
mod unpublish; // takes it away

pub(crate) use asked::Source;
pub(crate) use expand::grow;
pub(crate) use publish::{Placed, Wanted, group_of, publish};
pub(crate) use registration::keep;
pub(crate) use unpublish::unpublish_all;

use crate::agent::Agent;
use driver::Driver;
use skiff_client::Cache;
use skiff_client::loose::CSIDriver;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The drivers that the node has, and what they have to do.
pub(crate) struct Plugins {
    /// Where drivers put their sockets to be found.
    registry: PathBuf,
    /// Where volumes of the whole node are.
    folder: PathBuf,
    known: Mutex<BTreeMap<String, Driver>>,
    /// Volumes that something is being done about.
    busy: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    objects: OnceLock<Cache<CSIDriver>>,
}

impl Plugins {
    /// Those of a kubelet whose pods are below `root`.
    pub(crate) fn new(root: &Path) -> Self {
        let parent = root.parent().unwrap_or(root);
        Self {
            registry: parent.join("plugins_registry"),
            folder: parent.join("plugins").join("kubernetes.io").join("csi"),
            known: Mutex::default(),
            busy: Mutex::default(),
            objects: OnceLock::new(),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Driver>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver called `name`.
    fn driver(&self, name: &str) -> Result<Driver, String> {
        let found = self.known().get(name).cloned();
        found.ok_or_else(|| format!("driver name {name} not found in the list of registered CSI drivers"))
    }

    /// Held while something is done about one volume on the node as a whole.
    fn lock(&self, driver: &str, handle: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(busy.entry(format!("{driver}^{handle}")).or_default())
    }

    /// What the cluster knows about the driver `name`; followed from the first question on.
    async fn object(&self, agent: &Agent, name: &str) -> Option<Arc<CSIDriver>> {
        let objects = self.objects.get_or_init(|| agent.caches.all::<CSIDriver>());
        objects.synced().await;
        objects.get("", name)
    }
}
