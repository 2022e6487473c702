//! DER (X.690) as far as keys and certificates need it: lengths, sequences, and what stands in them.

use crate::key::Algorithm;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Tag of a sequence.
const SEQUENCE: u8 = 0x30;
/// Tag of a string of bits.
const BITS: u8 = 0x03;

/// `1.2.840.10045.2.1`, `1.2.840.10045.3.1.7`: a key on the curve P-256.
const P256: &[u8] = b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// `1.2.840.10045.2.1`, `1.3.132.0.34`: a key on the curve P-384.
const P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
/// `1.2.840.113549.1.1.1`: an RSA key.
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

/// The SubjectPublicKeyInfo (RFC 5280) of a point on P-256.
pub(crate) fn p256(point: &[u8]) -> Vec<u8> {
    info(P256, point)
}

/// The SubjectPublicKeyInfo of a point on P-384.
pub(crate) fn p384(point: &[u8]) -> Vec<u8> {
    info(P384, point)
}

/// The SubjectPublicKeyInfo of an RSA key, given as an RSAPublicKey (RFC 8017).
pub(crate) fn rsa(key: &[u8]) -> Vec<u8> {
    info(RSA, key)
}

/// An RSAPublicKey of modulus and exponent, both big endian.
pub(crate) fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    tagged(SEQUENCE, &[unsigned(modulus), unsigned(exponent)].concat())
}

fn info(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let bits = tagged(BITS, &[&[0], key].concat());
    tagged(SEQUENCE, &[algorithm, &bits].concat())
}

/// A sequence of what is encoded already.
pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tagged(SEQUENCE, &parts.concat())
}

/// A string of bits, the last `unused` of which are not there.
pub(crate) fn bits(unused: u8, bytes: &[u8]) -> Vec<u8> {
    tagged(BITS, &[&[unused], bytes].concat())
}

/// An extension of a certificate: its identifier (the content of an OBJECT IDENTIFIER), and its value.
pub(crate) fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { b"\x01\x01\xff" } else { b"" };
    sequence(&[&tagged(0x06, id), critical, &tagged(0x04, value)])
}

/// The AlgorithmIdentifier of how a key of ours signs.
pub(crate) fn signature_algorithm(algorithm: Algorithm) -> &'static [u8] {
    match algorithm {
        Algorithm::Es256 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
        Algorithm::Es384 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03",
        // Keys of this kind sign by RS256, whatever else they check.
        _ => b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00",
    }
}

/// A block of PEM.
pub(crate) fn pem(label: &str, block: &[u8]) -> String {
    let text = STANDARD.encode(block);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A number that is not negative, big endian.
pub(crate) fn unsigned(number: &[u8]) -> Vec<u8> {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let digits = &number[start..];
    // A first bit would make it negative.
    let pad: &[u8] = if digits.first().is_none_or(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    tagged(0x02, &[pad, digits].concat())
}

/// One value.
pub(crate) fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let digits = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut out = vec![tag];
    if content.len() >= 0x80 {
        // At most eight digits: a length is a usize.
        out.push(0x80 | u8::try_from(digits.len()).unwrap_or(0));
    }
    out.extend_from_slice(digits);
    out.extend_from_slice(content);
    out
}

/// Takes one value off the front: its tag, what is in it, and what follows.
pub(crate) fn take(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, first, rest @ ..] = bytes else { return None };
    let (length, rest) = match usize::from(*first) {
        short @ 0..0x80 => (short, rest),
        long => {
            let (digits, rest) = rest.split_at_checked(long - 0x80)?;
            if digits.is_empty() || digits.len() > 4 {
                return None;
            }
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(content: Vec<u8>, more: Vec<u8>) {
            let written = [tagged(SEQUENCE, &content), more.clone()].concat();
            prop_assert_eq!(take(&written), Some((SEQUENCE, &content[..], &more[..])));
        }

        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = take(&bytes);
        }
    }
}
