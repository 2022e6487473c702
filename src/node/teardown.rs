//! Undoing all of it: pods, network, cgroups, folders. Keeps going after an error and reports everything left behind.
//!
//! First the orderly way, through the CRI service, because only it knows how a network plugin gives back what it gave.
//! Then whatever still stands is removed by what it is: processes in our cgroup and supervisors of our run folder, mounts
//! below our folders, our cgroups.

mod cgroups;
mod loops;
mod mounts;
mod processes;
mod sandboxes;

use super::{NET_TABLE, POLICY_TABLE, PROXY_TABLE, Site};
use crate::embedded::Programs;
use crate::exit::sentence;
use anyhow::Context;
use std::collections::BTreeSet;
use std::path::PathBuf;

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
            Err(error) => self.left.push(format!("{what}: {}", sentence(&error))),
        }
    }
}

impl Site {
    /// Removes everything in the namespaces this process is in; the folders are the last to go, and the caller's.
    pub(crate) async fn tear_down(&self) -> Undone {
        let mut undone = Undone::default();
        if self.folders.run.join("sandboxes").is_dir() {
            match self.remove_sandboxes().await {
                // What the orderly way could not end is found by what it is below; only what then still stands is left.
                Err(error) => {
                    tracing::warn!(error = sentence(&error), "pods could not be removed through the CRI service")
                }
                removed => undone.note("pods", removed),
            }
        }
        undone.note("processes", processes::kill_all(&self.cgroup_root, &self.folders.run).await);
        undone.note("pod network", self.remove_network().await);
        undone.note("service rules", remove_proxy());
        undone.note("network policies", remove_policies());
        undone.note("mounts", mounts::unmount_below(&[&self.folders.run, &self.folders.data]));
        undone.note("loop devices", loops::detach_below(&self.folders.data));
        undone.note("cgroups", cgroups::remove(&self.cgroup_root).await);
        undone
    }

    async fn remove_sandboxes(&self) -> anyhow::Result<usize> {
        let programs = Programs::install(&self.folders.bin())?;
        sandboxes::remove_all(self.cri(self.folders.run.join("down.sock"), &programs, None, &[])?).await
    }

    async fn remove_network(&self) -> anyhow::Result<usize> {
        self.networks()?.remove_all().await.context(format!("remove bridge, interfaces and table {NET_TABLE}"))?;
        skiff_net::set_node_routes(&BTreeSet::new()).context("remove the routes to other nodes")?;
        Ok(0)
    }
}

fn remove_proxy() -> anyhow::Result<usize> {
    skiff_proxy::remove(PROXY_TABLE).with_context(|| format!("remove nftables table {PROXY_TABLE}")).map(|()| 0)
}

fn remove_policies() -> anyhow::Result<usize> {
    skiff_netpol::remove(POLICY_TABLE).with_context(|| format!("remove nftables table {POLICY_TABLE}")).map(|()| 0)
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
