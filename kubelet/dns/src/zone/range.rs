//! Addresses with the same first bits.

use std::net::IpAddr;

/// A range of addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    base: u128,
    bits: u32,
    is_v4: bool,
}

impl Range {
    /// Reads `10.96.0.0/16` or `fd00::/64`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits: u32 = bits.parse().ok()?;
        let (value, width) = number(address);
        let bits = if bits <= width { bits + 128 - width } else { return None };
        Some(Self { base: value & mask(bits), bits, is_v4: address.is_ipv4() })
    }

    /// Whether an address is one of it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_v4 && number(address).0 & mask(self.bits) == self.base
    }
}

/// The address as a number, and how many bits it has.
fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_their_ranges() {
        let holds = |range: &str, address: &str| Range::parse(range).unwrap().contains(address.parse().unwrap());
        assert!(holds("10.96.0.0/16", "10.96.255.255") && !holds("10.96.0.0/16", "10.97.0.0"));
        assert!(holds("fd00::/64", "fd00::1") && !holds("fd00::/64", "fd00:0:0:1::"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "::1") && holds("1.2.3.4/32", "1.2.3.4"));
        for bad in ["10.96.0.0", "10.96.0.0/33", "::/129", "x/8", "10.0.0.0/"] {
            assert!(Range::parse(bad).is_none(), "{bad}");
        }
    }
}
