//! After a restart: what was half made is taken away, what runs goes on, what ended meanwhile is told.
//!
//! The supervisors know what is true now; the records know what was asked. A sandbox or container whose record says
//! `Creating` or `Removing`, or that has no readable record, was never acknowledged or is already given up.

use crate::container::ending;
use crate::create::container_name;
use crate::disk::{ContainerPhase, ContainerRecord, SandboxPhase, SandboxRecord};
use crate::error::CriError;
use crate::image_volumes;
use crate::sandbox::{blocking, folder, sandbox_name};
use crate::state::{Change, Container, Sandbox, Service};
use crate::supervisor::{Connection, ask, unexpected};
use skiff_supervise::wire::{ContainerState, Exit, Phase, Reply, Request, exit_file_name};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Service {
    /// Brings records, supervisors, snapshots and networks together.
    pub(crate) async fn recover(self: &Arc<Self>) -> Result<(), CriError> {
        let (sandboxes, broken_sandboxes) = sort(self.disk.read_all::<SandboxRecord>()?, |record| {
            matches!(record.phase, SandboxPhase::Ready | SandboxPhase::NotReady)
        });
        let (containers, broken_containers) = sort(self.disk.read_all::<ContainerRecord>()?, |record| {
            let acknowledged = !matches!(record.phase, ContainerPhase::Creating | ContainerPhase::Removing);
            acknowledged && sandboxes.iter().any(|sandbox| sandbox.id == record.sandbox_id)
        });
        // Containers first: their pods hold what they use.
        for (id, record) in broken_containers {
            self.give_up_container(&id, record).await;
        }
        for (id, record) in broken_sandboxes {
            self.give_up_sandbox(&id, record).await;
        }
        for record in sandboxes {
            self.reserve(sandbox_name(&record.config.metadata.clone().unwrap_or_default()), &record.id)?.keep();
            self.add_sandbox(record);
        }
        for record in containers {
            let metadata = record.config.metadata.clone().unwrap_or_default();
            self.reserve(container_name(&record.sandbox_id, &metadata), &record.id)?.keep();
            self.add_container(record);
        }
        for sandbox in self.sandboxes() {
            if sandbox.record().phase == SandboxPhase::Ready {
                self.rejoin(&sandbox).await;
            }
        }
        self.forget_the_rest().await
    }

    /// Snapshots and networks of which there is no record any more.
    async fn forget_the_rest(self: &Arc<Self>) -> Result<(), CriError> {
        let service = self.clone();
        blocking(move || {
            for id in service.images.snapshots()? {
                // Whoever builds an image releases what is theirs.
                let is_ours = skiff_image::is_being_built(&id) != Some(true);
                if is_ours && service.container(image_volumes::owner(&id)).is_err() {
                    service.images.release(&id)?;
                }
            }
            Ok(())
        })
        .await?;
        let live = self.sandboxes().into_iter().map(|sandbox| sandbox.record());
        let live: Vec<String> =
            live.filter(|record| record.phase == SandboxPhase::Ready).map(|record| record.id).collect();
        self.networks.retain(&live).await
    }

    async fn give_up_container(self: &Arc<Self>, id: &str, record: Option<ContainerRecord>) {
        tracing::info!("container {id}: half made or half removed; taken away");
        let left = match record {
            Some(record) => self.destroy_container(&record).await,
            None => {
                let (service, id) = (self.clone(), id.to_owned());
                let ended = self.delete_by_runtime(&id).await;
                let removed = blocking(move || {
                    service.unmount_container(&id)?;
                    service.remove_files(&id)
                });
                [ended, removed.await]
                    .into_iter()
                    .filter_map(|result| result.err().map(|error| error.chain()))
                    .collect()
            }
        };
        if !left.is_empty() {
            tracing::error!("container {id}: left behind: {}", left.join("; "));
        }
    }

    async fn give_up_sandbox(self: &Arc<Self>, id: &str, record: Option<SandboxRecord>) {
        tracing::info!("sandbox {id}: half made or half removed; taken away");
        // Without a record there was no first step: the folder is all there can be, and a record is all that is needed.
        let record = record.unwrap_or_else(|| SandboxRecord {
            id: id.to_owned(),
            phase: SandboxPhase::Removing,
            created_at_ns: 0,
            supervisor_pid: None,
            users: None,
            ips: Vec::new(),
            cgroup_parent: String::new(),
            runtime_handler: String::new(),
            config: Default::default(),
        });
        let left = self.destroy_sandbox(&record).await;
        if !left.is_empty() {
            tracing::error!("sandbox {id}: left behind: {}", left.join("; "));
        }
    }

    /// Listens to the supervisor again, then believes what it says. In this order no exit can fall between.
    async fn rejoin(self: &Arc<Self>, sandbox: &Arc<Sandbox>) {
        let dir = folder(self, &sandbox.record().id);
        let joined = async {
            let mut watch = Connection::open(&dir)?;
            watch.call(&Request::Watch, &[]).await?;
            match Connection::open(&dir)?.call(&Request::List, &[]).await? {
                (Reply::Containers { containers }, _) => Ok((watch, containers)),
                (other, _) => Err(unexpected("list", &other)),
            }
        };
        match joined.await {
            Ok((watch, states)) => {
                self.take_back_half_starts(sandbox, &states).await;
                let states = states.into_iter().map(|state| (state.container.clone(), state)).collect();
                self.believe(sandbox, &states);
                tokio::spawn(self.clone().follow(sandbox.clone(), watch));
            }
            Err(error) => {
                self.believe_exit_files(sandbox);
                self.supervisor_lost(sandbox, &error).await;
            }
        }
    }

    /// A start that our predecessor did not live to finish was not acknowledged: the container goes back to being a bundle,
    /// which can be started.
    async fn take_back_half_starts(&self, sandbox: &Sandbox, states: &[ContainerState]) {
        let half = states.iter().filter(|state| matches!(state.phase, Phase::Creating | Phase::Created));
        for state in half {
            let request = Request::Delete { container: state.container.clone() };
            if let Err(error) = ask(&folder(self, &sandbox.record().id), &request).await {
                tracing::error!("container {}: take back its start: {error}", state.container);
            }
        }
    }

    fn believe(self: &Arc<Self>, sandbox: &Sandbox, states: &BTreeMap<String, ContainerState>) {
        for container in self.containers_of(&sandbox.record().id) {
            let Some(state) = states.get(&container.record().id) else { continue };
            let updated = container.update(&self.disk, |record| match (&record.phase, state.phase) {
                (ContainerPhase::Created, Phase::Running | Phase::Exited) if state.started_at_ns.is_some() => {
                    record.phase = ContainerPhase::Running;
                    record.started_at_ns = state.started_at_ns.unwrap_or_default();
                    Change::Made
                }
                _ => Change::Nothing,
            });
            if let Err(error) = updated {
                tracing::error!("container {}: {error}", state.container);
            }
            if let Some(exit) = &state.exit {
                self.set_ended(&container, ending(exit));
            }
        }
    }

    fn believe_exit_files(self: &Arc<Self>, sandbox: &Sandbox) {
        let dir = folder(self, &sandbox.record().id);
        let kept = |container: &Container| -> Option<Exit> {
            let file = dir.join(exit_file_name(&container.record().id));
            serde_json::from_slice(&std::fs::read(file).ok()?).ok()
        };
        for container in self.containers_of(&sandbox.record().id) {
            if let Some(exit) = kept(&container) {
                self.set_ended(&container, ending(&exit));
            }
        }
    }
}

type Broken<R> = Vec<(String, Option<R>)>;

/// Records to keep, and everything else.
fn sort<R>(all: Vec<(String, Option<R>)>, keep: impl Fn(&R) -> bool) -> (Vec<R>, Broken<R>) {
    let (mut kept, mut broken) = (Vec::new(), Vec::new());
    for (id, record) in all {
        match record {
            Some(record) if keep(&record) => kept.push(record),
            other => broken.push((id, other)),
        }
    }
    (kept, broken)
}
