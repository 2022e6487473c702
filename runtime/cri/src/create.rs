//! CreateContainer: snapshot, mount, user, bundle. The OCI runtime hears of the container at its start, so that what only it
//! finds out (a program that is not there, a cgroup that cannot be made) is StartContainer's failure, as with containerd.

use crate::admit;
use crate::bundle::{self, Bundle, User, correlation, namespaces};
use crate::disk::{ContainerPhase, ContainerRecord, SandboxPhase, SandboxRecord};
use crate::error::{CriError, During};
use crate::sandbox::{and_left, blocking, folder};
use crate::state::{Change, Container, Sandbox, Service, new_id, now_ns};
use crate::supervisor::{ask, unexpected};
use crate::users::PodUsers;
use crate::{cdi, host, pod_files, signal, user};
use skiff_image::Image;
use skiff_proto::cri::v1 as pb;
use skiff_proto::cri::v1::security_profile::ProfileType;
use skiff_proto::cri::v1::{ContainerConfig, ContainerEventType as Event, NamespaceMode};
use skiff_step::Step;
use skiff_supervise::wire::{Reply, Request};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

const ROOTFS: Step = Step::new("container.rootfs", "OCI runtime-spec, bundle.md; overlayfs");
const BUNDLE: Step = Step::new("container.bundle", "OCI runtime-spec, config.md");

impl Service {
    /// CreateContainer.
    pub(crate) async fn create_container(
        self: &Arc<Self>,
        sandbox: &Arc<Sandbox>,
        config: ContainerConfig,
    ) -> Result<String, CriError> {
        let of_sandbox = sandbox.record();
        if of_sandbox.phase != SandboxPhase::Ready {
            return Err(CriError::Precondition(format!("sandbox {}: it is not ready", of_sandbox.id)));
        }
        let config = admit::in_new_words(config)?;
        let metadata = admit::container(&config, &of_sandbox.config, &self.host)?;
        let image = self.image_of(&config).await?;
        let config = self.resolve_image_volumes(config).await?;
        let id = new_id();
        let name = container_name(&of_sandbox.id, &metadata);
        let record = self.new_record(&id, &of_sandbox, config, &image)?;
        let reservation = self.reserve(name, &id)?;
        self.disk.create(&record)?;
        let container = self.add_container(record);
        match self.make_container(&of_sandbox, &container, image).await {
            Ok(()) => {
                reservation.keep();
                self.announce(Event::ContainerCreatedEvent, &id, sandbox);
                Ok(id)
            }
            Err(error) => {
                let left = self.destroy_container(&container.record()).await;
                self.forget_container(&id);
                Err(and_left(error, left))
            }
        }
    }

    async fn image_of(self: &Arc<Self>, config: &ContainerConfig) -> Result<Image, CriError> {
        let wanted = config.image.as_ref().map(|image| image.image.clone()).unwrap_or_default();
        let service = self.clone();
        let found = blocking(move || Ok((service.images.resolve(&wanted)?, wanted))).await?;
        match found {
            (Some(image), _) => Ok(image),
            (None, wanted) => Err(CriError::NotFound { kind: "image", id: wanted }),
        }
    }

    fn new_record(
        &self,
        id: &str,
        sandbox: &SandboxRecord,
        config: ContainerConfig,
        image: &Image,
    ) -> Result<ContainerRecord, CriError> {
        let of_image = image.config.config().as_ref().and_then(|config| config.stop_signal().clone());
        Ok(ContainerRecord {
            id: id.to_owned(),
            sandbox_id: sandbox.id.clone(),
            phase: ContainerPhase::Creating,
            created_at_ns: now_ns(),
            started_at_ns: 0,
            image_id: image.id.clone(),
            pid: None,
            log_path: log_path(&sandbox.config.log_directory, &config.log_path)?,
            cgroups_path: format!("{}/{id}", sandbox.cgroup_parent),
            user: None,
            stop_signal: signal::stop_signal(config.stop_signal(), of_image.as_deref())?,
            notes: Vec::new(),
            config,
        })
    }

    async fn make_container(
        self: &Arc<Self>,
        sandbox: &SandboxRecord,
        container: &Arc<Container>,
        image: Image,
    ) -> Result<(), CriError> {
        let record = container.record();
        let pod_pid = match namespaces(&record.config).pid() {
            NamespaceMode::Pod => Some(self.pod_pid(sandbox).await?),
            NamespaceMode::Target => Some(self.target_pid(sandbox, &namespaces(&record.config).target_id)?),
            _ => None,
        };
        let (service, of_sandbox, of_container) = (self.clone(), sandbox.clone(), record.clone());
        let (user, notes) = blocking(move || service.write_bundle(&of_sandbox, &of_container, &image, pod_pid)).await?;
        for note in &notes {
            tracing::warn!("container {}: {note}", record.id);
        }
        container.update(&self.disk, |record| {
            record.phase = ContainerPhase::Created;
            record.user = Some(user);
            record.notes = notes;
            Change::Made
        })?;
        Ok(())
    }

    /// The first process of a container of the same pod.
    fn target_pid(&self, sandbox: &SandboxRecord, id: &str) -> Result<i32, CriError> {
        let target = self.container(id)?.record();
        if target.sandbox_id != sandbox.id {
            return Err(CriError::Invalid(format!("namespace_options.target_id: container {id} is of another pod")));
        }
        let running = target.pid.filter(|_| target.phase == ContainerPhase::Running);
        running.ok_or_else(|| {
            CriError::Precondition(format!("container {id}, whose processes are to be seen, does not run"))
        })
    }

    async fn pod_pid(&self, sandbox: &SandboxRecord) -> Result<i32, CriError> {
        match ask(&folder(self, &sandbox.id), &Request::PodPid).await? {
            Reply::PodPid { pid } => Ok(pid),
            other => Err(unexpected("pod pid", &other)),
        }
    }

    /// Mounts the root file system, looks up what the bundle needs to know, and writes it.
    fn write_bundle(
        &self,
        sandbox: &SandboxRecord,
        record: &ContainerRecord,
        image: &Image,
        pod_pid: Option<i32>,
    ) -> Result<(User, Vec<String>), CriError> {
        let correlation = correlation(&sandbox.config, Some(&record.config));
        let engine = self.settings.engine.correlated(correlation);
        let dir = self.disk.folder::<ContainerRecord>(&record.id);
        let rootfs = dir.join("rootfs");
        let users = PodUsers::of_sandbox(sandbox)?;
        engine.run(
            &ROOTFS,
            || rootfs.display().to_string(),
            || Ok::<(), CriError>(self.images.mount(&image.id, &record.id, &rootfs, users.as_ref(), correlation)?),
        )?;
        engine.run(
            &BUNDLE,
            || dir.display().to_string(),
            || {
                let security = security_of(&record.config);
                let image_user =
                    image.config.config().as_ref().and_then(|config| config.user().clone()).unwrap_or_default();
                let user = user::resolve(&security, &image_user, &user::Database::read(&rootfs)?)?;
                let config = record.config.clone();
                let config = self.mount_image_volumes(&record.id, config, users.as_ref(), correlation)?;
                let config = with_real_mounts(config)?;
                if let Some(parent) = record.log_path.as_deref().and_then(Path::parent) {
                    fs::create_dir_all(parent).during(|| format!("make folder {}", parent.display()))?;
                }
                let request = bundle::Request {
                    sandbox_id: &sandbox.id,
                    sandbox: &sandbox.config,
                    config: &config,
                    image: &image.config,
                    user: user.clone(),
                    host: &self.host,
                    rootfs: rootfs.clone(),
                    cgroups_path: record.cgroups_path.clone(),
                    supervisor_pid: sandbox.supervisor_pid.unwrap_or_default(),
                    users: sandbox.users.as_deref(),
                    pod_pid,
                    pod_files: pod_files::paths(&folder(self, &sandbox.id), &sandbox.config),
                    devices: devices(&config, security.privileged)?,
                    seccomp_file: self.seccomp_file(&security)?,
                };
                let Bundle { mut config, notes } = bundle::build(&request)?;
                self.inject(&record.config, &mut config)?;
                let file = dir.join("config.json");
                fs::write(&file, config.to_string()).during(|| format!("write {}", file.display()))?;
                Ok((user, notes))
            },
        )
    }

    /// Makes the edits that the names of devices stand for.
    fn inject(&self, asked: &ContainerConfig, config: &mut serde_json::Value) -> Result<(), CriError> {
        if asked.cdi_devices.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = asked.cdi_devices.iter().map(|device| device.name.clone()).collect();
        let known = cdi::Known::read(&self.settings.cdi_spec_dirs);
        cdi::apply(config, &cdi::filled_in(&known.resolve(&names)?)?);
        Ok(())
    }

    /// The kubelet names an absolute path; a relative one is below our own folder (KEP-135).
    fn seccomp_file(&self, security: &pb::LinuxContainerSecurityContext) -> Result<Option<String>, CriError> {
        let Some(profile) = &security.seccomp else { return Ok(None) };
        if profile.profile_type() != ProfileType::Localhost {
            return Ok(None);
        }
        let name = profile.localhost_ref.strip_prefix("localhost/").unwrap_or(&profile.localhost_ref);
        // An empty name must not become "no profile" (CVE-2023-2431).
        if name.is_empty() {
            return Err(CriError::Invalid("seccomp: profile_type Localhost without localhost_ref".to_owned()));
        }
        let path = self.settings.root_dir.join("seccomp").join(name);
        fs::read_to_string(&path).map(Some).during(|| format!("read seccomp profile {}", path.display()))
    }
}

/// The name that two containers may not share.
pub(crate) fn container_name(sandbox_id: &str, metadata: &pb::ContainerMetadata) -> String {
    format!("container {} (attempt {}) of sandbox {sandbox_id}", metadata.name, metadata.attempt)
}

pub(crate) fn security_of(config: &ContainerConfig) -> pb::LinuxContainerSecurityContext {
    config.linux.as_ref().and_then(|linux| linux.security_context.clone()).unwrap_or_default()
}

/// No log without both; the path must stay below the directory.
fn log_path(directory: &str, path: &str) -> Result<Option<PathBuf>, CriError> {
    if directory.is_empty() || path.is_empty() {
        return Ok(None);
    }
    if !Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(CriError::Invalid(format!("log_path `{path}`: expected a path below log_directory")));
    }
    Ok(Some(Path::new(directory).join(path)))
}

/// Mount sources as they really are: links resolved, absent ones made as folders, as other runtimes do.
fn with_real_mounts(mut config: ContainerConfig) -> Result<ContainerConfig, CriError> {
    for mount in config.mounts.iter_mut().filter(|mount| !mount.host_path.is_empty()) {
        let path = Path::new(&mount.host_path);
        if !path.exists() {
            fs::create_dir_all(path).during(|| format!("make folder {} to mount", path.display()))?;
        }
        let real = fs::canonicalize(path).during(|| format!("resolve {} to mount", path.display()))?;
        mount.host_path = real.to_string_lossy().into_owned();
    }
    Ok(config)
}

fn devices(config: &ContainerConfig, privileged: bool) -> Result<Vec<bundle::Device>, CriError> {
    let mut all = if privileged { host::devices(Path::new("/dev"), Path::new("/dev"), "rwm")? } else { Vec::new() };
    for device in &config.devices {
        let found =
            host::devices(Path::new(&device.host_path), Path::new(&device.container_path), &device.permissions)?;
        all.retain(|known| !found.iter().any(|new| new.path == known.path));
        all.extend(found);
    }
    Ok(all)
}
