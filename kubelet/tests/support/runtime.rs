//! A runtime that only pretends: sandboxes and containers are entries in a table. An image's name says how the container
//! behaves: `exit-3` ends at once with 3, `missing` cannot be pulled, anything else runs until it is stopped.

use skiff_proto::cri::v1::image_service_server::{ImageService, ImageServiceServer};
use skiff_proto::cri::v1::runtime_service_server::{RuntimeService, RuntimeServiceServer};
use skiff_proto::cri::v1::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::net::UnixListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the runtime has, and what was asked of it.
pub(crate) struct Table {
    /// What sandboxes that are made now get as their address.
    pub ip: String,
    pub sandboxes: BTreeMap<String, (PodSandboxConfig, PodSandboxState, String)>,
    pub containers: BTreeMap<String, (ContainerConfig, ContainerStatus, String)>,
    pub calls: Vec<String>,
    pub network_is_down: bool,
    /// Pod ranges as they were announced.
    pub pod_ranges: Vec<String>,
    next: u32,
}

/// The runtime; clones share the table.
#[derive(Clone)]
pub(crate) struct FakeRuntime {
    pub table: Arc<Mutex<Table>>,
    events: broadcast::Sender<ContainerEventResponse>,
}

fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap()
}

impl FakeRuntime {
    pub(crate) fn new() -> Self {
        let table = Table {
            ip: "127.0.0.1".into(),
            sandboxes: BTreeMap::new(),
            containers: BTreeMap::new(),
            calls: Vec::new(),
            network_is_down: false,
            pod_ranges: Vec::new(),
            next: 0,
        };
        Self { table: Arc::new(Mutex::new(table)), events: broadcast::Sender::new(1024) }
    }

    /// Serves on `socket` for ever.
    pub(crate) fn serve(&self, socket: &Path) -> tokio::task::JoinHandle<()> {
        let incoming = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
        let server = tonic::transport::Server::builder()
            .add_service(RuntimeServiceServer::new(self.clone()))
            .add_service(ImageServiceServer::new(self.clone()));
        tokio::spawn(async move { server.serve_with_incoming(incoming).await.unwrap() })
    }

    /// Loses all sandboxes with what runs in them; new ones get the address `ip`. Nobody is told.
    pub(crate) fn lose_sandboxes(&self, ip: &str) {
        let mut table = self.table.lock().unwrap();
        table.ip = ip.to_owned();
        table.sandboxes.values_mut().for_each(|sandbox| sandbox.1 = PodSandboxState::SandboxNotready);
        for (_, status, _) in table.containers.values_mut() {
            status.set_state(ContainerState::ContainerExited);
            (status.exit_code, status.finished_at) = (137, now());
        }
    }

    /// Ends a container by itself.
    pub(crate) fn end(&self, id: &str, code: i32) {
        {
            let mut table = self.table.lock().unwrap();
            let status = &mut table.containers.get_mut(id).unwrap().1;
            if status.state() == ContainerState::ContainerExited {
                return;
            }
            status.set_state(ContainerState::ContainerExited);
            (status.exit_code, status.finished_at) = (code, now());
        }
        self.tell(id, ContainerEventType::ContainerStoppedEvent);
    }

    fn tell(&self, id: &str, kind: ContainerEventType) {
        let table = self.table.lock().unwrap();
        let Some((_, status, sandbox)) = table.containers.get(id) else { return };
        let event = ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind.into(),
            created_at: now(),
            pod_sandbox_status: sandbox_status(&table, sandbox),
            containers_statuses: vec![status.clone()],
        };
        let _nobody_listens = self.events.send(event);
    }

    fn note(&self, call: impl Into<String>) {
        self.table.lock().unwrap().calls.push(call.into());
    }
}

fn sandbox_status(table: &Table, id: &str) -> Option<PodSandboxStatus> {
    let (config, state, ip) = table.sandboxes.get(id)?;
    Some(PodSandboxStatus {
        id: id.to_owned(),
        metadata: config.metadata.clone(),
        state: (*state).into(),
        created_at: 1,
        network: Some(PodSandboxNetworkStatus { ip: ip.clone(), additional_ips: vec![] }),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        ..Default::default()
    })
}

fn has(labels: &std::collections::HashMap<String, String>, wanted: &std::collections::HashMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

macro_rules! not_here {
    ($($name:ident($request:ty) -> $answer:ty;)*) => {
        $(fn $name<'life0, 'async_trait>(&'life0 self, _: Request<$request>)
            -> Pin<Box<dyn Future<Output = Answer<$answer>> + Send + 'async_trait>>
        where 'life0: 'async_trait, Self: 'async_trait {
            Box::pin(async { Err(Status::unimplemented(stringify!($name))) })
        })*
    };
}

#[tonic::async_trait]
impl RuntimeService for FakeRuntime {
    type StreamPodSandboxesStream = Streamed<StreamPodSandboxesResponse>;
    type StreamContainersStream = Streamed<StreamContainersResponse>;
    type StreamContainerStatsStream = Streamed<StreamContainerStatsResponse>;
    type StreamPodSandboxStatsStream = Streamed<StreamPodSandboxStatsResponse>;
    type GetContainerEventsStream = Streamed<ContainerEventResponse>;
    type StreamPodSandboxMetricsStream = Streamed<StreamPodSandboxMetricsResponse>;

    async fn version(&self, _: Request<VersionRequest>) -> Answer<VersionResponse> {
        Ok(Response::new(VersionResponse {
            runtime_name: "fake".into(),
            runtime_version: "1".into(),
            ..Default::default()
        }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Answer<StatusResponse> {
        let network = !self.table.lock().unwrap().network_is_down;
        let condition = |kind: &str, status| RuntimeCondition { r#type: kind.into(), status, ..Default::default() };
        let conditions = vec![condition("RuntimeReady", true), condition("NetworkReady", network)];
        Ok(Response::new(StatusResponse { status: Some(RuntimeStatus { conditions }), ..Default::default() }))
    }

    async fn run_pod_sandbox(&self, request: Request<RunPodSandboxRequest>) -> Answer<RunPodSandboxResponse> {
        let config = request.into_inner().config.unwrap();
        let mut table = self.table.lock().unwrap();
        table.next += 1;
        let id = format!("s{}", table.next);
        table.calls.push(format!("run {}", config.metadata.as_ref().unwrap().name));
        let ip = table.ip.clone();
        table.sandboxes.insert(id.clone(), (config, PodSandboxState::SandboxReady, ip));
        Ok(Response::new(RunPodSandboxResponse { pod_sandbox_id: id }))
    }

    async fn stop_pod_sandbox(&self, request: Request<StopPodSandboxRequest>) -> Answer<StopPodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let mut table = self.table.lock().unwrap();
        if let Some(sandbox) = table.sandboxes.get_mut(&id) {
            sandbox.1 = PodSandboxState::SandboxNotready;
        }
        Ok(Response::new(StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(&self, request: Request<RemovePodSandboxRequest>) -> Answer<RemovePodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let mut table = self.table.lock().unwrap();
        table.sandboxes.remove(&id);
        table.containers.retain(|_, container| container.2 != id);
        Ok(Response::new(RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(&self, request: Request<PodSandboxStatusRequest>) -> Answer<PodSandboxStatusResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let status = sandbox_status(&self.table.lock().unwrap(), &id);
        let status = Some(status.ok_or_else(|| Status::not_found(id))?);
        Ok(Response::new(PodSandboxStatusResponse { status, ..Default::default() }))
    }

    async fn list_pod_sandbox(&self, request: Request<ListPodSandboxRequest>) -> Answer<ListPodSandboxResponse> {
        let wanted = request.into_inner().filter.unwrap_or_default().label_selector;
        let table = self.table.lock().unwrap();
        let ours = table.sandboxes.iter().filter(|(_, (config, ..))| has(&config.labels, &wanted));
        let items = ours.map(|(id, (config, state, _))| PodSandbox {
            id: id.clone(),
            metadata: config.metadata.clone(),
            state: (*state).into(),
            labels: config.labels.clone(),
            ..Default::default()
        });
        Ok(Response::new(ListPodSandboxResponse { items: items.collect() }))
    }

    async fn create_container(&self, request: Request<CreateContainerRequest>) -> Answer<CreateContainerResponse> {
        let request = request.into_inner();
        let config = request.config.unwrap();
        let mut table = self.table.lock().unwrap();
        table.next += 1;
        let id = format!("c{}", table.next);
        table.calls.push(format!("create {}", config.metadata.as_ref().unwrap().name));
        let status = ContainerStatus {
            id: id.clone(),
            metadata: config.metadata.clone(),
            state: ContainerState::ContainerCreated.into(),
            created_at: now(),
            image: config.image.clone(),
            image_ref: "sha256:fake".into(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            ..Default::default()
        };
        table.containers.insert(id.clone(), (config, status, request.pod_sandbox_id));
        Ok(Response::new(CreateContainerResponse { container_id: id }))
    }

    async fn start_container(&self, request: Request<StartContainerRequest>) -> Answer<StartContainerResponse> {
        let id = request.into_inner().container_id;
        let image = {
            let mut table = self.table.lock().unwrap();
            let (config, status, _) = table.containers.get_mut(&id).ok_or_else(|| Status::not_found(id.clone()))?;
            status.set_state(ContainerState::ContainerRunning);
            status.started_at = now();
            config.image.clone().unwrap_or_default().image
        };
        self.tell(&id, ContainerEventType::ContainerStartedEvent);
        if let Some(code) = image.strip_prefix("exit-") {
            self.end(&id, code.parse().unwrap());
        }
        Ok(Response::new(StartContainerResponse {}))
    }

    async fn stop_container(&self, request: Request<StopContainerRequest>) -> Answer<StopContainerResponse> {
        let request = request.into_inner();
        self.note(format!("stop {}", request.timeout));
        if self.table.lock().unwrap().containers.contains_key(&request.container_id) {
            self.end(&request.container_id, 0);
        }
        Ok(Response::new(StopContainerResponse {}))
    }

    async fn remove_container(&self, request: Request<RemoveContainerRequest>) -> Answer<RemoveContainerResponse> {
        self.table.lock().unwrap().containers.remove(&request.into_inner().container_id);
        Ok(Response::new(RemoveContainerResponse {}))
    }

    async fn list_containers(&self, request: Request<ListContainersRequest>) -> Answer<ListContainersResponse> {
        let wanted = request.into_inner().filter.unwrap_or_default().label_selector;
        let table = self.table.lock().unwrap();
        let ours = table.containers.iter().filter(|(_, (config, ..))| has(&config.labels, &wanted));
        let containers = ours.map(|(id, (config, status, sandbox))| Container {
            id: id.clone(),
            pod_sandbox_id: sandbox.clone(),
            state: status.state,
            labels: config.labels.clone(),
            ..Default::default()
        });
        Ok(Response::new(ListContainersResponse { containers: containers.collect() }))
    }

    async fn container_status(&self, request: Request<ContainerStatusRequest>) -> Answer<ContainerStatusResponse> {
        let id = request.into_inner().container_id;
        let status = self.table.lock().unwrap().containers.get(&id).map(|container| container.1.clone());
        let status = Some(status.ok_or_else(|| Status::not_found(id))?);
        Ok(Response::new(ContainerStatusResponse { status, ..Default::default() }))
    }

    async fn exec_sync(&self, request: Request<ExecSyncRequest>) -> Answer<ExecSyncResponse> {
        let request = request.into_inner();
        self.note(format!("exec {}", request.cmd.join(" ")));
        let exit_code = i32::from(request.cmd.first().is_some_and(|word| word == "false"));
        Ok(Response::new(ExecSyncResponse { exit_code, ..Default::default() }))
    }

    async fn update_container_resources(
        &self,
        request: Request<UpdateContainerResourcesRequest>,
    ) -> Answer<UpdateContainerResourcesResponse> {
        let linux = request.into_inner().linux.unwrap_or_default();
        self.note(format!("update shares {} memory {}", linux.cpu_shares, linux.memory_limit_in_bytes));
        Ok(Response::new(UpdateContainerResourcesResponse {}))
    }

    async fn list_container_stats(&self, _: Request<ListContainerStatsRequest>) -> Answer<ListContainerStatsResponse> {
        Ok(Response::new(ListContainerStatsResponse::default()))
    }

    async fn update_runtime_config(
        &self,
        request: Request<UpdateRuntimeConfigRequest>,
    ) -> Answer<UpdateRuntimeConfigResponse> {
        let network = request.into_inner().runtime_config.and_then(|config| config.network_config);
        self.table.lock().unwrap().pod_ranges.extend(network.map(|network| network.pod_cidr));
        Ok(Response::new(UpdateRuntimeConfigResponse {}))
    }

    async fn get_container_events(&self, _: Request<GetEventsRequest>) -> Answer<Self::GetContainerEventsStream> {
        let events = BroadcastStream::new(self.events.subscribe());
        Ok(Response::new(Box::pin(events.filter_map(|event| event.ok().map(Ok)))))
    }

    not_here! {
        stream_pod_sandboxes(StreamPodSandboxesRequest) -> Self::StreamPodSandboxesStream;
        stream_containers(StreamContainersRequest) -> Self::StreamContainersStream;
        reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse;
        exec(ExecRequest) -> ExecResponse;
        attach(AttachRequest) -> AttachResponse;
        port_forward(PortForwardRequest) -> PortForwardResponse;
        container_stats(ContainerStatsRequest) -> ContainerStatsResponse;
        stream_container_stats(StreamContainerStatsRequest) -> Self::StreamContainerStatsStream;
        pod_sandbox_stats(PodSandboxStatsRequest) -> PodSandboxStatsResponse;
        list_pod_sandbox_stats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse;
        stream_pod_sandbox_stats(StreamPodSandboxStatsRequest) -> Self::StreamPodSandboxStatsStream;
        checkpoint_container(CheckpointContainerRequest) -> CheckpointContainerResponse;
        checkpoint_pod(CheckpointPodRequest) -> CheckpointPodResponse;
        restore_pod(RestorePodRequest) -> RestorePodResponse;
        list_metric_descriptors(ListMetricDescriptorsRequest) -> ListMetricDescriptorsResponse;
        list_pod_sandbox_metrics(ListPodSandboxMetricsRequest) -> ListPodSandboxMetricsResponse;
        stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest) -> Self::StreamPodSandboxMetricsStream;
        runtime_config(RuntimeConfigRequest) -> RuntimeConfigResponse;
        update_pod_sandbox_resources(UpdatePodSandboxResourcesRequest) -> UpdatePodSandboxResourcesResponse;
    }
}

#[tonic::async_trait]
impl ImageService for FakeRuntime {
    type StreamImagesStream = Streamed<StreamImagesResponse>;

    async fn image_status(&self, request: Request<ImageStatusRequest>) -> Answer<ImageStatusResponse> {
        let name = request.into_inner().image.unwrap_or_default().image;
        let image = (!name.starts_with("missing")).then(|| Image { id: name, size: 1, ..Default::default() });
        Ok(Response::new(ImageStatusResponse { image, ..Default::default() }))
    }

    async fn pull_image(&self, request: Request<PullImageRequest>) -> Answer<PullImageResponse> {
        let name = request.into_inner().image.unwrap_or_default().image;
        if name.starts_with("missing") {
            return Err(Status::not_found(format!("no registry has {name}")));
        }
        Ok(Response::new(PullImageResponse { image_ref: name }))
    }

    not_here! {
        list_images(ListImagesRequest) -> ListImagesResponse;
        stream_images(StreamImagesRequest) -> Self::StreamImagesStream;
        remove_image(RemoveImageRequest) -> RemoveImageResponse;
        image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse;
    }
}
