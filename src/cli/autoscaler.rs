//! Flags of autoscalers, named and measured as those of kube-controller-manager.

use crate::duration;
use anyhow::{Context, ensure};
use clap::Args;
use skiff_controllers::Autoscaling;
use std::time::Duration;

/// How fast autoscalers follow what is measured.
#[derive(Debug, Clone, Args)]
pub(crate) struct AutoscalerArgs {
    /// How often each autoscaler is looked at
    #[arg(long, default_value = "15s", value_parser = duration::parse, value_name = "TIME")]
    horizontal_pod_autoscaler_sync_period: Duration,
    /// From which share of the target on a difference matters, where an autoscaler does not say it
    #[arg(long, default_value_t = 0.1, value_name = "SHARE")]
    horizontal_pod_autoscaler_tolerance: f64,
    /// For how long the most that was wanted counts before there are fewer, where an autoscaler does not say it
    #[arg(long, default_value = "5m", value_parser = duration::parse, value_name = "TIME")]
    horizontal_pod_autoscaler_downscale_stabilization: Duration,
    /// How long after its start a pod that is not ready does not count by what it uses of the processor
    #[arg(long, default_value = "5m", value_parser = duration::parse, value_name = "TIME")]
    horizontal_pod_autoscaler_cpu_initialization_period: Duration,
    /// How long after its start a pod that was never ready is taken for one that still starts
    #[arg(long, default_value = "30s", value_parser = duration::parse, value_name = "TIME")]
    horizontal_pod_autoscaler_initial_readiness_delay: Duration,
}

impl AutoscalerArgs {
    /// What the controllers are told.
    ///
    /// # Errors
    /// A value that no autoscaler can follow.
    pub(crate) fn pace(&self) -> anyhow::Result<Autoscaling> {
        let (period, tolerance) =
            (self.horizontal_pod_autoscaler_sync_period, self.horizontal_pod_autoscaler_tolerance);
        ensure!(!period.is_zero(), "--horizontal-pod-autoscaler-sync-period must be longer than 0");
        ensure!(
            tolerance.is_finite() && tolerance >= 0.0,
            "--horizontal-pod-autoscaler-tolerance {tolerance}: want a number that is not negative"
        );
        let signed = |flag: &str, time: Duration| time.try_into().with_context(|| format!("{flag}: it is too long"));
        Ok(Autoscaling {
            period,
            tolerance,
            down_window: signed(
                "--horizontal-pod-autoscaler-downscale-stabilization",
                self.horizontal_pod_autoscaler_downscale_stabilization,
            )?,
            cpu_initialization: signed(
                "--horizontal-pod-autoscaler-cpu-initialization-period",
                self.horizontal_pod_autoscaler_cpu_initialization_period,
            )?,
            readiness_delay: signed(
                "--horizontal-pod-autoscaler-initial-readiness-delay",
                self.horizontal_pod_autoscaler_initial_readiness_delay,
            )?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};

    fn pace(flags: &str) -> anyhow::Result<Autoscaling> {
        let line = format!("skiff controllers {flags}");
        match Cli::read(line.split_whitespace()).unwrap().command {
            Command::Controllers(args) => {
                assert!(args.without_effect.lines().is_empty(), "they have an effect");
                args.autoscaler.pace()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_of_autoscalers_mean_what_they_do_in_kubernetes() {
        assert_eq!(pace("").unwrap(), Autoscaling::default());
        let set = pace("--horizontal-pod-autoscaler-sync-period=5s --horizontal-pod-autoscaler-tolerance=0.25 \
             --horizontal-pod-autoscaler-downscale-stabilization=1m0s --horizontal-pod-autoscaler-cpu-initialization-period=10s \
             --horizontal-pod-autoscaler-initial-readiness-delay=1s").unwrap();
        assert_eq!((set.period.as_secs(), set.tolerance, set.down_window.as_secs()), (5, 0.25, 60));
        assert_eq!((set.cpu_initialization.as_secs(), set.readiness_delay.as_secs()), (10, 1));
        let never = pace("--horizontal-pod-autoscaler-sync-period=0s").unwrap_err().to_string();
        assert_eq!(never, "--horizontal-pod-autoscaler-sync-period must be longer than 0");
        assert!(pace("--horizontal-pod-autoscaler-tolerance=-1").is_err());
    }
}
