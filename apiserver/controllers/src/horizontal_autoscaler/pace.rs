//! How fast all autoscalers follow what is measured: kube-controller-manager's flags of the same names.

use jiff::SignedDuration;
use std::time::Duration;

/// How fast autoscalers follow; the default is Kubernetes'.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Autoscaling {
    /// How often each is looked at (`--horizontal-pod-autoscaler-sync-period`).
    pub period: Duration,
    /// From which share of the target on a difference matters (`--horizontal-pod-autoscaler-tolerance`).
    pub tolerance: f64,
    /// For how long the most that was wanted counts, before there are fewer
    /// (`--horizontal-pod-autoscaler-downscale-stabilization`).
    pub down_window: SignedDuration,
    /// How long after its start a pod may use more than it will
    /// (`--horizontal-pod-autoscaler-cpu-initialization-period`).
    pub cpu_initialization: SignedDuration,
    /// How long after its start a pod that was never ready is taken for one that still starts
    /// (`--horizontal-pod-autoscaler-initial-readiness-delay`).
    pub readiness_delay: SignedDuration,
}

impl Default for Autoscaling {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(15),
            tolerance: 0.1,
            down_window: SignedDuration::from_mins(5),
            cpu_initialization: SignedDuration::from_mins(5),
            readiness_delay: SignedDuration::from_secs(30),
        }
    }
}
