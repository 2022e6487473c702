//! How a driver's controller service is asked.

use hyper_util::rt::TokioIo;
use skiff_csi::csi::v1 as csi;
use skiff_csi::csi::v1::controller_client::ControllerClient;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

/// How long a driver may take: a copy of a large volume takes its time.
const CALL: Duration = Duration::from_secs(300);

/// Why a driver has not done something.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// There is no room where the volume is wanted.
    #[error("{0}")]
    Full(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        let said = format!("{}: {}", status.code().description(), status.message());
        if status.code() == Code::ResourceExhausted { Self::Full(said) } else { Self::Other(said) }
    }
}

/// One driver.
pub(super) struct Driver {
    name: String,
    channel: Channel,
}

fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL);
    request
}

impl Driver {
    /// The driver that listens at `socket`; it is connected to with the first question.
    pub(super) fn at(name: &str, socket: &Path) -> Self {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        // The URI names no host: the connector decides where the bytes go.
        let channel = Endpoint::from_static("http://csi.invalid").connect_with_connector_lazy(connector);
        Self { name: name.to_owned(), channel }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn client(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel.clone())
    }

    pub(super) async fn create(&self, asked: csi::CreateVolumeRequest) -> Result<csi::Volume, Trouble> {
        let made = self.client().create_volume(call(asked)).await?.into_inner();
        made.volume.ok_or_else(|| Trouble::Other("CreateVolume: the answer has no volume".to_owned()))
    }

    pub(super) async fn delete(&self, handle: &str) -> Result<(), Trouble> {
        let asked = csi::DeleteVolumeRequest { volume_id: handle.to_owned(), ..Default::default() };
        self.client().delete_volume(call(asked)).await?;
        Ok(())
    }

    /// Grows a volume; how large it is then, and whether nodes have a part in it.
    pub(super) async fn grow(&self, handle: &str, bytes: i64) -> Result<(i64, bool), Trouble> {
        let asked = csi::ControllerExpandVolumeRequest {
            volume_id: handle.to_owned(),
            capacity_range: Some(csi::CapacityRange { required_bytes: bytes, limit_bytes: 0 }),
            ..Default::default()
        };
        let grown = self.client().controller_expand_volume(call(asked)).await?.into_inner();
        Ok((grown.capacity_bytes, grown.node_expansion_required))
    }
}
