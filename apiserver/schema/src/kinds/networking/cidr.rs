//! Blocks of addresses such as `10.0.0.0/8`.

use crate::path::Path;
use crate::validate::errors::Errors;
use std::net::IpAddr;

/// A block: its first address and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cidr {
    pub(super) address: IpAddr,
    pub(super) length: u32,
}

impl Cidr {
    /// Reads a block, also one with address bits beyond its prefix.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let (address, length) = (address.parse::<IpAddr>().ok()?, length.parse::<u32>().ok()?);
        (digits && length <= bits(address)).then_some(Self { address, length })
    }

    /// The address without the bits beyond the prefix.
    fn masked(self) -> IpAddr {
        let off = bits(self.address) - self.length;
        match self.address {
            IpAddr::V4(four) => IpAddr::V4(u32::from(four).checked_shr(off).map_or(0, |kept| kept << off).into()),
            IpAddr::V6(six) => IpAddr::V6(u128::from(six).checked_shr(off).map_or(0, |kept| kept << off).into()),
        }
    }

    /// Whether `other` is a part of this, and smaller.
    pub(super) fn holds(self, other: Self) -> bool {
        let same_family = self.address.is_ipv4() == other.address.is_ipv4();
        same_family
            && other.length > self.length
            && Self { address: other.address, length: self.length }.masked() == self.masked()
    }
}

fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

const INVALID: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// A block in a field that has always been lenient.
pub(crate) fn lenient(text: &str, path: &Path<'_>, errors: &mut Errors) -> Option<Cidr> {
    let cidr = Cidr::parse(text);
    if cidr.is_none() {
        errors.invalid(path, text, INVALID);
    }
    cidr
}

/// A block in its one and only spelling.
pub(super) fn strict(text: &str, path: &Path<'_>, errors: &mut Errors) {
    let Some(cidr) = lenient(text, path, errors) else { return };
    let mapped = matches!(cidr.address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some());
    let canonical = format!("{}/{}", cidr.address, cidr.length);
    if mapped {
        errors.invalid(path, text, "must not have an IPv4-mapped IPv6 address");
    } else if cidr.masked() != cidr.address {
        errors.invalid(path, text, "must not have bits set beyond the prefix length");
    } else if canonical != text {
        errors.invalid(path, text, format!("must be in canonical form ({canonical:?})"));
    }
}

#[cfg(test)]
mod tests {
    use super::Cidr;

    #[test]
    fn blocks_hold_smaller_ones() {
        let of = |text: &str| Cidr::parse(text).expect("a block");
        assert!(of("10.0.0.0/8").holds(of("10.1.0.0/16")));
        assert!(of("0.0.0.0/0").holds(of("10.1.0.0/16")));
        assert!(!of("10.0.0.0/8").holds(of("10.0.0.0/8")));
        assert!(!of("10.0.0.0/8").holds(of("11.0.0.0/16")));
        assert!(!of("::/0").holds(of("11.0.0.0/16")));
        for wrong in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "a/8"] {
            assert_eq!(Cidr::parse(wrong), None, "{wrong}");
        }
    }
}
