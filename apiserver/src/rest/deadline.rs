//! How long a request may take: a minute (kube-apiserver `--request-timeout`), or what `timeout` in its query says if that is
//! less. Watches and streams take as long as they take.

use super::options::Parameters;
use crate::status::Status;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::timeout;

/// The longest time for a request that is no stream.
const REQUEST_MAX: Duration = Duration::from_secs(60);

/// The answer, or the refusal that it took too long. It stays where it is, because a future that is moved into another is kept twice.
pub(super) async fn within<T>(
    parameters: &Parameters,
    answer: Pin<&mut impl Future<Output = Result<T, Status>>>,
) -> Result<T, Status> {
    let limit = limit(parameters.text("timeout"))?;
    let late = || Status::timeout("request did not complete within requested timeout - context deadline exceeded");
    timeout(limit, answer).await.unwrap_or_else(|_| Err(late()))
}

/// How long a request may take whose query says so.
pub(crate) fn limit(asked: &str) -> Result<Duration, Status> {
    if asked.is_empty() {
        return Ok(REQUEST_MAX);
    }
    let invalid =
        || Status::bad_request(format!("invalid timeout specified in the request URL: {asked:?} is not a duration"));
    let nanoseconds = nanoseconds(asked).ok_or_else(invalid)?;
    // Nothing or less is no limit of the client's.
    Ok(if nanoseconds > 0.0 { Duration::from_nanos(nanoseconds as u64).min(REQUEST_MAX) } else { REQUEST_MAX })
}

/// Go's durations: `300ms`, `-1.5h`, `2h45m`, `0`.
fn nanoseconds(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 8] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0.0);
    }
    let mut sum = None;
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|character: char| character.is_ascii_digit() || character == '.').unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..end])?;
        sum = Some(sum.unwrap_or(0.0) + number * unit);
        rest = &rest[end..];
    }
    sum.map(|sum| sign * sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let seconds = |text: &str| nanoseconds(text).map(|nanoseconds| nanoseconds / 1e9);
        for (text, expected) in [
            ("32s", Some(32.0)),
            ("1m30s", Some(90.0)),
            ("1.5h", Some(5400.0)),
            ("250ms", Some(0.25)),
            ("-1s", Some(-1.0)),
            ("0", Some(0.0)),
            ("", None),
            ("10", None),
            ("1x", None),
            ("s", None),
            (".s", None),
        ] {
            assert_eq!(seconds(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_request_takes_a_minute_at_most() {
        assert_eq!(limit("5s"), Ok(Duration::from_secs(5)));
        for none in ["", "0s", "-3s", "2h", "99999999999999999h"] {
            assert_eq!(limit(none), Ok(REQUEST_MAX), "{none:?}");
        }
        assert!(limit("soon").is_err());
    }

    #[tokio::test]
    async fn who_is_late_is_told_so() {
        let parameters = Parameters::of(&"/x?timeout=1ms".parse().expect("a uri")).expect("parameters");
        let never = std::pin::pin!(std::future::pending::<Result<(), Status>>());
        let error = within(&parameters, never).await.expect_err("late");
        assert_eq!((error.code.as_u16(), error.reason), (504, "Timeout"));
    }
}
