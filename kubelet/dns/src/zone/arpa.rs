//! Names of addresses: `5.0.244.10.in-addr.arpa`, and nibbles below `ip6.arpa` (RFC 1035, 3.5; RFC 3596, 2.5).

use crate::labels::Labels;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many labels the zones of addresses have.
pub(crate) const ARPA_LABELS: usize = 2;

/// The address that a name stands for, if it stands for exactly one.
pub(super) fn address(labels: &Labels) -> Option<IpAddr> {
    if labels.from_right(0)? != b"arpa" {
        return None;
    }
    match labels.from_right(1)? {
        b"in-addr" if labels.count() == ARPA_LABELS + 4 => {
            let mut octets = [0; 4];
            for (place, octet) in octets.iter_mut().enumerate() {
                *octet = decimal(labels.from_right(ARPA_LABELS + place)?)?;
            }
            Some(Ipv4Addr::from(octets).into())
        }
        b"ip6" if labels.count() == ARPA_LABELS + 32 => {
            let mut value = 0_u128;
            for place in 0..32 {
                value = value << 4 | u128::from(nibble(labels.from_right(ARPA_LABELS + place)?)?);
            }
            Some(Ipv6Addr::from(value).into())
        }
        _ => None,
    }
}

/// Without leading zeros: `01` is another label than `1`.
fn decimal(label: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(label).ok()?;
    let number: u8 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn nibble(label: &[u8]) -> Option<u8> {
    match label {
        [digit @ b'0'..=b'9'] => Some(digit - b'0'),
        [letter @ b'a'..=b'f'] => Some(letter - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_addresses_are_read_from_the_right() {
        let read = |text: &str| address(&Labels::parse(text)).map(|address| address.to_string());
        assert_eq!(read("10.0.96.10.in-addr.arpa").as_deref(), Some("10.96.0.10"));
        let nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6.arpa";
        assert_eq!(read(nibbles).as_deref(), Some("2001:db8::1"));
        for other in [
            "0.96.10.in-addr.arpa",
            "010.0.96.10.in-addr.arpa",
            "x.0.0.10.in-addr.arpa",
            "arpa",
            "256.1.1.1.in-addr.arpa",
            "1.ip6.arpa",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
