//! A plugin that stands for two GPUs.

use skiff_csi::call::channel;
use skiff_csi::deviceplugin::v1beta1 as words;
use skiff_csi::deviceplugin::v1beta1::device_plugin_server::{DevicePlugin, DevicePluginServer};
use skiff_csi::deviceplugin::v1beta1::registration_client::RegistrationClient;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

/// What it offers.
pub(crate) const RESOURCE: &str = "example.com/gpu";
type Reply<T> = Result<Response<T>, Status>;

/// Two GPUs, each with a variable, a mount, a device node, an annotation and a CDI name; what it is told is kept.
#[derive(Clone)]
pub(crate) struct Gpus {
    pub(crate) devices: watch::Sender<Vec<words::Device>>,
    pub(crate) told: Arc<Mutex<Vec<String>>>,
    /// What CDI calls such devices, if somebody has described them to the runtime.
    cdi: Option<&'static str>,
}

/// A device of it.
pub(crate) fn device(id: &str, health: &str) -> words::Device {
    let topology = (id == "gpu0").then(|| words::TopologyInfo { nodes: vec![words::NumaNode { id: 1 }] });
    words::Device { id: id.to_owned(), health: health.to_owned(), topology }
}

impl Gpus {
    fn tell(&self, what: String) {
        self.told.lock().unwrap().push(what);
    }
}

#[tonic::async_trait]
impl DevicePlugin for Gpus {
    type ListAndWatchStream = Pin<Box<dyn Stream<Item = Result<words::ListAndWatchResponse, Status>> + Send>>;

    async fn get_device_plugin_options(&self, _: Request<words::Empty>) -> Reply<words::DevicePluginOptions> {
        Ok(Response::new(words::DevicePluginOptions {
            pre_start_required: true,
            get_preferred_allocation_available: true,
        }))
    }

    async fn list_and_watch(&self, _: Request<words::Empty>) -> Reply<Self::ListAndWatchStream> {
        let list = |devices| Ok(words::ListAndWatchResponse { devices });
        // No list at all is how this plugin ends: its connection would outlive its server here.
        let lists = WatchStream::new(self.devices.subscribe()).take_while(|devices| !devices.is_empty());
        Ok(Response::new(Box::pin(lists.map(list))))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<words::PreferredAllocationRequest>,
    ) -> Reply<words::PreferredAllocationResponse> {
        let mut ids = request.into_inner().container_requests.remove(0).available_device_i_ds;
        ids.reverse();
        let container_responses = vec![words::ContainerPreferredAllocationResponse { device_i_ds: ids }];
        Ok(Response::new(words::PreferredAllocationResponse { container_responses }))
    }

    async fn allocate(&self, request: Request<words::AllocateRequest>) -> Reply<words::AllocateResponse> {
        let ids = request.into_inner().container_requests.remove(0).devices_ids;
        self.tell(format!("allocate {}", ids.join(",")));
        if ids.contains(&"broken".to_owned()) {
            return Err(Status::internal("no power"));
        }
        let path = |id: &String| format!("/dev/{id}");
        let node = |id: &String| words::DeviceSpec {
            container_path: path(id),
            host_path: "/dev/null".to_owned(),
            permissions: "rw".to_owned(),
        };
        let name = |kind: &str, id: &String| words::CdiDevice { name: format!("{kind}={id}") };
        let mount = words::Mount { container_path: "/gpu".to_owned(), host_path: "/usr".to_owned(), read_only: true };
        let answer = words::ContainerAllocateResponse {
            envs: [("GPUS".to_owned(), ids.join(","))].into(),
            mounts: vec![mount],
            devices: ids.iter().map(node).collect(),
            annotations: [("example.com/gpus".to_owned(), ids.len().to_string())].into(),
            cdi_devices: self.cdi.iter().flat_map(|kind| ids.iter().map(|id| name(kind, id))).collect(),
        };
        Ok(Response::new(words::AllocateResponse { container_responses: vec![answer] }))
    }

    async fn pre_start_container(
        &self,
        request: Request<words::PreStartContainerRequest>,
    ) -> Reply<words::PreStartContainerResponse> {
        self.tell(format!("start {}", request.into_inner().devices_ids.join(",")));
        Ok(Response::new(words::PreStartContainerResponse {}))
    }
}

/// A plugin that listens and has made itself known.
pub(crate) async fn plugin(folder: &Path, cdi: Option<&'static str>) -> (Gpus, JoinHandle<()>) {
    let devices = watch::Sender::new(vec![device("gpu0", "Healthy"), device("gpu1", "Healthy")]);
    let gpus = Gpus { devices, told: Arc::default(), cdi };
    let socket = folder.join("gpu.sock");
    let _gone = std::fs::remove_file(&socket);
    let listener = UnixListenerStream::new(tokio::net::UnixListener::bind(&socket).unwrap());
    let served = tonic::transport::Server::builder().add_service(DevicePluginServer::new(gpus.clone()));
    let server = tokio::spawn(async move { served.serve_with_incoming(listener).await.unwrap() });
    let request = words::RegisterRequest {
        version: "v1beta1".to_owned(),
        endpoint: "gpu.sock".to_owned(),
        resource_name: RESOURCE.to_owned(),
        options: None,
    };
    let mut kubelet = RegistrationClient::new(channel(&folder.join("kubelet.sock")));
    for _ in 0..100 {
        match kubelet.register(request.clone()).await {
            Ok(_) => return (gpus, server),
            Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "{}", status.message()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the kubelet's socket does not come");
}
