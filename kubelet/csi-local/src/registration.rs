//! Makes the driver known to the kubelet.

use crate::NAME;
use skiff_csi::registration::v1 as words;
use skiff_csi::registration::v1::registration_server::Registration;
use std::path::PathBuf;
use tonic::{Request, Response, Status};

/// What the kubelet is told.
pub(crate) struct Known {
    pub(crate) endpoint: PathBuf,
}

#[tonic::async_trait]
impl Registration for Known {
    async fn get_info(&self, _: Request<words::InfoRequest>) -> Result<Response<words::PluginInfo>, Status> {
        Ok(Response::new(words::PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: NAME.to_owned(),
            endpoint: self.endpoint.display().to_string(),
            supported_versions: vec!["1.0.0".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        told: Request<words::RegistrationStatus>,
    ) -> Result<Response<words::RegistrationStatusResponse>, Status> {
        let told = told.into_inner();
        if !told.plugin_registered {
            tracing::warn!(driver = NAME, error = told.error, "the kubelet does not take the driver");
        }
        Ok(Response::new(words::RegistrationStatusResponse {}))
    }
}
