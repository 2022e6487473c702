//! Flags about address ranges.

use clap::Args;
use std::net::Ipv4Addr;

/// Address ranges.
#[derive(Debug, Clone, Args)]
pub(crate) struct RangeArgs {
    /// Addresses of pods
    #[arg(long, default_value = "10.244.0.0/24", value_name = "CIDR")]
    pub(crate) pod_cidr: String,
    /// Addresses of services
    #[arg(long, default_value = "10.96.0.0/16", value_name = "CIDR")]
    pub(crate) service_cidr: String,
    /// Addresses of the pods of all nodes, of which each gets a range [default: there is one node; with --nodes the /16 around --pod-cidr]
    #[arg(long, value_name = "CIDR")]
    pub(crate) cluster_cidr: Option<String>,
}

impl RangeArgs {
    /// The addresses of the pods of all nodes.
    pub(crate) const fn of_all_pods(&self) -> &String {
        match &self.cluster_cidr {
            Some(all) => all,
            None => &self.pod_cidr,
        }
    }

    /// There will be more nodes: the addresses of all their pods, unless somebody has named them, are those with the same first 16 bits.
    pub(crate) fn make_room(&mut self) {
        let (base, bits) = self.pod_cidr.split_once('/').unwrap_or_default();
        if self.cluster_cidr.is_none()
            && let (Ok(base), Ok(bits)) = (base.parse::<Ipv4Addr>(), bits.parse::<u8>())
            && bits > 16
        {
            let [a, b, ..] = base.octets();
            self.cluster_cidr = Some(format!("{a}.{b}.0.0/16"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_nodes_need_more_addresses() {
        let room = |pods: &str, all: Option<&str>| {
            let (service_cidr, cluster_cidr) = ("10.96.0.0/16".to_owned(), all.map(str::to_owned));
            let mut ranges = RangeArgs { pod_cidr: pods.to_owned(), service_cidr, cluster_cidr };
            ranges.make_room();
            ranges.of_all_pods().clone()
        };
        assert_eq!(room("10.244.3.0/24", None), "10.244.0.0/16");
        assert_eq!(room("10.244.3.0/24", Some("10.244.0.0/22")), "10.244.0.0/22");
        assert_eq!(room("10.244.0.0/16", None), "10.244.0.0/16", "there is no room");
    }
}
