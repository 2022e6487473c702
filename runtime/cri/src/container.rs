//! A container after its creation: start, stop, end. The start is the OCI runtime's `create` and `start`: before it,
//! the container is a bundle and a record.
//!
//! ```text
//!  Creating ──► Created ──start──► Running ──exit──► Exited ──remove──► (gone)
//!                   └── pod stopped, or start failed ──┘
//! ```

use crate::bundle::{correlation, namespaces};
use crate::disk::{ContainerPhase, ContainerRecord, Ending, SandboxPhase, SandboxRecord};
use crate::error::{CriError, During};
use crate::sandbox::{KILL_SECONDS_MAX, folder};
use crate::state::{Change, Container, Service, lock};
use crate::supervisor::{ask, if_there, unexpected};
use skiff_proto::cri::v1::{ContainerEventType as Event, NamespaceMode, PodSandboxConfig};
use skiff_step::{Engine, Step};
use skiff_supervise::wire::{Create, Exit, PidNamespace, Reply, Request, StdinPolicy};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

const CREATE: Step = Step::new("container.create", "OCI runtime-spec, runtime.md, Create; CRI v1, StartContainer");
const START: Step = Step::new("container.start", "CRI v1, StartContainer");
const STOP: Step = Step::new("container.stop", "CRI v1, StopContainer");
const SIGKILL: i32 = 9;

impl Service {
    /// StartContainer.
    pub(crate) async fn start_container(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), CriError> {
        let _held = container.lifecycle.lock().await;
        let record = container.record();
        if record.phase != ContainerPhase::Created {
            let phase = &record.phase;
            return Err(CriError::Precondition(format!("container {}: it is {phase:?}, not created", record.id)));
        }
        let sandbox = self.sandbox(&record.sandbox_id)?;
        let of_sandbox = sandbox.record();
        if of_sandbox.phase != SandboxPhase::Ready {
            return Err(CriError::Precondition(format!("sandbox {}: it is not ready", of_sandbox.id)));
        }
        // What was left here before now is the end of a start that a predecessor of ours did not finish.
        let _stale = lock(&container.early_exit).take();
        let result = match self.set_going(&record, &of_sandbox).await {
            Ok((pid, started_at_ns)) => {
                container.update(&self.disk, |record| {
                    record.phase = ContainerPhase::Running;
                    record.pid = Some(pid);
                    record.started_at_ns = started_at_ns;
                    Change::Made
                })?;
                self.announce(Event::ContainerStartedEvent, &record.id, &sandbox);
                Ok(())
            }
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

    /// The OCI runtime's `create` and `start`; the first process, and when it began.
    async fn set_going(&self, record: &ContainerRecord, sandbox: &SandboxRecord) -> Result<(i32, i64), CriError> {
        let (dir, engine) = (folder(self, &record.sandbox_id), self.engine_for(record));
        let bundle = self.disk.folder::<ContainerRecord>(&record.id);
        let create = Request::Create(create_request(record, &sandbox.config, bundle));
        let pid = match engine.run_async(&CREATE, || record.id.clone(), ask(&dir, &create)).await? {
            Reply::Created { pid } => pid,
            other => return Err(unexpected("create", &other)),
        };
        let start = Request::Start { container: record.id.clone() };
        match engine.run_async(&START, || record.id.clone(), ask(&dir, &start)).await? {
            Reply::Started { started_at_ns } => Ok((pid, started_at_ns)),
            other => Err(unexpected("start", &other)),
        }
    }

    /// The supervisor says that a container's first process ended.
    pub(crate) fn container_ended(self: &Arc<Self>, exit: &Exit) {
        let Ok(container) = self.container(&exit.container) else { return };
        // Left where a start that is under way will look for it; and looked at here if there is none. The order (leave,
        // then ask for the phase) is the reverse of the start's (set the phase, then look), so one of us finds it.
        *lock(&container.early_exit) = Some(exit.clone());
        let nobody_starts = container.lifecycle.try_lock().is_ok();
        let is_created = container.record().phase == ContainerPhase::Created;
        if nobody_starts || !is_created {
            let left = lock(&container.early_exit).take();
            // One that nobody has started ended with a half start that was taken back: it can still be started.
            if let Some(exit) = left.filter(|_| !is_created) {
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
        // Without its supervisor a container is being ended already, by whoever noticed; see `supervisor_lost`.
        if_there(ask(&folder(self, &record.sandbox_id), &request).await).map(drop)
    }

    /// `delete --force`, which also kills; unknown containers are fine.
    pub(crate) async fn delete_by_runtime(&self, id: &str) -> Result<(), CriError> {
        self.run_runtime(&["delete", "--force", id], "").await
    }

    /// Runs the OCI runtime with this on its standard input; its error output is the error.
    pub(crate) async fn run_runtime(&self, args: &[&str], input: &str) -> Result<(), CriError> {
        let program = &self.settings.oci_runtime;
        let operation = || format!("run {} {}", program.display(), args.join(" "));
        let mut command = Command::new(program);
        command.arg("--root").arg(&self.settings.oci_root).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        skiff_sys::files::with_limit_as_found(command.as_std_mut());
        let mut child = command.spawn().during(operation)?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(input.as_bytes()).await {
                // It ended without reading: why, its own words say better.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                written => written.during(operation)?,
            }
        }
        let output = child.wait_with_output().await.during(operation)?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        Err(CriError::Runtime(format!("{}: {}: {}", operation(), output.status, words.trim())))
    }

    pub(crate) fn engine_for(&self, record: &ContainerRecord) -> Engine {
        let of_container = record.config.annotations.get(skiff_step::CORRELATION_ANNOTATION).cloned();
        let id = of_container.or_else(|| {
            let sandbox = self.sandbox(&record.sandbox_id).ok()?.record();
            correlation(&sandbox.config, None).map(str::to_owned)
        });
        self.settings.engine.correlated(id.as_deref())
    }
}

fn create_request(record: &ContainerRecord, sandbox: &PodSandboxConfig, bundle: PathBuf) -> Create {
    let config = &record.config;
    Create {
        container: record.id.clone(),
        bundle,
        log: record.log_path.clone(),
        terminal: config.tty,
        stdin: match (config.stdin, config.stdin_once) {
            (false, _) => StdinPolicy::Empty,
            (true, true) => StdinPolicy::Once,
            (true, false) => StdinPolicy::Open,
        },
        cgroup: record.cgroups_path.clone(),
        pid_namespace: match namespaces(config).pid() {
            NamespaceMode::Container => PidNamespace::Private,
            _ => PidNamespace::Shared,
        },
        correlation: correlation(sandbox, Some(config)).map(str::to_owned),
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
        finished_at_ns: crate::state::now_ns(),
        reason: "StartError".to_owned(),
        message: error.chain(),
    }
}
