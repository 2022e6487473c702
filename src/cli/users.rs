//! Users of pods.

use clap::{Args, ValueEnum};
use skiff_kubelet::{UNIT, UserSettings, Whose};

/// Who the users of pods are on the node.
#[derive(Debug, Clone, Args)]
pub(crate) struct UserArgs {
    /// Whose users pods have that do not say: the host's, or their own where they can have them (spec.hostUsers: false)
    #[arg(long, value_enum, default_value_t = PodUsers::Host, value_name = "WHOSE")]
    pub(crate) pod_users: PodUsers,
    /// Ids of each pod that has users of its own: 65536 or a multiple (KubeletConfiguration, userNamespaces.idsPerPod)
    #[arg(long, default_value_t = UNIT, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(i64::from(UNIT)..))]
    pub(crate) user_ids_per_pod: u32,
}

/// Whose users a pod's are that does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PodUsers {
    /// The host's
    Host,
    /// Its own
    Pod,
}

impl UserArgs {
    /// As the kubelet is told.
    pub(crate) fn settings(&self) -> UserSettings {
        let unless_said = match self.pod_users {
            PodUsers::Host => Whose::Host,
            PodUsers::Pod => Whose::Pod,
        };
        UserSettings { ids_per_pod: self.user_ids_per_pod, unless_said }
    }
}
