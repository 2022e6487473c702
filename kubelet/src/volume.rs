//! A pod's volumes: folders on the node that containers see.
//!
//! ```text
//!  <root>/<uid>/volumes/<name>        one per volume (host paths excepted)
//!              /subpaths/<container>/<n>   bind mounts of what a subPath led to
//!              /etc-hosts
//!              /containers/<container>/<restart>   termination message files
//!              /records/<name>.json        what was set up outside of it
//! ```
//!
//! What is removed here is never removed across a mount: see [`clear`](clear::clear).

mod atomic; // whole sets of files, replaced at once
mod claims; // which volumes a pod's claims have
pub(crate) mod clear; // takes everything away again
pub(crate) mod content; // which files config maps, secrets and the like become; no I/O
pub(crate) mod csi; // drivers of volumes
mod image; // an image's files
mod mounts; // what containers see of it
mod ownership; // whose the files of a volume are
mod persistent; // volumes that outlive their pod, and those of drivers and images
mod prepare; // makes them
mod record; // what was set up, for whoever takes it away
mod subpath; // a folder inside a volume, found safely
pub(crate) mod usage; // how much room one takes

pub(crate) use clear::clear;
pub(crate) use mounts::{devices, mounts, text_of_file};
pub(crate) use persistent::set_up;
pub(crate) use prepare::{Preparation, prepare};

use std::path::{Path, PathBuf};

/// The folder of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodDir(PathBuf);

impl PodDir {
    /// The folder of the pod `uid` below `root`.
    pub(crate) fn of(root: &Path, uid: &str) -> Self {
        Self(root.join(uid))
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the volume `name` is.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.0.join("volumes").join(name)
    }

    /// Where the `index`-th mount of `container` is bound, if it has a subPath.
    pub(crate) fn subpath(&self, container: &str, index: usize) -> PathBuf {
        self.0.join("subpaths").join(container).join(index.to_string())
    }

    /// The pod's `/etc/hosts`.
    pub(crate) fn hosts(&self) -> PathBuf {
        self.0.join("etc-hosts")
    }

    /// The termination message file of a container's run.
    pub(crate) fn termination_file(&self, container: &str, attempt: u32) -> PathBuf {
        self.0.join("containers").join(container).join(attempt.to_string())
    }
}
