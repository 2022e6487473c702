//! A container after its creation: start, stop, end, removal, new limits.
//!
//! ```text
//!  Creating ──► Created ──start──► Running ──exit──► Exited ──remove──► (gone)
//!                   └────── pod stopped ───────────────┘
//! ```

use crate::bundle::correlation;
use crate::disk::{ContainerPhase, ContainerRecord, Ending};
use crate::error::{CriError, During};
use crate::node::{Change, Container, Node, lock};
use crate::sandbox::{KILL_SECONDS_MAX, blocking, folder};
use crate::supervisor::{Connection, ask, unexpected};
use skiff_proto::cri::v1 as pb;
use skiff_proto::cri::v1::ContainerEventType as Event;
use skiff_step::{Engine, Step};
use skiff_supervise::wire::{Exit, Reply, Request};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

const START: Step = Step::new("container.start", "CRI v1, StartContainer");
const STOP: Step = Step::new("container.stop", "CRI v1, StopContainer");
const REMOVE: Step = Step::new("container.remove", "CRI v1, RemoveContainer");
const SIGKILL: i32 = 9;

impl Node {
    /// StartContainer.
    pub(crate) async fn start_container(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), CriError> {
        let _held = container.lifecycle.lock().await;
        let record = container.record();
        if record.phase != ContainerPhase::Created {
            let phase = &record.phase;
            return Err(CriError::Precondition(format!("container {}: it is {phase:?}, not created", record.id)));
        }
        let sandbox = self.sandbox(&record.sandbox_id)?;
        let dir = folder(self, &record.sandbox_id);
        let request = Request::Start { container: record.id.clone() };
        let started = self.engine_for(&record).run_async(&START, || record.id.clone(), ask(&dir, &request)).await;
        let result = match started {
            Ok(Reply::Started { started_at_ns }) => {
                container.update(&self.disk, |record| {
                    record.phase = ContainerPhase::Running;
                    record.started_at_ns = started_at_ns;
                    Change::Made
                })?;
                self.announce(Event::ContainerStartedEvent, &record.id, &sandbox);
                Ok(())
            }
            Ok(other) => Err(unexpected("start", &other)),
            Err(error) => Err(error),
        };
        // A short command may have ended before we knew that it had begun.
        let early = lock(&container.early_exit).take();
        if let Some(exit) = early {
            self.set_ended(container, ending(&exit));
        } else if let Err(error) = &result {
            self.set_ended(container, start_failed(error));
        }
        result
    }

    /// The supervisor says that a container's first process ended.
    pub(crate) fn container_ended(&self, exit: &Exit) {
        let Ok(container) = self.container(&exit.container) else { return };
        // Left where a start that is under way will look for it; and looked at here if there is none. The order (leave,
        // then ask for the phase) is the reverse of the start's (set the phase, then look), so one of us finds it.
        *lock(&container.early_exit) = Some(exit.clone());
        let nobody_starts = container.lifecycle.try_lock().is_ok();
        if nobody_starts || container.record().phase != ContainerPhase::Created {
            let left = lock(&container.early_exit).take();
            if let Some(exit) = left {
                self.set_ended(&container, ending(&exit));
            }
        }
    }

    /// StopContainer: its stop signal, a grace period, SIGKILL. A container that does not run is fine.
    pub(crate) async fn stop_container(&self, container: &Arc<Container>, grace: Duration) -> Result<(), CriError> {
        let record = container.record();
        if record.phase != ContainerPhase::Running {
            return Ok(());
        }
        let stop = self.stop_running(container, &record, grace);
        self.engine_for(&record).run_async(&STOP, || record.id.clone(), stop).await
    }

    async fn stop_running(
        &self,
        container: &Container,
        record: &ContainerRecord,
        grace: Duration,
    ) -> Result<(), CriError> {
        if !grace.is_zero() {
            self.send_signal(record, record.stop_signal).await?;
            if timeout(grace, container.ended()).await.is_ok() {
                return Ok(());
            }
        }
        self.send_signal(record, SIGKILL).await?;
        let killed = timeout(Duration::from_secs(KILL_SECONDS_MAX), container.ended()).await;
        killed.map_err(|_| CriError::Timeout(format!("container {}: it survives SIGKILL", record.id)))
    }

    async fn send_signal(&self, record: &ContainerRecord, signal: i32) -> Result<(), CriError> {
        let request = Request::Signal { container: record.id.clone(), signal };
        ask(&folder(self, &record.sandbox_id), &request).await.map(drop)
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
        let left = self.destroy_container(&record).await;
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
        let id = record.id.clone();
        let mut left = Vec::new();
        left.extend(self.delete_in_runtime(record).await.err().map(|error| error.chain()));
        let (node, engine) = (self.clone(), self.engine_for(record));
        let removed = blocking(move || {
            engine.run(
                &REMOVE,
                || id.clone(),
                || -> Result<(), CriError> {
                    let dir = node.disk.folder::<ContainerRecord>(&id);
                    node.images.unmount(&dir.join("rootfs"))?;
                    node.images.release(&id)?;
                    node.disk.remove::<ContainerRecord>(&id)
                },
            )
        });
        left.extend(removed.await.err().map(|error| error.chain()));
        left
    }

    /// Through the supervisor if there is one, since it knows whether a `create` is still under way.
    async fn delete_in_runtime(&self, record: &ContainerRecord) -> Result<(), CriError> {
        match Connection::open(&folder(self, &record.sandbox_id)) {
            Ok(mut connection) => {
                connection.call(&Request::Delete { container: record.id.clone() }, &[]).await.map(drop)
            }
            Err(_) => self.delete_by_runtime(&record.id).await,
        }
    }

    /// `delete --force`, which also kills; unknown containers are fine.
    pub(crate) async fn delete_by_runtime(&self, id: &str) -> Result<(), CriError> {
        self.run_runtime(&["delete", "--force", id], "").await
    }

    /// Runs the OCI runtime with this on its standard input; its error output is the error.
    async fn run_runtime(&self, args: &[&str], input: &str) -> Result<(), CriError> {
        let program = &self.settings.oci_runtime;
        let operation = || format!("run {} {}", program.display(), args.join(" "));
        let mut command = Command::new(program);
        command.arg("--root").arg(&self.settings.oci_root).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().during(operation)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await.during(operation)?;
        }
        let output = child.wait_with_output().await.during(operation)?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        Err(CriError::Runtime(format!("{}: {}: {}", operation(), output.status, words.trim())))
    }

    /// UpdateContainerResources.
    pub(crate) async fn update_container(
        &self,
        container: &Arc<Container>,
        wanted: pb::LinuxContainerResources,
    ) -> Result<(), CriError> {
        let _held = container.lifecycle.lock().await;
        let record = container.record();
        if !matches!(record.phase, ContainerPhase::Created | ContainerPhase::Running) {
            return Err(CriError::Precondition(format!("container {}: it has ended", record.id)));
        }
        let mut notes = record.notes.clone();
        let resources = crate::bundle::resources(&wanted, &self.host, &mut notes)?;
        self.run_runtime(&["update", "--resources=-", &record.id], &resources.to_string()).await?;
        container.update(&self.disk, |record| {
            record.config.linux.get_or_insert_default().resources = Some(wanted);
            record.notes = notes;
            Change::Made
        })?;
        Ok(())
    }

    fn engine_for(&self, record: &ContainerRecord) -> Engine {
        let of_container = record.config.annotations.get(skiff_step::CORRELATION_ANNOTATION).cloned();
        let id = of_container.or_else(|| {
            let sandbox = self.sandbox(&record.sandbox_id).ok()?.record();
            correlation(&sandbox.config, None).map(str::to_owned)
        });
        self.settings.engine.correlated(id.as_deref())
    }
}

/// In the kubelet's words (kubelet/container, ContainerReason…).
pub(crate) fn ending(exit: &Exit) -> Ending {
    // Whoever was killed, and whatever the first process made of it: as containerd, whose oom event names the reason.
    let reason = match (exit.oom_killed, exit.exit_code) {
        (true, _) => "OOMKilled",
        (false, 0) => "Completed",
        (false, _) => "Error",
    };
    Ending {
        exit_code: exit.exit_code,
        finished_at_ns: exit.finished_at_ns,
        reason: reason.to_owned(),
        message: String::new(),
    }
}

fn start_failed(error: &CriError) -> Ending {
    Ending {
        exit_code: 128,
        finished_at_ns: crate::node::now_ns(),
        reason: "StartError".to_owned(),
        message: error.chain(),
    }
}
