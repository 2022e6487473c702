//! How many requests an API server serves at the same time; names of kube-apiserver's flags.

use anyhow::ensure;
use clap::{ArgAction, Args};
use skiff_apiserver::Limits;

/// See the module.
#[derive(Debug, Clone, Args)]
pub(crate) struct FairnessArgs {
    /// Requests that read, at the same time; with priority and fairness, the sum of both is divided among priority levels
    #[arg(long, default_value_t = 400, value_name = "NUMBER")]
    pub(crate) max_requests_inflight: u32,
    /// The same of requests that write
    #[arg(long, default_value_t = 200, value_name = "NUMBER")]
    pub(crate) max_mutating_requests_inflight: u32,
    /// Whether requests wait for their turn (FlowSchema, PriorityLevelConfiguration); if not, those beyond the limits are refused
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_name = "BOOL")]
    pub(crate) enable_priority_and_fairness: bool,
}

impl FairnessArgs {
    /// The limits, and whether there is fairness within them.
    pub(crate) fn read(&self) -> anyhow::Result<(Limits, bool)> {
        let limits = Limits { reading: self.max_requests_inflight, mutating: self.max_mutating_requests_inflight };
        ensure!(
            limits.seats() > 0 || !self.enable_priority_and_fairness,
            "--max-requests-inflight and --max-mutating-requests-inflight are both 0: there would be no seat to give"
        );
        Ok((limits, self.enable_priority_and_fairness))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_must_get_a_seat() {
        let args = |max_requests_inflight, enable_priority_and_fairness| FairnessArgs {
            max_requests_inflight,
            max_mutating_requests_inflight: 0,
            enable_priority_and_fairness,
        };
        assert!(args(0, true).read().is_err());
        assert_eq!(args(0, false).read().ok(), Some((Limits { reading: 0, mutating: 0 }, false)));
        assert_eq!(args(7, true).read().ok(), Some((Limits { reading: 7, mutating: 0 }, true)));
    }
}
