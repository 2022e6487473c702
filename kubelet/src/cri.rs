//! The door to the container runtime: CRI v1 over a unix socket.
//!
//! One connection carries all calls. Times are limited per call, so that a runtime that hangs is a failure with a name
//! and not a kubelet that hangs.

use crate::error::KubeletError;
use hyper_util::rt::TokioIo;
use skiff_proto::cri::v1 as cri;
use skiff_proto::cri::v1::image_service_client::ImageServiceClient;
use skiff_proto::cri::v1::runtime_service_client::RuntimeServiceClient;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status, Streaming};

/// How long an ordinary call may take (the kubelet's runtime-request-timeout).
const CALL_SECONDS: u64 = 120;
/// Containers with large environments and many mounts: statuses of a few MiB are possible in lists.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A connected runtime. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

/// What the runtime says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuntimeVersion {
    /// `containerd`, `skiff`.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
}

/// What a refusal of the runtime says, as one sentence: neither its code nor the form that it has in a program.
pub(crate) fn said(status: &Status) -> String {
    let words = match status.message() {
        "" => status.code().description(),
        message => message,
    };
    match std::error::Error::source(status) {
        Some(cause) => format!("{words}: {}", skiff_client::sentence(cause)),
        None => words.to_owned(),
    }
}

fn timed<T>(message: T, seconds: u64) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(seconds));
    request
}

fn call<T>(message: T) -> Request<T> {
    timed(message, CALL_SECONDS)
}

impl Cri {
    /// Connects to `endpoint`, `unix:///path`.
    pub(crate) async fn connect(endpoint: &str) -> Result<Self, KubeletError> {
        let wrong = || KubeletError::Endpoint { endpoint: endpoint.to_owned() };
        let path = endpoint.strip_prefix("unix://").filter(|path| path.starts_with('/')).map(PathBuf::from);
        let path = path.ok_or_else(wrong)?;
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The URI names no host: the connector decides where the bytes go.
        let channel = Endpoint::from_static("http://cri.invalid")
            .connect_with_connector(connector)
            .await
            .map_err(|source| KubeletError::Connect { endpoint: endpoint.to_owned(), source })?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
        })
    }

    pub(crate) async fn version(&self) -> Result<RuntimeVersion, Status> {
        let answer = self.runtime.clone().version(call(cri::VersionRequest::default())).await?.into_inner();
        Ok(RuntimeVersion { name: answer.runtime_name, version: answer.runtime_version })
    }

    pub(crate) async fn status(&self) -> Result<cri::RuntimeStatus, Status> {
        let answer = self.runtime.clone().status(call(cri::StatusRequest::default())).await?.into_inner();
        Ok(answer.status.unwrap_or_default())
    }

    /// What `handler`, which is empty for the runtime's own choice, can do besides; nothing for a runtime that does not say.
    pub(crate) async fn features(&self, handler: &str) -> Result<cri::RuntimeHandlerFeatures, Status> {
        let answer = self.runtime.clone().status(call(cri::StatusRequest::default())).await?.into_inner();
        let found = answer.runtime_handlers.into_iter().find(|known| known.name == handler);
        Ok(found.and_then(|handler| handler.features).unwrap_or_default())
    }

    pub(crate) async fn set_pod_cidr(&self, pod_cidr: &str) -> Result<(), Status> {
        let network = cri::NetworkConfig { pod_cidr: pod_cidr.to_owned() };
        let config = cri::RuntimeConfig { network_config: Some(network) };
        let request = cri::UpdateRuntimeConfigRequest { runtime_config: Some(config) };
        self.runtime.clone().update_runtime_config(call(request)).await.map(drop)
    }

    /// Makes and starts a sandbox with `handler`, which is empty for the runtime's own choice.
    pub(crate) async fn run_sandbox(&self, config: cri::PodSandboxConfig, handler: String) -> Result<String, Status> {
        let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler: handler };
        Ok(self.runtime.clone().run_pod_sandbox(call(request)).await?.into_inner().pod_sandbox_id)
    }

    pub(crate) async fn stop_sandbox(&self, id: &str) -> Result<(), Status> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        forgiving(self.runtime.clone().stop_pod_sandbox(call(request)).await.map(drop))
    }

    pub(crate) async fn remove_sandbox(&self, id: &str) -> Result<(), Status> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        forgiving(self.runtime.clone().remove_pod_sandbox(call(request)).await.map(drop))
    }

    pub(crate) async fn sandbox_status(&self, id: &str) -> Result<cri::PodSandboxStatusResponse, Status> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        Ok(self.runtime.clone().pod_sandbox_status(call(request)).await?.into_inner())
    }

    pub(crate) async fn sandboxes(&self, labels: &[(&str, &str)]) -> Result<Vec<cri::PodSandbox>, Status> {
        let label_selector = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let filter = Some(cri::PodSandboxFilter { label_selector, ..Default::default() });
        let request = cri::ListPodSandboxRequest { filter };
        Ok(self.runtime.clone().list_pod_sandbox(call(request)).await?.into_inner().items)
    }

    pub(crate) async fn containers(&self, labels: &[(&str, &str)]) -> Result<Vec<cri::Container>, Status> {
        let label_selector = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let filter = Some(cri::ContainerFilter { label_selector, ..Default::default() });
        let request = cri::ListContainersRequest { filter };
        Ok(self.runtime.clone().list_containers(call(request)).await?.into_inner().containers)
    }

    pub(crate) async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String, Status> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        Ok(self.runtime.clone().create_container(call(request)).await?.into_inner().container_id)
    }

    pub(crate) async fn start_container(&self, id: &str) -> Result<(), Status> {
        let request = cri::StartContainerRequest { container_id: id.to_owned() };
        self.runtime.clone().start_container(call(request)).await.map(drop)
    }

    /// Stops: the call lasts as long as the process may take.
    pub(crate) async fn stop_container(&self, id: &str, grace_seconds: i64) -> Result<(), Status> {
        let request = cri::StopContainerRequest { container_id: id.to_owned(), timeout: grace_seconds };
        let seconds = CALL_SECONDS + grace_seconds.unsigned_abs();
        forgiving(self.runtime.clone().stop_container(timed(request, seconds)).await.map(drop))
    }

    pub(crate) async fn remove_container(&self, id: &str) -> Result<(), Status> {
        let request = cri::RemoveContainerRequest { container_id: id.to_owned() };
        forgiving(self.runtime.clone().remove_container(call(request)).await.map(drop))
    }

    pub(crate) async fn container_status(&self, id: &str) -> Result<cri::ContainerStatus, Status> {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = self.runtime.clone().container_status(call(request)).await?.into_inner();
        answer.status.ok_or_else(|| Status::internal(format!("ContainerStatus {id}: answer without status")))
    }

    /// Gives a running container other limits; zero leaves one as it is.
    pub(crate) async fn update_container(&self, id: &str, linux: cri::LinuxContainerResources) -> Result<(), Status> {
        let request = cri::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(linux),
            ..Default::default()
        };
        self.runtime.clone().update_container_resources(call(request)).await.map(drop)
    }

    pub(crate) async fn exec_sync(
        &self,
        id: &str,
        cmd: Vec<String>,
        seconds: i64,
    ) -> Result<cri::ExecSyncResponse, Status> {
        let request = cri::ExecSyncRequest { container_id: id.to_owned(), cmd, timeout: seconds };
        // The runtime ends the command at its time-out; ours only guards against a runtime that does not.
        let request = timed(request, seconds.unsigned_abs() + 30);
        Ok(self.runtime.clone().exec_sync(request).await?.into_inner())
    }

    pub(crate) async fn exec(&self, request: cri::ExecRequest) -> Result<String, Status> {
        Ok(self.runtime.clone().exec(call(request)).await?.into_inner().url)
    }

    pub(crate) async fn attach(&self, request: cri::AttachRequest) -> Result<String, Status> {
        Ok(self.runtime.clone().attach(call(request)).await?.into_inner().url)
    }

    pub(crate) async fn port_forward(&self, request: cri::PortForwardRequest) -> Result<String, Status> {
        Ok(self.runtime.clone().port_forward(call(request)).await?.into_inner().url)
    }

    /// Begins a new log file at the container's log path; its old one was renamed.
    pub(crate) async fn reopen_log(&self, id: &str) -> Result<(), Status> {
        let request = cri::ReopenContainerLogRequest { container_id: id.to_owned() };
        self.runtime.clone().reopen_container_log(call(request)).await.map(drop)
    }

    pub(crate) async fn container_stats(&self) -> Result<Vec<cri::ContainerStats>, Status> {
        let request = cri::ListContainerStatsRequest::default();
        Ok(self.runtime.clone().list_container_stats(call(request)).await?.into_inner().stats)
    }

    /// The statistics of the containers of the pod `uid`.
    pub(crate) async fn container_stats_of(&self, uid: &str) -> Result<Vec<cri::ContainerStats>, Status> {
        let label_selector = [(crate::labels::POD_UID.to_owned(), uid.to_owned())].into();
        let filter = Some(cri::ContainerStatsFilter { label_selector, ..Default::default() });
        let request = cri::ListContainerStatsRequest { filter };
        Ok(self.runtime.clone().list_container_stats(call(request)).await?.into_inner().stats)
    }

    /// The runtime's events, until the connection ends.
    pub(crate) async fn events(&self) -> Result<Streaming<cri::ContainerEventResponse>, Status> {
        Ok(self.runtime.clone().get_container_events(Request::new(cri::GetEventsRequest {})).await?.into_inner())
    }

    pub(crate) async fn image(&self, spec: cri::ImageSpec) -> Result<Option<cri::Image>, Status> {
        let request = cri::ImageStatusRequest { image: Some(spec), verbose: false };
        Ok(self.images.clone().image_status(call(request)).await?.into_inner().image)
    }

    /// Every image.
    pub(crate) async fn list_images(&self) -> Result<Vec<cri::Image>, Status> {
        let request = cri::ListImagesRequest::default();
        Ok(self.images.clone().list_images(call(request)).await?.into_inner().images)
    }

    pub(crate) async fn remove_image(&self, id: &str) -> Result<(), Status> {
        let image = Some(cri::ImageSpec { image: id.to_owned(), ..Default::default() });
        forgiving(self.images.clone().remove_image(call(cri::RemoveImageRequest { image })).await.map(drop))
    }

    /// Where images are, if the runtime says it.
    pub(crate) async fn image_root(&self) -> Result<Option<String>, Status> {
        let answer = self.images.clone().image_fs_info(call(cri::ImageFsInfoRequest {})).await?.into_inner();
        let first = answer.image_filesystems.into_iter().next();
        Ok(first.and_then(|usage| usage.fs_id).map(|id| id.mountpoint).filter(|at| !at.is_empty()))
    }

    /// Pulls: without a limit of time, as images are as large as they are.
    pub(crate) async fn pull(
        &self,
        spec: cri::ImageSpec,
        auth: Option<cri::AuthConfig>,
        sandbox: cri::PodSandboxConfig,
    ) -> Result<String, Status> {
        let request = cri::PullImageRequest { image: Some(spec), auth, sandbox_config: Some(sandbox) };
        Ok(self.images.clone().pull_image(Request::new(request)).await?.into_inner().image_ref)
    }
}

/// What is to be gone and is not there is gone.
fn forgiving(result: Result<(), Status>) -> Result<(), Status> {
    match result {
        Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault N12.
    #[test]
    fn a_refusal_is_a_sentence() {
        assert_eq!(said(&Status::unknown("image a: not found")), "image a: not found");
        assert_eq!(said(&Status::deadline_exceeded("")), "Deadline expired before operation could complete");
    }

    #[tokio::test]
    async fn a_runtime_that_is_gone_is_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("cri.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let cri = Cri::connect(&format!("unix://{}", socket.display())).await.unwrap();
        drop(listener);
        std::fs::remove_file(&socket).unwrap();
        let words = said(&cri.version().await.unwrap_err());
        assert!(!words.contains("status:") && !words.contains('{') && !words.contains("Kind("), "{words}");
    }
}
