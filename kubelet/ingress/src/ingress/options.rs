//! What annotations of ours say of an ingress.

use crate::plan::Problem;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::time::Duration;

/// `"true"`: who comes without encryption to a host with a certificate is sent to https.
const HTTPS_REDIRECT: &str = "skiff.dev/https-redirect";
/// `cookie`: a client comes to the same endpoint again.
const AFFINITY: &str = "skiff.dev/affinity";
/// The name of that cookie.
const COOKIE: &str = "skiff.dev/affinity-cookie";
/// What it is called otherwise.
const COOKIE_NAME: &str = "skiff-affinity";
/// How long an answer may take to begin, such as `30s`.
const TIMEOUT: &str = "skiff.dev/response-timeout";
/// How long bodies of requests may be, such as `8Mi`.
const BODY_MAX: &str = "skiff.dev/body-max";

/// Everything at once.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Options {
    pub(super) https_redirect: bool,
    pub(super) affinity: Option<String>,
    pub(super) within: Option<Duration>,
    pub(super) body_bytes_max: Option<u64>,
}

impl Options {
    /// Reads them; what cannot be read is a problem, and as if it had not been said.
    pub(super) fn read(meta: &ObjectMeta, problems: &mut Vec<Problem>) -> Self {
        let said = |key: &str| meta.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str);
        let mut wrong = |key: &str, text: &str, want: &str| {
            problems.push(Problem::rejected(&format!("metadata.annotations[{key}]"), format!("{text}: want {want}")));
        };
        let https_redirect = match said(HTTPS_REDIRECT) {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                wrong(HTTPS_REDIRECT, other, "true or false");
                false
            }
        };
        let name = said(COOKIE).unwrap_or(COOKIE_NAME);
        let affinity = match said(AFFINITY) {
            None | Some("none") => None,
            Some("cookie") if is_token(name) => Some(name.to_owned()),
            Some("cookie") => {
                wrong(COOKIE, name, "a cookie's name: letters, digits, - and _");
                None
            }
            Some(other) => {
                wrong(AFFINITY, other, "cookie or none");
                None
            }
        };
        let mut read = |key: &str, want: &str, parse: fn(&str) -> Option<u64>| {
            let text = said(key)?;
            let parsed = parse(text);
            if parsed.is_none() {
                wrong(key, text, want);
            }
            parsed
        };
        let within = read(TIMEOUT, "a duration such as 30s, 500ms or 5m", millis).map(Duration::from_millis);
        let body_bytes_max = read(BODY_MAX, "a size such as 8Mi or 1000000", bytes);
        Self { https_redirect, affinity, within, body_bytes_max }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_'))
}

/// A duration of Gateway API (GEP-2257) or a plain one: numbers with units, the greater first.
pub(crate) fn millis(text: &str) -> Option<u64> {
    let (mut rest, mut sum) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let units = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
        let (unit, factor) = units.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        sum = sum.checked_add(number.checked_mul(factor)?)?;
        rest = &after[unit.len()..];
    }
    (!text.is_empty()).then_some(sum)
}

fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        for (text, wanted) in [
            ("30s", Some(30_000)),
            ("500ms", Some(500)),
            ("1h2m3s4ms", Some(3_723_004)),
            ("", None),
            ("5", None),
            ("s", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(millis(text), wanted, "{text}");
        }
        for (text, wanted) in [("8Mi", Some(8 << 20)), ("10", Some(10)), ("1k", Some(1000)), ("Mi", None), ("1x", None)]
        {
            assert_eq!(bytes(text), wanted, "{text}");
        }
    }
}
