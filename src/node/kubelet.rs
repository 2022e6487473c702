//! What a kubelet is told in `up` and alone: the parts that do not depend on where it runs.

use super::components::Components;
use super::{Names, Site, engine, host_name};
use crate::cli::{LogArgs, NodeArgs, PressureArgs};
use anyhow::{Context, bail};
use kube::Client;
use skiff_apiserver::Pki;
use skiff_client::Presented;
use skiff_kubelet::{
    ImageLimits, Kubelet, KubeletConfig, KubeletTls, LogLimits, OnAddresses, PodCidr, PressureLimits, PullSettings,
    Thresholds, UserSettings,
};
use skiff_netpol::Gate;
use skiff_proto::quantity::Quantity;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// Kubernetes' own limit.
pub(crate) const PODS_MAX: u32 = 110;
/// How little space may be left under `skiff up` before pods are evicted. It shares the disk of a machine with much else, where
/// Kubernetes' tenth and fifteen hundredths of a large disk are plenty; k3s asks for a twentieth as well.
const UP_THRESHOLDS: &str =
    "memory.available<100Mi,nodefs.available<5%,nodefs.inodesFree<5%,imagefs.available<5%,imagefs.inodesFree<5%";
/// Images of `skiff up` may have come by import, and those cannot be had again: they go when their owner says so.
const NEVER_PERCENT: u8 = 100;

/// What a node is told that brings all its components with it, whichever way it is part of its cluster.
#[derive(Debug, Clone)]
pub(crate) struct NodeSettings {
    pub(crate) name: String,
    pub(crate) kubelet_port: u16,
    /// A folder with files that describe static pods.
    pub(crate) static_pod_path: Option<PathBuf>,
    pub(crate) allowed_unsafe_sysctls: Vec<String>,
    pub(crate) users: UserSettings,
    pub(crate) logs: LogLimits,
    pub(crate) pressure: PressureLimits,
    pub(crate) pulls: PullSettings,
    pub(crate) oci_runtime: Option<PathBuf>,
    pub(crate) cdi_spec_dirs: Vec<PathBuf>,
}

impl NodeSettings {
    /// What the command line says.
    ///
    /// # Errors
    /// A limit is no quantity, or one contradicts another.
    pub(crate) fn read(args: &NodeArgs) -> anyhow::Result<Self> {
        Ok(Self {
            name: args.node_name.clone().unwrap_or_else(host_name),
            kubelet_port: args.kubelet_port,
            static_pod_path: args.pod_manifest_path.clone(),
            allowed_unsafe_sysctls: args.allowed_unsafe_sysctls.clone(),
            users: args.users.settings(),
            logs: log_limits(&args.logs)?,
            pressure: pressure_limits(&args.pressure, PressureDefaults::of_up()?)?,
            pulls: args.pulls.settings()?,
            oci_runtime: args.oci_runtime.clone(),
            cdi_spec_dirs: args.devices.cdi_spec_dirs.clone(),
        })
    }
}

/// Starts the kubelet of a node at an address, on the CRI service beside it; `gate` is what keeps a pod's containers until policies are in force.
///
/// # Errors
/// It does not start.
pub(super) async fn start_kubelet(
    components: &mut Components,
    (settings, ip): (&NodeSettings, IpAddr),
    site: &Site,
    names: &Names,
    (client, tls): (Client, KubeletTls),
    pod_cidr: PodCidr,
    gate: Option<Gate>,
) -> anyhow::Result<()> {
    let kubelet = KubeletConfig {
        node_name: settings.name.clone(),
        client,
        container_runtime_endpoint: format!("unix://{}", site.folders.cri_socket().display()),
        root_dir: site.folders.pods(),
        cgroup_root: site.cgroup_root.clone(),
        node_ip: ip,
        pod_cidr,
        listen: SocketAddr::new(ip, settings.kubelet_port),
        tls,
        cluster_dns: vec![names.server],
        cluster_domain: names.domain.clone(),
        max_pods: PODS_MAX,
        static_pod_path: settings.static_pod_path.clone(),
        allowed_unsafe_sysctls: settings.allowed_unsafe_sysctls.clone(),
        users: settings.users,
        logs: settings.logs,
        pressure: settings.pressure.clone(),
        pulls: settings.pulls.clone(),
        on_addresses: gate.map(opened_by),
        engine: engine("kubelet")?,
    };
    let kubelet = Kubelet::start(kubelet).await.context("start the kubelet")?;
    components.spawn("kubelet", |token| async move { Ok(kubelet.run(token).await?) });
    Ok(())
}

/// What a kubelet waits for when a pod has its addresses.
fn opened_by(gate: Gate) -> OnAddresses {
    OnAddresses::new(move |pod, addresses| {
        let gate = gate.clone();
        Box::pin(async move { gate.wait(pod, addresses).await })
    })
}

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
