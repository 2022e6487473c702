//! Why a pod network could not be made or taken away: one sentence each.

/// Errors of [`crate::PodNetworks`].
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Not there yet.
    #[error("pod network {operand:?}: {operation} is not implemented")]
    Unimplemented {
        /// What was asked for.
        operation: &'static str,
        /// On what.
        operand: String,
    },
}
