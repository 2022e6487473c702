//! How plugins make themselves known: they call Register at `kubelet.sock`, and are called back.

use crate::manager::Devices;
use crate::socket::listen;
use skiff_csi::deviceplugin::v1beta1 as words;
use skiff_csi::deviceplugin::v1beta1::registration_server::{Registration, RegistrationServer};
use std::path::{Component, Path};
use tonic::{Request, Response, Status};

/// The only version.
const VERSION: &str = "v1beta1";

/// Serves the registration of plugins for `devices`, in their folder; ends only when it cannot.
///
/// # Errors
/// The socket cannot be made, or stops serving.
pub async fn serve(devices: Devices) -> Result<(), String> {
    let path = devices.folder().join("kubelet.sock");
    let wrong = |error: String| format!("listen for device plugins at {}: {error}", path.display());
    let incoming = listen(&path).map_err(|error| wrong(error.to_string()))?;
    let served = tonic::transport::Server::builder().add_service(RegistrationServer::new(Service(devices)));
    served.serve_with_incoming(incoming).await.map_err(|error| wrong(error.to_string()))
}

struct Service(Devices);

#[tonic::async_trait]
impl Registration for Service {
    async fn register(&self, request: Request<words::RegisterRequest>) -> Result<Response<words::Empty>, Status> {
        let asked = request.into_inner();
        check(&asked).map_err(Status::invalid_argument)?;
        let endpoint = self.0.folder().join(&asked.endpoint);
        self.0.connect(&asked.resource_name, &endpoint).await.map_err(Status::unavailable)?;
        Ok(Response::new(words::Empty {}))
    }
}

/// Whether we can work with a plugin that says this about itself.
fn check(asked: &words::RegisterRequest) -> Result<(), String> {
    if asked.version != VERSION {
        let version = &asked.version;
        let supported = format!("Supported version is [\"{VERSION}\"]");
        return Err(format!("requested API version \"{version}\" is not supported by kubelet. {supported}"));
    }
    check_resource(&asked.resource_name)?;
    let plain = |component: Component<'_>| matches!(component, Component::Normal(_) | Component::CurDir);
    if asked.endpoint.is_empty() || !Path::new(&asked.endpoint).components().all(plain) {
        return Err(format!("endpoint \"{}\" is not the name of a socket in the kubelet's folder", asked.endpoint));
    }
    Ok(())
}

/// Whether `name` may be that of a device: it has a domain of its own, which is not Kubernetes'.
pub(crate) fn check_resource(name: &str) -> Result<(), String> {
    let label = |text: &str, others: &[char]| {
        let inner = |c: char| c.is_ascii_alphanumeric() || others.contains(&c);
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        text.len() <= 63 && text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last())
    };
    let lower = |text: &str| text == text.to_ascii_lowercase();
    let is_domain =
        |domain: &str| lower(domain) && domain.len() <= 244 && domain.split('.').all(|part| label(part, &['-']));
    let parts = name.split_once('/').filter(|_| !name.contains("kubernetes.io/") && !name.starts_with("requests."));
    match parts {
        Some((domain, rest)) if is_domain(domain) && label(rest, &['-', '_', '.']) => Ok(()),
        _ => Err(format!("the ResourceName \"{name}\" is invalid")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_register() {
        let asked = |version: &str, endpoint: &str, resource: &str| words::RegisterRequest {
            version: version.to_owned(),
            endpoint: endpoint.to_owned(),
            resource_name: resource.to_owned(),
            options: None,
        };
        assert_eq!(check(&asked("v1beta1", "gpu.sock", "example.com/gpu")), Ok(()));
        assert_eq!(
            check(&asked("v1alpha", "gpu.sock", "example.com/gpu")).unwrap_err(),
            "requested API version \"v1alpha\" is not supported by kubelet. Supported version is [\"v1beta1\"]"
        );
        for endpoint in ["", "../kubelet.sock", "/run/gpu.sock"] {
            assert!(
                check(&asked("v1beta1", endpoint, "example.com/gpu")).unwrap_err().contains("endpoint"),
                "{endpoint}"
            );
        }
        for name in [
            "gpu",
            "kubernetes.io/gpu",
            "x.kubernetes.io/gpu",
            "requests.example.com/gpu",
            "Example.com/gpu",
            "/gpu",
            "a.b/",
        ] {
            assert_eq!(check_resource(name), Err(format!("the ResourceName \"{name}\" is invalid")));
        }
        assert_eq!(check_resource("nvidia.com/mig-1g.5gb"), Ok(()));
    }
}
