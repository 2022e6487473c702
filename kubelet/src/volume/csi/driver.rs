//! One driver, and how it is called.

use skiff_csi::call::{channel, said};
use skiff_csi::csi::v1 as csi;
use skiff_csi::csi::v1::node_client::NodeClient;
use skiff_csi::csi::v1::node_service_capability::Type;
use skiff_csi::csi::v1::node_service_capability::rpc::Type as Rpc;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// How long a driver may take for one thing (the kubelet's time for CSI calls).
const CALL: Duration = Duration::from_secs(120);

/// A driver that has made itself known. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Driver {
    pub(super) name: String,
    /// By which it was found.
    pub(super) socket: PathBuf,
    pub(super) info: csi::NodeGetInfoResponse,
    can: BTreeSet<i32>,
    channel: Channel,
}

/// A message that has to be answered within [`CALL`].
pub(super) fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL);
    request
}

impl Driver {
    /// Asks a driver at `endpoint` who it is on this node and what it can do.
    pub(super) async fn meet(name: &str, socket: &Path, endpoint: &Path) -> Result<Self, String> {
        let channel = channel(endpoint);
        let mut node = NodeClient::new(channel.clone());
        let about = |operation: &'static str| move |status: Status| format!("{operation}: {}", said(&status));
        let info =
            node.node_get_info(call(csi::NodeGetInfoRequest {})).await.map_err(about("NodeGetInfo"))?.into_inner();
        let asked = call(csi::NodeGetCapabilitiesRequest {});
        let can = node.node_get_capabilities(asked).await.map_err(about("NodeGetCapabilities"))?.into_inner();
        let can = can.capabilities.into_iter().filter_map(|one| match one.r#type? {
            Type::Rpc(rpc) => Some(rpc.r#type),
        });
        Ok(Self { name: name.to_owned(), socket: socket.to_owned(), info, can: can.collect(), channel })
    }

    pub(super) fn can(&self, what: Rpc) -> bool {
        self.can.contains(&i32::from(what))
    }

    pub(super) fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }
}
