//! One plugin, and how it is called.

use skiff_csi::call::{channel, said};
use skiff_csi::deviceplugin::v1beta1 as words;
use skiff_csi::deviceplugin::v1beta1::device_plugin_client::DevicePluginClient;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

/// How long a plugin may take to listen at its socket (the kubelet's time to dial it).
const MEET: Duration = Duration::from_secs(10);
/// How often that is tried.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a plugin may take to hand devices out. Kubernetes sets no limit; here a pod that waits for ever would keep others waiting.
const ALLOCATE: Duration = Duration::from_secs(60);
/// How long a plugin may take before a container starts (`KubeletPreStartContainerRPCTimeoutInSecs`).
const PRE_START: Duration = Duration::from_secs(30);

/// A plugin that listens. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Plugin {
    client: DevicePluginClient<Channel>,
    options: words::DevicePluginOptions,
}

fn within<T>(time: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(time);
    request
}

impl Plugin {
    /// Asks the plugin at `endpoint` what it can do.
    ///
    /// # Errors
    /// Nobody listens there, or it does not say.
    pub(crate) async fn meet(endpoint: &Path) -> Result<Self, String> {
        let mut client = DevicePluginClient::new(channel(endpoint));
        let begun = Instant::now();
        loop {
            match client.get_device_plugin_options(within(MEET, words::Empty {})).await {
                Ok(options) => return Ok(Self { client, options: options.into_inner() }),
                Err(status) if status.code() == Code::Unavailable && begun.elapsed() < MEET => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(status) if status.code() == Code::Unavailable => {
                    return Err(format!("failed to dial device plugin: {}: {}", endpoint.display(), said(&status)));
                }
                Err(status) => return Err(format!("failed to get device plugin options: {}", said(&status))),
            }
        }
    }

    /// All devices, again with each change.
    pub(crate) async fn list(&self) -> Result<Streaming<words::ListAndWatchResponse>, Status> {
        Ok(self.client.clone().list_and_watch(words::Empty {}).await?.into_inner())
    }

    /// Which `size` of `available` devices go well together, `taken` ones among them; none if it has no preference.
    pub(crate) async fn prefer(
        &self,
        available: BTreeSet<String>,
        taken: BTreeSet<String>,
        size: usize,
    ) -> Result<Vec<String>, String> {
        if !self.options.get_preferred_allocation_available {
            return Ok(Vec::new());
        }
        let request = words::ContainerPreferredAllocationRequest {
            available_device_i_ds: available.into_iter().collect(),
            must_include_device_i_ds: taken.into_iter().collect(),
            allocation_size: i32::try_from(size).unwrap_or(i32::MAX),
        };
        let request = within(ALLOCATE, words::PreferredAllocationRequest { container_requests: vec![request] });
        let answer =
            self.client.clone().get_preferred_allocation(request).await.map_err(|status| {
                format!("device plugin GetPreferredAllocation rpc failed with err: {}", said(&status))
            })?;
        let first = answer.into_inner().container_responses.into_iter().next();
        Ok(first.map(|first| first.device_i_ds).unwrap_or_default())
    }

    /// Has devices made ready for a container.
    pub(crate) async fn allocate(&self, ids: Vec<String>) -> Result<words::ContainerAllocateResponse, String> {
        let request =
            words::AllocateRequest { container_requests: vec![words::ContainerAllocateRequest { devices_ids: ids }] };
        let answer = self.client.clone().allocate(within(ALLOCATE, request)).await;
        let answer = answer.map_err(|status| said(&status))?.into_inner();
        let first = answer.container_responses.into_iter().next();
        first.ok_or_else(|| "no containers return in allocation response".to_owned())
    }

    /// Tells the plugin that a container with these devices is about to start, if it wants to know.
    pub(crate) async fn before_start(&self, ids: Vec<String>) -> Result<(), String> {
        if !self.options.pre_start_required {
            return Ok(());
        }
        let request = within(PRE_START, words::PreStartContainerRequest { devices_ids: ids });
        let told = self.client.clone().pre_start_container(request).await;
        told.map(drop)
            .map_err(|status| format!("device plugin PreStartContainer rpc failed with err: {}", said(&status)))
    }
}
