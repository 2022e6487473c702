//! A driver of volumes on this machine (CSI v1): folders, and filesystems and devices of a fixed size in files.
//!
//! ```text
//!  <folder>/volumes/<id>/volume.json     what it is
//!                       /data/           a folder's files
//!                       /image           a filesystem or device of a fixed size
//!  <folder>/csi.sock                     where it listens
//! ```
//!
//! A folder has no limit of its own: it shares the disk of the machine, as the node's other files do. Who wants a limit asks for an
//! image (`kind: image` in the class), which is a filesystem in a file behind a loop device.
//!
//! Left to others: claims and classes (controllers ask by CSI), and when a volume is put where (the kubelet does). Never here: the
//! API server.

mod controller; // makes, grows and removes volumes
mod device; // loop devices and the filesystems on them
mod error; // refusals, as CSI has them
mod identity; // who it is
mod mounts; // puts volumes in their places
mod node; // on this node
mod registration; // makes it known to the kubelet
mod serve; // its sockets
mod store; // what there is, on disk

pub use serve::{Driver, DriverError};

/// The driver's name.
pub const NAME: &str = "local.csi.skiff";
/// The label by which a node says that it is this one: a volume here is nowhere else.
pub const TOPOLOGY: &str = "topology.local.csi.skiff/node";
/// The parameter of a class that says what its volumes are.
pub const KIND: &str = "kind";

use std::path::PathBuf;

/// Where it works.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where volumes are, and its socket.
    pub folder: PathBuf,
    /// Where the kubelet looks for drivers.
    pub registry: PathBuf,
    /// The node's name.
    pub node: String,
}

impl Config {
    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("csi.sock")
    }
}
