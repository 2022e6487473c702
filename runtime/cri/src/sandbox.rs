//! A sandbox from its start to its removal.
//!
//! ```text
//!  run ──► Creating ──supervisor, files, network──► Ready ──stop, or supervisor lost──► NotReady ──remove──► (gone)
//!              └──────────── any failure: everything is taken back ─────────────────────────────────────────────┘
//! ```

use crate::admit;
use crate::bundle::{correlation, pod_namespaces};
use crate::cgroup;
use crate::disk::{ContainerPhase, Ending, SandboxPhase, SandboxRecord};
use crate::error::CriError;
use crate::pod_files;
use crate::state::{Change, Sandbox, Service, new_id, now_ns};
use crate::supervisor::{self, Connection, if_there};
use skiff_net::{PodNetwork, PortMapping, Protocol};
use skiff_proto::cri::v1 as pb;
use skiff_proto::cri::v1::{ContainerEventType as Event, NamespaceMode, PodSandboxConfig};
use skiff_step::{Engine, Step};
use skiff_supervise::wire::{Reply, Request};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const SUPERVISE: Step = Step::new("sandbox.supervise", "CRI v1, RunPodSandbox");
const ATTACH: Step = Step::new("sandbox.attach", "CRI v1, RunPodSandbox; Kubernetes network model");
const DETACH: Step = Step::new("sandbox.detach", "CRI v1, StopPodSandbox");
const SHUTDOWN: Step = Step::new("sandbox.shutdown", "CRI v1, StopPodSandbox");
const REMOVE: Step = Step::new("sandbox.remove", "CRI v1, RemovePodSandbox");

/// SIGKILL needs no longer than the kernel needs to free the memory; this is for one that hangs in a dead file system.
pub(crate) const KILL_SECONDS_MAX: u64 = 10;

impl Service {
    /// RunPodSandbox.
    pub(crate) async fn run_sandbox(
        self: &Arc<Self>,
        config: PodSandboxConfig,
        handler: String,
    ) -> Result<String, CriError> {
        let metadata = admit::sandbox(&config, &handler, &self.host)?;
        let id = new_id();
        let name = sandbox_name(&metadata);
        let asked = config.linux.as_ref().map(|linux| linux.cgroup_parent.clone()).unwrap_or_default();
        let record = SandboxRecord {
            id: id.clone(),
            phase: SandboxPhase::Creating,
            created_at_ns: now_ns(),
            supervisor_pid: None,
            users: None,
            ips: Vec::new(),
            cgroup_parent: cgroup::parent(&asked, &self.settings.cgroup_root, &id)?,
            runtime_handler: handler,
            config,
        };
        let reservation = self.reserve(name, &id)?;
        let dir = self.disk.create(&record)?;
        let mut record = record;
        match self.make_sandbox(&mut record, &dir).await {
            Ok(watch) => {
                let sandbox = self.add_sandbox(record);
                reservation.keep();
                tokio::spawn(self.clone().follow(sandbox.clone(), watch));
                self.announce(Event::ContainerCreatedEvent, &id, &sandbox);
                self.announce(Event::ContainerStartedEvent, &id, &sandbox);
                Ok(id)
            }
            Err(error) => Err(and_left(error, self.destroy_sandbox(&record).await)),
        }
    }

    async fn make_sandbox(&self, record: &mut SandboxRecord, dir: &Path) -> Result<Connection, CriError> {
        let engine = self.engine_of(record);
        let supervise = supervisor::start(&self.settings, &record.id, dir, &record.config);
        let supervise = engine.run_async(&SUPERVISE, || record.id.clone(), supervise);
        let (files_dir, files_config, files_engine) = (dir.to_owned(), record.config.clone(), engine.clone());
        let files = blocking(move || pod_files::make(&files_dir, &files_config, &files_engine));
        let (ready, files) = tokio::join!(supervise, files);
        // The pid first: whatever else failed, the supervisor must be known to be taken back.
        let ready = ready?;
        record.supervisor_pid = Some(ready.pid);
        record.users = ready.users.map(|number| PathBuf::from(format!("/proc/{}/fd/{number}", ready.pid)));
        files?;
        let mut watch = Connection::open(dir)?;
        watch.call(&Request::Watch, &[]).await?;
        if let Some(pod) = pod_network(record)? {
            let attach = self.networks.attach(&pod);
            record.ips = engine.run_async(&ATTACH, || pod.netns.display().to_string(), attach).await?.ips;
        }
        pod_files::make_hosts(dir, &record.config, &record.ips)?;
        record.phase = SandboxPhase::Ready;
        self.disk.write(record)?;
        Ok(watch)
    }

    /// Listens to a supervisor until it ends.
    pub(crate) async fn follow(self: Arc<Self>, sandbox: Arc<Sandbox>, mut watch: Connection) {
        loop {
            match watch.next().await {
                Ok((Reply::Exited(exit), _)) => self.container_ended(&exit),
                Ok((other, _)) => tracing::warn!("sandbox {}: unexpected {other:?}", sandbox.record().id),
                Err(_) if sandbox.ending.load(Ordering::Acquire) => return,
                Err(error) => return self.supervisor_lost(&sandbox, &error).await,
            }
        }
    }

    /// Nobody keeps the streams and exits of these containers any more, so they must not go on unseen.
    pub(crate) async fn supervisor_lost(self: &Arc<Self>, sandbox: &Arc<Sandbox>, why: &CriError) {
        let id = sandbox.record().id;
        tracing::error!("sandbox {id}: its supervisor is gone ({why}); its containers are ended");
        for container in self.containers_of(&id) {
            let container_id = container.record().id;
            if let Err(error) = self.delete_by_runtime(&container_id).await {
                tracing::error!("container {container_id}: {error}");
            }
            let ending = Ending {
                exit_code: 255,
                finished_at_ns: now_ns(),
                reason: "Unknown".to_owned(),
                message: "the supervisor of the pod ended unexpectedly".to_owned(),
            };
            self.set_ended(&container, ending);
        }
        if let Err(error) = sandbox.update(&self.disk, |record| record.phase = SandboxPhase::NotReady) {
            tracing::error!("sandbox {id}: {error}");
        }
        self.announce(Event::ContainerStoppedEvent, &id, sandbox);
    }

    /// StopPodSandbox: ends its containers, gives back its network; repeating is fine.
    pub(crate) async fn stop_sandbox(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> Result<(), CriError> {
        let _held = sandbox.lifecycle.lock().await;
        let record = sandbox.record();
        for container in self.containers_of(&record.id) {
            self.stop_container(&container, Duration::ZERO).await?;
        }
        // Before the supervisor goes: it is the one that deletes, and knows of a `create` under way.
        for container in self.containers_of(&record.id) {
            self.clear_ended(&container).await;
        }
        sandbox.ending.store(true, Ordering::Release);
        let left = self.release_sandbox(&record).await;
        // Containers that were created and never started cannot be any more.
        for container in self.containers_of(&record.id) {
            let never_ran = "the pod was stopped before the container was started";
            self.set_ended(
                &container,
                Ending {
                    exit_code: 137,
                    finished_at_ns: now_ns(),
                    reason: "StopPodSandbox".to_owned(),
                    message: never_ran.to_owned(),
                },
            );
        }
        if record.phase == SandboxPhase::Ready {
            sandbox.update(&self.disk, |record| record.phase = SandboxPhase::NotReady)?;
            self.announce(Event::ContainerStoppedEvent, &record.id, sandbox);
        }
        if left.is_empty() { Ok(()) } else { Err(CriError::Left(left.join("; "))) }
    }

    /// RemovePodSandbox: stops it, removes its containers and everything of its own.
    pub(crate) async fn remove_sandbox(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> Result<(), CriError> {
        self.stop_sandbox(sandbox).await?;
        let _held = sandbox.lifecycle.lock().await;
        let id = sandbox.record().id;
        sandbox.update(&self.disk, |record| record.phase = SandboxPhase::Removing)?;
        for container in self.containers_of(&id) {
            self.remove_container(&container).await?;
        }
        let left = self.destroy_sandbox(&sandbox.record()).await;
        if !left.is_empty() {
            return Err(CriError::Left(left.join("; ")));
        }
        self.announce(Event::ContainerDeletedEvent, &id, sandbox);
        self.forget_sandbox(&id);
        Ok(())
    }

    /// Takes away everything of a sandbox, as far as it goes; tells what is left behind.
    pub(crate) async fn destroy_sandbox(&self, record: &SandboxRecord) -> Vec<String> {
        let mut left = self.release_sandbox(record).await;
        let (dir, disk, parent, id) = (
            self.disk.folder::<SandboxRecord>(&record.id),
            self.disk.clone(),
            record.cgroup_parent.clone(),
            record.id.clone(),
        );
        // A parent that the caller chose is the caller's.
        let parent = Some(parent).filter(|parent| parent.ends_with(&id));
        let engine = self.engine_of(record);
        let removed = blocking(move || {
            engine.run(
                &REMOVE,
                || id.clone(),
                || -> Result<(), CriError> {
                    pod_files::unmake(&dir)?;
                    parent.as_deref().map_or(Ok(()), cgroup::remove)?;
                    disk.remove::<SandboxRecord>(&id)
                },
            )
        });
        left.extend(removed.await.err().map(|error| error.chain()));
        left
    }

    /// Network and supervisor, which a stopped sandbox has not.
    async fn release_sandbox(&self, record: &SandboxRecord) -> Vec<String> {
        let (engine, mut left) = (self.engine_of(record), Vec::new());
        if let Ok(Some(pod)) = pod_network(record) {
            let detached = engine.run_async(&DETACH, || record.id.clone(), self.networks.detach(&pod)).await;
            left.extend(detached.err().map(|error| error.chain()));
        }
        let dir = self.disk.folder::<SandboxRecord>(&record.id);
        // Without a socket there is no supervisor: it binds it before it says that it is ready. One that another call has
        // just told to end may end while we ask, which is what we want of it.
        match if_there(Connection::open(&dir)) {
            Ok(Some(mut connection)) => {
                let shutdown = async { if_there(connection.call(&Request::Shutdown, &[]).await) };
                let ended = engine.run_async(&SHUTDOWN, || record.id.clone(), shutdown).await;
                left.extend(ended.err().map(|error| error.chain()));
            }
            Ok(None) => {}
            Err(error) => left.push(error.chain()),
        }
        left
    }

    /// The engine whose lines carry the pod's correlation id.
    pub(crate) fn engine_of(&self, record: &SandboxRecord) -> Engine {
        self.settings.engine.correlated(correlation(&record.config, None))
    }

    /// Marks a container that has not ended yet, and tells.
    pub(crate) fn set_ended(self: &Arc<Self>, container: &Arc<crate::state::Container>, ending: Ending) {
        let changed = container.update(&self.disk, |record| match record.phase {
            ContainerPhase::Created | ContainerPhase::Running => {
                record.phase = ContainerPhase::Exited(ending);
                Change::Made
            }
            _ => Change::Nothing,
        });
        let record = container.record();
        match (changed, self.sandbox(&record.sandbox_id)) {
            (Ok(Change::Made), Ok(sandbox)) => {
                self.announce(Event::ContainerStoppedEvent, &record.id, &sandbox);
                self.clear_soon(container);
            }
            (Err(error), _) => tracing::error!("container {}: record its end: {error}", record.id),
            _ => {}
        }
    }
}

/// The sandbox folder's path in a request's terms.
pub(crate) fn folder(service: &Service, id: &str) -> PathBuf {
    service.disk.folder::<SandboxRecord>(id)
}

/// Runs blocking work beside the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CriError> + Send + 'static,
) -> Result<T, CriError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(CriError::Runtime(format!("blocking work ended: {error}"))),
    }
}

/// An error and what its undoing could not take away.
pub(crate) fn and_left(error: CriError, left: Vec<String>) -> CriError {
    if left.is_empty() { error } else { CriError::Left(format!("{}; left behind: {}", error.chain(), left.join("; "))) }
}

/// The name that two sandboxes may not share.
pub(crate) fn sandbox_name(metadata: &pb::PodSandboxMetadata) -> String {
    let pb::PodSandboxMetadata { name, uid, namespace, attempt } = metadata;
    format!("sandbox {namespace}/{name} (uid {uid}, attempt {attempt})")
}

/// What the network crate needs; nothing for a pod on the host's network.
pub(crate) fn pod_network(record: &SandboxRecord) -> Result<Option<PodNetwork>, CriError> {
    if pod_namespaces(&record.config).network() == NamespaceMode::Node {
        return Ok(None);
    }
    let metadata = record.config.metadata.clone().unwrap_or_default();
    let port_mappings = record.config.port_mappings.iter().filter(|mapping| mapping.host_port != 0).map(port_mapping);
    Ok(Some(PodNetwork {
        sandbox_id: record.id.clone(),
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        // Of a supervisor that never was, there is nothing; detaching is by the sandbox's id then.
        netns: PathBuf::from(format!("/proc/{}/ns/net", record.supervisor_pid.unwrap_or_default())),
        port_mappings: port_mappings.collect::<Result<_, _>>()?,
    }))
}

fn port_mapping(mapping: &pb::PortMapping) -> Result<PortMapping, CriError> {
    let port = |value: i32, field: &str| {
        let valid = u16::try_from(value).ok().filter(|&port| port > 0);
        valid.ok_or_else(|| CriError::Invalid(format!("port mapping: {field} {value} is no port")))
    };
    let host_ip = Some(mapping.host_ip.as_str()).filter(|text| !text.is_empty() && *text != "0.0.0.0");
    let parse = |text: &str| {
        text.parse().map_err(|_| CriError::Invalid(format!("port mapping: host_ip `{text}` is no address")))
    };
    Ok(PortMapping {
        protocol: match mapping.protocol() {
            pb::Protocol::Tcp => Protocol::Tcp,
            pb::Protocol::Udp => Protocol::Udp,
            pb::Protocol::Sctp => Protocol::Sctp,
        },
        container_port: port(mapping.container_port, "container_port")?,
        host_port: port(mapping.host_port, "host_port")?,
        host_ip: host_ip.map(parse).transpose()?,
    })
}
