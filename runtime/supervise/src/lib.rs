//! The per-pod supervisor: parent of the containers, keeper of their stdio, recorder of exits.
//!
//! `skiff-oci supervise` runs one for each pod sandbox. It holds the pod's network, IPC and UTS namespaces simply by living
//! in them, so nothing needs to be mounted for them and nothing is left of them when it ends. It outlives the CRI
//! service: a container never notices that the service was restarted.
//!
//! ```text
//!  skiff cri ──unix socket (wire)──► supervisor ──exec──► OCI runtime create/start/exec/delete
//!                                        │ ▲
//!                    stdio, exits, logs  ▼ │  reparented (subreaper)
//!                                     container, container, …
//! ```
//!
//! One thread, one poll(2) loop, no async runtime: its memory is paid once for every pod.
//! What it leaves to others: images, mounts, networks, bundles, and all decisions (the CRI service's).

pub mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

/// `skiff-oci supervise`: `--sandbox ID --dir DIR --runtime PATH --oci-root DIR [--hostname NAME] [--network pod|host]
/// [--ipc pod|host] [--uts pod|host]`.
///
/// Prints one [`wire::Ready`] line on standard output when its socket accepts, then runs until it is told to end.
#[must_use]
pub fn main(_args: Vec<OsString>) -> ExitCode {
    eprintln!("skiff-oci supervise: not implemented yet");
    ExitCode::FAILURE
}
