//! Flags of the control loops and of leader election, named and measured as those of Kubernetes' components.

use super::ClientArgs;
use super::autoscaler::AutoscalerArgs;
use super::without_effect::{ControllerManager, Scheduler, WithoutEffect};
use crate::duration;
use crate::node::host_name;
use anyhow::{Context, ensure};
use clap::Args;
use skiff_client::Election;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `skiff scheduler`.
#[derive(Debug, Args)]
pub(crate) struct SchedulerArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// A KubeSchedulerConfiguration: profiles, plugins, extenders [default: kube-scheduler's default profile]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Chooses among nodes that are equally good: the same seed, the same choices
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub(crate) seed: u64,
    /// Where figures for Prometheus are served, and /healthz, without encryption [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) election: ElectionArgs,
    #[command(flatten)]
    pub(crate) without_effect: WithoutEffect<Scheduler>,
}

/// `skiff controllers`.
#[derive(Debug, Args)]
pub(crate) struct ControllersArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    /// The key that signs tokens of service accounts that are kept in secrets, PEM [default: such secrets stay as they are]
    #[arg(long, value_name = "FILE")]
    pub(crate) service_account_private_key_file: Option<PathBuf>,
    /// The authority that signs certificates on request, PEM [default: approved requests stay as they are]
    #[arg(long, value_name = "FILE", requires = "cluster_signing_key_file")]
    pub(crate) cluster_signing_cert_file: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "cluster_signing_cert_file")]
    pub(crate) cluster_signing_key_file: Option<PathBuf>,
    /// The longest life of a certificate that it signs; requests may ask for a shorter one
    #[arg(long, default_value = "8760h", value_parser = duration::parse, value_name = "TIME")]
    pub(crate) cluster_signing_duration: Duration,
    /// Let each controller act as a service account of its own in kube-system, with that account's rights, and not all as the
    /// kubeconfig's user
    #[arg(
        long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true,
        action = clap::ArgAction::Set, value_name = "BOOL"
    )]
    pub(crate) use_service_account_credentials: bool,
    /// Give each node a range of --cluster-cidr for its pods
    #[arg(
        long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true,
        action = clap::ArgAction::Set, value_name = "BOOL"
    )]
    pub(crate) allocate_node_cidrs: bool,
    /// Addresses of the pods of all nodes; with --allocate-node-cidrs. One range of IPv4, one of IPv6, or both with a comma between
    #[arg(long, value_name = "CIDR")]
    pub(crate) cluster_cidr: Option<String>,
    /// Bits that all IPv4 addresses of a node's pods share
    #[arg(long, visible_alias = "node-cidr-mask-size", default_value_t = 24, value_name = "BITS")]
    pub(crate) node_cidr_mask_size_ipv4: u8,
    /// The same for IPv6
    #[arg(long, default_value_t = 64, value_name = "BITS")]
    pub(crate) node_cidr_mask_size_ipv6: u8,
    #[command(flatten)]
    pub(crate) autoscaler: AutoscalerArgs,
    /// Where figures for Prometheus are served, and /healthz, without encryption [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) election: ElectionArgs,
    #[command(flatten)]
    pub(crate) without_effect: WithoutEffect<ControllerManager>,
}

/// Leader election.
#[derive(Debug, Clone, Args)]
pub(crate) struct ElectionArgs {
    /// Work only while leading: of several on one API server, one does
    #[arg(
        long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true,
        action = clap::ArgAction::Set, value_name = "BOOL"
    )]
    leader_elect: bool,
    /// How long others wait for a leader that does not renew
    #[arg(long, default_value = "15s", value_parser = duration::parse, value_name = "TIME")]
    leader_elect_lease_duration: Duration,
    /// How long a leader tries to renew before it stops working
    #[arg(long, default_value = "10s", value_parser = duration::parse, value_name = "TIME")]
    leader_elect_renew_deadline: Duration,
    /// How long to wait between two tries
    #[arg(long, default_value = "2s", value_parser = duration::parse, value_name = "TIME")]
    leader_elect_retry_period: Duration,
}

impl ElectionArgs {
    /// The election for the job `name`; `None`: it is not asked for.
    ///
    /// # Errors
    /// Times with which two could lead at once, or the leader could lose its lease although all is well.
    pub(crate) fn election(&self, name: &str) -> anyhow::Result<Option<Election>> {
        if !self.leader_elect {
            return Ok(None);
        }
        let (duration, deadline) = (self.leader_elect_lease_duration, self.leader_elect_renew_deadline);
        let retry = self.leader_elect_retry_period;
        ensure!(duration > deadline, "--leader-elect-lease-duration must be longer than --leader-elect-renew-deadline");
        ensure!(
            deadline > retry.mul_f64(1.2),
            "--leader-elect-renew-deadline must be longer than 1.2 times --leader-elect-retry-period"
        );
        ensure!(!retry.is_zero(), "--leader-elect-retry-period must be longer than 0");
        // The lease says it in whole seconds.
        ensure!(duration.as_secs() >= 1, "--leader-elect-lease-duration must be at least 1s");
        ensure!(duration.subsec_nanos() == 0, "--leader-elect-lease-duration must be whole seconds");
        let mut election = standing(name)?;
        (election.duration, election.renew_deadline, election.retry_period) = (duration, deadline, retry);
        Ok(Some(election))
    }
}

/// The election for the job `name`, in which this process stands.
///
/// # Errors
/// The kernel gives no identity.
pub(crate) fn standing(name: &str) -> anyhow::Result<Election> {
    let unique = "/proc/sys/kernel/random/uuid";
    let unique = std::fs::read_to_string(unique).with_context(|| format!("read {unique}"))?;
    Ok(Election::new(name, format!("{}_{}", host_name(), unique.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        election: ElectionArgs,
    }

    fn election(words: &[&str]) -> Result<Option<Election>, String> {
        let line = Line::try_parse_from([&["program"], words].concat()).map_err(|error| error.to_string())?;
        line.election.election("work").map_err(|error| error.to_string())
    }

    /// Fault N25: upstream's defaults and flags, and times that cannot work are refused.
    #[test]
    fn flags_are_those_of_kubernetes() {
        let usual = election(&[]).unwrap().unwrap();
        let seconds = [usual.duration, usual.renew_deadline, usual.retry_period].map(|time| time.as_secs());
        assert_eq!(seconds, [15, 10, 2]);
        assert_eq!((usual.namespace.as_str(), usual.name.as_str()), ("kube-system", "work"));
        assert_ne!(usual.identity, election(&["--leader-elect"]).unwrap().unwrap().identity, "each process is one");
        assert!(election(&["--leader-elect=false"]).unwrap().is_none());
        for (words, wrong) in [
            (["--leader-elect-lease-duration", "10s"], "must be longer than --leader-elect-renew-deadline"),
            (["--leader-elect-retry-period", "9s"], "1.2 times"),
            (["--leader-elect-retry-period", "0"], "longer than 0"),
            (["--leader-elect-lease-duration", "20.5s"], "whole seconds"),
        ] {
            let error = election(&words).unwrap_err();
            assert!(error.contains(wrong), "{words:?}: {error}");
        }
    }
}
