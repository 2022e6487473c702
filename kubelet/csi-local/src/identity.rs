//! Who the driver is.

use crate::NAME;
use skiff_csi::csi::v1 as csi;
use skiff_csi::csi::v1::identity_server::Identity;
use skiff_csi::csi::v1::plugin_capability::service::Type as Service;
use skiff_csi::csi::v1::plugin_capability::volume_expansion::Type as Expansion;
use skiff_csi::csi::v1::plugin_capability::{self, Type};
use tonic::{Request, Response, Status};

/// The identity service.
pub(crate) struct Own;

#[tonic::async_trait]
impl Identity for Own {
    async fn get_plugin_info(
        &self,
        _: Request<csi::GetPluginInfoRequest>,
    ) -> Result<Response<csi::GetPluginInfoResponse>, Status> {
        Ok(Response::new(csi::GetPluginInfoResponse {
            name: NAME.to_owned(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<csi::GetPluginCapabilitiesRequest>,
    ) -> Result<Response<csi::GetPluginCapabilitiesResponse>, Status> {
        let service = |kind: Service| Type::Service(plugin_capability::Service { r#type: kind.into() });
        let online = Type::VolumeExpansion(plugin_capability::VolumeExpansion { r#type: Expansion::Online.into() });
        let all = [service(Service::ControllerService), service(Service::VolumeAccessibilityConstraints), online];
        let capabilities = all.map(|one| csi::PluginCapability { r#type: Some(one) }).into();
        Ok(Response::new(csi::GetPluginCapabilitiesResponse { capabilities }))
    }

    async fn probe(&self, _: Request<csi::ProbeRequest>) -> Result<Response<csi::ProbeResponse>, Status> {
        Ok(Response::new(csi::ProbeResponse { ready: Some(csi::BoolValue { value: true }) }))
    }
}
