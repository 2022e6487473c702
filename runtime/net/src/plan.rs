//! Decides addresses and names; no I/O.

use crate::NetError;
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// The longest prefix that has a gateway and an address for a pod.
const PREFIX_BITS_MAX: u8 = 30;
/// A shorter one would be a mistake: 2^24 pods.
const PREFIX_BITS_MIN: u8 = 8;

/// An IPv4 range: its first address and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    base: u32,
    prefix: u8,
}

impl Range {
    /// Reads the configuration field `field`.
    pub(crate) fn parse(field: &'static str, text: &str) -> Result<Self, NetError> {
        text.parse().map_err(|reason| NetError::Config { field, value: text.to_owned(), reason })
    }

    pub(crate) fn base(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base)
    }

    pub(crate) const fn prefix(self) -> u8 {
        self.prefix
    }

    /// The bits that all addresses of the range share.
    pub(crate) fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::MAX << (32 - self.prefix))
    }

    /// The bridge's address: the first.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }

    /// The last address, which is for broadcasts.
    pub(crate) fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base | !u32::from(self.mask()))
    }

    /// First and last address for pods.
    fn pods(self) -> (u32, u32) {
        (self.base + 2, u32::from(self.broadcast()) - 1)
    }

    /// The next free address after `last`, round and round, so that an address rests as long as possible before
    /// somebody else answers at it. None: all are taken.
    pub(crate) fn choose(self, taken: &BTreeSet<Ipv4Addr>, last: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let (first, end) = self.pods();
        let start = match last.map(u32::from) {
            Some(last) if (first..end).contains(&last) => last + 1,
            _ => first,
        };
        let mut candidates = (start..=end).chain(first..start).map(Ipv4Addr::from);
        candidates.find(|address| !taken.contains(address))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base(), self.prefix)
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').ok_or("it is not of the form ADDRESS/BITS")?;
        let address: Ipv4Addr = address.parse().map_err(|_| format!("{address:?} is not an IPv4 address"))?;
        let prefix: u8 = prefix.parse().map_err(|_| format!("{prefix:?} is not a number of bits"))?;
        if !(PREFIX_BITS_MIN..=PREFIX_BITS_MAX).contains(&prefix) {
            return Err(format!("its prefix has to be of {PREFIX_BITS_MIN} to {PREFIX_BITS_MAX} bits"));
        }
        let range = Self { base: u32::from(address) & (u32::MAX << (32 - prefix)), prefix };
        if range.base() != address {
            return Err(format!("it does not start at the first address of its range; {range} does"));
        }
        Ok(range)
    }
}

/// Name of the node's end of a pod's veth pair: the address in hex, so that it is as unique as the address.
pub(crate) fn interface(prefix: &str, address: Ipv4Addr) -> String {
    format!("{prefix}{:08x}", u32::from(address))
}

/// Whether `name` is one of [`interface`]'s.
pub(crate) fn is_interface(prefix: &str, name: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The hardware address that goes with an address: the same pod address is always at the same place, so that nobody's
/// neighbour table is out of date when an address comes back. The first byte says that it is locally administered.
pub(crate) fn hardware_address(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bad_range_is_named_with_its_reason() {
        for (text, word) in [
            ("10.244.0.0", "form"),
            ("10.244.0.5/24", "10.244.0.0/24 does"),
            ("10.244.0.0/31", "prefix"),
            ("10.0.0.0/x", "number"),
            ("fd00::/64", "IPv4"),
        ] {
            let error = Range::parse("pod_cidr", text).expect_err("it is bad").to_string();
            assert!(error.contains(word) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn names_fit_into_an_interface_name() {
        let name = interface("skiff", Ipv4Addr::new(10, 244, 0, 5));
        assert_eq!(name, "skiff0af40005");
        assert!(is_interface("skiff", &name) && !is_interface("skiff", "skiff0") && name.len() <= 15);
    }

    proptest! {
        #[test]
        fn every_address_is_given_once_and_none_is_missed(prefix in 24u8..=30, start in any::<Option<u32>>()) {
            let range: Range = format!("10.1.2.0/{prefix}").parse().expect("a range");
            let mut taken = BTreeSet::new();
            let mut last = start.map(Ipv4Addr::from);
            while let Some(address) = range.choose(&taken, last) {
                prop_assert!(taken.insert(address), "{address} was given twice");
                prop_assert!(address != range.gateway() && address != range.base() && address != range.broadcast());
                last = Some(address);
            }
            prop_assert_eq!(taken.len(), (1usize << (32 - prefix)) - 3);
        }

        #[test]
        fn a_freed_address_is_the_last_to_come_back(freed in 2u8..250) {
            let range: Range = "10.1.2.0/24".parse().expect("a range");
            let freed = Ipv4Addr::new(10, 1, 2, freed);
            prop_assert_ne!(range.choose(&BTreeSet::new(), Some(freed)), Some(freed));
        }
    }
}
