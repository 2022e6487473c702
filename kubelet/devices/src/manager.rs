//! The one that asks plugins: follows their devices and has these handed out. What it decides is in [`ledger`](crate::ledger).

use crate::ledger::{Choice, Device, Figure, Health, Held, Holder, Ledger, Options, Reusable, complete};
use crate::plugin::Plugin;
use crate::{Asked, AskedContainer, checkpoint, registration, socket};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// The devices of a node. Cheap to clone; when the last clone is gone, no plugin is followed any more.
#[derive(Clone)]
pub struct Devices(Arc<Inner>);

struct Inner {
    // Fixed.
    folder: PathBuf,

    // Each for a moment only.
    ledger: Mutex<Ledger>,
    plugins: Mutex<BTreeMap<String, Connected>>,
    followers: Mutex<JoinSet<()>>,

    /// Held while devices are handed out, so that two pods never choose at the same time.
    turn: tokio::sync::Mutex<()>,
    changed: watch::Sender<u64>,
}

/// A plugin, and who follows its devices.
struct Connected {
    plugin: Plugin,
    state: State,
    follower: AbortHandle,
    /// The how-manieth of its resource: what an earlier one does at its end is of no interest.
    generation: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    There,
    Gone,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Devices {
    /// Those whose plugins have their sockets in `folder`, with what a kubelet before us handed out. Plugins see by the end of their
    /// sockets that a kubelet has started, and come again (Kubernetes, "Device Plugins").
    ///
    /// # Errors
    /// The folder cannot be made or cleared.
    pub fn open(folder: &Path) -> io::Result<Self> {
        socket::make_folder(folder)?;
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_socket() {
                std::fs::remove_file(entry.path())?;
            }
        }
        let (resources, held) = checkpoint::read(folder).unwrap_or_else(|error| {
            let error = error.to_string();
            tracing::error!(folder = %folder.display(), error, "which devices were handed out is not known any more");
            Default::default()
        });
        Ok(Self(Arc::new(Inner {
            folder: folder.to_owned(),
            ledger: Mutex::new(Ledger::restored(resources, held, Instant::now())),
            plugins: Mutex::default(),
            followers: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(0),
        })))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// Takes the plugin for `resource` at `endpoint`, in the place of one that there may be.
    ///
    /// # Errors
    /// The name is none of a device, or nobody answers.
    pub async fn connect(&self, resource: &str, endpoint: &Path) -> Result<(), String> {
        registration::check_resource(resource)?;
        let plugin = Plugin::meet(endpoint).await?;
        let mut plugins = lock(&self.0.plugins);
        let generation = plugins.get(resource).map_or(0, |before| before.generation + 1);
        let (inner, name, followed) = (Arc::downgrade(&self.0), resource.to_owned(), plugin.clone());
        let mut followers = lock(&self.0.followers);
        while followers.try_join_next().is_some() {}
        let follower = followers.spawn(follow(inner, name, generation, followed));
        let is_first = lock(&self.0.ledger).connect(resource);
        if let Some(before) =
            plugins.insert(resource.to_owned(), Connected { plugin, state: State::There, follower, generation })
        {
            before.follower.abort();
        }
        tracing::info!(resource, "a device plugin is registered");
        // The names of resources are in the file too.
        if is_first { self.0.keep() } else { Ok(()) }
    }

    /// Whether the plugin for `resource` is there.
    #[must_use]
    pub fn is_there(&self, resource: &str) -> bool {
        lock(&self.0.plugins).get(resource).is_some_and(|connected| connected.state == State::There)
    }

    /// How many devices there are.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        lock(&self.0.ledger).figures(Instant::now())
    }

    /// Changes whenever devices come, go, or change their health.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Whether the pod asks for devices that it has not been given.
    #[must_use]
    pub fn needs(&self, asked: &Asked) -> bool {
        let ledger = lock(&self.0.ledger);
        asked.containers.iter().any(|container| {
            let held = ledger.of(&(asked.pod.clone(), container.name.clone()));
            let wanted = container.limits.iter().filter(|(resource, count)| *count > 0 && ledger.knows(resource));
            wanted.into_iter().any(|(resource, _)| !held.contains_key(resource))
        })
    }

    /// Gives a pod the devices that it asks for: all or none. Resources that no plugin has ever offered are nothing of ours.
    ///
    /// # Errors
    /// There are too few, or a plugin does not hand them out.
    pub async fn allocate(&self, asked: &Asked) -> Result<(), String> {
        let _turn = self.0.turn.lock().await;
        let given = self.give(asked).await;
        if given.is_err() {
            lock(&self.0.ledger).retain(|pod| pod != asked.pod);
        }
        let kept = self.0.keep();
        given.and(kept)
    }

    async fn give(&self, asked: &Asked) -> Result<(), String> {
        let mut reusable = Reusable::default();
        for container in &asked.containers {
            let holder = (asked.pod.clone(), container.name.clone());
            self.give_container(&holder, container, &reusable).await?;
            reusable.note(container.after, &self.held(&holder));
        }
        Ok(())
    }

    async fn give_container(
        &self,
        holder: &Holder,
        container: &AskedContainer,
        reusable: &Reusable,
    ) -> Result<(), String> {
        for (resource, count) in &container.limits {
            let required = usize::try_from(*count).unwrap_or(usize::MAX);
            let choice = {
                let ledger = lock(&self.0.ledger);
                if !ledger.knows(resource) {
                    continue;
                }
                ledger.choose(holder, (resource, required), &reusable.of(resource), Instant::now())?
            };
            let ids = match choice {
                Choice::Nothing => continue,
                Choice::All(ids) => ids,
                Choice::Among { taken, available, missing } => {
                    let all = available.union(&taken).cloned().collect();
                    let preferred = self.plugin(resource)?.prefer(all, taken.clone(), required).await?;
                    complete(taken, &available, missing, &preferred)
                }
            };
            let answer = self.plugin(resource)?.allocate(ids.iter().cloned().collect()).await?;
            lock(&self.0.ledger).hold(holder.clone(), resource, ids, answer);
        }
        Ok(())
    }

    fn plugin(&self, resource: &str) -> Result<Plugin, String> {
        let plugins = lock(&self.0.plugins);
        let connected = plugins.get(resource).ok_or_else(|| format!("unknown Device Plugin {resource}"))?;
        match connected.state {
            State::There => Ok(connected.plugin.clone()),
            State::Gone => Err(format!("endpoint of {resource} has been stopped")),
        }
    }

    /// Takes back what pods hold that `keep` does not name.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        if lock(&self.0.ledger).retain(keep)
            && let Err(error) = self.0.keep()
        {
            tracing::warn!(error, "devices are free again, and would not be after a restart");
        }
    }

    /// Takes back what a pod holds.
    pub fn release(&self, pod: &str) {
        self.retain(|holder| holder != pod);
    }

    /// Tells plugins that a container is about to start; what it gets for its devices.
    ///
    /// # Errors
    /// A plugin that wants to be told does not agree.
    pub async fn before_start(&self, pod: &str, container: &str) -> Result<Options, String> {
        let holder = (pod.to_owned(), container.to_owned());
        for (resource, held) in self.held(&holder) {
            // After a restart of ours a container may start again before its plugin has come; Kubernetes does not wait for it either.
            let connected = lock(&self.0.plugins).contains_key(&resource);
            if connected {
                let ids = held.devices.into_keys().collect();
                self.plugin(&resource)?.before_start(ids).await?;
            }
        }
        Ok(lock(&self.0.ledger).options(&holder))
    }

    /// How the devices of a container are.
    #[must_use]
    pub fn healths(&self, pod: &str, container: &str) -> Vec<Health> {
        lock(&self.0.ledger).healths(&(pod.to_owned(), container.to_owned()))
    }

    pub(crate) fn held(&self, holder: &Holder) -> BTreeMap<String, Held> {
        lock(&self.0.ledger).of(holder)
    }

    pub(crate) fn healthy(&self) -> BTreeMap<String, BTreeMap<String, Vec<i64>>> {
        lock(&self.0.ledger).healthy()
    }
}

impl Inner {
    /// Writes down what is handed out.
    fn keep(&self) -> Result<(), String> {
        let ledger = lock(&self.ledger);
        let kept = checkpoint::write(&self.folder, ledger.resources(), ledger.holdings());
        kept.map_err(|error| format!("write which devices are handed out, in {}: {error}", self.folder.display()))
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn learn(&self, resource: &str, devices: BTreeMap<String, Device>) {
        lock(&self.ledger).learn(resource, devices);
        self.tell();
    }

    fn stop(&self, resource: &str, generation: u64, why: &str) {
        let mut plugins = lock(&self.plugins);
        let Some(connected) = plugins.get_mut(resource).filter(|known| known.generation == generation) else { return };
        connected.state = State::Gone;
        lock(&self.ledger).stop(resource, Instant::now());
        drop(plugins);
        tracing::warn!(resource, why, "a device plugin is gone: its devices are not handed out");
        self.tell();
    }
}

/// Takes in what the plugin says of its devices until it ends.
async fn follow(inner: Weak<Inner>, resource: String, generation: u64, plugin: Plugin) {
    let why = match plugin.list().await {
        Err(status) => skiff_csi::call::said(&status),
        Ok(mut devices) => loop {
            match devices.message().await {
                Ok(Some(list)) => {
                    let Some(inner) = inner.upgrade() else { return };
                    inner.learn(&resource, list.devices.into_iter().map(Device::of).collect());
                }
                Ok(None) => break "it ended its list".to_owned(),
                Err(status) => break skiff_csi::call::said(&status),
            }
        },
    };
    if let Some(inner) = inner.upgrade() {
        inner.stop(&resource, generation, &why);
    }
}
