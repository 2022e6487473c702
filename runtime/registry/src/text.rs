//! Percent-encoding of paths and queries (RFC 3986, and `+` for a space in queries).

/// Decodes `text`; `None`: a `%` without two hexadecimal digits, or what it makes is not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits =
                std::str::from_utf8(rest.get(..2)?).ok().filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The parameters of a query, in order; those that do not decode are left out.
pub(crate) fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
    });
    decoded.collect()
}

/// The first parameter of that name.
pub(crate) fn find<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Encodes what is not an unreserved character.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_half_is_nothing() {
        assert_eq!(decode("a%2Fb%3a").as_deref(), Some("a/b:"));
        for bad in ["%", "%2", "%zz", "%ff", "%+1"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert_eq!(
            parameters("a=1&&b&c=x+y%26&%=1"),
            [("a", "1"), ("b", ""), ("c", "x y&")].map(|(a, b)| (a.into(), b.into()))
        );
    }

    proptest! {
        #[test]
        fn encoding_round_trips(text in "\\PC{0,20}") {
            prop_assert_eq!(decode(&encode(&text)).unwrap(), text);
        }
    }
}
