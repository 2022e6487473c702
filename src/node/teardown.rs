//! Undoing all of it: pods, network, cgroups, folders. Keeps going after an error and reports everything left behind.
//!
//! First the orderly way, through the CRI service, because only it knows how a network plugin gives back what it gave.
//! Then whatever still stands is removed by what it is: processes in our cgroup and supervisors of our run folder, mounts
//! below our folders, our cgroups.

mod cgroups;
mod mounts;
mod processes;
mod sandboxes;

use super::assemble::net_config;
use super::{NET_TABLE, PROXY_TABLE, engine};
use crate::embedded::Programs;
use crate::folders::Folders;
use anyhow::Context;
use skiff_net::PodNetworks;
use std::path::PathBuf;

/// What to undo.
pub(crate) struct Teardown {
    pub(crate) folders: Folders,
    pub(crate) cgroup_root: String,
    pub(crate) pod_cidr: String,
    pub(crate) service_cidr: String,
}

/// What was removed, and what could not be.
#[derive(Debug, Default)]
pub(crate) struct Undone {
    /// Kind of thing and how many of it.
    pub(crate) removed: Vec<(&'static str, usize)>,
    /// Operation and reason.
    pub(crate) left: Vec<String>,
}

impl Undone {
    fn note(&mut self, what: &'static str, outcome: anyhow::Result<usize>) {
        match outcome {
            Ok(0) => {}
            Ok(number) => self.removed.push((what, number)),
            Err(error) => self.left.push(format!("{what}: {error:#}")),
        }
    }
}

impl Teardown {
    /// Removes everything in the namespaces this process is in; the folders are the last to go, and the caller's.
    pub(crate) async fn run(&self) -> Undone {
        let mut undone = Undone::default();
        if self.folders.run.join("sandboxes").is_dir() {
            match self.sandboxes().await {
                // What the orderly way could not end is found by what it is below; only what then still stands is left.
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "pods could not be removed through the CRI service")
                }
                removed => undone.note("pods", removed),
            }
        }
        undone.note("processes", processes::kill_all(&self.cgroup_root, &self.folders.run).await);
        undone.note("pod network", self.network().await);
        undone.note("service rules", remove_proxy());
        undone.note("mounts", mounts::unmount_below(&[&self.folders.run, &self.folders.data]));
        undone.note("cgroups", cgroups::remove(&self.cgroup_root).await);
        undone
    }

    async fn sandboxes(&self) -> anyhow::Result<usize> {
        let programs = Programs::install(&self.folders.bin())?;
        sandboxes::remove_all(self, &programs).await
    }

    async fn network(&self) -> anyhow::Result<usize> {
        let networks = PodNetworks::new(net_config(&self.folders, &self.pod_cidr, &self.service_cidr)?)?;
        networks.remove_all().await.context(format!("remove bridge, interfaces and table {NET_TABLE}"))?;
        Ok(0)
    }
}

fn remove_proxy() -> anyhow::Result<usize> {
    skiff_proxy::remove(PROXY_TABLE).with_context(|| format!("remove nftables table {PROXY_TABLE}")).map(|()| 0)
}

/// Deletes a folder that must not contain a mount: what is mounted there is not ours to delete.
pub(crate) fn remove_folder(folder: &PathBuf) -> anyhow::Result<()> {
    let mounted = mounts::below(folder)?;
    anyhow::ensure!(mounted.is_empty(), "folder {} still has {} mounted in it", folder.display(), mounted[0].display());
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove folder {}", folder.display()))
        }
        _ => Ok(()),
    }
}

impl Teardown {
    /// An engine-less CRI configuration over what is there.
    fn cri_config(&self, programs: &Programs) -> anyhow::Result<skiff_cri::CriConfig> {
        let builtin = skiff_image::Builtin { web: None };
        Ok(skiff_cri::CriConfig {
            listen: self.folders.run.join("down.sock"),
            state_dir: self.folders.run.clone(),
            root_dir: self.folders.data.clone(),
            oci_runtime: programs.oci.clone(),
            supervisor: programs.oci.clone(),
            images: skiff_image::ImageStore::open(&self.folders.images(), builtin, engine("image")?)?,
            networks: PodNetworks::new(net_config(&self.folders, &self.pod_cidr, &self.service_cidr)?)?,
            cgroup_root: self.cgroup_root.clone(),
            stream_listen: std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0)),
            engine: engine("cri")?,
        })
    }
}
