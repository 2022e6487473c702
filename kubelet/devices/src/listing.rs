//! The API for monitors: which container has which devices (`pod-resources`, v1).
//!
//! Processors, memory and devices of claims are not in it: nothing on the node hands out the former, and the kubelet tells of claims in
//! statuses.

use crate::ledger::{Held, Holder};
use crate::manager::Devices;
use crate::socket::listen;
use skiff_csi::podresources::v1 as words;
use skiff_csi::podresources::v1::pod_resources_lister_server::{PodResourcesLister, PodResourcesListerServer};
use std::collections::BTreeMap;
use std::path::Path;
use tonic::{Request, Response, Status};

/// A pod of the node that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodNames {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its containers that stay: not those that only prepare it.
    pub containers: Vec<String>,
}

/// The pods of the node, whenever somebody asks.
type Pods = Box<dyn Fn() -> Vec<PodNames> + Send + Sync>;

/// Serves monitors at `path` with what `devices` and `pods` say; ends only when it cannot.
///
/// # Errors
/// The socket cannot be made, or stops serving.
pub async fn serve(devices: Devices, path: &Path, pods: Pods) -> Result<(), String> {
    let wrong = |error: String| format!("listen for monitors of devices at {}: {error}", path.display());
    let incoming = listen(path).map_err(|error| wrong(error.to_string()))?;
    let service = PodResourcesListerServer::new(Service { devices, pods });
    let served = tonic::transport::Server::builder().add_service(service);
    served.serve_with_incoming(incoming).await.map_err(|error| wrong(error.to_string()))
}

struct Service {
    devices: Devices,
    pods: Pods,
}

/// An entry for each device and NUMA node that it is near to, as the kubelet's.
fn entries<'a>(
    resource: &str,
    devices: impl IntoIterator<Item = (&'a String, &'a Vec<i64>)>,
) -> Vec<words::ContainerDevices> {
    let entry = |id: &String, topology| words::ContainerDevices {
        resource_name: resource.to_owned(),
        device_ids: vec![id.clone()],
        topology,
    };
    let mut entries = Vec::new();
    for (id, nodes) in devices {
        if nodes.is_empty() {
            entries.push(entry(id, None));
        }
        let near = |id: i64| words::TopologyInfo { nodes: vec![words::NumaNode { id }] };
        entries.extend(nodes.iter().map(|node| entry(id, Some(near(*node)))));
    }
    entries
}

impl Service {
    fn of(&self, pod: PodNames) -> words::PodResources {
        let container = |name: String| {
            let holder: Holder = (pod.uid.clone(), name);
            let held: BTreeMap<String, Held> = self.devices.held(&holder);
            let devices = held.iter().flat_map(|(resource, held)| entries(resource, &held.devices)).collect();
            words::ContainerResources { name: holder.1, devices, ..Default::default() }
        };
        let containers = pod.containers.iter().cloned().map(container).collect();
        words::PodResources { name: pod.name, namespace: pod.namespace, containers }
    }
}

#[tonic::async_trait]
impl PodResourcesLister for Service {
    async fn list(
        &self,
        _: Request<words::ListPodResourcesRequest>,
    ) -> Result<Response<words::ListPodResourcesResponse>, Status> {
        let pod_resources = (self.pods)().into_iter().map(|pod| self.of(pod)).collect();
        Ok(Response::new(words::ListPodResourcesResponse { pod_resources }))
    }

    async fn get_allocatable_resources(
        &self,
        _: Request<words::AllocatableResourcesRequest>,
    ) -> Result<Response<words::AllocatableResourcesResponse>, Status> {
        let healthy = self.devices.healthy();
        let devices = healthy.iter().flat_map(|(resource, devices)| entries(resource, devices)).collect();
        Ok(Response::new(words::AllocatableResourcesResponse { devices, ..Default::default() }))
    }

    async fn get(
        &self,
        request: Request<words::GetPodResourcesRequest>,
    ) -> Result<Response<words::GetPodResourcesResponse>, Status> {
        let words::GetPodResourcesRequest { pod_name, pod_namespace } = request.into_inner();
        let mut pods = (self.pods)().into_iter();
        let found = pods.find(|pod| (&pod.name, &pod.namespace) == (&pod_name, &pod_namespace));
        // The kubelet's own answer has no code but "unknown".
        let found =
            found.ok_or_else(|| Status::unknown(format!("pod {pod_name} in namespace {pod_namespace} not found")))?;
        Ok(Response::new(words::GetPodResourcesResponse { pod_resources: Some(self.of(found)) }))
    }
}
