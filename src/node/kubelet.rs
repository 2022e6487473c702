//! What a kubelet is told in `up` and alone: the parts that do not depend on where it runs.

use crate::cli::LogArgs;
use anyhow::Context;
use skiff_apiserver::Pki;
use skiff_kubelet::{KubeletTls, LogLimits};
use skiff_proto::quantity::Quantity;

/// Domain of services and pods, as Kubernetes' installers choose it.
pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";
/// Kubernetes' own limit.
pub(crate) const PODS_MAX: u32 = 110;

/// Keys of its HTTPS API.
pub(crate) fn kubelet_tls(pki: &Pki) -> KubeletTls {
    let serving = pki.kubelet_serving();
    KubeletTls {
        certificate: serving.certificate.clone(),
        private_key: serving.private_key.clone(),
        client_ca: pki.authority_certificate().to_owned(),
    }
}

/// Limits of container logs.
///
/// # Errors
/// The size is no quantity.
pub(crate) fn log_limits(args: &LogArgs) -> anyhow::Result<LogLimits> {
    let size = Quantity::parse(&args.container_log_max_size).context("--container-log-max-size")?;
    Ok(LogLimits {
        bytes_max: u64::try_from(size.units()).unwrap_or(u64::MAX),
        files_max: usize::try_from(args.container_log_max_files).unwrap_or(usize::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_quantities_and_a_negative_one_is_none() {
        let limits =
            |size: &str| log_limits(&LogArgs { container_log_max_size: size.into(), container_log_max_files: 5 });
        assert_eq!(limits("10Mi").unwrap(), LogLimits::default());
        assert_eq!(limits("500k").unwrap().bytes_max, 500_000);
        assert_eq!(limits("-1").unwrap().bytes_max, u64::MAX);
        assert_eq!(
            format!("{:#}", limits("much").unwrap_err()),
            "--container-log-max-size: \"much\" is not a quantity (such as 100m or 1.5Gi)"
        );
    }
}
