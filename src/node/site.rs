//! Where a node is and which addresses it gives: what `up`, `cri` and `down` must agree on.

use super::{BRIDGE, INTERFACE_PREFIX, NET_TABLE, Ranges, engine, host_networks};
use crate::cli::RangeArgs;
use crate::embedded::Programs;
use crate::folders::Folders;
use anyhow::Context;
use skiff_cri::CriConfig;
use skiff_image::{AuthFile, Builtin, ImageStore, Registries};
use skiff_net::{CniConfig, NetConfig, PodNetworks};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Whose network a node lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The host's.
    Host,
    /// That of its box.
    Box,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) folders: Folders,
    pub(crate) ranges: RangeArgs,
    /// The cgroup below which everything lives.
    pub(crate) cgroup_root: String,
    /// Opened once, since they remember which of the node's rules they have made.
    networks: OnceLock<PodNetworks>,
}

impl Site {
    pub(crate) const fn new(folders: Folders, ranges: RangeArgs, cgroup_root: String) -> Self {
        Self { folders, ranges, cgroup_root, networks: OnceLock::new() }
    }

    /// A CRI service on the socket `listen`; its OCI runtime is the one in `programs` unless another is named, and `cdi_spec_dirs` describe
    /// devices.
    ///
    /// # Errors
    /// The image store cannot be opened, or an address range does not parse.
    pub(crate) fn cri(
        &self,
        listen: PathBuf,
        programs: &Programs,
        oci_runtime: Option<&Path>,
        cdi_spec_dirs: &[PathBuf],
    ) -> anyhow::Result<CriConfig> {
        let builtin = Builtin { web: Some(programs.web.clone()) };
        let registries =
            Registries::new(Some(self.folders.registries()), AuthFile::at(vec![self.folders.registry_auth()]));
        let images = ImageStore::open(&self.folders.images(), builtin, engine("image")?);
        Ok(CriConfig {
            listen,
            state_dir: self.folders.run.clone(),
            root_dir: self.folders.data.clone(),
            oci_runtime: oci_runtime.unwrap_or(&programs.oci).to_owned(),
            supervisor: programs.oci.clone(),
            images: images.context("open the image store")?.with_registries(registries),
            networks: self.networks()?,
            cgroup_root: self.cgroup_root.clone(),
            stream_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            cdi_spec_dirs: cdi_spec_dirs.to_vec(),
            engine: engine("cri")?,
        })
    }

    /// How its pods are connected.
    ///
    /// # Errors
    /// An address range does not parse.
    pub(crate) fn networks(&self) -> anyhow::Result<PodNetworks> {
        if let Some(networks) = self.networks.get() {
            return Ok(networks.clone());
        }
        let networks = PodNetworks::new(NetConfig {
            state_dir: self.folders.network_state(),
            pod_cidr: self.ranges.pod_cidr.clone(),
            cluster_cidr: self.ranges.cluster_cidr.clone(),
            service_cidr: Some(self.ranges.service_cidr.clone()),
            bridge: BRIDGE.to_owned(),
            interface_prefix: INTERFACE_PREFIX.to_owned(),
            cni: Some(CniConfig {
                conf_dir: cni_folder(&self.folders),
                bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            }),
            masquerade: true,
            table: NET_TABLE.to_owned(),
            engine: engine("net")?,
        })?;
        Ok(self.networks.get_or_init(|| networks).clone())
    }
}

fn cni_folder(folders: &Folders) -> PathBuf {
    folders.data.join("cni/net.d")
}

/// The ranges of a node against each other, its address and, unless it lives in a box of its own, the host's networks.
///
/// # Errors
/// Two overlap; the error names both.
pub(crate) fn check_ranges(
    folders: &Folders,
    ranges: &RangeArgs,
    node_ip: Option<IpAddr>,
    place: Place,
) -> anyhow::Result<()> {
    let networks = if place == Place::Host { host_networks()? } else { Vec::new() };
    let services = ("--service-cidr", ranges.service_cidr.as_str());
    let pods = ("--pod-cidr", ranges.pod_cidr.as_str());
    let cluster = ranges.cluster_cidr.as_deref().map(|range| ("--cluster-cidr", range));
    let has_plugins = std::fs::read_dir(cni_folder(folders)).is_ok_and(|mut files| files.next().is_some());
    // With plugins, the pods' range may be a network of the host already.
    // The pods of this node are among those of all.
    let asked = [cluster.unwrap_or(pods), services];
    // A network says more than the address that the node has in it.
    Ranges { asked: if has_plugins { &asked[1..] } else { &asked }, node_ip: None }.check(&networks)?;
    Ranges { asked: &asked, node_ip }.check(&[])
}
