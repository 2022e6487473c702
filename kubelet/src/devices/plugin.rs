//! One driver of devices, and how it is called: two versions of the protocol with the same messages under two names.

use super::record::{Device, Record};
use skiff_csi::call::{channel, said};
use skiff_csi::dra::ProstCodec;
use skiff_csi::dra::v1 as words;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// How long a driver may take (the kubelet's time for DRA calls).
const CALL: Duration = Duration::from_secs(45);
/// What a driver says that it speaks, and the service's name, the newest first.
const VERSIONS: [(&str, &str); 2] = [
    ("v1.DRAPlugin", "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin"),
    ("v1beta1.DRAPlugin", "k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin"),
];

/// A driver that has made itself known. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Plugin {
    pub(crate) name: String,
    /// By which it was found.
    pub(crate) socket: PathBuf,
    service: &'static str,
    channel: Channel,
}

impl Plugin {
    /// The driver `name` that listens at `endpoint`.
    ///
    /// # Errors
    /// It speaks no version that we do.
    pub(crate) fn new(name: &str, socket: &Path, endpoint: &Path, supported: &[String]) -> Result<Self, String> {
        let known = VERSIONS.iter().find(|(version, _)| supported.iter().any(|one| one == version));
        let (_, service) = known.ok_or_else(|| {
            let versions = supported.join(", ");
            format!("driver {name} speaks {versions}, and this kubelet v1.DRAPlugin and v1beta1.DRAPlugin")
        })?;
        Ok(Self { name: name.to_owned(), socket: socket.to_owned(), service, channel: channel(endpoint) })
    }

    /// Has the devices of a claim set up.
    pub(super) async fn prepare(&self, record: &Record) -> Result<Vec<Device>, String> {
        let request = words::NodePrepareResourcesRequest { claims: vec![claim(record)] };
        let answer: words::NodePrepareResourcesResponse =
            self.call("NodePrepareResources", request).await.map_err(|status| self.refused("Prepare", &status))?;
        let mut claims = answer.claims;
        let prepared = claims.remove(&record.uid);
        let prepared = prepared.ok_or_else(|| format!("NodePrepareResources of {} skipped the claim", self.name))?;
        if !prepared.error.is_empty() {
            return Err(format!("NodePrepareResources of {} failed: {}", self.name, prepared.error));
        }
        let device = |device: words::Device| Device { requests: device.request_names, ids: device.cdi_device_ids };
        Ok(prepared.devices.into_iter().map(device).collect())
    }

    /// Has them taken down.
    pub(super) async fn unprepare(&self, record: &Record) -> Result<(), String> {
        let request = words::NodeUnprepareResourcesRequest { claims: vec![claim(record)] };
        let answer: words::NodeUnprepareResourcesResponse =
            self.call("NodeUnprepareResources", request).await.map_err(|status| self.refused("Unprepare", &status))?;
        match answer.claims.get(&record.uid) {
            None => Err(format!("NodeUnprepareResources of {} skipped the claim", self.name)),
            Some(gone) if gone.error.is_empty() => Ok(()),
            Some(gone) => Err(format!("NodeUnprepareResources of {} failed: {}", self.name, gone.error)),
        }
    }

    fn refused(&self, verb: &str, status: &Status) -> String {
        format!("Node{verb}Resources of {} failed: {}", self.name, said(status))
    }

    async fn call<Q, A>(&self, method: &str, message: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::try_from(format!("/{}/{method}", self.service));
        let path = path.map_err(|error| Status::internal(error.to_string()))?;
        let mut request = Request::new(message);
        request.set_timeout(CALL);
        Ok(client.unary(request, path, ProstCodec::default()).await?.into_inner())
    }
}

fn claim(record: &Record) -> words::Claim {
    words::Claim { namespace: record.namespace.clone(), uid: record.uid.clone(), name: record.name.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_csi::dra::v1::dra_plugin_server::{DraPlugin, DraPluginServer};
    use tonic::Response;

    /// A driver that sets up everything but what is called `broken`.
    struct Fake;

    #[tonic::async_trait]
    impl DraPlugin for Fake {
        async fn node_prepare_resources(
            &self,
            request: Request<words::NodePrepareResourcesRequest>,
        ) -> Result<Response<words::NodePrepareResourcesResponse>, Status> {
            let one = |claim: words::Claim| {
                let id = format!("acme.com/gpu={}", claim.name);
                let device = words::Device {
                    request_names: vec!["r".to_owned()],
                    cdi_device_ids: vec![id],
                    ..Default::default()
                };
                let error = if claim.name == "broken" { "no power".to_owned() } else { String::new() };
                (claim.uid, words::NodePrepareResourceResponse { devices: vec![device], error })
            };
            let claims = request.into_inner().claims.into_iter().map(one).collect();
            Ok(Response::new(words::NodePrepareResourcesResponse { claims }))
        }

        async fn node_unprepare_resources(
            &self,
            _: Request<words::NodeUnprepareResourcesRequest>,
        ) -> Result<Response<words::NodeUnprepareResourcesResponse>, Status> {
            Ok(Response::new(words::NodeUnprepareResourcesResponse::default()))
        }
    }

    fn record(name: &str) -> Record {
        Record {
            namespace: "ns".to_owned(),
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            pods: Default::default(),
            drivers: Default::default(),
            ready: false,
            devices: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_driver_is_asked_and_believed() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("dra.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
        let served = tonic::transport::Server::builder().add_service(DraPluginServer::new(Fake));
        let _server = tokio::spawn(served.serve_with_incoming(incoming));
        let versions = ["v1beta1.DRAPlugin".to_owned(), "v1.DRAPlugin".to_owned()];
        let plugin = Plugin::new("gpu.acme.com", &socket, &socket, &versions).unwrap();
        let devices = plugin.prepare(&record("a")).await.unwrap();
        assert_eq!(devices, [Device { requests: vec!["r".to_owned()], ids: vec!["acme.com/gpu=a".to_owned()] }]);
        let broken = plugin.prepare(&record("broken")).await.unwrap_err();
        assert_eq!(broken, "NodePrepareResources of gpu.acme.com failed: no power");
        let skipped = plugin.unprepare(&record("a")).await.unwrap_err();
        assert_eq!(skipped, "NodeUnprepareResources of gpu.acme.com skipped the claim");
        let old = Plugin::new("d", &socket, &socket, &["v1alpha3.Node".to_owned()]).unwrap_err();
        assert!(old.contains("v1alpha3.Node"), "{old}");
    }
}
