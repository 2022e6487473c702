//! Why services cannot be proxied.

use skiff_step::Injected;
use skiff_sys::nft::NftError;

/// Errors of the proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The configuration cannot be used.
    #[error("proxy configuration: pod_cidr {value:?}: it is not of the form ADDRESS/BITS (IPv4)")]
    PodCidr {
        /// What it said.
        value: String,
    },
    /// nftables refused.
    #[error("proxy: {0}")]
    Rules(#[from] NftError),
    /// A planned fault.
    #[error("proxy: step {}: planned fault (errno {})", .0.step, .0.errno)]
    Planned(Injected),
    /// The work was cut off.
    #[error("proxy: the task was cut off: {0}")]
    CutOff(String),
}

impl From<Injected> for ProxyError {
    fn from(fault: Injected) -> Self {
        Self::Planned(fault)
    }
}
