//! The CRI v1 service over the OCI runtime, images and pod networks.
//!
//! The kubelet (ours or the real one) and crictl speak to it over a unix socket. Each sandbox has a supervisor process
//! that holds the pod's namespaces and is the containers' parent, so this service can end at any moment and begin again
//! without any container noticing.
//!
//! ```text
//!  CRI ──► service ──► sandbox / create / container / exec ──► supervisor ──exec──► OCI runtime
//!                            │            │
//!                       skiff-net    skiff-image           records: disk      restart: recover
//! ```
//!
//! What it leaves to others: the OCI runtime is executed, never linked; images and networks are behind [`Images`] and
//! [`Networks`]; which pods there should be is the kubelet's business.

mod admit; // what may be asked
mod bundle; // from CRI's words to config.json; pure
mod cdi; // devices that files describe
mod cgroup; // paths and removal
mod container; // start, stop, end
mod create; // CreateContainer
mod disk; // records
mod error; // what can go wrong
mod exec; // exec, attach, port-forward
#[cfg(test)]
mod fields; // what becomes of each field of a request
mod host; // what this machine can
mod image_volumes; // an image's files in a container
mod pace; // processor time in a second
mod pod_files; // resolv.conf, hosts, shm
mod recover; // after a restart
mod removal; // what goes at the end, and what at the removal
mod sandbox; // a pod's life
mod seams; // images and networks
mod serve; // sockets
mod service; // gRPC
mod signal; // stop signals
mod state; // everything known
mod stats; // cgroup reads
mod status; // records in CRI's words
mod supervisor; // the other process
mod terminal; // terminals, and dialling into a pod
mod update; // new limits
mod user; // the image's users
mod users; // the pod's own users, who are others on the host

pub use error::CriError;
pub use seams::{Images, Networks};
pub use serve::Cri;
pub use state::Settings;

use skiff_image::ImageStore;
use skiff_net::PodNetworks;
use skiff_step::Engine;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What the service is made of.
#[derive(Debug, Clone)]
pub struct CriConfig {
    /// The unix socket of RuntimeService and ImageService.
    pub listen: PathBuf,
    /// The run-dir: `sandboxes/`, `containers/`, `oci/` are made in it.
    pub state_dir: PathBuf,
    /// The data-dir: localhost seccomp profiles are in its folder `seccomp`.
    pub root_dir: PathBuf,
    /// The OCI runtime; ours, runc or crun.
    pub oci_runtime: PathBuf,
    /// The program with the `supervise` command (skiff-oci).
    pub supervisor: PathBuf,
    /// Images and snapshots.
    pub images: ImageStore,
    /// Pod networks.
    pub networks: PodNetworks,
    /// `/skiff`: cgroups of pods without a parent of the caller's go to `<root>/pods/<sandbox id>`.
    pub cgroup_root: String,
    /// Where exec, attach and port-forward are served; port 0 takes any.
    pub stream_listen: SocketAddr,
    /// Folders whose files describe devices (CDI); later ones win.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Performs the steps; its trace file is passed on to supervisors and the OCI runtime.
    pub engine: Engine,
}
