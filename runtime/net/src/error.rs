//! Why a pod network could not be made or taken away: one sentence each.

use nix::errno::Errno;
use skiff_step::Injected;
use skiff_sys::netlink::Refusal;
use skiff_sys::nft::NftError;
use std::io;
use std::path::{Path, PathBuf};

/// Errors of [`crate::PodNetworks`].
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The configuration cannot be used.
    #[error("network configuration: {field} {value:?}: {reason}")]
    Config {
        /// Which field.
        field: &'static str,
        /// What it said.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// All addresses are taken.
    #[error("pod {pod}: no address is left in the pod range {range}: {taken} sandboxes hold one each")]
    Exhausted {
        /// `namespace/name`.
        pod: String,
        /// The range.
        range: String,
        /// Addresses in use.
        taken: usize,
    },
    /// Two pods want the same port of the node.
    #[error("pod {pod}: host port {port} is taken by sandbox {holder}")]
    PortTaken {
        /// `namespace/name`.
        pod: String,
        /// `port/protocol`.
        port: String,
        /// The sandbox that has it.
        holder: String,
    },
    /// A port mapping cannot be made.
    #[error("pod {pod}: host port {port}: {reason}")]
    PortMapping {
        /// `namespace/name`.
        pod: String,
        /// `port/protocol`.
        port: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A right is missing.
    #[error("{operation} {operand}: it needs CAP_NET_ADMIN in its network namespace")]
    NoRight {
        /// What was to be done.
        operation: &'static str,
        /// To what.
        operand: String,
    },
    /// The kernel refused a change to interfaces, addresses or routes.
    #[error("{operation} {operand}: {refusal}")]
    Kernel {
        /// What was to be done.
        operation: &'static str,
        /// To what.
        operand: String,
        /// The kernel's reason.
        refusal: Refusal,
    },
    /// A file could not be read or written, a namespace not be entered.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// What was to be done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// nftables refused.
    #[error(transparent)]
    Rules(#[from] NftError),
    /// A CNI plugin failed or could not be executed.
    #[error("CNI network {network:?}: plugin {plugin:?}: {command}: {reason}")]
    Plugin {
        /// Name in the configuration list.
        network: String,
        /// The plugin's type.
        plugin: String,
        /// ADD, DEL or CHECK.
        command: &'static str,
        /// What it said.
        reason: String,
    },
    /// A planned fault.
    #[error("step {}: planned fault: {}", .0.step, Errno::from_raw(.0.errno).desc())]
    Planned(Injected),
    /// The work was cut off.
    #[error("pod network: the task was cut off: {0}")]
    CutOff(String),
}

impl From<Injected> for NetError {
    fn from(fault: Injected) -> Self {
        Self::Planned(fault)
    }
}

impl NetError {
    /// Names the operation and operand of a kernel refusal.
    pub(crate) fn kernel(operation: &'static str, operand: impl Into<String>) -> impl FnOnce(Refusal) -> Self {
        let operand = operand.into();
        move |refusal| match refusal.errno {
            Errno::EPERM => Self::NoRight { operation, operand },
            _ => Self::Kernel { operation, operand, refusal },
        }
    }

    /// Names the operation and path of a failed file operation.
    pub(crate) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { operation, path, source }
    }
}
