//! Addresses of an IPv4 network, in CIDR notation.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network of at least four addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    base: u32,
    bits: u32,
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = text.split_once('/').ok_or(())?;
        let (address, bits) = (address.parse::<Ipv4Addr>().map_err(drop)?, bits.parse::<u32>().map_err(drop)?);
        if !(8..=30).contains(&bits) {
            return Err(());
        }
        Ok(Self { base: u32::from(address) & (u32::MAX << (32 - bits)), bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.bits)
    }
}

impl Network {
    /// Addresses in the network, with the first and the last.
    pub(crate) fn size(self) -> u32 {
        1 << (32 - self.bits)
    }

    /// The address `offset` behind the network's own.
    pub(crate) fn at(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base + offset % self.size())
    }

    /// Whether hosts may have this address: neither the network's own nor its broadcast address.
    pub(crate) fn has_host(self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        address > self.base && address < self.base + (self.size() - 1)
    }

    /// First offset that is given out unasked. What lies below is left to those who ask (KEP-3070).
    pub(crate) fn dynamic_from(self) -> u32 {
        (self.size() / 16).clamp(16, 256).min(self.size() / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_parse_and_know_their_hosts() {
        let network: Network = "10.96.0.1/16".parse().expect("a network");
        assert_eq!(network.to_string(), "10.96.0.0/16");
        assert_eq!((network.size(), network.dynamic_from()), (65536, 256));
        assert!(network.has_host("10.96.0.1".parse().expect("address")));
        for outside in ["10.96.0.0", "10.96.255.255", "10.97.0.1"] {
            assert!(!network.has_host(outside.parse().expect("address")), "{outside}");
        }
        for nonsense in ["", "10.96.0.0", "10.96.0.0/33", "10.96.0.0/31", "fd00::/108", "x/8"] {
            assert!(nonsense.parse::<Network>().is_err(), "{nonsense}");
        }
    }
}
