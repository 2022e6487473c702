//! `runtime.v1.RuntimeService`.

use super::{Answer, absent_is_fine, has_labels, to_the_end, unimplemented};
use crate::admit::known;
use crate::disk::{ContainerRecord, SandboxRecord};
use crate::error::CriError;
use crate::sandbox::blocking;
use crate::state::{Container, Service, now_ns};
use crate::status;
use futures::{Stream, StreamExt};
use skiff_proto::cri::v1 as pb;
use skiff_streams::{AttachRequest, ExecRequest, PortForwardRequest, StreamServer};
use skiff_supervise::wire::Request as Ask;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::Empty;
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

/// Serves sandboxes and containers.
pub(crate) struct RuntimeServer(pub(crate) Arc<Service>);

type Never<T> = Empty<Result<T, Status>>;

impl RuntimeServer {
    fn streams(&self) -> Result<&StreamServer, Status> {
        self.0.streams.get().ok_or_else(|| Status::unavailable("streams: the stream server does not listen yet"))
    }

    fn record_of(&self, id: &str) -> Result<ContainerRecord, CriError> {
        let record = self.0.container(id)?.record();
        if status::is_visible(&record) {
            Ok(record)
        } else {
            Err(CriError::NotFound { kind: "container", id: id.to_owned() })
        }
    }

    async fn stats_of(&self, wanted: Vec<Arc<Container>>) -> Result<Vec<pb::ContainerStats>, CriError> {
        let service = self.0.clone();
        blocking(move || wanted.iter().map(|container| service.container_stats(container)).collect()).await
    }
}

#[tonic::async_trait]
impl pb::runtime_service_server::RuntimeService for RuntimeServer {
    type StreamPodSandboxesStream = Never<pb::StreamPodSandboxesResponse>;
    type StreamContainersStream = Never<pb::StreamContainersResponse>;
    type StreamContainerStatsStream = Never<pb::StreamContainerStatsResponse>;
    type StreamPodSandboxStatsStream = Never<pb::StreamPodSandboxStatsResponse>;
    type StreamPodSandboxMetricsStream = Never<pb::StreamPodSandboxMetricsResponse>;
    type GetContainerEventsStream = Pin<Box<dyn Stream<Item = Result<pb::ContainerEventResponse, Status>> + Send>>;

    async fn version(&self, _: Request<pb::VersionRequest>) -> Answer<pb::VersionResponse> {
        Ok(Response::new(pb::VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "skiff".to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_api_version: "v1".to_owned(),
        }))
    }

    async fn status(&self, request: Request<pb::StatusRequest>) -> Answer<pb::StatusResponse> {
        Ok(Response::new(self.0.status(request.into_inner().verbose)))
    }

    async fn runtime_config(&self, _: Request<pb::RuntimeConfigRequest>) -> Answer<pb::RuntimeConfigResponse> {
        let linux = pb::LinuxRuntimeConfiguration { cgroup_driver: pb::CgroupDriver::Cgroupfs as i32 };
        Ok(Response::new(pb::RuntimeConfigResponse { linux: Some(linux) }))
    }

    async fn run_pod_sandbox(&self, request: Request<pb::RunPodSandboxRequest>) -> Answer<pb::RunPodSandboxResponse> {
        let pb::RunPodSandboxRequest { config, runtime_handler } = request.into_inner();
        let config = config.ok_or_else(|| Status::invalid_argument("sandbox: config is missing"))?;
        let service = self.0.clone();
        let pod_sandbox_id = to_the_end(async move { service.run_sandbox(config, runtime_handler).await }).await?;
        Ok(Response::new(pb::RunPodSandboxResponse { pod_sandbox_id }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<pb::StopPodSandboxRequest>,
    ) -> Answer<pb::StopPodSandboxResponse> {
        if let Some(sandbox) = absent_is_fine(self.0.sandbox(&request.into_inner().pod_sandbox_id))? {
            let service = self.0.clone();
            to_the_end(async move { service.stop_sandbox(&sandbox).await }).await?;
        }
        Ok(Response::new(pb::StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<pb::RemovePodSandboxRequest>,
    ) -> Answer<pb::RemovePodSandboxResponse> {
        if let Some(sandbox) = absent_is_fine(self.0.sandbox(&request.into_inner().pod_sandbox_id))? {
            let service = self.0.clone();
            to_the_end(async move { service.remove_sandbox(&sandbox).await }).await?;
        }
        Ok(Response::new(pb::RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<pb::PodSandboxStatusRequest>,
    ) -> Answer<pb::PodSandboxStatusResponse> {
        let request = request.into_inner();
        let record = self.0.sandbox(&request.pod_sandbox_id)?.record();
        Ok(Response::new(pb::PodSandboxStatusResponse {
            status: Some(status::sandbox_status(&record)),
            info: if request.verbose { status::sandbox_info(&record) } else { Default::default() },
            containers_statuses: self.0.container_statuses(&record.id),
            timestamp: now_ns(),
        }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<pb::ListPodSandboxRequest>,
    ) -> Answer<pb::ListPodSandboxResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        if let Some(wanted) = &filter.state {
            known::<pb::PodSandboxState>("filter.state", wanted.state)?;
        }
        let wanted = |record: &SandboxRecord| {
            record.id.starts_with(&filter.id)
                && filter.state.as_ref().is_none_or(|state| state.state == status::sandbox_state(record) as i32)
                && has_labels(&record.config.labels, &filter.label_selector)
        };
        let records = self.0.sandboxes().into_iter().map(|sandbox| sandbox.record());
        let items = records.filter(wanted).map(|record| status::sandbox_item(&record)).collect();
        Ok(Response::new(pb::ListPodSandboxResponse { items }))
    }

    async fn create_container(
        &self,
        request: Request<pb::CreateContainerRequest>,
    ) -> Answer<pb::CreateContainerResponse> {
        let request = request.into_inner();
        let config = request.config.ok_or_else(|| Status::invalid_argument("container: config is missing"))?;
        let (service, sandbox) = (self.0.clone(), self.0.sandbox(&request.pod_sandbox_id)?);
        let container_id = to_the_end(async move { service.create_container(&sandbox, config).await }).await?;
        Ok(Response::new(pb::CreateContainerResponse { container_id }))
    }

    async fn start_container(&self, request: Request<pb::StartContainerRequest>) -> Answer<pb::StartContainerResponse> {
        let (service, container) = (self.0.clone(), self.0.container(&request.into_inner().container_id)?);
        to_the_end(async move { service.start_container(&container).await }).await?;
        Ok(Response::new(pb::StartContainerResponse {}))
    }

    async fn stop_container(&self, request: Request<pb::StopContainerRequest>) -> Answer<pb::StopContainerResponse> {
        let request = request.into_inner();
        let grace = Duration::from_secs(u64::try_from(request.timeout).unwrap_or(0));
        if let Some(container) = absent_is_fine(self.0.container(&request.container_id))? {
            let service = self.0.clone();
            to_the_end(async move { service.stop_container(&container, grace).await }).await?;
        }
        Ok(Response::new(pb::StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<pb::RemoveContainerRequest>,
    ) -> Answer<pb::RemoveContainerResponse> {
        if let Some(container) = absent_is_fine(self.0.container(&request.into_inner().container_id))? {
            let service = self.0.clone();
            to_the_end(async move { service.remove_container(&container).await }).await?;
        }
        Ok(Response::new(pb::RemoveContainerResponse {}))
    }

    async fn list_containers(&self, request: Request<pb::ListContainersRequest>) -> Answer<pb::ListContainersResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        if let Some(wanted) = &filter.state {
            known::<pb::ContainerState>("filter.state", wanted.state)?;
        }
        let wanted = |record: &ContainerRecord| {
            status::is_visible(record)
                && record.id.starts_with(&filter.id)
                && record.sandbox_id.starts_with(&filter.pod_sandbox_id)
                && filter.state.as_ref().is_none_or(|state| state.state == status::container_state(record) as i32)
                && has_labels(&record.config.labels, &filter.label_selector)
        };
        let records = self.0.containers().into_iter().map(|container: Arc<Container>| container.record());
        let containers = records.filter(wanted).map(|record| status::container_item(&record)).collect();
        Ok(Response::new(pb::ListContainersResponse { containers }))
    }

    async fn container_status(
        &self,
        request: Request<pb::ContainerStatusRequest>,
    ) -> Answer<pb::ContainerStatusResponse> {
        let request = request.into_inner();
        let record = self.record_of(&request.container_id)?;
        Ok(Response::new(pb::ContainerStatusResponse {
            status: Some(status::container_status(&record)),
            info: if request.verbose { status::container_info(&record) } else { Default::default() },
        }))
    }

    async fn update_container_resources(
        &self,
        request: Request<pb::UpdateContainerResourcesRequest>,
    ) -> Answer<pb::UpdateContainerResourcesResponse> {
        let request = request.into_inner();
        let (service, container) = (self.0.clone(), self.0.container(&request.container_id)?);
        let wanted = crate::update::wanted(request)?;
        to_the_end(async move { service.update_container(&container, wanted).await }).await?;
        Ok(Response::new(pb::UpdateContainerResourcesResponse {}))
    }

    async fn reopen_container_log(
        &self,
        request: Request<pb::ReopenContainerLogRequest>,
    ) -> Answer<pb::ReopenContainerLogResponse> {
        let record = self.0.running(&request.into_inner().container_id)?;
        let dir = crate::sandbox::folder(&self.0, &record.sandbox_id);
        crate::supervisor::ask(&dir, &Ask::ReopenLog { container: record.id }).await?;
        Ok(Response::new(pb::ReopenContainerLogResponse {}))
    }

    async fn exec_sync(&self, request: Request<pb::ExecSyncRequest>) -> Answer<pb::ExecSyncResponse> {
        let pb::ExecSyncRequest { container_id, cmd, timeout } = request.into_inner();
        let timeout = Duration::from_secs(u64::try_from(timeout).unwrap_or(0));
        Ok(Response::new(self.0.exec_sync(&container_id, &cmd, timeout).await?))
    }

    async fn exec(&self, request: Request<pb::ExecRequest>) -> Answer<pb::ExecResponse> {
        let pb::ExecRequest { container_id, cmd, tty, stdin, stdout, stderr } = request.into_inner();
        if tty && stderr {
            return Err(Status::invalid_argument("exec: tty and stderr exclude each other"));
        }
        let container_id = self.0.running(&container_id)?.id;
        let url = self.streams()?.exec_url(ExecRequest { container_id, command: cmd, tty, stdin, stdout, stderr });
        Ok(Response::new(pb::ExecResponse { url }))
    }

    async fn attach(&self, request: Request<pb::AttachRequest>) -> Answer<pb::AttachResponse> {
        let pb::AttachRequest { container_id, stdin, tty, stdout, stderr } = request.into_inner();
        if tty && stderr {
            return Err(Status::invalid_argument("attach: tty and stderr exclude each other"));
        }
        let container_id = self.0.running(&container_id)?.id;
        let url = self.streams()?.attach_url(AttachRequest { container_id, tty, stdin, stdout, stderr });
        Ok(Response::new(pb::AttachResponse { url }))
    }

    async fn port_forward(&self, request: Request<pb::PortForwardRequest>) -> Answer<pb::PortForwardResponse> {
        let pb::PortForwardRequest { pod_sandbox_id, port } = request.into_inner();
        let sandbox_id = self.0.sandbox(&pod_sandbox_id)?.record().id;
        let ports = port.into_iter().map(|port| {
            u16::try_from(port).map_err(|_| Status::invalid_argument(format!("port forward: {port} is no port")))
        });
        let ports = ports.collect::<Result<_, _>>()?;
        let url = self.streams()?.port_forward_url(PortForwardRequest { sandbox_id, ports });
        Ok(Response::new(pb::PortForwardResponse { url }))
    }

    async fn container_stats(&self, request: Request<pb::ContainerStatsRequest>) -> Answer<pb::ContainerStatsResponse> {
        let id = self.record_of(&request.into_inner().container_id)?.id;
        let mut stats = self.stats_of(vec![self.0.container(&id)?]).await?;
        Ok(Response::new(pb::ContainerStatsResponse { stats: stats.pop() }))
    }

    async fn list_container_stats(
        &self,
        request: Request<pb::ListContainerStatsRequest>,
    ) -> Answer<pb::ListContainerStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let mut wanted = self.0.containers();
        wanted.retain(|container| {
            let record = container.record();
            status::is_visible(&record)
                && record.id.starts_with(&filter.id)
                && record.sandbox_id.starts_with(&filter.pod_sandbox_id)
                && has_labels(&record.config.labels, &filter.label_selector)
        });
        Ok(Response::new(pb::ListContainerStatsResponse { stats: self.stats_of(wanted).await? }))
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<pb::PodSandboxStatsRequest>,
    ) -> Answer<pb::PodSandboxStatsResponse> {
        let (service, sandbox) = (self.0.clone(), self.0.sandbox(&request.into_inner().pod_sandbox_id)?);
        let stats = blocking(move || service.sandbox_stats(&sandbox)).await?;
        Ok(Response::new(pb::PodSandboxStatsResponse { stats: Some(stats) }))
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<pb::ListPodSandboxStatsRequest>,
    ) -> Answer<pb::ListPodSandboxStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let mut wanted = self.0.sandboxes();
        wanted.retain(|sandbox| {
            let record = sandbox.record();
            record.id.starts_with(&filter.id) && has_labels(&record.config.labels, &filter.label_selector)
        });
        let service = self.0.clone();
        let stats = blocking(move || wanted.iter().map(|sandbox| service.sandbox_stats(sandbox)).collect()).await?;
        Ok(Response::new(pb::ListPodSandboxStatsResponse { stats }))
    }

    async fn get_container_events(&self, _: Request<pb::GetEventsRequest>) -> Answer<Self::GetContainerEventsStream> {
        // A listener that missed events must list again, so its stream ends.
        let events = BroadcastStream::new(self.0.events.subscribe())
            .map(|event| event.map_err(|error| Status::data_loss(format!("events: {error}; list again"))));
        Ok(Response::new(Box::pin(events)))
    }

    async fn update_runtime_config(
        &self,
        request: Request<pb::UpdateRuntimeConfigRequest>,
    ) -> Answer<pb::UpdateRuntimeConfigResponse> {
        let network = request.into_inner().runtime_config.and_then(|config| config.network_config);
        if let Some(network) = network.filter(|network| !network.pod_cidr.is_empty()) {
            self.0.networks.use_pod_cidr(&network.pod_cidr).await?;
        }
        Ok(Response::new(pb::UpdateRuntimeConfigResponse {}))
    }

    async fn stream_pod_sandboxes(
        &self,
        _: Request<pb::StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        unimplemented("StreamPodSandboxes (use ListPodSandbox)")
    }

    async fn stream_containers(&self, _: Request<pb::StreamContainersRequest>) -> Answer<Self::StreamContainersStream> {
        unimplemented("StreamContainers (use ListContainers)")
    }

    async fn stream_container_stats(
        &self,
        _: Request<pb::StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        unimplemented("StreamContainerStats (use ListContainerStats)")
    }

    async fn stream_pod_sandbox_stats(
        &self,
        _: Request<pb::StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        unimplemented("StreamPodSandboxStats (use ListPodSandboxStats)")
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        _: Request<pb::StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        unimplemented("StreamPodSandboxMetrics")
    }

    async fn checkpoint_container(
        &self,
        _: Request<pb::CheckpointContainerRequest>,
    ) -> Answer<pb::CheckpointContainerResponse> {
        unimplemented("CheckpointContainer")
    }

    async fn checkpoint_pod(&self, _: Request<pb::CheckpointPodRequest>) -> Answer<pb::CheckpointPodResponse> {
        unimplemented("CheckpointPod")
    }

    async fn restore_pod(&self, _: Request<pb::RestorePodRequest>) -> Answer<pb::RestorePodResponse> {
        unimplemented("RestorePod")
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<pb::ListMetricDescriptorsRequest>,
    ) -> Answer<pb::ListMetricDescriptorsResponse> {
        unimplemented("ListMetricDescriptors")
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<pb::ListPodSandboxMetricsRequest>,
    ) -> Answer<pb::ListPodSandboxMetricsResponse> {
        unimplemented("ListPodSandboxMetrics")
    }

    async fn update_pod_sandbox_resources(
        &self,
        _: Request<pb::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<pb::UpdatePodSandboxResourcesResponse> {
        unimplemented("UpdatePodSandboxResources")
    }
}
