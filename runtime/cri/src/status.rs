//! Records in CRI's words.

use crate::disk::{ContainerPhase, ContainerRecord, SandboxPhase, SandboxRecord};
use crate::signal;
use crate::state::{Sandbox, Service, now_ns};
use skiff_proto::cri::v1 as pb;
use skiff_proto::cri::v1::{ContainerEventType, ContainerState, PodSandboxState};
use std::collections::HashMap;
use std::sync::Arc;

impl Service {
    /// Tells everybody who listens (GetContainerEvents); without listeners nothing is put together.
    pub(crate) fn announce(&self, kind: ContainerEventType, id: &str, sandbox: &Arc<Sandbox>) {
        if self.events.receiver_count() == 0 {
            return;
        }
        let record = sandbox.record();
        let event = pb::ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind as i32,
            created_at: now_ns(),
            containers_statuses: self.container_statuses(&record.id),
            pod_sandbox_status: Some(sandbox_status(&record)),
        };
        // An error says that the last listener has just gone.
        let _nobody = self.events.send(event);
    }

    /// All containers of a sandbox.
    pub(crate) fn container_statuses(&self, sandbox_id: &str) -> Vec<pb::ContainerStatus> {
        let records = self.containers_of(sandbox_id).into_iter().map(|container| container.record());
        records.filter(is_visible).map(|record| container_status(&record)).collect()
    }
}

/// Containers that are being made or taken away are nobody's business.
pub(crate) fn is_visible(record: &ContainerRecord) -> bool {
    record.phase != ContainerPhase::Creating
}

pub(crate) fn sandbox_state(record: &SandboxRecord) -> PodSandboxState {
    match record.phase {
        SandboxPhase::Ready => PodSandboxState::SandboxReady,
        SandboxPhase::Creating | SandboxPhase::NotReady | SandboxPhase::Removing => PodSandboxState::SandboxNotready,
    }
}

pub(crate) fn container_state(record: &ContainerRecord) -> ContainerState {
    match record.phase {
        ContainerPhase::Creating | ContainerPhase::Created => ContainerState::ContainerCreated,
        ContainerPhase::Running => ContainerState::ContainerRunning,
        ContainerPhase::Exited(_) | ContainerPhase::Removing => ContainerState::ContainerExited,
    }
}

pub(crate) fn sandbox_status(record: &SandboxRecord) -> pb::PodSandboxStatus {
    let mut ips = record.ips.iter().map(ToString::to_string);
    pb::PodSandboxStatus {
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        state: sandbox_state(record) as i32,
        created_at: record.created_at_ns,
        network: Some(pb::PodSandboxNetworkStatus {
            ip: ips.next().unwrap_or_default(),
            additional_ips: ips.map(|ip| pb::PodIp { ip }).collect(),
        }),
        linux: Some(pb::LinuxPodSandboxStatus {
            namespaces: Some(pb::Namespace { options: Some(crate::bundle::pod_namespaces(&record.config)) }),
        }),
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        runtime_handler: record.runtime_handler.clone(),
    }
}

pub(crate) fn sandbox_item(record: &SandboxRecord) -> pb::PodSandbox {
    pb::PodSandbox {
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        state: sandbox_state(record) as i32,
        created_at: record.created_at_ns,
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        runtime_handler: record.runtime_handler.clone(),
    }
}

pub(crate) fn container_status(record: &ContainerRecord) -> pb::ContainerStatus {
    let ending = match &record.phase {
        ContainerPhase::Exited(ending) => Some(ending.clone()),
        _ => None,
    };
    let (exit_code, finished_at, reason, message) = ending
        .map(|ending| (ending.exit_code, ending.finished_at_ns, ending.reason, ending.message))
        .unwrap_or_default();
    pb::ContainerStatus {
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        state: container_state(record) as i32,
        created_at: record.created_at_ns,
        started_at: record.started_at_ns,
        finished_at,
        exit_code,
        image: record.config.image.as_ref().map(as_written),
        image_ref: record.image_id.clone(),
        image_id: record.image_id.clone(),
        reason,
        message,
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        mounts: record.config.mounts.clone(),
        log_path: record.log_path.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        resources: Some(resources(record)),
        user: record.user.as_ref().map(user),
        stop_signal: signal::named(record.stop_signal) as i32,
    }
}

/// A kubelet asks for an image by its id and says what the user wrote beside it; that is what its pod's status shows.
fn as_written(spec: &pb::ImageSpec) -> pb::ImageSpec {
    let written = Some(&spec.user_specified_image).filter(|name| !name.is_empty());
    pb::ImageSpec { image: written.unwrap_or(&spec.image).clone(), ..spec.clone() }
}

pub(crate) fn container_item(record: &ContainerRecord) -> pb::Container {
    pb::Container {
        id: record.id.clone(),
        pod_sandbox_id: record.sandbox_id.clone(),
        metadata: record.config.metadata.clone(),
        image: record.config.image.clone(),
        image_ref: record.image_id.clone(),
        image_id: record.image_id.clone(),
        state: container_state(record) as i32,
        created_at: record.created_at_ns,
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
    }
}

/// What a verbose status adds: for people, JSON.
pub(crate) fn container_info(record: &ContainerRecord) -> HashMap<String, String> {
    let info = serde_json::json!({
        "sandboxID": record.sandbox_id, "pid": record.pid, "cgroupsPath": record.cgroups_path, "notes": record.notes,
    });
    HashMap::from([("info".to_owned(), info.to_string())])
}

/// The same for a sandbox.
pub(crate) fn sandbox_info(record: &SandboxRecord) -> HashMap<String, String> {
    let info = serde_json::json!({"pid": record.supervisor_pid, "cgroupParent": record.cgroup_parent});
    HashMap::from([("info".to_owned(), info.to_string())])
}

/// As asked for, updates included; the kubelet (1.31 and later) reads limits from here, and takes an absent message for one
/// that cannot be read.
fn resources(record: &ContainerRecord) -> pb::ContainerResources {
    let linux = record.config.linux.as_ref().and_then(|linux| linux.resources.clone());
    pb::ContainerResources { linux: Some(linux.unwrap_or_default()), windows: None }
}

fn user(user: &crate::bundle::User) -> pb::ContainerUser {
    pb::ContainerUser {
        linux: Some(pb::LinuxContainerUser {
            uid: user.uid.into(),
            gid: user.gid.into(),
            supplemental_groups: user.additional_gids.iter().map(|&gid| gid.into()).collect(),
        }),
    }
}

impl Service {
    /// Status: what the kubelet makes its node conditions of.
    pub(crate) fn status(&self, verbose: bool) -> pb::StatusResponse {
        let missing = [&self.settings.oci_runtime, &self.settings.supervisor].into_iter().find(|path| !path.is_file());
        let runtime = missing.map_or(Ok(()), |path| Err(format!("{} is missing", path.display())));
        let network = self.networks.ready().map_err(|error| error.chain());
        let condition = |kind: &str, state: Result<(), String>, reason: &str| pb::RuntimeCondition {
            r#type: kind.to_owned(),
            status: state.is_ok(),
            reason: if state.is_ok() { String::new() } else { reason.to_owned() },
            message: state.err().unwrap_or_default(),
        };
        let conditions = vec![
            condition("RuntimeReady", runtime, "RuntimeProgramMissing"),
            condition("NetworkReady", network, "NetworkNotReady"),
        ];
        let info = serde_json::json!({
            "ociRuntime": self.settings.oci_runtime, "supervisor": self.settings.supervisor,
            "stateDir": self.settings.state_dir, "cgroupV2": self.host.cgroup_v2,
        });
        pb::StatusResponse {
            status: Some(pb::RuntimeStatus { conditions }),
            info: if verbose { HashMap::from([("config".to_owned(), info.to_string())]) } else { HashMap::new() },
            runtime_handlers: vec![pb::RuntimeHandler {
                name: String::new(),
                features: Some(pb::RuntimeHandlerFeatures { recursive_read_only_mounts: true, user_namespaces: true }),
            }],
            features: Some(pb::RuntimeFeatures {
                supplemental_groups_policy: true,
                user_namespaces_host_network: false,
                mount_options: false,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_names_the_image_as_the_user_wrote_it() {
        let spec = |image: &str, written: &str| pb::ImageSpec {
            image: image.to_owned(),
            user_specified_image: written.to_owned(),
            ..Default::default()
        };
        let asked = spec("sha256:12", "skiff.local/web:1");
        assert_eq!(as_written(&asked), spec("skiff.local/web:1", "skiff.local/web:1"));
        // crictl asks by name, or by an id that nobody wrote.
        assert_eq!(as_written(&spec("web:1", "")), spec("web:1", ""));
    }
}
