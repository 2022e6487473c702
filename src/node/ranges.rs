//! Address ranges that would take addresses which mean something already: refused before anything is made.
//!
//! A pod range that overlaps the host's network cuts the host off, one that overlaps the services' makes addresses that lead
//! to whoever is asked first. Whoever gave the flag learns of both. What does not parse is left to those who use it.

use super::{BRIDGE, INTERFACE_PREFIX};
use anyhow::{Context, bail};
use nix::ifaddrs::getifaddrs;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// What is asked for, with the flag that did.
pub(crate) struct Ranges<'a> {
    /// Flag and range, such as `--pod-cidr` and `10.244.0.0/24`.
    pub(crate) asked: &'a [(&'a str, &'a str)],
    /// The node's address.
    pub(crate) node_ip: Option<IpAddr>,
}

impl Ranges<'_> {
    /// Each against the others, the node's address and the loopback, and `networks`.
    ///
    /// # Errors
    /// Two overlap; the error names both.
    pub(crate) fn check(&self, networks: &[Network]) -> anyhow::Result<()> {
        let asked = self.asked.iter().filter_map(|(flag, text)| Some((*flag, Range::parse(text)?)));
        let asked: Vec<(&str, Range)> = asked.collect();
        for (number, (flag, range)) in asked.iter().enumerate() {
            if let Some((other, taken)) = asked[..number].iter().find(|(_, taken)| taken.overlaps(*range)) {
                bail!("{flag} {range} overlaps {other} {taken}: choose ranges that have no address in common");
            }
            if let Some(IpAddr::V4(node)) = self.node_ip
                && range.overlaps(Range::single(node))
            {
                bail!("{flag} {range} holds the node's address {node}: choose another range");
            }
            if let Some(network) = networks.iter().find(|network| network.range.overlaps(*range)) {
                bail!("{flag} {range} overlaps {network}: choose another range");
            }
        }
        Ok(())
    }
}

/// A network that this host is in or has a route to.
pub(crate) struct Network {
    range: Range,
    interface: String,
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the host's network {} on {}", self.range, self.interface)
    }
}

/// The networks of this network namespace, without those that a node has made.
///
/// # Errors
/// The kernel does not tell them.
pub(crate) fn host_networks() -> anyhow::Result<Vec<Network>> {
    let addresses = getifaddrs().context("list the host's addresses")?;
    let own = addresses.filter_map(|found| {
        let address = found.address?.as_sockaddr_in()?.ip();
        let mask = found.netmask.and_then(|mask| Some(mask.as_sockaddr_in()?.ip())).unwrap_or(Ipv4Addr::BROADCAST);
        Some(Network { range: Range::new(address, mask), interface: found.interface_name })
    });
    let routes = std::fs::read_to_string("/proc/net/route").context("read /proc/net/route")?;
    let all = own.chain(routes.lines().skip(1).filter_map(route));
    // The node's own traces are no reason to refuse its next start, and neither is the way to everywhere.
    let is_made = |interface: &str| interface == BRIDGE || interface.starts_with(INTERFACE_PREFIX);
    Ok(all.filter(|network| !is_made(&network.interface) && network.range.bits > 0).collect())
}

/// A line of /proc/net/route: interface, destination, …, mask as the eighth; addresses are hex numbers in the host's order of
/// the bytes as they are sent. Routes of the loopback are the node's own.
fn route(line: &str) -> Option<Network> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let address = |word: &str| Some(Ipv4Addr::from(u32::from_str_radix(word, 16).ok()?.to_ne_bytes()));
    let range = Range::new(address(words.get(1)?)?, address(words.get(7)?)?);
    let interface = (*words.first()?).to_owned();
    (interface != "lo").then_some(Network { range, interface })
}

/// IPv4 addresses with the same first bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    base: u32,
    bits: u32,
}

impl Range {
    fn new(address: Ipv4Addr, mask: Ipv4Addr) -> Self {
        Self { base: u32::from(address) & u32::from(mask), bits: u32::from(mask).leading_ones() }
    }

    fn single(address: Ipv4Addr) -> Self {
        Self::new(address, Ipv4Addr::BROADCAST)
    }

    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32)?;
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        Some(Self::new(address.parse().ok()?, mask.into()))
    }

    fn overlaps(self, other: Self) -> bool {
        let mask = u32::MAX.checked_shl(32 - self.bits.min(other.bits)).unwrap_or(0);
        (self.base ^ other.base) & mask == 0
    }
}

impl fmt::Display for Range {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", Ipv4Addr::from(self.base), self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(pods: &str, services: &str, networks: &[Network]) -> Option<String> {
        let asked = [("--pod-cidr", pods), ("--service-cidr", services)];
        let ranges = Ranges { asked: &asked, node_ip: Some(Ipv4Addr::new(172, 31, 255, 1).into()) };
        ranges.check(networks).err().map(|error| error.to_string())
    }

    /// Fault N14: any two ranges were accepted.
    #[test]
    fn overlapping_ranges_are_refused_with_both() {
        assert_eq!(refusal("10.244.0.0/24", "10.96.0.0/16", &[]), None);
        for (pods, services) in
            [("10.96.0.0/16", "10.96.0.0/16"), ("10.96.7.0/24", "10.96.0.0/16"), ("10.0.0.0/8", "10.96.0.0/16")]
        {
            let text = refusal(pods, services, &[]).unwrap();
            assert!(text.contains(&format!("--service-cidr {services} overlaps --pod-cidr {pods}")), "{text}");
        }
        let text = refusal("172.31.255.0/24", "10.96.0.0/16", &[]).unwrap();
        assert!(text.contains("--pod-cidr 172.31.255.0/24 holds the node's address 172.31.255.1"), "{text}");
        assert_eq!(refusal("everything", "10.96.0.0/99", &[]), None, "others say better what is wrong with these");
    }

    #[test]
    fn networks_of_the_host_are_read_from_its_routes() {
        let line = "eth0\t0060600A\t00000000\t0001\t0\t0\t0\t00E0FFFF\t0\t0\t0";
        let network = route(line).unwrap();
        if cfg!(target_endian = "little") {
            assert_eq!(network.to_string(), "the host's network 10.96.96.0/19 on eth0");
            let text = refusal("10.244.0.0/24", "10.96.0.0/16", &[network]).unwrap();
            assert!(
                text.contains("--service-cidr 10.96.0.0/16 overlaps the host's network 10.96.96.0/19 on eth0"),
                "{text}"
            );
        }
        assert!(route("lo\t0000600A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0").is_none());
        assert!(route("Iface Destination").is_none());
    }

    #[test]
    fn the_loopback_is_a_network_of_the_host() {
        let networks = host_networks().unwrap();
        let text = refusal("127.0.4.0/24", "10.96.0.0/16", &networks);
        // A network namespace whose loopback is down has no such address.
        if networks.iter().any(|network| network.interface == "lo") {
            assert!(text.unwrap().contains("the host's network 127.0.0.0/8 on lo"));
        }
        assert!(networks.iter().all(|network| network.range.bits > 0), "the default route is not a network");
    }
}
