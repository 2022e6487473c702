//! What a kubelet is told in `up` and alone: the parts that do not depend on where it runs.

use crate::cli::{LogArgs, PressureArgs};
use anyhow::{Context, bail};
use skiff_apiserver::Pki;
use skiff_client::Presented;
use skiff_kubelet::{ImageLimits, KubeletTls, LogLimits, PressureLimits, Thresholds};
use skiff_proto::quantity::Quantity;
use std::sync::Arc;

/// Kubernetes' own limit.
pub(crate) const PODS_MAX: u32 = 110;
/// How little space may be left under `skiff up` before pods are evicted. It shares the disk of a machine with much else, where
/// Kubernetes' tenth and fifteen hundredths of a large disk are plenty; k3s asks for a twentieth as well.
const UP_THRESHOLDS: &str =
    "memory.available<100Mi,nodefs.available<5%,nodefs.inodesFree<5%,imagefs.available<5%,imagefs.inodesFree<5%";
/// Images of `skiff up` come by import, and none can be had again: they go when their owner says so.
const NEVER_PERCENT: u8 = 100;

/// Keys of its HTTPS API.
///
/// # Errors
/// They cannot be read.
pub(crate) fn kubelet_tls(pki: &Pki) -> anyhow::Result<KubeletTls> {
    let pair = pki.kubelet_serving();
    let serving = Presented::new(&pair.certificate, &pair.private_key).map_err(anyhow::Error::msg);
    let serving = Arc::new(serving.context("serving certificate of the kubelet")?);
    Ok(KubeletTls { serving, client_ca: pki.authority_certificate().to_owned() })
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

/// What applies where no flag says when a node is short of something.
pub(crate) struct PressureDefaults {
    /// How little may be left.
    pub(crate) thresholds: Thresholds,
    /// From which share of the disk on unused images go, percent.
    pub(crate) images_from_percent: u8,
}

impl PressureDefaults {
    /// Those of Kubernetes' kubelet.
    pub(crate) fn of_the_kubelet() -> Self {
        let images_from_percent = ImageLimits::default().high_percent;
        Self { thresholds: Thresholds::default(), images_from_percent }
    }

    /// Those of `skiff up`.
    ///
    /// # Errors
    /// None: the thresholds are ours, as a test shows.
    pub(crate) fn of_up() -> anyhow::Result<Self> {
        let thresholds = UP_THRESHOLDS.parse().map_err(anyhow::Error::msg)?;
        Ok(Self { thresholds, images_from_percent: NEVER_PERCENT })
    }
}

/// When the node is short of something.
///
/// # Errors
/// The low mark of images is not below the high one.
pub(crate) fn pressure_limits(args: &PressureArgs, defaults: PressureDefaults) -> anyhow::Result<PressureLimits> {
    let (high_percent, low_percent) =
        (args.image_gc_high_threshold.unwrap_or(defaults.images_from_percent), args.image_gc_low_threshold);
    if low_percent >= high_percent {
        bail!("--image-gc-low-threshold {low_percent} must be below --image-gc-high-threshold {high_percent}");
    }
    Ok(PressureLimits {
        thresholds: args.eviction_hard.clone().unwrap_or(defaults.thresholds),
        transition: args.eviction_pressure_transition_period,
        images: ImageLimits { high_percent, low_percent },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_asks_for_less_space_than_a_kubelet() {
        let up = PressureDefaults::of_up().unwrap();
        assert_ne!(up.thresholds, PressureDefaults::of_the_kubelet().thresholds);
    }

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
