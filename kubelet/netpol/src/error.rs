//! Why policies are not enforced.

use skiff_step::Injected;
use skiff_sys::nft::NftError;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum NetpolError {
    /// The kernel refused the rules.
    #[error("enforce network policies")]
    Rules(#[from] NftError),
    /// A planned fault of a test.
    #[error("step {}: planned fault", .0.step)]
    Planned(Injected),
    /// The task that changes the rules ended.
    #[error("enforce network policies: {0}")]
    CutOff(String),
}

impl From<Injected> for NetpolError {
    fn from(fault: Injected) -> Self {
        Self::Planned(fault)
    }
}
