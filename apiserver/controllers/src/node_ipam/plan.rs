//! Which part of a range of addresses is free. No I/O.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range can be cut into so many parts at most, as in Kubernetes.
const PARTS_BITS_MAX: u8 = 16;

/// Addresses with the same first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    /// In the last bits; the first are zero for IPv4.
    base: u128,
    /// How many bits an address has.
    width: u8,
    bits: u8,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let (base, width) = match address.parse().ok()? {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let bits = bits.parse().ok().filter(|bits| *bits <= width)?;
        let range = Self { base, width, bits };
        Some(Self { base: base & range.mask(), ..range })
    }

    /// The bits that are the same.
    fn mask(self) -> u128 {
        u128::MAX.checked_shl(u32::from(self.width - self.bits)).unwrap_or(0)
    }

    fn overlaps(self, other: Self) -> bool {
        let wider = if self.bits < other.bits { self } else { other };
        self.width == other.width && (self.base ^ other.base) & wider.mask() == 0
    }

    fn text(self) -> String {
        match u32::try_from(self.base) {
            Ok(base) if self.width == 32 => format!("{}/{}", Ipv4Addr::from(base), self.bits),
            _ => format!("{}/{}", Ipv6Addr::from(self.base), self.bits),
        }
    }
}

/// A range that is cut into parts of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pool {
    whole: Range,
    part_bits: u8,
}

impl Pool {
    /// Reads the range; `part_bits` are the bits that all addresses of a part share.
    pub(crate) fn parse(text: &str, part_bits: u8) -> Result<Self, String> {
        let whole = Range::parse(text).ok_or_else(|| format!("{text:?} is no range such as 10.244.0.0/16"))?;
        if part_bits < whole.bits || part_bits > whole.width {
            return Err(format!("{text} cannot be cut into ranges of {part_bits} bits"));
        }
        if part_bits - whole.bits > PARTS_BITS_MAX {
            return Err(format!(
                "{text} has more ranges of {part_bits} bits than there can be nodes: at most {PARTS_BITS_MAX} bits may lie between"
            ));
        }
        Ok(Self { whole, part_bits })
    }

    pub(super) const fn is_v6(&self) -> bool {
        self.whole.width == 128
    }

    /// Whether `text` is one of the parts.
    pub(crate) fn holds(&self, text: &str) -> bool {
        Range::parse(text).is_some_and(|range| range.bits == self.part_bits && range.overlaps(self.whole))
    }

    /// The first part that nothing of `taken` overlaps.
    pub(crate) fn free(&self, taken: &[String]) -> Option<String> {
        let taken: Vec<Range> = taken.iter().filter_map(|text| Range::parse(text)).collect();
        let step = u32::from(self.whole.width - self.part_bits);
        let parts = 0..1u128 << (self.part_bits - self.whole.bits);
        let part = |number: u128| {
            // A part that is the whole is not shifted at all, and one of all addresses there are begins at zero.
            let offset = number.checked_shl(step).unwrap_or(0);
            Range { base: self.whole.base + offset, bits: self.part_bits, width: self.whole.width }
        };
        parts.map(part).find(|part| !taken.iter().any(|taken| taken.overlaps(*part))).map(Range::text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::NodeRanges;
    use super::*;
    use proptest::prelude::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn the_first_free_part_is_given() {
        let pool = Pool::parse("10.244.0.0/16", 24).unwrap();
        assert_eq!(pool.free(&[]).unwrap(), "10.244.0.0/24");
        assert_eq!(pool.free(&texts(&["10.244.0.0/24", "10.244.2.0/24"])).unwrap(), "10.244.1.0/24");
        // A node may have a range of another size, or none of ours.
        assert_eq!(pool.free(&texts(&["10.244.0.0/22", "192.0.2.0/24", "fd00::/64", "x"])).unwrap(), "10.244.4.0/24");
        assert_eq!(pool.free(&texts(&["10.0.0.0/8"])), None);
        let six = Pool::parse("fd00:10:244::/56", 64).unwrap();
        assert_eq!(six.free(&texts(&["fd00:10:244::/64"])).unwrap(), "fd00:10:244:1::/64");
    }

    #[test]
    fn ranges_that_cannot_be_cut_are_refused() {
        for (text, bits, why) in [
            ("10.244.0.0", 24, "is no range"),
            ("10.244.0.0/16", 15, "cannot be cut into ranges of 15 bits"),
            ("10.244.0.0/16", 33, "cannot be cut"),
            ("fd00::/40", 64, "at most 16 bits may lie between"),
        ] {
            let error = Pool::parse(text, bits).unwrap_err();
            assert!(error.contains(why) && error.contains(text), "{error}");
        }
        assert!(NodeRanges::parse("10.244.0.0/16,fd00::/48", 24, 64).is_ok());
        assert!(NodeRanges::parse("10.244.0.0/16,10.245.0.0/16", 24, 64).unwrap_err().contains("one of IPv6"));
    }

    proptest! {
        #[test]
        fn every_part_is_given_once(whole in 20u8..=24, more in 0u8..=4) {
            let pool = Pool::parse(&format!("10.244.0.0/{whole}"), whole + more).unwrap();
            let mut taken: Vec<String> = Vec::new();
            while let Some(part) = pool.free(&taken) {
                prop_assert!(!taken.contains(&part));
                taken.push(part);
            }
            prop_assert_eq!(taken.len(), 1usize << more);
        }
    }
}
